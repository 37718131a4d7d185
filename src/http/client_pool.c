/* SPDX-License-Identifier: MIT */
/*
 * The connections of a client, by host.
 *
 * Floor 5. Whoever finds no place waits in one line for the whole client; a place, or an idle
 * connection, goes to the first in it who can use it. Idle connections of other hosts are no reason
 * to wait: the one that has been idle longest is closed instead.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client.h"
#include "http/h2.h"

#define KEY_MAX 512
#define NS_PER_MS INT64_C(1000000)

struct waiter {
    struct weft__node link;
    struct weft__http_host *host;
    struct weft_event event;
};

static struct weft__http_conn *conn_of(struct weft__node *n)
{
    return WEFT__CONTAINER_OF(n, struct weft__http_conn, link);
}

/* --- Hosts ------------------------------------------------------------------------------------ */

static struct weft__list *bucket(struct weft_http_client *c, const char *key)
{
    uint32_t h = 2166136261u;
    for (; *key != '\0'; key++)
        h = (h ^ (uint8_t)*key) * 16777619u;
    return &c->hosts[h % WEFT__HTTP_HOST_BUCKETS];
}

int weft__http_host_hold(struct weft_http_client *c, const struct weft_url *url,
                         struct weft__http_host **ret)
{
    char key[KEY_MAX];
    ssize_t len = weft_url_origin(url, key, sizeof key);
    if (len < 0)
        return weft__fail(WEFT_EURL, "a host of more than %d bytes", KEY_MAX);
    struct weft__list *b = bucket(c, key);
    WEFT__LIST_EACH(b, n) {
        struct weft__http_host *h = WEFT__CONTAINER_OF(n, struct weft__http_host, link);
        if (strcmp(h->key, key) == 0) {
            h->users++;
            *ret = h;
            return 0;
        }
    }
    struct weft__http_host *h = weft__calloc(1, sizeof *h + (size_t)len + 1);
    if (h == NULL)
        return -ENOMEM;
    memcpy(h->key, key, (size_t)len + 1);
    weft__list_init(&h->idle);
    weft__list_init(&h->shared);
    h->users = 1;
    weft__list_push_back(b, &h->link);
    *ret = h;
    return 0;
}

static void host_look(struct weft__http_host *h)
{
    if (h->users > 0 || h->open > 0)
        return;
    weft__list_remove(&h->link);
    weft__free(h);
}

void weft__http_host_drop(struct weft_http_client *c, struct weft__http_host *h)
{
    (void)c;
    h->users--;
    host_look(h);
}

/* --- Places ----------------------------------------------------------------------------------- */

static struct weft__http_conn *shared_with_room(const struct weft__http_host *h)
{
    WEFT__LIST_EACH(&h->shared, n)
        if (conn_of(n)->cls->room(conn_of(n)))
            return conn_of(n);
    return NULL;
}

/* The first connection is being dialled, and may do for all. */
static bool may_be_shared(const struct weft_http_client *c, const struct weft__http_host *h)
{
    return h->dialing > 0 && !h->one_each && !c->options.no_http2;
}

static bool has_place(const struct weft_http_client *c, const struct weft__http_host *h)
{
    if (!weft__list_empty(&h->idle) || shared_with_room(h) != NULL)
        return true;
    return !may_be_shared(c, h) && h->open < (size_t)c->options.max_per_host &&
           (c->open < (size_t)c->options.max_connections || c->idle > 0);
}

static void wake_one(struct weft_http_client *c)
{
    WEFT__LIST_EACH(&c->waiters, n) {
        struct waiter *w = WEFT__CONTAINER_OF(n, struct waiter, link);
        if (!has_place(c, w->host))
            continue;
        weft__list_remove(n);
        weft_event_set(&w->event);
        return;
    }
}

static void wake_all(struct weft_http_client *c)
{
    WEFT__LIST_EACH_SAFE(&c->waiters, n, tmp) {
        struct waiter *w = WEFT__CONTAINER_OF(n, struct waiter, link);
        weft__list_remove(n);
        weft_event_set(&w->event);
    }
}

static int wait_for_place(struct weft_http_client *c, struct weft__http_host *h, bool again,
                          weft_deadline d)
{
    struct waiter w = {.host = h, .event = WEFT_EVENT_INIT};
    if (again)
        weft__list_push_front(&c->waiters, &w.link); /* somebody was faster */
    else
        weft__list_push_back(&c->waiters, &w.link);
    int err = weft_event_wait(&w.event, d);
    weft__list_remove(&w.link);
    if (err < 0 && w.event.set)
        wake_one(c); /* the place is for another */
    if (err == -EDEADLK && c->loop == NULL)
        return weft__fail(WEFT_ELIMIT,
                          "all %zu connections are in use, and a plain thread that "
                          "waited for one would wait for itself",
                          c->open);
    if (err == -ETIMEDOUT)
        return weft__fail(err, "all connections to %s are in use", h->key);
    return err;
}

