/* SPDX-License-Identifier: MIT */
/* The opening handshake of WebSocket; see ws_handshake.h. Floor 0. */
#include "wire/ws_handshake.h"

#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/cursor.h"
#include "wire/http_field.h"
#include "wire/sha1.h"

#define DEFLATE "permessage-deflate"

/* --- Keys ------------------------------------------------------------------------------------ */

/* The value of a base64 digit; -1: it is none. */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool weft__ws_key_ok(struct weft__slice key)
{
    if (key.at == NULL || key.len != WEFT__WS_KEY_LEN || key.at[22] != '=' || key.at[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++) {
        if (base64_value(key.at[i]) < 0)
            return false;
    }
    /* The last digit has 2 bits of the 16 bytes, and 4 that are zero. */
    return (base64_value(key.at[21]) & 15) == 0;
}

/* RFC 4648, 4; writes (len + 2) / 3 * 4 characters. */
static void base64(const unsigned char *bytes, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct weft__writer w = weft__writer_of(out, (len + 2) / 3 * 4);
    for (size_t at = 0; at < len; at += 3) {
        uint32_t v = (uint32_t)bytes[at] << 16;
        v |= at + 1 < len ? (uint32_t)bytes[at + 1] << 8 : 0;
        v |= at + 2 < len ? bytes[at + 2] : 0;
        weft__writer_u8(&w, (unsigned char)digits[v >> 18]);
        weft__writer_u8(&w, (unsigned char)digits[v >> 12 & 63]);
        weft__writer_u8(&w, (unsigned char)(at + 1 < len ? digits[v >> 6 & 63] : '='));
        weft__writer_u8(&w, (unsigned char)(at + 2 < len ? digits[v & 63] : '='));
    }
}

void weft__ws_key_make(const unsigned char random[16], char out[WEFT__WS_KEY_LEN])
{
    base64(random, 16, out);
}

void weft__ws_accept_value(struct weft__slice key, char out[WEFT__WS_ACCEPT_LEN])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char joined[WEFT__WS_KEY_LEN + sizeof guid - 1], digest[WEFT__SHA1_SIZE];
    WEFT__ASSERT(key.len == WEFT__WS_KEY_LEN);
    memcpy(joined, key.at, WEFT__WS_KEY_LEN);
    memcpy(joined + WEFT__WS_KEY_LEN, guid, sizeof guid - 1);
    weft__sha1(joined, sizeof joined, digest);
    base64(digest, sizeof digest, out);
}

/* --- Lists ----------------------------------------------------------------------------------- */

bool weft__ws_tokens_ok(struct weft__slice list)
{
    struct weft__slice rest = list, e, other;
    size_t n = 0;
    while (weft__http_list_next(&rest, &e)) {
        struct weft__slice later = rest;
        if (++n > WEFT__WS_PROTOCOLS_MAX || !weft__http_token(e))
            return false;
        while (weft__http_list_next(&later, &other)) {
            if (weft__slice_equal(e, other))
                return false;
        }
    }
    return n > 0;
}

bool weft__ws_protocol_choose(struct weft__slice ours, struct weft__slice theirs,
                              struct weft__slice *chosen)
{
    struct weft__slice mine, e;
    while (weft__http_list_next(&ours, &mine)) {
        struct weft__slice list = theirs;
        while (weft__http_list_next(&list, &e)) {
            if (weft__slice_equal(mine, e)) {
                *chosen = e;
                return true;
            }
        }
    }
    return false;
}

/* --- Extensions (RFC 6455, 9.1) -------------------------------------------------------------- */

/* Takes a token off the front; false: there is none. */
static bool take_token(struct weft__slice *s, struct weft__slice *ret)
{
    size_t n = 0;
    *s = weft__slice_trim(*s);
    while (n < s->len && weft__http_is(s->at[n], WEFT__HC_TOKEN))
        n++;
    *ret = weft__slice_part(*s, 0, n);
    *s = weft__slice_from(*s, n);
    return n > 0;
}

