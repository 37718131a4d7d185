/* SPDX-License-Identifier: MIT */
/*
 * Connections of HTTP/1 without a task: idle ones, and those whose requests are answered at once.
 *
 * Floor 5. In callback mode a connection is the stream's struct and nothing more; what it has
 * carried so far is its `user` pointer. Its next bytes are looked at in the data callback: whole
 * requests for routes that never wait are answered there, and with anything else the connection
 * gets a task again, which reads those bytes first.
 *
 * Invariant: a request is begun here only when all of it is there and its route is marked at_once;
 * everything that is refused, is read further, or ends the connection is a task's.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "http/h1_server.h"
#include "net/park.h"
#include "net/server.h"

#define QUEUED_MAX 32768u /* a client that does not read is a task's to wait for */

/* --- The class of responses that leave in a callback ------------------------------------------ */

static ssize_t direct_peek(struct weft__http_exchange *x, const void **data, weft_deadline d)
{
    (void)x, (void)data, (void)d;
    return 0; /* only requests without a body come here */
}

static void direct_consume(struct weft__http_exchange *x, size_t n)
{
    (void)x, (void)n;
}

static ssize_t direct_read(struct weft__http_exchange *x, void *buf, size_t cap, weft_deadline d)
{
    (void)x, (void)buf, (void)cap, (void)d;
    return 0;
}

static const char *direct_trailer(struct weft__http_exchange *x, const char *name)
{
    (void)x, (void)name;
    return NULL;
}

static int put(struct weft__h1_conn *c, const void *head, size_t head_len, const void *data,
               size_t len)
{
    char size[WEFT__HTTP1_CHUNK_HEAD];
    struct iovec iov[4];
    int n = 0;
    bool chunked = c->out.kind == WEFT__HTTP1_CHUNKED && len > 0;
    if (c->out.kind == WEFT__HTTP1_LENGTH) {
        if (len > c->out.left)
            return weft__fail(-EMSGSIZE, "more of a body than the length that was announced");
        c->out.left -= len;
    }
    if (head_len > 0)
        iov[n++] = (struct iovec){(void *)(uintptr_t)head, head_len};
    if (chunked)
        iov[n++] = (struct iovec){size, weft__http1_chunk_head(size, len)};
    if (len > 0 && c->out.kind != WEFT__HTTP1_NO_BODY)
        iov[n++] = (struct iovec){(void *)(uintptr_t)data, len};
    if (chunked)
        iov[n++] = (struct iovec){"\r\n", 2};
    return n > 0 ? weft_transport_writev(c->x.stream, iov, n) : 0;
}

static int direct_end(struct weft__http_exchange *x, weft_deadline d)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    const char *trailers;
    size_t len;
    (void)d;
    if (c->out.kind == WEFT__HTTP1_LENGTH && c->out.left > 0)
        return weft__fail(-EMSGSIZE, "the body ended before the length it announced");
    if (c->out.kind != WEFT__HTTP1_CHUNKED)
        return 0;
    int err = weft__h1_build_trailers(c, &trailers, &len);
    if (err < 0)
        return err;
    if (trailers == NULL)
        return weft_transport_write(x->stream, WEFT__HTTP1_CHUNK_LAST,
                                    strlen(WEFT__HTTP1_CHUNK_LAST));
    struct iovec iov[2] = {{"0\r\n", 3}, {(void *)(uintptr_t)trailers, len}};
    return weft_transport_writev(x->stream, iov, 2);
}

static int direct_begin(struct weft__http_exchange *x, int64_t length, const void *data, size_t len,
                        bool last, weft_deadline d)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    char buf[1024];
    const char *head;
    size_t head_len;
    if (last && length == (int64_t)len && weft__h1_send_whole(c, data, len))
        return 0;
    int err = weft__h1_build_head(c, length, buf, sizeof buf, &head, &head_len);
    if (err == 0)
        err = put(c, head, head_len, data, len);
    return err == 0 && last ? direct_end(x, d) : err;
}

static int direct_write(struct weft__http_exchange *x, const void *data, size_t len,
                        weft_deadline d)
{
    (void)d;
    return put(weft__h1_of(x), NULL, 0, data, len);
}

static int direct_send_fd(struct weft__http_exchange *x, int fd, off_t *offset, size_t len,
                          weft_deadline d)
{
    (void)x, (void)fd, (void)offset, (void)len, (void)d;
    return weft__fail(-EDEADLK, "a route that is marked at_once sends no long files");
}

static int direct_flush(struct weft__http_exchange *x, weft_deadline d)
{
    (void)x, (void)d;
    return 0; /* leaves with the loop's turn */
}

static int direct_interim(struct weft__http_exchange *x, int status)
{
    (void)x, (void)status;
    return 0;
}

static const struct weft__http_exchange_class direct_class = {
    .peek = direct_peek,
    .consume = direct_consume,
    .read = direct_read,
    .trailer = direct_trailer,
    .begin = direct_begin,
    .write = direct_write,
    .send_fd = direct_send_fd,
    .end = direct_end,
    .flush = direct_flush,
    .interim = direct_interim,
};

