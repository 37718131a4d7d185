/* SPDX-License-Identifier: MIT */
/*
 * The client's side of the opening handshake (RFC 6455, 4.1).
 *
 * Floor 5.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/random.h>
#include <weft/url.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h1_head.h"
#include "wire/http_field.h"
#include "ws/ws.h"

#define FIELDS_MAX 100u

static const struct weft_ws_options no_options;

/* What is asked, and what came back. */
struct attempt {
    const struct weft_ws_options *o;
    struct weft__ws_deflate wishes;
    char key[WEFT__WS_KEY_LEN];
    struct weft__http1_head h;
    struct weft__http1_scan scan;
    struct weft__http1_field fields[FIELDS_MAX];
    char joined[WEFT__WS_JOINED_MAX];
};

static struct weft__ws_deflate wishes(const struct weft_ws_options *o)
{
    return (struct weft__ws_deflate){
        .on = o->deflate,
        .server_no_takeover = !o->deflate_takeover,
        .client_no_takeover = !o->deflate_takeover,
        .server_bits = o->deflate_peer_bits > 0 ? o->deflate_peer_bits : WEFT__WS_BITS_MAX,
        .client_bits = o->deflate_bits > 0 ? o->deflate_bits : WEFT__WS_BITS_MAX,
    };
}

/* --- The request ----------------------------------------------------------------------------- */

static ssize_t build(const struct attempt *a, const char *host, const char *path, char *buf,
                     size_t cap)
{
    struct weft__http1_builder b;
    char deflate[WEFT__WS_DEFLATE_TEXT_MAX];
    weft__http1_build_init(&b, buf, cap);
    weft__http1_build_request(&b, weft__slice_text("GET"), weft__slice_text(path), 1);
    weft__http1_build_text(&b, "Host", host);
    weft__http1_build_text(&b, "Upgrade", "websocket");
    weft__http1_build_text(&b, "Connection", "Upgrade");
    weft__http1_build_field(&b, weft__slice_text("Sec-WebSocket-Key"),
                            weft__slice_of(a->key, sizeof a->key));
    weft__http1_build_text(&b, "Sec-WebSocket-Version", "13");
    if (a->o->origin != NULL)
        weft__http1_build_text(&b, "Origin", a->o->origin);
    if (a->o->protocols != NULL)
        weft__http1_build_text(&b, "Sec-WebSocket-Protocol", a->o->protocols);
    if (a->wishes.on)
        weft__http1_build_field(
            &b, weft__slice_text("Sec-WebSocket-Extensions"),
            weft__slice_of(deflate, weft__ws_deflate_write(&a->wishes, true, deflate)));
    return weft__http1_build_end(&b);
}

static int ask(struct weft_stream *s, const struct attempt *a, const char *host, const char *path,
               weft_deadline d)
{
    const char *more = a->o->fields != NULL ? a->o->fields : "";
    size_t cap = strlen(host) + strlen(path) + 1024;
    cap += a->o->origin != NULL ? strlen(a->o->origin) : 0;
    cap += a->o->protocols != NULL ? strlen(a->o->protocols) : 0;
    char *buf = weft__alloc(cap);
    if (buf == NULL)
        return -ENOMEM;
    ssize_t n = build(a, host, path, buf, cap);
    int err = n < 0 ? (int)n : 0;
    if (err == 0) {
        struct iovec iov[3] = {{buf, (size_t)n - 2}, /* without its empty line */
                               {(void *)(uintptr_t)more, strlen(more)},
                               {(void *)(uintptr_t) "\r\n", 2}};
        err = weft_writev(s, iov, 3, d);
    }
    weft__free(buf);
    return err;
}

/* --- The answer ------------------------------------------------------------------------------ */

/* All values of a field; -> 0, WEFT_EPROTOCOL. */
static int values(struct attempt *a, const char *data, enum weft__http_name name, size_t part,
                  struct weft__slice *ret)
{
    size_t room = WEFT__WS_JOINED_MAX / 4;
    if (weft__http1_joined(&a->h, data, name, a->joined + part * room, room, ret))
        return 0;
    return weft__fail(WEFT_EPROTOCOL, "the server's fields of WebSocket are too long");
}

static int check_protocol(struct attempt *a, const char *data, struct weft__slice *ret)
{
    struct weft__slice p, chosen;
    int err = values(a, data, WEFT__HN_SEC_WEBSOCKET_PROTOCOL, 1, &p);
    if (err < 0)
        return err;
    if (p.at == NULL) {
        if (a->o->protocol_required)
            return weft__fail(WEFT_EPROTOCOL, "no sub-protocol in common with the server");
        return 0;
    }
    if (!weft__http_token(p) ||
        !weft__ws_protocol_choose(weft__slice_text(a->o->protocols), p, &chosen))
        return weft__fail(WEFT_EPROTOCOL,
                          "the server chose a sub-protocol that it was not offered");
    *ret = p;
    return 0;
}