/* A quoted string whose content, without backslashes, is a token; *ret: what is within quotes. */
static bool take_quoted(struct weft__slice *s, struct weft__slice *ret)
{
    size_t i = 1;
    for (; i < s->len && s->at[i] != '"'; i++) {
        if (s->at[i] == '\\')
            i++;
        if (i == s->len || !weft__http_is(s->at[i], WEFT__HC_TOKEN))
            return false;
    }
    if (i >= s->len || i == 1)
        return false;
    *ret = weft__slice_part(*s, 1, i);
    *s = weft__slice_from(*s, i + 1);
    return true;
}

/* Takes "; name", "; name=token" or "; name="token"" off the front; value->at NULL: there is none.
 * 1, 0 at the end, -1: it is no parameter. White space may stand between all (9.1). */
static int take_param(struct weft__slice *e, struct weft__slice *name, struct weft__slice *value)
{
    *e = weft__slice_trim(*e);
    *value = (struct weft__slice){NULL, 0};
    if (e->len == 0)
        return 0;
    if (e->at[0] != ';')
        return -1;
    *e = weft__slice_from(*e, 1);
    if (!take_token(e, name))
        return -1;
    *e = weft__slice_trim(*e);
    if (e->len == 0 || e->at[0] != '=')
        return 1;
    *e = weft__slice_trim(weft__slice_from(*e, 1));
    bool quoted = e->len > 0 && e->at[0] == '"';
    return (quoted ? take_quoted(e, value) : take_token(e, value)) ? 1 : -1;
}

bool weft__ws_extensions_ok(struct weft__slice list)
{
    struct weft__slice e, name, value;
    bool any = false;
    while (weft__http_list_next(&list, &e)) {
        int more = take_token(&e, &name) ? 1 : -1;
        while (more > 0)
            more = take_param(&e, &name, &value);
        if (more < 0)
            return false;
        any = true;
    }
    return any;
}

/* --- permessage-deflate ---------------------------------------------------------------------- */

/* The parameters of one offer or answer, as they stand there. */
struct params {
    bool server_no_takeover, client_no_takeover;
    bool server_bits_given, client_bits_given;
    uint8_t server_bits, client_bits; /* 0: given without a value */
};

/* 8 to 15 without a leading zero (RFC 7692, 7.1.2.1). */
static bool read_bits(struct weft__slice raw, uint8_t *ret)
{
    char digits[2];
    ssize_t n = weft__http_unquote(raw, digits, sizeof digits);
    if (n == 1 && (digits[0] == '8' || digits[0] == '9'))
        *ret = (uint8_t)(digits[0] - '0');
    else if (n == 2 && digits[0] == '1' && digits[1] >= '0' && digits[1] <= '5')
        *ret = (uint8_t)(10 + digits[1] - '0');
    else
        return false;
    return true;
}

/* One parameter; false: unknown, twice, or with a value that it cannot have. */
static bool read_param(struct params *p, struct weft__slice name, struct weft__slice value,
                       bool answer)
{
    bool *flag = NULL;
    if (weft__slice_equal_nocase(name, weft__slice_text("server_no_context_takeover")))
        flag = &p->server_no_takeover;
    else if (weft__slice_equal_nocase(name, weft__slice_text("client_no_context_takeover")))
        flag = &p->client_no_takeover;
    if (flag != NULL) {
        bool fine = !*flag && value.at == NULL;
        *flag = true;
        return fine;
    }
    if (weft__slice_equal_nocase(name, weft__slice_text("server_max_window_bits"))) {
        bool fine = !p->server_bits_given;
        p->server_bits_given = true;
        return fine && value.at != NULL && read_bits(value, &p->server_bits);
    }
    if (weft__slice_equal_nocase(name, weft__slice_text("client_max_window_bits"))) {
        bool fine = !p->client_bits_given;
        p->client_bits_given = true;
        if (value.at == NULL) /* 7.1.2.2: only a client may leave it out */
            return fine && !answer;
        return fine && read_bits(value, &p->client_bits);
    }
    return false;
}

/* "name; a; b=1": false when it is not permessage-deflate; *fine: all parameters are right. */
static bool read_extension(struct weft__slice e, bool answer, struct params *ret, bool *fine)
{
    struct weft__slice name, value;
    int more;
    *ret = (struct params){0};
    *fine = true;
    if (!take_token(&e, &name) || !weft__slice_is_nocase(name, DEFLATE))
        return false;
    while ((more = take_param(&e, &name, &value)) > 0)
        *fine = read_param(ret, name, value, answer) && *fine;
    *fine = more == 0 && *fine;
    return true;
}

