/* SPDX-License-Identifier: MIT */
/*
 * A connection of HTTP/1 in a flow of its own: reads a request, has it answered, goes on.
 *
 * Floor 5. Plain blocking code over a stream, so it runs in tasks, threads, simulation, over TLS
 * and memory. Invariants as in h1_server.h.
 */
#include "http/h1_server.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2_server.h"
#include "net/server.h"
#include "net/stream.h"

#define SPARES_MAX 256
#define SLICE_NS INT64_C(1000000000)      /* between two looks whether the server drains */
#define DRAIN_SLICE_NS INT64_C(100000000) /* the same, once it does */
#define DROP_MAX 65536u                   /* of a body that no handler wanted */
#define DROP_MS 5000

/* --- Memory ----------------------------------------------------------------------------------- */

struct weft__h1_conn *weft__h1_conn_get(struct weft__http_site *site, struct weft_stream *s)
{
    const struct weft_http_options *o = &site->conf->o;
    struct weft__h1_conn *c = site->shared ? NULL : site->spares;
    if (c != NULL) {
        site->spares = c->next;
        site->n_spares--;
    } else if ((c = weft__alloc(sizeof *c)) == NULL) {
        return NULL;
    }
    memset(c, 0, offsetof(struct weft__h1_conn, own_fields));
    c->fields = c->own_fields;
    if ((uint32_t)o->fields_max > WEFT__H1_FIELDS) {
        c->fields = weft__calloc((size_t)o->fields_max, sizeof *c->fields);
        if (c->fields == NULL) {
            weft__free(c);
            return NULL;
        }
    }
    c->x.cls = &weft__h1_class;
    c->x.site = site;
    c->x.stream = s;
    weft__arena_init(&c->x.arena, c->first, sizeof c->first,
                     WEFT__HTTP_ARENA_BASE + 3 * o->body_max);
    return c;
}

void weft__h1_conn_put(struct weft__h1_conn *c)
{
    struct weft__http_site *site = c->x.site;
    weft__h1_body_fini(&c->body);
    weft__http_exchange_done(&c->x);
    if (c->fields != c->own_fields)
        weft__free(c->fields);
    if (site->shared || site->n_spares >= SPARES_MAX) {
        weft__free(c);
        return;
    }
    c->next = site->spares;
    site->spares = c;
    site->n_spares++;
}

static weft_deadline after(const struct weft_stream *s, int64_t ms)
{
    return ms > 0 ? (weft_deadline){weft__stream_now_ns(s) + ms * 1000000} : WEFT_NEVER;
}

/* --- Waiting for a request -------------------------------------------------------------------- */

enum { ENDED = 0, READY = 1, PARKED = 2 };

/* Who asked for what is answered without a task mostly does so again. */
static bool was_at_once(const struct weft__h1_conn *c)
{
    return c->at_once && !weft_stream_draining(c->x.stream);
}

/* Waits for the first byte of a request, in slices: the task may be given back, or the server may
 * begin to drain, meanwhile. */
static int await_request(struct weft__h1_conn *c, struct weft_stream **sp)
{
    struct weft_stream *s = c->x.stream;
    const struct weft_http_options *o = &c->x.site->conf->o;
    const void *data;
    if (weft__in_left(s) > 0)
        return READY;
    if (was_at_once(c) && weft__h1_park(c->x.site, sp, c->requests) == 0)
        return PARKED;
    weft_deadline until = after(s, o->idle_ms);
    weft_deadline asks_until = after(s, WEFT__H1_DRAIN_IDLE_MS);
    int64_t slice = o->park_ms > 0 ? o->park_ms * 1000000 : SLICE_NS;
    for (;;) {
        weft_deadline d = weft_earlier(until, (weft_deadline){weft__stream_now_ns(s) + slice});
        ssize_t n = weft_peek(s, &data, d);
        if (n != -ETIMEDOUT)
            return n > 0 ? READY : (int)n;
        if (s->timed_out)
            return -ETIMEDOUT;
        bool draining = weft_stream_draining(s);
        if (weft__stream_now_ns(s) >= (draining ? weft_earlier(until, asks_until) : until).ns)
            return ENDED;
        if (!draining && o->park_ms > 0 && slice != SLICE_NS &&
            weft__h1_park(c->x.site, sp, c->requests) == 0)
            return PARKED;
        slice = draining ? DRAIN_SLICE_NS : SLICE_NS;
    }
}