void weft__http_conn_close(struct weft__http_conn *conn, bool abrupt)
{
    if (abrupt) {
        weft_abort(&conn->s);
    } else {
        int err = weft_close(&conn->s, WEFT_NOW);
        (void)err; /* there was nothing more to say to the server */
    }
}

static void conn_free(struct weft__http_conn *conn, bool abrupt)
{
    struct weft_http_client *c = conn->client;
    struct weft__http_host *h = conn->host;
    conn->cls->end(conn, abrupt);
    weft__free(conn);
    h->open--;
    c->open--;
    host_look(h);
}

static void take_off(struct weft__http_conn *conn)
{
    weft__list_remove(&conn->link);
    conn->client->idle--;
}

void weft__http_conn_end(struct weft__http_conn *conn, bool abrupt)
{
    struct weft_http_client *c = conn->client;
    conn_free(conn, abrupt);
    wake_one(c);
}

/* --- What is idle ----------------------------------------------------------------------------- */

/* Ends what has been idle since before `before`; all of it with INT64_MAX. The oldest that stays,
 * or INT64_MAX. */
static int64_t end_idle(struct weft_http_client *c, int64_t before)
{
    int64_t oldest = INT64_MAX;
    struct weft__list gone; /* while one ends, others of the client may have a turn */
    struct weft__node *first;
    weft__list_init(&gone);
    for (size_t b = 0; b < WEFT__HTTP_HOST_BUCKETS; b++) {
        WEFT__LIST_EACH(&c->hosts[b], hn) {
            struct weft__http_host *h = WEFT__CONTAINER_OF(hn, struct weft__http_host, link);
            WEFT__LIST_EACH_SAFE(&h->idle, n, tmp) {
                struct weft__http_conn *conn = conn_of(n);
                if (conn->idle_ns > before) {
                    oldest = weft__min_i64(oldest, conn->idle_ns);
                    continue;
                }
                take_off(conn);
                weft__list_push_back(&gone, &conn->link);
            }
        }
    }
    while ((first = weft__list_pop_front(&gone)) != NULL)
        conn_free(conn_of(first), false);
    return oldest;
}

static void sweep(struct weft__alarm *a)
{
    struct weft_http_client *c = WEFT__CONTAINER_OF(a, struct weft_http_client, sweep);
    int64_t span = c->options.idle_ms * NS_PER_MS;
    int64_t oldest = end_idle(c, weft_now_ns() - span);
    c->sweeping = oldest != INT64_MAX;
    if (c->sweeping)
        weft__loop_alarm(c->loop, a, oldest + span);
    wake_one(c);
}

static void sweep_later(struct weft_http_client *c)
{
    if (c->loop == NULL || c->sweeping)
        return;
    c->sweep.fn = sweep;
    c->sweeping = true;
    weft__loop_alarm(c->loop, &c->sweep, weft_now_ns() + c->options.idle_ms * NS_PER_MS);
}

void weft__http_conn_keep(struct weft__http_conn *conn)
{
    struct weft_http_client *c = conn->client;
    conn->idle_ns = weft_now_ns();
    weft__list_push_front(&conn->host->idle, &conn->link);
    c->idle++;
    sweep_later(c);
    wake_one(c);
}

static void end_longest_idle(struct weft_http_client *c)
{
    struct weft__http_conn *found = NULL;
    for (size_t b = 0; b < WEFT__HTTP_HOST_BUCKETS; b++) {
        WEFT__LIST_EACH(&c->hosts[b], n) {
            struct weft__http_host *h = WEFT__CONTAINER_OF(n, struct weft__http_host, link);
            struct weft__node *last = weft__list_last(&h->idle);
            if (last != NULL && (found == NULL || conn_of(last)->idle_ns < found->idle_ns))
                found = conn_of(last);
        }
    }
    WEFT__ASSERT(found != NULL); /* c->idle counts them */
    take_off(found);
    conn_free(found, false);
}

void weft__http_pool_close(struct weft_http_client *c)
{
    if (c->sweeping)
        weft__loop_alarm_del(c->loop, &c->sweep);
    c->sweeping = false;
    (void)end_idle(c, INT64_MAX);
}

void weft__http_conn_unshare(struct weft__http_conn *conn)
{
    struct weft_http_client *c = conn->client;
    if (--conn->users > 0) {
        wake_one(c);
        return;
    }
    weft__list_remove(&conn->link);
    if (weft__h2_usable(conn->h2))
        weft__http_conn_keep(conn);
    else
        weft__http_conn_end(conn, false);
}

/* --- Taking ----------------------------------------------------------------------------------- */

