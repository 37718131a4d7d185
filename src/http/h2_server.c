/* SPDX-License-Identifier: MIT */
/*
 * A connection of HTTP/2 as a server: see h2_server.h.
 *
 * Floor 5. It drains in two phases (RFC 9113 section 6.8): first a GOAWAY that names no stream, so
 * that requests on their way are still taken, and one that names the last when the client has
 * answered the ping behind the first: whatever it asked before it knew has come by then.
 */
#include <errno.h>
#include <string.h>

#include <weft/run.h>
#include <weft/tls.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2_pool.h"
#include "http/h2_request.h"
#include "http/h2_server.h"
#include "net/server.h"
#include "net/stream.h"

#define SLICE_MS 1000     /* between two looks whether the server drains */
#define DRAIN_SLICE_MS 50 /* the same, for what comes soon, and wakes nobody */
#define NOTICE_MS 2000    /* for the answer to the ping between the two GOAWAYs */
#define FLUSH_MS 1000     /* for the last frames of a connection that ends */
#define OUT_MARK 16384u   /* bytes that are sent before another request is answered directly */
#define HELD_MARK 32768u  /* a client that takes nothing is a task's to wait for */

enum phase { OPEN, NOTICED, CLOSING };

struct conn {
    struct weft__http_site *site;
    struct weft_stream *s;
    struct weft__h2 *h2;
    struct weft_group *group; /* the requests' tasks; NULL on a plain thread */
    struct weft__list ready;  /* streams whose requests are not begun yet */
    size_t running;
    uint64_t requests; /* begun, ever */
    enum phase phase;
    int64_t idle_ns;   /* since when nothing is asked */
    int64_t notice_ns; /* when the first GOAWAY was sent */
};

int weft__h2_is_spoken(struct weft_stream *s, weft_deadline d)
{
    struct weft_tls_info info;
    const void *data;
    if (weft_tls_info(s, &info) == 0)
        return strcmp(info.alpn, "h2") == 0;
    ssize_t n = weft_peek(s, &data, d);
    size_t same = 0;
    while (n > 0) {
        same = weft__min_size((size_t)n, WEFT__HTTP2_PREFACE_LEN);
        if (memcmp(data, WEFT__HTTP2_PREFACE, same) != 0)
            return 0;
        if (same == WEFT__HTTP2_PREFACE_LEN)
            return 1;
        n = weft_peek_min(s, &data, same + 1, d);
    }
    return n == WEFT_EEOF ? 0 : (int)n;
}

/* From within the pump: it only queues. */
static void take_request(void *arg, struct weft__h2_stream *st)
{
    struct conn *k = arg;
    weft__list_push_back(&k->ready, &st->ready);
}

static int run_request(void *arg)
{
    struct weft__h2_exchange *e = arg;
    struct conn *k = e->conn;
    weft__h2_answer(e);
    weft__h2_exchange_free(e);
    int err = weft__h2_flush(k->h2, weft_after_ms(FLUSH_MS));
    (void)err; /* the connection's own flow sees it, too */
    k->running--;
    k->idle_ns = weft__stream_now_ns(k->s);
    if (k->phase == CLOSING && k->running == 0)
        weft__h2_poke(k->h2); /* it may have been the last that was waited for */
    return 0;
}

static void start_request(struct conn *k, struct weft__h2_exchange *e)
{
    int err = 0;
    k->running++;
    if (k->group == NULL)
        (void)run_request(e);
    else
        err = weft_group_go(k->group, "http2 request", run_request, e);
    if (err < 0) { /* no memory, or no task: the client may try again */
        weft__h2_reset(e->st, NGHTTP2_REFUSED_STREAM);
        weft__h2_exchange_free(e);
        k->running--;
    }
}

/* As over HTTP/1: whole requests for routes that never wait, unless the client takes so little that
 * somebody has to wait for it. And those for which what the answer needs is in memory now. */
static bool is_direct(const struct conn *k, struct weft__h2_exchange *e)
{
    return k->group != NULL && !k->site->shared && e->status == 0 &&
           e->x.q.head.body == WEFT__HTTP1_NO_BODY && e->x.protocol.at == NULL &&
           k->h2->held < HELD_MARK && (weft__http_is_at_once(&e->x) || weft__http_is_ready(&e->x));
}