/* 4.1, the list of what a client checks */
static int check_answer(struct attempt *a, const char *data, struct weft__ws_agreed *ret)
{
    char want[WEFT__WS_ACCEPT_LEN];
    struct weft__slice upgrade, accept, extensions;
    *ret = (struct weft__ws_agreed){.server = false, .status = 101};
    if (a->h.status != 101)
        return weft__fail(-ECONNREFUSED, "the server answered %d %.*s", a->h.status,
                          (int)weft__min_size(a->h.reason.len, 80), data + a->h.reason.at);
    int err = values(a, data, WEFT__HN_UPGRADE, 0, &upgrade);
    if (err < 0)
        return err;
    if (!weft__slice_is_nocase(upgrade, "websocket") || !a->h.upgrade)
        return weft__fail(WEFT_EPROTOCOL, "the server does not upgrade to WebSocket");
    weft__ws_accept_value(weft__slice_of(a->key, sizeof a->key), want);
    err = values(a, data, WEFT__HN_SEC_WEBSOCKET_ACCEPT, 3, &accept); /* once: 11.3.3 */
    if (err < 0)
        return err;
    if (!weft__slice_equal(accept, weft__slice_of(want, sizeof want)))
        return weft__fail(WEFT_EPROTOCOL, "the server's Sec-WebSocket-Accept is not of our key");
    err = check_protocol(a, data, &ret->protocol);
    if (err == 0)
        err = values(a, data, WEFT__HN_SEC_WEBSOCKET_EXTENSIONS, 2, &extensions);
    if (err == 0)
        err = weft__ws_deflate_answered(extensions, &a->wishes, &ret->deflate);
    return err;
}

static int read_answer(struct weft_ws **ret, struct weft_stream **s, struct attempt *a,
                       weft_deadline d)
{
    struct weft__ws_agreed agreed;
    const char *data = NULL;
    ssize_t n = 0;
    do { /* interim answers but 101 say nothing */
        if (n > 0)
            weft_consume(*s, (size_t)n);
        memset(&a->scan, 0, sizeof a->scan);
        n = weft__h1_read_response(*s, &a->h, &a->scan, WEFT__HTTP_GET, &data, d);
    } while (n > 0 && a->h.status < 200 && a->h.status != 101);
    if (n == 0)
        return weft__fail(WEFT_EEOF, "the server hung up without an answer");
    int err = n < 0 ? (int)n : check_answer(a, data, &agreed);
    if (err == 0)
        err = weft__ws_open(ret, s, &agreed, a->o);
    if (err == 0)
        weft_consume((*ret)->s, (size_t)n);
    return err;
}

int weft_ws_connect(struct weft_ws **ret, struct weft_stream **s, const char *host,
                    const char *path, const struct weft_ws_options *o, weft_deadline d)
{
    unsigned char random[16];
    o = o != NULL ? o : &no_options;
    int err = weft__ws_options_check(o);
    if (err == 0 && (host == NULL || host[0] == '\0'))
        err = weft__fail(-EINVAL, "no host for the Host field");
    if (err < 0)
        return err;
    struct attempt *a = weft__calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->o = o;
    a->wishes = wishes(o);
    a->h.fields = a->fields;
    a->h.fields_cap = FIELDS_MAX;
    a->h.limits.head = o->head_max > 0 ? (uint32_t)o->head_max : WEFT__WS_HEAD_DEFAULT;
    weft_random(random, sizeof random);
    weft__ws_key_make(random, a->key);
    err = ask(*s, a, host, path != NULL ? path : "/", d);
    if (err == 0)
        err = read_answer(ret, s, a, d);
    weft__free(a);
    return err;
}

/* --- Dialling -------------------------------------------------------------------------------- */

#define TARGET_MAX 8192
#define AUTHORITY_MAX 300

static int connect_by(struct weft_ws **ret, const struct weft_url *url,
                      const struct weft_ws_options *o, const struct weft_dial_options *dial,
                      char *target, weft_deadline d)
{
    char authority[AUTHORITY_MAX], endpoint[AUTHORITY_MAX];
    struct weft_stream *s = NULL;
    ssize_t n = strcmp(url->scheme, "ws") == 0 || strcmp(url->scheme, "wss") == 0 ? 0 : -EINVAL;
    if (n < 0)
        return weft__fail(WEFT_EURL, "'%s:' is not of WebSocket: ws: or wss:", url->scheme);
    n = weft_url_authority(url, authority, sizeof authority);
    if (n >= 0)
        n = weft_url_endpoint(url, endpoint, sizeof endpoint);
    if (n >= 0)
        n = weft_url_target(url, target, TARGET_MAX);
    if (n < 0)
        return n == -ENOBUFS ? weft__fail((int)n, "the URL is too long") : (int)n;
    int err = weft_dial(&s, endpoint, dial, d);
    if (err == 0)
        err = weft_ws_connect(ret, &s, authority, target, o, d);
    if (err < 0)
        weft_abort(&s);
    return err;
}

int weft_ws_dial(struct weft_ws **ret, const char *text, const struct weft_ws_options *o,
                 const struct weft_dial_options *dial, weft_deadline d)
{
    struct weft_url *url = NULL;
    int err = weft_url_parse(&url, text, strlen(text));
    if (err < 0)
        return err;
    char *target = weft__alloc(TARGET_MAX);
    err = target != NULL ? connect_by(ret, url, o, dial, target, d) : -ENOMEM;
    weft__free(target);
    weft_url_free(url);
    return err;
}