/* --- Requests in the data callback ------------------------------------------------------------ */

static struct weft__h1_conn *direct_conn(struct weft__http_site *site, struct weft_stream *t)
{
    struct weft__h1_conn *c = site->direct;
    if (c == NULL) {
        c = weft__h1_conn_get(site, t);
        if (c == NULL)
            return NULL;
        c->x.cls = &direct_class;
        weft__h1_head_init(c);
        site->direct = c;
    }
    c->x.stream = t;
    c->closing = false;
    return c;
}

/* Answers the request at data: its length; 0 when it is not one for here, < 0: reset. */
static ssize_t answer_one(struct weft__h1_conn *c, char *data, size_t len)
{
    struct weft__http_site *site = c->x.site;
    struct weft__http1_head *h = &c->x.q.head;
    c->scan = (struct weft__http1_scan){0};
    ssize_t n = weft__http1_parse_request(h, &c->scan, data, len);
    if (n <= 0 || h->body != WEFT__HTTP1_NO_BODY || h->upgrade)
        return 0;
    uint32_t before = c->requests;
    int status = weft__h1_prepare(c, data);
    if (status != 0 || !weft__http_is_at_once(&c->x)) {
        c->requests = before;
        weft__http_exchange_done(&c->x);
        return 0;
    }
    int err = weft__http_dispatch(&c->x);
    weft__http_account(&c->x);
    weft__http_count(site, &site->counters.at_once);
    weft__http_exchange_done(&c->x);
    return err < 0 ? err : n;
}

/* How many bytes were answered, < 0: reset. *end: the connection is to end behind them. */
static ssize_t answer_all(struct weft__http_site *site, struct weft_stream *t, char *data,
                          size_t len, uint32_t *carried, bool *end)
{
    struct weft__h1_conn *c = direct_conn(site, t);
    size_t at = 0;
    if (c == NULL)
        return 0;
    c->requests = *carried;
    while (at < len && !*end && weft_transport_queued(t) < QUEUED_MAX) {
        ssize_t n = answer_one(c, data + at, len - at);
        if (n < 0)
            return n;
        if (n == 0)
            break;
        at += (size_t)n;
        *end = !c->keep;
    }
    *carried = c->requests;
    return (ssize_t)at;
}

static struct weft__http_site *site_of(const struct weft_stream *t)
{
    return t->shared->factory.arg;
}

static void count_parked(struct weft__http_site *site, int64_t by)
{
    atomic_fetch_add_explicit(&site->counters.parked, by, memory_order_relaxed);
}

static int parked_data(struct weft_stream *t, const void *data, size_t len, void *user)
{
    struct weft__http_site *site = site_of(t);
    uint32_t carried = (uint32_t)(uintptr_t)user;
    bool end = false;
    ssize_t used = 0;
    if (site->conf->at_once && !weft_stream_draining(t))
        used = answer_all(site, t, (char *)(uintptr_t)data, len, &carried, &end);
    if (used < 0)
        return (int)used;
    if ((size_t)used == len && !end) {
        weft_transport_set(t, (void *)(uintptr_t)carried);
        return 0;
    }
    if ((size_t)used == len && !site->direct->x.q.head.keep_alive) {
        weft_transport_close(t); /* it asked for that, and has sent nothing more */
        return 0;
    }
    /* What follows the last answer is not looked at, but it is read. */
    int err = weft__unpark(t, end ? 0 : len - (size_t)used, end ? WEFT__H1_ENDS : carried);
    if (err == 0)
        count_parked(site, -1);
    else if (end)
        weft_transport_close(t);
    return end ? 0 : err;
}

static void parked_lost(struct weft_stream *t, int error, void *user)
{
    (void)error, (void)user;
    count_parked(site_of(t), -1);
}

/* Whoever asked a moment ago may be asking again just now: that request is to be answered. */
static bool parked_drain(struct weft_stream *t)
{
    uint32_t idle = weft__loop_ms(t->loop) - t->active_ms;
    return t->out == NULL && idle >= WEFT__H1_DRAIN_IDLE_MS;
}

static const struct weft_protocol parked_protocol = {.data = parked_data, .lost = parked_lost};

void weft__h1_park_init(struct weft__http_site *site)
{
    site->parking = (struct weft__parking){
        .factory = {.protocol = &parked_protocol, .arg = site},
        .idle_ms = site->conf->o.idle_ms,
        .drain = parked_drain,
    };
}

int weft__h1_park(struct weft__http_site *site, struct weft_stream **s, uint32_t requests)
{
    if (site->shared || site->passing) /* the worker would keep it for as long as it runs */
        return -EOPNOTSUPP;
    int err = weft__park(s, &site->parking, (void *)(uintptr_t)requests);
    if (err == 0)
        count_parked(site, 1);
    return err;
}