/* Refuses what is no request, or none that can be answered: the connection ends with it. */
static int refuse(struct weft__h1_conn *c, int status, const char *why)
{
    c->closing = true;
    c->linger = true;
    weft__http_count(c->x.site, &c->x.site->counters.bad_requests);
    int err = weft__http_refuse(&c->x, status, why);
    weft__http_account(&c->x);
    return err;
}

/* Nothing of the head can be relied on. */
static int refuse_head(struct weft__h1_conn *c, int status, const char *why)
{
    static const char nothing[] = "";
    struct weft__http1_head *h = &c->x.q.head;
    weft__http_exchange_reset(&c->x);
    memset(h, 0, sizeof *h);
    c->x.q.base = nothing;
    c->x.version = 11;
    c->x.until = after(c->x.stream, c->x.site->conf->o.header_ms);
    c->body.done = true;
    return refuse(c, status, why);
}

void weft__h1_head_init(struct weft__h1_conn *c)
{
    const struct weft__http_conf *conf = c->x.site->conf;
    struct weft__http1_head *h = &c->x.q.head;
    h->fields = c->fields;
    h->fields_cap = (uint32_t)conf->o.fields_max;
    h->limits = conf->limits;
}

/* Reads a head: 1 when there is one, 0 when the connection has ended or was refused, < 0. */
static int read_head(struct weft__h1_conn *c, char **base, weft_deadline until)
{
    struct weft__http1_head *h = &c->x.q.head;
    const char *data;
    weft__h1_head_init(c); /* a refused one has lost it */
    c->scan = (struct weft__http1_scan){0};
    ssize_t n = weft__h1_read_request(c->x.stream, h, &c->scan, &data, until);
    if (WEFT__UNLIKELY(n <= 0)) {
        if (n == WEFT_EPROTOCOL || n == WEFT_ETOOLONG)
            return refuse_head(c, h->error.status, h->error.why);
        if (n == -ETIMEDOUT && !c->x.stream->timed_out)
            return refuse_head(c, 408, "the head of the request took too long");
        return n == WEFT_EEOF ? 0 : (int)n;
    }
    *base = weft__arena_text(&c->x.arena, data, (size_t)n);
    if (*base == NULL)
        return -ENOMEM;
    weft_consume(c->x.stream, (size_t)n);
    return 1;
}

/* --- One request ------------------------------------------------------------------------------ */

/* Whether the host that is asked for is one of ours (RFC 9110 section 7.4). */
static bool serves_host(const struct weft_http_options *o, struct weft__slice host)
{
    if (o->hosts == NULL)
        return true;
    for (size_t i = 0; o->hosts[i] != NULL; i++)
        if (weft__slice_is_nocase(host, o->hosts[i]))
            return true;
    return false;
}

int weft__h1_prepare(struct weft__h1_conn *c, char *base)
{
    struct weft__http_exchange *x = &c->x;
    const struct weft_http_options *o = &x->site->conf->o;
    struct weft__http1_head *h = &x->q.head;
    weft__http_exchange_reset(x);
    x->q.base = base;
    x->version = 10 + h->minor;
    x->until = after(x->stream, o->request_ms);
    x->begin_ns = o->log_format != WEFT_HTTP_LOG_NONE ? weft_now_ns() : 0;
    if (c->requests < WEFT__H1_ENDS - 1)
        c->requests++;
    c->continue_due = h->expect_continue && h->minor >= 1 && h->body != WEFT__HTTP1_NO_BODY;
    c->body.done = h->body == WEFT__HTTP1_NO_BODY;
    c->body.kind = h->body;
    if (h->expect_other)
        return 417;
    if (!serves_host(o, weft__http_slice(base, h->host)))
        return 421;
    if (!weft__http_route_request(x))
        return 400;
    if (c->body.done)
        return 0;
    if (h->body == WEFT__HTTP1_LENGTH && h->length > x->stream_max)
        return 413;
    struct weft__h1_body_limits limits = {.max = x->stream_max,
                                          .gap_ns = o->body_ms * 1000000,
                                          .grace_ns = weft_s(5),
                                          .min_rate = o->min_rate,
                                          .until = x->until};
    struct weft__http1_field *trailers = NULL;
    if (h->body == WEFT__HTTP1_CHUNKED)
        trailers = weft__arena_alloc(&x->arena, WEFT__HTTP1_TRAILER_COUNT * sizeof *trailers);
    weft__h1_body_init(&c->body, x->stream, h, &limits, trailers,
                       trailers != NULL ? WEFT__HTTP1_TRAILER_COUNT : 0);
    return 0;
}

