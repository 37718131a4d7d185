/* SPDX-License-Identifier: MIT */
/* SOCKS5 and HTTP's CONNECT. See proxy.h. Floor 0. */
#include "wire/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"

enum state { METHOD, AUTH, REPLY, REPLY_REST, HEAD, DONE };

static void put(struct weft__proxy *p, const void *bytes, size_t n)
{
    WEFT__ASSERT(p->out_len + n <= sizeof p->out); /* the sum of all maxima is less */
    memcpy(p->out + p->out_len, bytes, n);
    p->out_len += n;
}

static void put_byte(struct weft__proxy *p, unsigned b)
{
    put(p, &(uint8_t){(uint8_t)b}, 1);
}

static void put_text(struct weft__proxy *p, const char *text)
{
    put(p, text, strlen(text));
}

/* --- SOCKS5 ----------------------------------------------------------------------------------- */

static void expect(struct weft__proxy *p, enum state s, size_t n)
{
    p->state = s;
    p->in_len = 0;
    p->in_need = n;
}

/* RFC 1928, section 4. Names are sent as they are: the proxy looks them up. */
static void socks_request(struct weft__proxy *p)
{
    uint8_t address[16];
    put(p, "\5\1\0", 3);
    if (inet_pton(AF_INET, p->host, address) == 1) {
        put_byte(p, 1);
        put(p, address, 4);
    } else if (inet_pton(AF_INET6, p->host, address) == 1) {
        put_byte(p, 4);
        put(p, address, 16);
    } else {
        put_byte(p, 3);
        put_byte(p, (unsigned)strlen(p->host));
        put_text(p, p->host);
    }
    put_byte(p, (unsigned)p->port >> 8);
    put_byte(p, (unsigned)p->port);
    expect(p, REPLY, 5);
}

static int socks_method(struct weft__proxy *p)
{
    if (p->in[0] != 5)
        return weft__fail(WEFT_EPROTOCOL, "the proxy does not speak SOCKS5: it began with 0x%02x",
                          p->in[0]);
    if (p->in[1] == 0) {
        socks_request(p);
        return 0;
    }
    if (p->in[1] == 2 && p->user != NULL) { /* RFC 1929 */
        put_byte(p, 1);
        put_byte(p, (unsigned)strlen(p->user));
        put_text(p, p->user);
        put_byte(p, (unsigned)strlen(p->password));
        put_text(p, p->password);
        expect(p, AUTH, 2);
        return 0;
    }
    if (p->in[1] == 0xff)
        return weft__fail(-EACCES, "the proxy wants %s",
                          p->user != NULL ? "neither nobody nor a user with a password"
                                          : "a user and a password, or something else");
    return weft__fail(WEFT_EPROTOCOL, "the proxy chose method %d, which was not offered", p->in[1]);
}

static int socks_refused(int code)
{
    static const struct {
        int err;
        const char *text;
    } codes[] = {
        {0, ""},
        {-EIO, "it failed"},
        {-EACCES, "its rules do not allow it"},
        {-ENETUNREACH, "network unreachable"},
        {-EHOSTUNREACH, "host unreachable"},
        {-ECONNREFUSED, "connection refused"},
        {-EHOSTUNREACH, "the time to live expired"},
        {-EOPNOTSUPP, "it does not do CONNECT"},
        {-EAFNOSUPPORT, "it does not know this kind of address"},
    };
    if (code >= (int)WEFT__ARRAY_LEN(codes))
        return weft__fail(WEFT_EPROTOCOL, "the proxy says: failure %d", code);
    return weft__fail(codes[code].err, "the proxy says: %s", codes[code].text);
}

/* The first five bytes say how many follow. */
static int socks_reply(struct weft__proxy *p)
{
    if (p->in[0] != 5)
        return weft__fail(WEFT_EPROTOCOL, "the proxy's reply begins with 0x%02x", p->in[0]);
    if (p->in[1] != 0)
        return socks_refused(p->in[1]);
    size_t rest = p->in[3] == 1 ? 4 : p->in[3] == 4 ? 16 : p->in[3] == 3 ? 1u + p->in[4] : 0;
    if (rest == 0)
        return weft__fail(WEFT_EPROTOCOL, "the proxy's reply has an address of type %d", p->in[3]);
    expect(p, REPLY_REST, rest - 1 + 2);
    return 0;
}

static int socks_step(struct weft__proxy *p)
{
    switch ((enum state)p->state) {
    case METHOD:
        return socks_method(p);
    case AUTH:
        if (p->in[1] != 0)
            return weft__fail(-EACCES, "the proxy does not accept the user and the password");
        socks_request(p);
        return 0;
    case REPLY:
        return socks_reply(p);
    default:
        p->state = DONE;
        return 1;
    }
}

/* --- HTTP ------------------------------------------------------------------------------------- */

