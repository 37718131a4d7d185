/* SPDX-License-Identifier: MIT */
/* What the connections of one worker share: options, the date, spare memory. Floor 5. */
#include "http/site.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/random.h>

#include "base/alloc.h"
#include "http/h1_server.h"
#include "http/h2_pool.h"
#include "rt/rt.h"

#define SECOND_NS INT64_C(1000000000)

static int64_t ms_or(int64_t ms, int64_t fallback)
{
    return ms == 0 ? fallback : ms < 0 ? 0 : ms; /* inside, 0 means no limit */
}

static int check(const struct weft_http_options *o)
{
    if (o->head_max > WEFT__H1_HEAD_MAX)
        return weft__fail(-EINVAL, "head_max of %zu bytes; at most %u can be had", o->head_max,
                          WEFT__H1_HEAD_MAX);
    if (o->fields_max < 0 || o->fields_max > 10000 || o->requests_max < 0 || o->min_rate < 0)
        return weft__fail(-EINVAL, "a limit of the HTTP options is out of range");
    if (o->log_format != WEFT_HTTP_LOG_NONE && o->log == NULL && o->log_fd <= 0)
        return weft__fail(-EINVAL, "an access log needs a callback or a descriptor");
    return 0;
}

int weft__http_conf_init(struct weft__http_conf *conf, struct weft_http_app *app,
                         const struct weft_http_options *options)
{
    memset(conf, 0, sizeof *conf);
    conf->app = app;
    if (options != NULL)
        conf->o = *options;
    struct weft_http_options *o = &conf->o;
    int err = check(o);
    if (err < 0)
        return err;
    o->header_ms = ms_or(o->header_ms, 10000);
    o->idle_ms = ms_or(o->idle_ms, 60000);
    o->body_ms = ms_or(o->body_ms, 30000);
    o->request_ms = ms_or(o->request_ms, 0);
    o->write_ms = ms_or(o->write_ms, 60000);
    o->park_ms = ms_or(o->park_ms, 100);
    o->min_rate = o->min_rate == 0 ? 100 : o->min_rate;
    o->line_max = o->line_max == 0 ? 8192 : o->line_max;
    o->head_max = o->head_max == 0 ? 32768 : o->head_max;
    o->fields_max = o->fields_max == 0 ? (int)WEFT__H1_FIELDS : o->fields_max;
    o->body_max = o->body_max == 0 ? (size_t)1 << 20 : o->body_max;
    o->stream_max = o->stream_max == 0 ? (size_t)1 << 30 : o->stream_max;
    o->streams_max = o->streams_max == 0 ? 100 : o->streams_max;
    o->compress_min = o->compress_min == 0 ? 1024 : o->compress_min;
    conf->limits = (struct weft__http1_limits){.start_line = (uint32_t)o->line_max,
                                               .field_line = (uint32_t)o->head_max,
                                               .head = (uint32_t)o->head_max};
    conf->at_once = app->router.at_once;
    const char *name = o->name != NULL ? o->name : "weft";
    if (!weft__http_value(weft__slice_text(name)) || strlen(name) > 60)
        return weft__fail(-EINVAL, "the server's name is too long, or no value of a field");
    if (name[0] != '\0')
        conf->server_field_len =
            (size_t)snprintf(conf->server_field, sizeof conf->server_field, "Server: %s\r\n", name);
    return 0;
}

void weft__http_site_init(struct weft__http_site *site, const struct weft__http_conf *conf,
                          bool shared)
{
    memset(site, 0, sizeof *site);
    site->conf = conf;
    site->shared = shared;
    site->id_base = weft_random_u64();
    weft__h1_park_init(site);
}

void weft__http_site_fini(struct weft__http_site *site)
{
    if (site->direct != NULL)
        weft__h1_conn_put(site->direct);
    site->direct = NULL;
    weft__http_kept_close(site);
    while (site->spares != NULL) {
        struct weft__h1_conn *c = site->spares;
        site->spares = c->next;
        weft__free(c);
    }
    site->n_spares = 0;
    weft__h2_pool_close(&site->h2_pool);
}

int64_t weft__http_wall_s(struct weft__http_site *site, const struct weft_loop *loop)
{
    if (loop == NULL || site->shared)
        return weft_wall_ns() / SECOND_NS;
    int64_t now = loop->now_ns;
    if (site->wall_at_ns == 0 || now - site->wall_at_ns > SECOND_NS / 4) {
        site->wall_offset_ns = weft_wall_ns() - now;
        site->wall_at_ns = now;
    }
    return (now + site->wall_offset_ns) / SECOND_NS;
}

static size_t stamp(const struct weft__http_conf *conf, int64_t wall_s, char *buf)
{
    char date[WEFT_HTTP_DATE_SIZE];
    memcpy(buf, WEFT__HTTP_OK, WEFT__HTTP_OK_LEN);
    char *at = buf + WEFT__HTTP_OK_LEN;
    memcpy(at, conf->server_field, conf->server_field_len);
    at += conf->server_field_len;
    weft_http_date_format(wall_s, date);
    memcpy(at, "Date: ", 6);
    memcpy(at + 6, date, 29);
    memcpy(at + 35, "\r\n", 2);
    return conf->server_field_len + 37;
}

const char *weft__http_stamp(struct weft__http_site *site, const struct weft_loop *loop, char *buf,
                             size_t *len)
{
    if (loop != NULL && WEFT__LIKELY(loop->now_ns < site->stamp_until_ns)) {
        *len = site->stamp_len;
        return site->stamp + WEFT__HTTP_OK_LEN;
    }
    int64_t now = weft__http_wall_s(site, loop);
    if (site->shared || loop == NULL) {
        *len = stamp(site->conf, now, buf);
        return buf + WEFT__HTTP_OK_LEN;
    }
    if (now != site->stamp_s || site->stamp_len == 0) {
        site->stamp_len = stamp(site->conf, now, site->stamp);
        site->stamp_s = now;
    }
    /* Until the next second, or until the wall clock is asked again. */
    site->stamp_until_ns = weft__min_i64((now + 1) * SECOND_NS - site->wall_offset_ns,
                                         site->wall_at_ns + SECOND_NS / 4);
    *len = site->stamp_len;
    return site->stamp + WEFT__HTTP_OK_LEN;
}
