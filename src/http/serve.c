/* SPDX-License-Identifier: MIT */
/*
 * HTTP servers: an application, its options and a server of streams put together.
 *
 * Floor 5. Each worker has its site; a server and its sites live as long as the group.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "dial/dial.h"
#include "http/h1_server.h"
#include "http/log.h"
#include "http/site.h"
#include "net/server.h"

struct weft_http_server {
    struct weft__attached attached;
    struct weft__http_conf conf;
    struct weft_server *server;
    struct weft__log_writer *writer;
    size_t n_sites;
    struct weft__http_site sites[];
};

static void http_server_free(struct weft__attached *a)
{
    struct weft_http_server *hs = WEFT__CONTAINER_OF(a, struct weft_http_server, attached);
    weft__log_writer_close(hs->writer);
    for (size_t i = 0; i < hs->n_sites; i++)
        weft__http_site_fini(&hs->sites[i]);
    weft__free(hs);
}

static int serve_connection(struct weft_stream *s, void *arg)
{
    struct weft_http_server *hs = arg;
    struct weft__conn *record = s->conn;
    size_t i = hs->n_sites > 1 && record != NULL ? (size_t)record->worker->index : 0;
    uint32_t requests = record != NULL ? record->carried : 0;
    return weft__h1_serve(&hs->sites[i], &s, requests);
}

static int open_log(struct weft_http_server *hs)
{
    const struct weft_http_options *o = &hs->conf.o;
    if (o->log_format == WEFT_HTTP_LOG_NONE || o->log != NULL)
        return 0;
    int err = weft__log_writer_open(&hs->writer, o->log_fd);
    for (size_t i = 0; err == 0 && i < hs->n_sites; i++)
        hs->sites[i].writer = hs->writer;
    return err;
}

int weft_http_server_open(struct weft_http_server **ret, struct weft_group *g, const char *endpoint,
                          struct weft_http_app *app, const struct weft_http_options *o)
{
    struct weft__http_conf conf;
    int err = weft__http_conf_init(&conf, app, o);
    if (err < 0)
        return err;
    struct weft_server_options so = conf.o.server;
    if (conf.o.workers > 0)
        so.workers = conf.o.workers;
    if (conf.o.cert != NULL) {
        so.cert = conf.o.cert;
        so.key = conf.o.key;
    }
    so.first_byte_ms = so.idle_ms = 0;
    if (so.write_ms == 0)
        so.write_ms = conf.o.write_ms > 0 ? conf.o.write_ms : INT64_MAX / 2000000;
    if (so.model == WEFT_PROTOCOLS || so.workers < 0 || so.workers > 256)
        return weft__fail(-EINVAL, "handlers run in tasks or threads, with 0 to 256 workers");
    if (g->loop != NULL && !pthread_equal(g->loop->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the group belongs to another thread's loop");
    bool threads = so.model == WEFT_THREADS;
    size_t n = threads || so.workers == 0 ? 1 : (size_t)so.workers;
    struct weft_http_server *hs = weft__calloc(1, sizeof *hs + n * sizeof hs->sites[0]);
    if (hs == NULL)
        return -ENOMEM;
    hs->attached.free = http_server_free;
    hs->conf = conf;
    for (size_t i = 0; i < n; i++)
        weft__http_site_init(&hs->sites[i], &hs->conf, threads);
    hs->n_sites = n;
    err = open_log(hs);
    if (err < 0) {
        http_server_free(&hs->attached);
        return err;
    }
    atomic_store(&app->sealed, true);
    weft__group_attach(g, &hs->attached); /* whatever comes: a worker may have begun */
    /* Clients are told which versions of HTTP there are; who brings a context says it there. */
    err = weft__server_open_offering(&hs->server, g, endpoint, &so, serve_connection, hs, NULL,
                                     conf.o.no_http2 ? "http/1.1" : "h2,http/1.1");
    if (err == 0 && ret != NULL)
        *ret = hs;
    return err;
}

int weft_http_serve(struct weft_group *g, const char *endpoint, struct weft_http_app *app,
                    const struct weft_http_options *o)
{
    return weft_http_server_open(NULL, g, endpoint, app, o);
}

int weft_http_server_endpoint(const struct weft_http_server *s, char *buf, size_t cap)
{
    return weft_server_endpoint(s->server, buf, cap);
}

int weft_http_server_drain(struct weft_http_server *s, weft_deadline d)
{
    return weft_server_drain(s->server, d);
}

void weft_http_server_stats_mt(const struct weft_http_server *s, struct weft_http_server_stats *ret)
{
    struct weft_http_server_stats sum;
    memset(&sum, 0, sizeof sum);
    weft_server_stats_mt(s->server, &sum.server);
    int64_t parked = 0;
    for (size_t i = 0; i < s->n_sites; i++) {
        const struct weft__http_counters *c = &s->sites[i].counters;
        sum.requests += atomic_load_explicit(&c->requests, memory_order_relaxed);
        sum.bad_requests += atomic_load_explicit(&c->bad_requests, memory_order_relaxed);
        sum.upgrades += atomic_load_explicit(&c->upgrades, memory_order_relaxed);
        sum.at_once += atomic_load_explicit(&c->at_once, memory_order_relaxed);
        sum.log_dropped += atomic_load_explicit(&c->log_dropped, memory_order_relaxed);
        parked += atomic_load_explicit(&c->parked, memory_order_relaxed);
        for (size_t k = 0; k < WEFT__ARRAY_LEN(sum.by_class); k++)
            sum.by_class[k] += atomic_load_explicit(&c->by_class[k], memory_order_relaxed);
    }
    sum.log_dropped += weft__log_writer_dropped(s->writer);
    sum.parked = parked > 0 ? (uint64_t)parked : 0;
    *ret = sum;
}

int weft_http_serve_stream(struct weft_stream **s, struct weft_http_app *app,
                           const struct weft_http_options *o)
{
    struct weft__http_conf conf;
    struct weft__http_site site;
    int err = weft__http_conf_init(&conf, app, o);
    if (err < 0)
        return err;
    atomic_store(&app->sealed, true);
    conf.o.park_ms = 0; /* there is no server to keep it for */
    weft__http_site_init(&site, &conf, false);
    site.passing = true;
    if (conf.o.log_format != WEFT_HTTP_LOG_NONE && conf.o.log == NULL)
        err = weft__log_writer_open(&site.writer, conf.o.log_fd);
    if (err == 0) {
        err = weft__h1_serve(&site, s, 0);
        weft_deadline until = weft_after_ms(conf.o.write_ms > 0 ? conf.o.write_ms : 60000);
        if (err < 0)
            weft__stream_give_up(s, until);
        int closing = weft_close(s, until);
        err = err == 0 ? closing : err;
        weft__log_writer_close(site.writer);
    }
    weft__http_site_fini(&site);
    return err;
}
