/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_CLIENT_H
#define WEFT__HTTP_CLIENT_H
/*
 * The HTTP client from the inside (floor 5).
 *
 * A client has a pool of connections, by host (scheme, name, port). One request takes a connection,
 * which is of a class: HTTP/1.1, or HTTP/2, where several take the same. What is above the class
 * (redirects, cookies, decoding) knows none of it.
 *
 * Invariants:
 *  - everything belongs to the loop, or the thread, of the client;
 *  - a connection is idle in its host's list, or taken by a reply, or being dialled; `open` of its
 *    host and of the client count all three, and never pass the maxima;
 *  - a reply that has come to the end of its body holds no connection any more;
 *  - whoever frees a place, or a connection, wakes one who waits for it.
 */
#include <weft/http_client.h>
#include <weft/sync.h>

#include "base/list.h"
#include "dial/dial.h"
#include "http/decode.h"
#include "http/h1_body.h"
#include "http/jar.h"
#include "net/stream.h"
#include "rt/rt.h"
#include "wire/http1.h"
#include "wire/url.h"

#define WEFT__HTTP_CONTINUE_MS 1000 /* how long a 100 is waited for (RFC 9110, 10.1.1) */
#define WEFT__HTTP_HEAD_MAX 65536u  /* of a request that is sent, and of a reply */
#define WEFT__HTTP_FIELDS_MAX 128u  /* of a reply */
#define WEFT__HTTP_INTERIM_MAX 16   /* replies of 1xx before the last one */
#define WEFT__HTTP_DRAIN_MAX 65536u /* what is left of a body is read to keep the connection */
#define WEFT__HTTP_DRAIN_MS 1000    /* and waited for, where the next request is to the same host */
#define WEFT__HTTP_HOST_BUCKETS 64

struct weft__h2;
struct weft__h2_stream;
struct weft__http_conn;
struct weft__http_ask;

struct weft__http_conn_class {
    int version; /* 11, 20 */
    bool shared; /* several requests at once */
    /*
     * Sends the request and reads the head of the reply. On failure the connection is of no use any
     * more. a->untouched: not a byte of a reply had come, so that the request may be sent again.
     */
    int (*exchange)(struct weft__http_conn *c, struct weft__http_ask *a, struct weft_http_reply *r,
                    weft_deadline d);
    /* The next bytes of the body as it was sent, 0 at its end; valid until consume. Waits. */
    ssize_t (*peek)(struct weft_http_reply *r, const void **data, weft_deadline d);
    void (*consume)(struct weft_http_reply *r, size_t n);
    /* The reply lets go; whole: it has been read to its end. Gives the connection back to the pool
     * or ends it; does not wait for the peer. */
    void (*release)(struct weft_http_reply *r, bool whole);
    /* An idle connection is still good. */
    bool (*alive)(struct weft__http_conn *c);
    /* Shared ones: there is room for one request more. */
    bool (*room)(struct weft__http_conn *c);
    /* Ends it, at once; others may have a turn meanwhile. Nobody uses it. Abruptly: there is an
     * exchange that will not come to its end. */
    void (*end)(struct weft__http_conn *c, bool abrupt);
};
extern const struct weft__http_conn_class weft__http_conn_h1, weft__http_conn_h2;

struct weft__http_host {
    struct weft__node link;   /* of its bucket */
    struct weft__list idle;   /* the one that was used last first */
    struct weft__list shared; /* HTTP/2, with requests on them */
    size_t open;
    size_t dialing;
    size_t users;  /* requests that hold on to it */
    bool one_each; /* it speaks HTTP/1, where a connection carries one request */
    char key[];    /* "https://example.org:443" */
};

struct weft__http_conn {
    struct weft__node link; /* in host->idle or host->shared */
    const struct weft__http_conn_class *cls;
    struct weft_http_client *client;
    struct weft__http_host *host;
    struct weft_stream *s;
    struct weft__h2 *h2;
    size_t users;      /* requests on a shared one */
    int64_t idle_ns;   /* since when */
    uint64_t requests; /* that it has carried */
};

struct weft_http_client {
    struct weft_http_client_options options; /* with defaults; texts are copies */
    struct weft_loop *loop;                  /* NULL: of a plain thread */
    struct weft_tls *tls; /* options.tls, or the client's own, made when first needed */
    struct weft__via via; /* options.proxy, read */
    char *proxy_auth;     /* what Proxy-Authorization says to an http:// proxy, or NULL */
    struct weft__list hosts[WEFT__HTTP_HOST_BUCKETS];
    struct weft__list waiters;
    struct weft__alarm sweep; /* closes what has been idle for long */
    bool sweeping;
    size_t open, idle;
    struct weft__jar jar;
    struct weft_http_client_stats stats;
    size_t replies; /* not closed yet */
};

/* One request as it goes out. */
struct weft__http_ask {
    const struct weft_http_call *call;
    const struct weft_url *url;
    struct weft__slice method;
    enum weft__http_method method_id;
    bool body;        /* it has one, which goes along */
    bool credentials; /* the caller's may go along */
    bool absolute;    /* to a proxy: the whole URL is the target */
    bool sent_body;   /* the producer was asked */
    bool given_up;    /* ... and failed, which is nothing that the server has done */
    bool refused;     /* the server says that it has done nothing with it */
    bool untouched;
};