static struct weft__http_conn *take_idle(struct weft_http_client *c, struct weft__http_host *h)
{
    int64_t before = weft_now_ns() - c->options.idle_ms * NS_PER_MS;
    for (;;) {
        struct weft__node *n = weft__list_first(&h->idle);
        if (n == NULL)
            return NULL;
        struct weft__http_conn *conn = conn_of(n);
        take_off(conn);
        if (conn->idle_ns > before && conn->cls->alive(conn)) {
            if (conn->cls->shared)
                weft__list_push_front(&h->shared, &conn->link);
            return conn;
        }
        conn_free(conn, false); /* the host stays: its user is the caller */
    }
}

/* The client's own context offers HTTP/2 and HTTP/1.1. */
static int need_tls(struct weft_http_client *c)
{
    if (c->tls != NULL)
        return 0;
    const struct weft_tls_options o = {.alpn = c->options.no_http2 ? "http/1.1" : "h2,http/1.1"};
    return weft_tls_open(&c->tls, &o);
}

static int dial(struct weft_http_client *c, const struct weft_url *url, struct weft_stream **ret,
                weft_deadline d)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    if (weft__http_by_proxy(c, url)) {
        int n = weft_endpoint_print(&c->via.at, endpoint, sizeof endpoint);
        return n < 0 ? n : weft_dial(ret, endpoint, NULL, d);
    }
    ssize_t len = weft_url_endpoint(url, endpoint, sizeof endpoint);
    if (len < 0)
        return len == -ENOBUFS ? weft__fail(WEFT_EURL, "the host is too long") : (int)len;
    int err = url->secure ? need_tls(c) : 0;
    if (err < 0)
        return err;
    const struct weft_dial_options o = {.tls = url->secure ? c->tls : NULL,
                                        .proxy = c->options.proxy};
    return weft_dial(ret, endpoint, &o, d);
}

/* What the new connection speaks. */
static int choose_class(struct weft__http_conn *conn, const struct weft_url *url)
{
    const struct weft_http_client_options *o = &conn->client->options;
    struct weft_tls_info info;
    bool h2 = !url->secure && o->http2_prior && !o->no_http2;
    if (url->secure && !o->no_http2 && weft_tls_info(conn->s, &info) == 0)
        h2 = strcmp(info.alpn, "h2") == 0;
    conn->host->one_each = !h2;
    return h2 ? weft__http_conn_begin_h2(conn) : 0;
}

static int open_conn(struct weft_http_client *c, struct weft__http_host *h,
                     const struct weft_url *url, struct weft__http_conn **ret, weft_deadline d)
{
    struct weft__http_conn *conn = weft__calloc(1, sizeof *conn);
    if (conn == NULL)
        return -ENOMEM;
    h->open++; /* the place is taken while it is being dialled */
    h->dialing++;
    c->open++;
    *conn = (struct weft__http_conn){.client = c, .host = h, .cls = &weft__http_conn_h1};
    int err = dial(c, url, &conn->s, d);
    if (err == 0)
        err = choose_class(conn, url);
    h->dialing--;
    if (err < 0) {
        weft__http_conn_end(conn, true);
        return err;
    }
    c->stats.connections++;
    if (conn->cls->shared) {
        conn->users = 1;
        weft__list_push_front(&h->shared, &conn->link);
    }
    wake_all(c); /* they know now what they can share */
    *ret = conn;
    return 0;
}

int weft__http_conn_take(struct weft_http_client *c, struct weft__http_host *h,
                         const struct weft_url *url, bool fresh, struct weft__http_conn **ret,
                         bool *reused, weft_deadline d)
{
    for (bool again = false;; again = true) {
        struct weft__http_conn *conn = fresh ? NULL : shared_with_room(h);
        if (conn == NULL && !fresh)
            conn = take_idle(c, h);
        *reused = false;
        if (conn == NULL && h->open < (size_t)c->options.max_per_host && !may_be_shared(c, h)) {
            if (c->open >= (size_t)c->options.max_connections && c->idle > 0)
                end_longest_idle(c);
            if (c->open < (size_t)c->options.max_connections)
                return open_conn(c, h, url, ret, d);
        } else if (fresh && !weft__list_empty(&h->idle)) {
            struct weft__http_conn *old = conn_of(weft__list_last(&h->idle));
            take_off(old);
            conn_free(old, false);
            continue;
        }
        if (conn == NULL && fresh)
            conn = shared_with_room(h); /* whoever waits can use all that has_place looks at */
        if (conn != NULL) {
            *reused = true;
            conn->users += conn->cls->shared;
            c->stats.reused++;
            *ret = conn;
            return 0;
        }
        int err = wait_for_place(c, h, again, d);
        if (err < 0)
            return err;
    }
}