/* In this flow, to which nothing else happens meanwhile: as a callback of the loop, so that what
 * would wait is refused. */
static void answer_direct(struct conn *k, struct weft__h2_exchange *e)
{
    struct weft__flow *self = weft__flow_current;
    struct weft__detail **slot = weft__detail_slot;
    struct weft__flow *callback = &k->s->loop->callback;
    weft__flow_current = callback;
    weft__detail_slot = &callback->detail;
    e->direct = true;
    weft__h2_answer(e);
    weft__http_count(k->site, &k->site->counters.at_once);
    weft__h2_exchange_free(e);
    weft__flow_current = self;
    weft__detail_slot = slot;
}

/* What is answered directly goes into the connection's buffer, and that is sent when it is full. */
static void make_room(struct conn *k)
{
    int err = weft__buffer_len(&k->h2->out) >= OUT_MARK
                  ? weft__h2_flush(k->h2, weft_after_ms(FLUSH_MS))
                  : 0;
    (void)err; /* the next wait tells it, too */
}

/* 1: answered directly, 0: it is a task's, or was refused. */
static int begin_request(struct conn *k, struct weft__h2_stream *st)
{
    struct weft__h2_exchange *e = weft__h2_exchange_new(k->site, k->s, st);
    if (e == NULL) {
        weft__h2_reset(st, NGHTTP2_REFUSED_STREAM);
        weft__h2_let_go(st);
        return 0;
    }
    e->conn = k;
    k->requests++;
    e->status = weft__h2_prepare(e);
    if (!is_direct(k, e)) {
        start_request(k, e);
        return 0;
    }
    make_room(k);
    answer_direct(k, e);
    k->idle_ns = weft__stream_now_ns(k->s);
    return 1;
}

/*
 * Requests that came together are answered together: what they answer at once goes out in one
 * piece, which makes one record of TLS. A task runs as soon as it is made, so that the next one
 * finds its memory warm, until it ends or waits. What is answered directly is sent before this flow
 * waits for more.
 */
static void start_together(struct conn *k)
{
    bool several = weft__list_first(&k->ready) != weft__list_last(&k->ready);
    bool gather = several && k->group != NULL;
    struct weft__node *n;
    int err = 0;
    while ((n = weft__list_pop_front(&k->ready)) != NULL) {
        struct weft__h2_stream *st = WEFT__CONTAINER_OF(n, struct weft__h2_stream, ready);
        if (begin_request(k, st) == 1 || !gather)
            continue;
        k->h2->gathering = true;
        if (err == 0)
            err = weft_yield();
    }
    if (!k->h2->gathering)
        return;
    k->h2->gathering = false;
    if (err == 0)
        err = weft__h2_flush(k->h2, weft_after_ms(FLUSH_MS));
    (void)err; /* the next wait tells it, too */
}

/* Nothing is asked, answered, or held by a tunnel. */
static bool is_idle(const struct conn *k)
{
    return k->running == 0 && weft__list_empty(&k->h2->tunnels) && k->h2->held == 0 &&
           weft__list_empty(&k->ready);
}

/* Something is to be begun, or there is nothing left to wait for. */
static bool has_news(void *arg)
{
    const struct conn *k = arg;
    return !weft__list_empty(&k->ready) || (k->phase == CLOSING && is_idle(k));
}

static int notice(struct weft__h2 *h2)
{
    h2->ping_acked = false;
    return nghttp2_submit_shutdown_notice(h2->ng) == 0 &&
                   nghttp2_submit_ping(h2->ng, NGHTTP2_FLAG_NONE, NULL) == 0
               ? 0
               : -ENOMEM;
}

/* Looks at the clock: 0 to go on, 1 when the connection has come to its end. */
static int look_around(struct conn *k)
{
    const struct weft_http_options *o = &k->site->conf->o;
    weft__h2_drop_stuck(k->h2);
    if (!weft__list_empty(&k->h2->tunnels))
        k->idle_ns = weft_now_ns();
    bool idle = is_idle(k);
    int64_t idle_ms = (weft_now_ns() - k->idle_ns) / 1000000;
    bool enough = o->requests_max > 0 && k->requests >= (uint64_t)o->requests_max;
    if (k->phase == OPEN && (enough || weft_stream_draining(k->s))) {
        k->phase = NOTICED;
        k->notice_ns = weft_now_ns();
        return notice(k->h2);
    }
    if (k->phase == NOTICED) {
        if (!k->h2->ping_acked && weft_now_ns() - k->notice_ns < NOTICE_MS * INT64_C(1000000))
            return 0;
        k->phase = CLOSING;
        return weft__h2_goaway(k->h2, -1, NGHTTP2_NO_ERROR);
    }
    if (k->phase == CLOSING)
        return idle;
    if (!idle || o->idle_ms <= 0 || idle_ms < o->idle_ms)
        return 0;
    int err = weft__h2_goaway(k->h2, -1, NGHTTP2_NO_ERROR);
    return err < 0 ? err : 1;
}