static const char *refusal(int status)
{
    switch (status) {
    case 400:
        return "the path or the query is not one that can be served";
    case 413:
        return "the body is longer than this server takes";
    case 417:
        return "only 100-continue can be expected";
    default:
        return "this server does not serve that host";
    }
}

/* What the handler left of the request's body. False: the connection cannot go on. */
static bool pass_body(struct weft__h1_conn *c)
{
    if (c->body.done)
        return true;
    c->linger = true;
    if (!c->keep)
        return false;
    int res = weft__h1_body_drop(&c->body, DROP_MAX, weft_after_ms(DROP_MS));
    if (res == 1)
        c->linger = false;
    return res == 1;
}

static int answer(struct weft__h1_conn *c, char *base)
{
    int status = weft__h1_prepare(c, base);
    if (status != 0)
        return refuse(c, status, refusal(status));
    c->at_once = c->x.site->conf->at_once && weft__http_is_at_once(&c->x);
    struct weft__conn *record = c->x.stream->conn;
    int err = weft__http_dispatch(&c->x);
    weft__http_account(&c->x);
    if (WEFT__UNLIKELY(c->x.upgraded)) {
        /* Whoever has the stream ends it; its server lets go of it. */
        if (record != NULL && record->stream != NULL) {
            struct weft_stream *s = record->stream;
            struct weft_stream *lower = s->cls->filter != NULL ? s->cls->filter->lower(s) : s;
            s->conn = NULL;
            s->counters = lower->counters = NULL;
            record->stream = NULL;
        }
        return err;
    }
    if (err == 0 && !pass_body(c))
        c->keep = false;
    return err;
}

/* The client asked for the end itself and has sent nothing more: nothing can get lost. */
static bool may_close_at_once(const struct weft__h1_conn *c)
{
    return !c->linger && !c->x.q.head.keep_alive && weft__in_left(c->x.stream) == 0;
}

/* Before the first request: 1 when the connection speaks HTTP/2 instead. */
static int is_http2(struct weft__h1_conn *c, weft_deadline until)
{
    if (c->x.site->conf->o.no_http2)
        return 0;
    int res = weft__h2_is_spoken(c->x.stream, until);
    return res == -ETIMEDOUT ? 0 : res; /* read_head says so */
}

int weft__h1_serve(struct weft__http_site *site, struct weft_stream **sp, uint32_t requests)
{
    if (requests == WEFT__H1_ENDS)
        return weft__http_linger(site, *sp, false);
    struct weft__h1_conn *c = weft__h1_conn_get(site, *sp);
    int res;
    if (c == NULL)
        return -ENOMEM;
    c->requests = requests;
    for (;;) {
        char *base = NULL;
        c->keep = false;
        res = await_request(c, sp);
        if (res != READY)
            break;
        int64_t since_ns = weft__stream_now_ns(*sp);
        weft_deadline until = after(*sp, site->conf->o.header_ms);
        if (WEFT__UNLIKELY(c->requests == 0)) {
            res = is_http2(c, until);
            if (res < 0)
                break;
            if (res == 1) {
                weft__h1_conn_put(c);
                return weft__h2_serve(site, *sp, since_ns);
            }
        }
        res = read_head(c, &base, until);
        bool came = res == 1;
        if (came)
            res = answer(c, base);
        if (c->x.upgraded) {
            *sp = NULL;
            break;
        }
        bool more = res == 0 && c->keep;
        if (!more && res == 0 && (c->linger || (came && !may_close_at_once(c))))
            res = weft__http_linger(site, *sp, came && c->x.q.head.body != WEFT__HTTP1_NO_BODY);
        weft__h1_body_fini(&c->body);
        weft__http_exchange_done(&c->x);
        if (!more)
            break;
    }
    weft__h1_conn_put(c);
    return res > 0 ? 0 : res;
}
