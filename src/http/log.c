/* SPDX-License-Identifier: MIT */
/* Lines of the access log: common, combined, JSON. Floor 5. See log.h. */
#include "http/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/exchange.h"
#include "http/site.h"
#include "net/stream.h"

/* Of one text of the client's, as it stands in the line: all of them and what is between have room
 * in WEFT__HTTP_LINE_MAX. */
#define TEXT_MAX 1024u
#define METHOD_MAX 128u

/* A client's text within quotes: what could end them, or the line, is written as \xNN. */
static void put_text(struct weft__writer *w, struct weft__slice s, bool json, size_t most)
{
    static const char hex[] = "0123456789abcdef";
    if (s.at == NULL && !json) {
        weft__writer_u8(w, '-');
        return;
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        size_t len = plain ? 1 : json ? 6 : 4;
        if (len > most)
            break;
        most -= len;
        if (plain) {
            weft__writer_u8(w, c);
            continue;
        }
        /* In JSON, bytes from 0x80 up stand for the Latin letter of that number. */
        weft__writer_text(w, json ? "\\u00" : "\\x");
        weft__writer_u8(w, (unsigned char)hex[c >> 4]);
        weft__writer_u8(w, (unsigned char)hex[c & 15]);
    }
}

static void put_quoted(struct weft__writer *w, struct weft__slice s, bool json)
{
    weft__writer_u8(w, '"');
    put_text(w, s, json, TEXT_MAX);
    weft__writer_u8(w, '"');
}

static struct weft__slice method_of(const struct weft_http_request *q)
{
    return weft__http_slice(q->base, q->head.method_name);
}

static void put_request_line(struct weft__writer *w, const struct weft__http_exchange *x)
{
    weft__writer_u8(w, '"');
    if (x->q.head.method_name.len == 0) { /* it was none */
        weft__writer_u8(w, '-');
    } else {
        put_text(w, method_of(&x->q), false, METHOD_MAX);
        weft__writer_u8(w, ' ');
        put_text(w, weft__http_slice(x->q.base, x->q.head.target), false, TEXT_MAX);
        weft__writer_text(w, x->version >= 20   ? " HTTP/2.0"
                             : x->version == 10 ? " HTTP/1.0"
                                                : " HTTP/1.1");
    }
    weft__writer_u8(w, '"');
}

static void put_common(struct weft__writer *w, struct weft__http_exchange *x)
{
    struct tm tm;
    char when[40];
    time_t now = (time_t)weft__http_wall_s(x->site, x->stream->loop);
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, " - - [%d/%b/%Y:%H:%M:%S +0000] ", &tm);
    weft__writer_text(w, weft_http_peer(&x->q));
    weft__writer_text(w, when);
    put_request_line(w, x);
    weft__writer_u8(w, ' ');
    weft__writer_decimal(w, (uint64_t)x->r.status);
    weft__writer_u8(w, ' ');
    weft__writer_decimal(w, x->r.sent);
}

static void put_json(struct weft__writer *w, struct weft__http_exchange *x)
{
    struct tm tm;
    char when[40];
    time_t now = (time_t)weft__http_wall_s(x->site, x->stream->loop);
    uint64_t us = x->begin_ns > 0 ? (uint64_t)(weft_now_ns() - x->begin_ns) / 1000 : 0;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "{\"time\": \"%Y-%m-%dT%H:%M:%SZ\"", &tm);
    weft__writer_text(w, when);
    weft__writer_text(w, ", \"peer\": ");
    put_quoted(w, weft__slice_text(weft_http_peer(&x->q)), true);
    weft__writer_text(w, ", \"id\": ");
    put_quoted(w, weft__slice_text(weft_http_request_id(&x->q)), true);
    weft__writer_text(w, ", \"method\": \"");
    put_text(w, method_of(&x->q), true, METHOD_MAX);
    weft__writer_text(w, "\", \"target\": ");
    put_quoted(w, weft__http_slice(x->q.base, x->q.head.target), true);
    weft__writer_text(w, ", \"version\": ");
    weft__writer_decimal(w, (uint64_t)x->version / 10);
    weft__writer_u8(w, '.');
    weft__writer_decimal(w, (uint64_t)x->version % 10);
    weft__writer_text(w, ", \"status\": ");
    weft__writer_decimal(w, (uint64_t)x->r.status);
    weft__writer_text(w, ", \"bytes\": ");
    weft__writer_decimal(w, x->r.sent);
    weft__writer_text(w, ", \"us\": ");
    weft__writer_decimal(w, us);
    weft__writer_text(w, ", \"referer\": ");
    put_quoted(w, weft__http_value_of(&x->q, WEFT__HN_REFERER), true);
    weft__writer_text(w, ", \"agent\": ");
    put_quoted(w, weft__http_value_of(&x->q, WEFT__HN_USER_AGENT), true);
    weft__writer_u8(w, '}');
}

size_t weft__http_log_line(struct weft__http_exchange *x, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap - 1);
    enum weft_http_log format = x->site->conf->o.log_format;
    if (format == WEFT_HTTP_LOG_JSON) {
        put_json(&w, x);
    } else {
        put_common(&w, x);
        if (format == WEFT_HTTP_LOG_COMBINED) {
            weft__writer_u8(&w, ' ');
            put_quoted(&w, weft__http_value_of(&x->q, WEFT__HN_REFERER), false);
            weft__writer_u8(&w, ' ');
            put_quoted(&w, weft__http_value_of(&x->q, WEFT__HN_USER_AGENT), false);
        }
    }
    WEFT__ASSERT(!w.full);
    buf[w.pos] = '\0';
    return w.pos;
}

/* Apart, so that who writes no log needs no room for a line. */
static __attribute__((noinline)) void write_line(struct weft__http_exchange *x)
{
    struct weft__http_site *site = x->site;
    const struct weft_http_options *o = &site->conf->o;
    char line[WEFT__HTTP_LINE_MAX];
    size_t len = weft__http_log_line(x, line, sizeof line);
    if (o->log != NULL)
        o->log(o->log_arg, line, len);
    else if (!weft__log_writer_put(site->writer, line, len))
        weft__http_count(site, &site->counters.log_dropped);
}

void weft__http_account(struct weft__http_exchange *x)
{
    struct weft__http_site *site = x->site;
    int digit = x->r.begun ? x->r.status / 100 : 0;
    weft__http_count(site, &site->counters.requests);
    weft__http_count(site, &site->counters.by_class[digit < 6 ? digit : 0]);
    if (WEFT__UNLIKELY(site->conf->o.log_format != WEFT_HTTP_LOG_NONE))
        write_line(x);
}
