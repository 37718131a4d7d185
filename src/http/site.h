/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_SITE_H
#define WEFT__HTTP_SITE_H
/*
 * What the connections of one worker share (floor 5): the application, the options with defaults
 * filled in, counters, spare memory, the date.
 *
 * A site belongs to one loop, and all in it but `conf` and the counters is its thread's alone. With
 * the thread model, all threads share one, and use nothing of it but conf and counters. A stream
 * that is no server's has one of its own, which ends with the flow that serves it.
 */
#include <stdatomic.h>

#include <weft/http_server.h>

#include "http/router.h"
#include "net/park.h"
#include "wire/http1.h"

#define WEFT__HTTP_MIDDLEWARE_MAX 64

struct weft__http_middleware {
    char *prefix;
    size_t prefix_len; /* without a slash at its end */
    bool at_once;      /* never waits */
    weft_http_handler fn;
    void *arg;
};

struct weft__http_static; /* static.c */
struct weft__http_owned {
    struct weft__http_owned *next;
    void (*free)(struct weft__http_owned *o);
};

struct weft_http_app {
    struct weft__router router;
    struct weft__http_middleware middleware[WEFT__HTTP_MIDDLEWARE_MAX];
    size_t n_middleware;
    size_t n_waiting; /* of them: may wait */
    weft_http_error_page page;
    void *page_arg;
    struct weft__http_owned *owned; /* freed with the application */
    _Atomic bool sealed;            /* a server uses it */
};

/* The options of a server, copied and complete; never changed then. */
struct weft__http_conf {
    struct weft_http_app *app;
    struct weft_http_options o;
    struct weft__http1_limits limits;
    char server_field[80]; /* "Server: weft\r\n" or "" */
    size_t server_field_len;
    bool at_once; /* some route is */
};

struct weft__http_counters {
    _Atomic uint64_t requests, by_class[6], bad_requests, upgrades, at_once, log_dropped;
    _Atomic int64_t parked;
};

struct weft__h1_conn;
struct weft__h2_pool;
struct weft__log_writer;
struct weft__http_kept_files;

struct weft__http_site {
    const struct weft__http_conf *conf;
    struct weft__http_counters counters;
    bool shared;  /* by threads */
    bool passing; /* of one connection's flow, on its stack: nothing outlives that */
    struct weft__h1_conn *spares; /* ended connections' memory */
    size_t n_spares;
    struct weft__h1_conn *direct; /* for requests that are answered in a callback; h1_park.c */
    struct weft__parking parking;
    struct weft__http_kept_files *kept_files; /* opened.c */
    uint64_t unsafe;                          /* requests that may have changed something */
    struct weft__h2_pool *h2_pool;            /* h2_pool.h; NULL: none yet */
    /* WEFT__HTTP_OK and "Server: ...\r\nDate: ...\r\n", made once a second. */
    int64_t stamp_s;
    int64_t stamp_until_ns; /* of the loop's clock: as good until then */
    size_t stamp_len;       /* without WEFT__HTTP_OK */
    char stamp[160];
    int64_t wall_offset_ns; /* of the wall clock against the loop's, as of wall_at_ns */
    int64_t wall_at_ns;
    uint64_t id_base, id_next;       /* of request ids */
    struct weft__log_writer *writer; /* the server's; NULL: none */
};

static inline void weft__http_count(struct weft__http_site *site, _Atomic uint64_t *c)
{
    if (site->shared)
        atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
    else
        atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

/* Fills in defaults and checks; app and o borrowed. -EINVAL. */
int weft__http_conf_init(struct weft__http_conf *conf, struct weft_http_app *app,
                         const struct weft_http_options *o);
void weft__http_site_init(struct weft__http_site *site, const struct weft__http_conf *conf,
                          bool shared);
/* Closes what opened.c keeps; nobody sends from it any more. */
void weft__http_kept_close(struct weft__http_site *site);
void weft__http_site_fini(struct weft__http_site *site);
/*
 * The lines that every response has; buf (160 bytes) is used where the site is shared. In front of
 * them stands WEFT__HTTP_OK, for those that have it, too.
 */
#define WEFT__HTTP_OK "HTTP/1.1 200 OK\r\n"
#define WEFT__HTTP_OK_LEN (sizeof WEFT__HTTP_OK - 1)
const char *weft__http_stamp(struct weft__http_site *site, const struct weft_loop *loop, char *buf,
                             size_t *len);
/* The wall clock in seconds, cheaply on a loop. */
int64_t weft__http_wall_s(struct weft__http_site *site, const struct weft_loop *loop);
/* Ends our side of a connection and reads what still comes, until the peer has everything and ends,
 * too, or its time is up: then the stream can be closed. body: of a request that was well-formed
 * so far the rest of the body may come, which is more. 0, -ECANCELED (linger.c). */
int weft__http_linger(const struct weft__http_site *site, struct weft_stream *s, bool body);

#endif