static int serve(struct conn *k)
{
    for (;;) {
        /* Behind the last GOAWAY who ends wakes this flow; what is held for windows does not. */
        bool soon = k->phase == NOTICED || (k->phase == CLOSING && k->h2->held > 0);
        weft_deadline slice = weft_after_ms(soon ? DRAIN_SLICE_MS : SLICE_MS);
        int err = weft__h2_wait(k->h2, NULL, has_news, k, k->group != NULL, slice);
        if (err == 0)
            start_together(k);
        else if (err != -ETIMEDOUT)
            return err == WEFT_EEOF ? 0 : err;
        if (k->s->timed_out)
            return -ETIMEDOUT;
        err = look_around(k);
        if (err == 0 && k->phase != OPEN)
            err = weft__h2_flush(k->h2, weft_after_ms(FLUSH_MS));
        if (err != 0)
            return err < 0 ? err : 0;
    }
}

/* The worker's, made for its first connection; threads share a site and have none. */
static int pool_of(struct weft__http_site *site, struct weft__h2_pool **ret)
{
    int err = site->h2_pool == NULL && !site->shared ? weft__h2_pool_open(&site->h2_pool) : 0;
    *ret = site->h2_pool;
    return err;
}

static void drop_ready(struct conn *k)
{
    struct weft__node *n;
    while ((n = weft__list_pop_front(&k->ready)) != NULL)
        weft__h2_let_go(WEFT__CONTAINER_OF(n, struct weft__h2_stream, ready));
}

int weft__h2_serve(struct weft__http_site *site, struct weft_stream *s, int64_t since_ns)
{
    struct conn k = {.site = site, .s = s, .idle_ns = weft_now_ns()};
    struct weft__h2_options o = {.streams_max = (uint32_t)site->conf->o.streams_max,
                                 .head_max = (uint32_t)site->conf->o.head_max,
                                 .write_ms = site->conf->o.write_ms,
                                 .header_ms = site->conf->o.header_ms,
                                 .body_ms = site->conf->o.body_ms,
                                 .connect_protocol = true,
                                 .request = take_request,
                                 .arg = &k};
    weft__list_init(&k.ready);
    int err = pool_of(site, &o.pool);
    if (err == 0 && s->loop != NULL)
        err = weft_group_open(&k.group);
    if (err == 0)
        err = weft__h2_open(&k.h2, s, true, &o);
    if (err == 0) {
        k.h2->slow_ns = k.idle_ns - since_ns;
        err = serve(&k);
    }
    if (k.h2 != NULL && k.h2->error == 0) {
        int flushed = weft__h2_flush(k.h2, weft_after_ms(FLUSH_MS)); /* GOAWAY */
        err = err == 0 && flushed < 0 ? flushed : err;
    }
    if (k.h2 != NULL && k.h2->slow_head)
        weft__http_count(site, &site->counters.bad_requests);
    int why = k.h2 != NULL ? k.h2->error : -ENOMEM;
    bool ours = (why == 0 || why == WEFT_EEOF || why == WEFT_EPROTOCOL) && !s->end;
    if (k.h2 != NULL)
        weft__h2_break(k.h2, err < 0 ? err : WEFT_ECLOSED); /* those that are under way end */
    if (k.group != NULL)
        (void)weft_group_close(&k.group);
    if (k.h2 != NULL)
        weft__h2_tunnels_end(k.h2);
    drop_ready(&k);
    if (ours && (err == 0 || err == WEFT_EPROTOCOL)) { /* the last frames are to arrive */
        int lingered = weft__http_linger(site, s, false);
        err = err == 0 ? lingered : err;
    }
    weft__h2_close(&k.h2);
    return err;
}