static uint8_t smaller(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

bool weft__ws_deflate_accept(struct weft__slice offers, const struct weft__ws_deflate *wishes,
                             struct weft__ws_deflate *ret)
{
    struct weft__slice e;
    struct params p;
    bool fine;
    if (!wishes->on)
        return false;
    while (weft__http_list_next(&offers, &e)) {
        if (!read_extension(e, false, &p, &fine) || !fine)
            continue;
        struct weft__ws_deflate d = *wishes;
        d.server_no_takeover |= p.server_no_takeover;
        d.client_no_takeover |= p.client_no_takeover;
        if (p.server_bits_given)
            d.server_bits = smaller(d.server_bits, p.server_bits);
        if (!p.client_bits_given)
            d.client_bits = WEFT__WS_BITS_MAX; /* it may not be told of any other (7.1.2.2) */
        else if (p.client_bits > 0)
            d.client_bits = smaller(d.client_bits, p.client_bits);
        *ret = d;
        return true;
    }
    return false;
}

static void write_bits(struct weft__writer *w, const char *name, uint8_t bits)
{
    weft__writer_text(w, "; ");
    weft__writer_text(w, name);
    weft__writer_text(w, "=");
    weft__writer_decimal(w, bits);
}

size_t weft__ws_deflate_write(const struct weft__ws_deflate *d, bool offer,
                              char out[WEFT__WS_DEFLATE_TEXT_MAX])
{
    struct weft__writer w = weft__writer_of(out, WEFT__WS_DEFLATE_TEXT_MAX);
    weft__writer_text(&w, DEFLATE);
    if (d->server_no_takeover)
        weft__writer_text(&w, "; server_no_context_takeover");
    if (d->client_no_takeover)
        weft__writer_text(&w, "; client_no_context_takeover");
    if (d->server_bits < WEFT__WS_BITS_MAX)
        write_bits(&w, "server_max_window_bits", d->server_bits);
    if (d->client_bits < WEFT__WS_BITS_MAX)
        write_bits(&w, "client_max_window_bits", d->client_bits);
    else if (offer)
        weft__writer_text(&w, "; client_max_window_bits");
    WEFT__ASSERT(!w.full);
    return w.pos;
}

int weft__ws_deflate_answered(struct weft__slice answer, const struct weft__ws_deflate *wishes,
                              struct weft__ws_deflate *ret)
{
    struct weft__ws_deflate d = {.server_bits = WEFT__WS_BITS_MAX,
                                 .client_bits = WEFT__WS_BITS_MAX};
    struct weft__slice e;
    struct params p;
    bool fine;
    if (answer.at != NULL && !weft__ws_extensions_ok(answer))
        return weft__fail(WEFT_EPROTOCOL,
                          "the server's Sec-WebSocket-Extensions is no list of extensions");
    while (weft__http_list_next(&answer, &e)) {
        if (!wishes->on || d.on || !read_extension(e, true, &p, &fine))
            return weft__fail(WEFT_EPROTOCOL,
                              "the server uses an extension that it was not offered");
        if (!fine)
            return weft__fail(WEFT_EPROTOCOL, "the server's parameters of " DEFLATE " are wrong");
        d.on = true;
        /* 7.1.1.1: what we have asked of the server is in its answer. */
        if (wishes->server_no_takeover && !p.server_no_takeover)
            return weft__fail(WEFT_EPROTOCOL, "the server takes its context over all the same");
        if (wishes->server_bits < WEFT__WS_BITS_MAX &&
            (!p.server_bits_given || p.server_bits > wishes->server_bits))
            return weft__fail(WEFT_EPROTOCOL, "the server's window is larger than asked");
        d.server_no_takeover = p.server_no_takeover;
        d.client_no_takeover = p.client_no_takeover || wishes->client_no_takeover;
        if (p.server_bits_given)
            d.server_bits = p.server_bits;
        d.client_bits = wishes->client_bits;
        if (p.client_bits_given)
            d.client_bits = smaller(d.client_bits, p.client_bits);
    }
    *ret = d;
    return 0;
}