static void put_base64(struct weft__proxy *p, const uint8_t *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        unsigned v = (unsigned)data[i] << 16;
        v |= i + 1 < len ? (unsigned)data[i + 1] << 8 : 0;
        v |= i + 2 < len ? data[i + 2] : 0;
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                        i + 1 < len ? digits[v >> 6 & 63] : '=',
                        i + 2 < len ? digits[v & 63] : '='};
        put(p, four, 4);
    }
}

static void http_request(struct weft__proxy *p)
{
    char at[WEFT__PROXY_TEXT_MAX + 16], pair[2 * WEFT__PROXY_TEXT_MAX + 2];
    bool six = strchr(p->host, ':') != NULL;
    (void)snprintf(at, sizeof at, "%s%s%s:%d", six ? "[" : "", p->host, six ? "]" : "", p->port);
    put_text(p, "CONNECT ");
    put_text(p, at);
    put_text(p, " HTTP/1.1\r\nHost: ");
    put_text(p, at);
    if (p->user != NULL) { /* RFC 7617 */
        int n = snprintf(pair, sizeof pair, "%s:%s", p->user, p->password);
        put_text(p, "\r\nProxy-Authorization: Basic ");
        put_base64(p, (const uint8_t *)pair, (size_t)n);
    }
    put_text(p, "\r\n\r\n");
    p->state = HEAD;
}

static int http_answer(const struct weft__proxy *p)
{
    char line[120];
    size_t n = weft__min_size(p->line_len, sizeof line - 1);
    memcpy(line, p->in, n);
    line[n] = '\0';
    if (n < 12 || strncmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ' || line[9] < '1' ||
        line[9] > '5' || line[10] < '0' || line[10] > '9' || line[11] < '0' || line[11] > '9' ||
        (line[12] != ' ' && line[12] != '\0'))
        return weft__fail(WEFT_EPROTOCOL, "the proxy does not speak HTTP/1: %s", line);
    int code = (line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0';
    int err = code == 407 || code == 403 || code == 401 ? -EACCES
              : code == 502 || code == 503              ? -ECONNREFUSED
              : code == 504                             ? -ETIMEDOUT
                                                        : WEFT_EPROTOCOL;
    if (code / 100 == 1 && code != 101)
        return 0; /* the answer is yet to come (RFC 9110 section 15.2) */
    return code / 100 == 2 ? 1 : weft__fail(err, "the proxy answered: %s", line + 9);
}

/* Takes bytes up to the empty line that ends the head. */
static int http_feed(struct weft__proxy *p, const uint8_t *data, size_t len, size_t *used)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = data[i];
        *used = i + 1;
        if (p->in_need++ >= WEFT__PROXY_HEAD_MAX)
            return weft__fail(WEFT_EPROTOCOL, "the proxy's answer is longer than %u bytes",
                              WEFT__PROXY_HEAD_MAX);
        if (c == '\r')
            continue;
        if (c != '\n') {
            if (p->line_len == 0 && p->in_len < sizeof p->in)
                p->in[p->in_len] = c;
            p->in_len++;
            continue;
        }
        if (p->line_len == 0) { /* the first line */
            p->line_len = weft__min_size(p->in_len, sizeof p->in);
            if (p->line_len == 0)
                return weft__fail(WEFT_EPROTOCOL, "the proxy's answer begins with an empty line");
        } else if (p->in_len == 0) {
            int res = http_answer(p);
            p->state = res != 0 ? DONE : HEAD;
            p->line_len = 0;
            if (res != 0)
                return res;
        }
        p->in_len = 0;
    }
    return 0;
}

/* --- Both ------------------------------------------------------------------------------------- */

static bool too_long(const char *text)
{
    return text != NULL && strlen(text) > WEFT__PROXY_TEXT_MAX;
}

int weft__proxy_start(struct weft__proxy *p)
{
    if (too_long(p->host) || too_long(p->user) || too_long(p->password) || p->host[0] == '\0')
        return weft__fail(-EINVAL, "a host, user or password of over %u bytes for a proxy",
                          WEFT__PROXY_TEXT_MAX);
    p->out_len = p->in_len = p->in_need = p->line_len = 0;
    if (p->user != NULL && p->password == NULL)
        p->password = "";
    if (p->kind == WEFT__PROXY_HTTP) {
        http_request(p);
        return 0;
    }
    bool auth = p->user != NULL && p->user[0] != '\0';
    if (!auth)
        p->user = NULL;
    put(p, auth ? "\5\2\0\2" : "\5\1\0", auth ? 4 : 3);
    expect(p, METHOD, 2);
    return 0;
}

int weft__proxy_feed(struct weft__proxy *p, const void *data, size_t len, size_t *used)
{
    const uint8_t *at = data;
    int res = 0;
    *used = 0;
    if (p->kind == WEFT__PROXY_HTTP)
        return http_feed(p, at, len, used);
    while (res == 0 && *used < len) {
        size_t n = weft__min_size(p->in_need - p->in_len, len - *used);
        memcpy(p->in + p->in_len, at + *used, n);
        p->in_len += n;
        *used += n;
        if (p->in_len == p->in_need)
            res = socks_step(p);
    }
    return res;
}