struct weft_http_reply {
    struct weft_http_client *client;
    struct weft__http_conn *conn; /* NULL: the body has been read, or the reply failed */
    char *url;
    int status, version;
    int64_t length;  /* Content-Length; -1 */
    bool keep_alive; /* HTTP/1: the connection goes on behind the body */
    bool ended;      /* the body has */
    int error;       /* what reading has come to */
    char *text;      /* the fields' */
    struct weft_http_field *fields;
    size_t n_fields;
    char *trailer_text;
    struct weft_http_field *trailers;
    size_t n_trailers;
    struct weft__h1_body body; /* HTTP/1 */
    struct weft__http1_field *trailer_spans;
    struct weft__h2_stream *stream; /* HTTP/2 */
    /* Decoding. */
    struct weft__decoder *decoder;
    const char *encoded; /* what was peeked at and not decoded yet */
    size_t encoded_left;
    uint64_t decoded;
    char *whole; /* weft_http_reply_body's */
    size_t whole_len;
};

/* --- Pool (client_pool.c) -------------------------------------------------------------------- */

/* The host of a URL, made if need be and held; -ENOMEM. */
int weft__http_host_hold(struct weft_http_client *c, const struct weft_url *url,
                         struct weft__http_host **ret);
void weft__http_host_drop(struct weft_http_client *c, struct weft__http_host *h);
/* A connection to the host: one that there is, else a new one. fresh: the other way round, and
 * never one that has been idle. *reused says which. Waits. */
int weft__http_conn_take(struct weft_http_client *c, struct weft__http_host *h,
                         const struct weft_url *url, bool fresh, struct weft__http_conn **ret,
                         bool *reused, weft_deadline d);
/* Requests to that URL go to the proxy as to a server, with the whole URL as their target. */
static inline bool weft__http_by_proxy(const struct weft_http_client *c, const struct weft_url *url)
{
    return c->via.kind == WEFT__PROXY_HTTP && !url->secure;
}
/* The connection is idle from now on. */
void weft__http_conn_keep(struct weft__http_conn *conn);
/* One request less on a shared one. */
void weft__http_conn_unshare(struct weft__http_conn *conn);
/* A new connection speaks HTTP/2 (client_h2.c). -ENOMEM. */
int weft__http_conn_begin_h2(struct weft__http_conn *conn);
/* Closes its stream, for its class. */
void weft__http_conn_close(struct weft__http_conn *conn, bool abrupt);
/* Ends and frees it; it is not idle. */
void weft__http_conn_end(struct weft__http_conn *conn, bool abrupt);
/* Ends all idle ones. */
void weft__http_pool_close(struct weft_http_client *c);

/* --- Requests (client_request.c) ------------------------------------------------------------- */

/*
 * Hands each field of the request to put, in order: Host (not for HTTP/2, where it is the
 * authority), the client's own ones, the caller's. Returns 0 or what put, or the check, returned.
 */
typedef int (*weft__http_put)(void *arg, struct weft__slice name, struct weft__slice value);
int weft__http_ask_fields(struct weft_http_client *c, const struct weft__http_ask *a,
                          weft__http_put put, void *arg);
/* -EINVAL with a detail for what a caller may not say. */
int weft__http_call_check(const struct weft_http_call *call);
void weft__http_trace(const struct weft_http_call *call, char kind, const char *fmt, ...)
    WEFT_PRINTF(3, 4);

/* --- Replies that come before the body has been sent (client_early.c) ------------------------ */

#define WEFT__HTTP_EARLY_PIECE 8000u /* of a body, where a plain thread sends it */

struct weft__http_early {
    struct weft_stream *s;
    struct weft_group *group;  /* who listens; NULL: on a plain thread, or nobody */
    struct weft__flow *writer; /* while it writes */
    weft_deadline until;
    bool told; /* no more of the body is wanted */
    bool over; /* nobody listens any more */
};

/* Begins to listen; ended in any case when it fails. -ENOMEM, -ECANCELED. */
int weft__http_early_begin(struct weft__http_early *e, struct weft_stream *s, bool on_loop,
                           weft_deadline d);
/* Before and behind each write, which is of weft__http_early_most bytes at most. -EPIPE: there has
 * been a reply, or the server is gone, and reading says which; else what waiting, or the write,
 * came to. */
int weft__http_early_enter(struct weft__http_early *e);
int weft__http_early_leave(struct weft__http_early *e, int err);
size_t weft__http_early_most(const struct weft__http_early *e, size_t len);
void weft__http_early_end(struct weft__http_early *e);
/* Waits for a 100, whatever other interim replies come before it, or for the last reply: 1 when the
 * body is to be sent, also when none of them has come in time; 0 when it is not. */
int weft__http_may_continue(struct weft_stream *s, weft_deadline d);

/* --- Replies (client_reply.c) ---------------------------------------------------------------- */

int weft__http_reply_new(struct weft_http_client *c, const struct weft_url *url,
                         struct weft_http_reply **ret);
/* Copies fields to *text and *fields, with NULs. */
int weft__http_reply_copy(const char *data, const struct weft__http1_field *from, size_t n,
                          char **text, struct weft_http_field **fields);
/* Looks at the head: length and content coding. The head was just read. */
int weft__http_reply_begin(struct weft_http_reply *r, enum weft__http_method method);
/* Reads a short rest of the body, so that the connection can go on: true when that was all. */
bool weft__http_reply_drain(struct weft_http_reply *r, weft_deadline d);
/* The body has ended: the connection is free for others. */
void weft__http_reply_ended(struct weft_http_reply *r);

#endif
