/* SPDX-License-Identifier: MIT */
/*
 * The options of an endpoint string: which there are, and what their values may be.
 *
 * Floor 3. Invariant: what was accepted can be read without a further error: keys are known, fit
 * the kind of endpoint, and stand there once; values are well-formed.
 *
 * Nothing that weakens TLS can be said here: endpoint strings come out of configurations, and are
 * put together from parts.
 */
#include "net/query.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"

#define KEY_MAX 32

#define TCP (1u << WEFT_ENDPOINT_TCP)
#define TLS (1u << WEFT_ENDPOINT_TLS)
#define UNIX (1u << WEFT_ENDPOINT_UNIX)
#define FD (1u << WEFT_ENDPOINT_FD)
#define UDP (1u << WEFT_ENDPOINT_UDP)

#define DIAL WEFT__QUERY_DIAL
#define SERVE WEFT__QUERY_SERVE

/* words: the value is one of these, divided by '|'; else it is a number up to max, or (0) a text.
 */
static const struct option {
    const char *key;
    unsigned kinds, roles;
    const char *words;
    int min, max;
} options[] = {
    {"alpn", TLS | UNIX | FD, DIAL | SERVE, NULL, 0, 0},
    {"attempt-delay", TCP | TLS, DIAL, NULL, 10, 60000},
    {"bind", TCP | TLS | UNIX, DIAL, NULL, 0, 0},
    {"ca", TLS | UNIX, DIAL, NULL, 0, 0},
    {"cert", TLS | UNIX | FD, DIAL | SERVE, NULL, 0, 0},
    {"ciphers", TLS | UNIX | FD, DIAL | SERVE, NULL, 0, 0},
    {"fast-open", TCP | TLS, DIAL, "off|on", 0, 0},
    {"interface", TCP | TLS, DIAL, NULL, 0, 0},
    {"proxy", TCP | TLS, DIAL, NULL, 0, 0},
    {"proxy-from", TCP | TLS | UNIX | FD, SERVE, NULL, 0, 0},
    {"send-proxy", TCP | TLS | UNIX, DIAL, NULL, 1, 2},
    {"family", TCP | TLS | UDP, DIAL, "4|6", 0, 0},
    {"keepalive", TCP | TLS, DIAL, NULL, 1, 32767},
    {"key", TLS | UNIX | FD, DIAL | SERVE, NULL, 0, 0},
    {"nagle", TCP | TLS, DIAL, "off|on", 0, 0},
    {"server-name", TLS | UNIX, DIAL, NULL, 0, 0},
    {"user-timeout", TCP | TLS, DIAL, NULL, 1, INT_MAX},
};

/* --- Pieces ----------------------------------------------------------------------------------- */

/* One "key=value" of a text, and where its parts are. */
struct pair {
    struct weft__span key, value;
};

/* Cuts the next pair off the front of s; false when there is none. */
static bool next_pair(struct weft__span *s, struct pair *p)
{
    if (s->at == NULL)
        return false;
    size_t end = 0, equals;
    while (end < s->len && s->at[end] != '&')
        end++;
    for (equals = 0; equals < end && s->at[equals] != '=';)
        equals++;
    p->key = (struct weft__span){s->at, equals, s->before};
    p->value = equals < end ? (struct weft__span){s->at + equals + 1, end - equals - 1,
                                                  s->before + equals + 1}
                            : (struct weft__span){NULL, 0, s->before + end};
    if (end < s->len)
        *s = (struct weft__span){s->at + end + 1, s->len - end - 1, s->before + end + 1};
    else
        s->at = NULL;
    return true;
}

static bool is_key(const struct weft__span *s, const char *key)
{
    return s->len == strlen(key) && memcmp(s->at, key, s->len) == 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value, decoded, of at most cap bytes; its length, or -ENOSPC. It is well-formed. */
static int decode(const struct weft__span *v, char *buf, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < v->len; i++, n++) {
        char c = v->at[i];
        if (n == cap)
            return -ENOSPC;
        if (c == '%') {
            c = (char)(hex_value(v->at[i + 1]) << 4 | hex_value(v->at[i + 2]));
            i += 2;
        }
        buf[n] = c;
    }
    return (int)n;
}

/* The place of a word in "a|b|c"; -1. */
static int place_of(const char *words, const char *word, size_t len)
{
    for (int i = 0; *words != '\0'; i++) {
        size_t n = strcspn(words, "|");
        if (n == len && memcmp(words, word, n) == 0)
            return i;
        words += n + (words[n] == '|');
    }
    return -1;
}

/* --- Checks ----------------------------------------------------------------------------------- */

static int check_characters(const struct weft__span *v)
{
    if (v->at == NULL)
        return weft__span_bad(v, 0, "option", "=VALUE is missing");
    if (v->len == 0)
        return weft__span_bad(v, 0, "option", "the value is empty");
    for (size_t i = 0; i < v->len; i++) {
        unsigned char c = (unsigned char)v->at[i];
        if (c <= 0x20 || c == 0x7f)
            return weft__span_bad(v, i, "option", "is to be written %HH");
        if (c != '%')
            continue;
        if (v->len - i < 3 || hex_value(v->at[i + 1]) < 0 || hex_value(v->at[i + 2]) < 0)
            return weft__span_bad(v, i, "option", "begins no %HH");
        if (v->at[i + 1] == '0' && v->at[i + 2] == '0')
            return weft__span_bad(v, i, "option", "stands for NUL, which no value has");
    }
    return 0;
}

static int check_value(const struct option *o, const struct weft__span *v)
{
    int number, err = check_characters(v);
    if (err < 0)
        return err;
    if (o->words != NULL && place_of(o->words, v->at, v->len) < 0)
        return weft__fail(WEFT_EENDPOINT, "option %s, character %zu: it is none of %s", o->key,
                          v->before + 1, o->words);
    if (o->max == 0)
        return 0;
    err = weft__span_number(&number, v, "option", o->max);
    if (err == 0 && number < o->min)
        err = weft__fail(WEFT_EENDPOINT, "option %s, character %zu: the number is below %d", o->key,
                         v->before + 1, o->min);
    return err;
}

static int check_pair(const struct weft_endpoint *e, const struct pair *p)
{
    int width = (int)weft__min_size(p->key.len, KEY_MAX);
    if (p->key.len == 0)
        return weft__span_bad(&(struct weft__span){NULL, 0, p->key.before}, 0, "option",
                              "a name is missing");
    for (size_t i = 0; i < WEFT__ARRAY_LEN(options); i++) {
        if (!is_key(&p->key, options[i].key))
            continue;
        if ((options[i].kinds & (1u << e->kind)) == 0)
            return weft__fail(WEFT_EENDPOINT,
                              "option, character %zu: this kind of endpoint has no %s",
                              p->key.before + 1, options[i].key);
        return check_value(&options[i], &p->value);
    }
    for (size_t i = 0; i < p->key.len; i++) {
        char c = p->key.at[i];
        if ((c < 'a' || c > 'z') && c != '-')
            return weft__span_bad(&p->key, i, "option", "does not belong into a name");
    }
    return weft__fail(WEFT_EENDPOINT, "option, character %zu: there is none called %.*s",
                      p->key.before + 1, width, p->key.at);
}

int weft__query_parse(struct weft_endpoint *e, const struct weft__span *s)
{
    struct weft__span left = *s, before;
    struct pair p, other;
    if (s->len > WEFT_QUERY_MAX)
        return weft__fail(WEFT_EENDPOINT, "options, character %zu: they are longer than %d bytes",
                          s->before + WEFT_QUERY_MAX + 1, WEFT_QUERY_MAX);
    while (next_pair(&left, &p)) {
        int err = check_pair(e, &p);
        if (err < 0)
            return err;
        before = *s;
        while (next_pair(&before, &other) && other.key.at != p.key.at)
            if (other.key.len == p.key.len && memcmp(other.key.at, p.key.at, p.key.len) == 0)
                return weft__fail(WEFT_EENDPOINT, "option, character %zu: %.*s is there twice",
                                  p.key.before + 1, (int)p.key.len, p.key.at);
    }
    memcpy(e->query, s->at, s->len);
    e->query[s->len] = '\0';
    return 0;
}

/* --- Reading ---------------------------------------------------------------------------------- */

static struct weft__span query_of(const struct weft_endpoint *e)
{
    size_t len = strnlen(e->query, WEFT_QUERY_MAX);
    return (struct weft__span){len > 0 ? e->query : NULL, len, 0};
}

static bool find(const struct weft_endpoint *e, const char *key, struct weft__span *value)
{
    struct weft__span left = query_of(e);
    struct pair p;
    while (next_pair(&left, &p)) {
        if (is_key(&p.key, key) && p.value.at != NULL) {
            *value = p.value;
            return true;
        }
    }
    return false;
}

int weft_endpoint_option(const struct weft_endpoint *e, const char *key, char *buf, size_t cap)
{
    char text[WEFT_QUERY_MAX + 1];
    struct weft__span v;
    if (!find(e, key, &v))
        return -ENOENT;
    int n = decode(&v, text, sizeof text);
    if (n < 0 || (size_t)n >= cap)
        return -ENOSPC;
    memcpy(buf, text, (size_t)n);
    buf[n] = '\0';
    return n;
}

int weft__query_only(const struct weft_endpoint *e, unsigned roles)
{
    struct weft__span left = query_of(e);
    struct pair p;
    while (next_pair(&left, &p))
        for (size_t i = 0; i < WEFT__ARRAY_LEN(options); i++)
            if (is_key(&p.key, options[i].key) && (options[i].roles & roles) == 0)
                return weft__fail(WEFT_EENDPOINT, "option %s has no meaning here: it is for %s",
                                  options[i].key,
                                  options[i].roles & WEFT__QUERY_DIAL ? "dialling" : "serving");
    return 0;
}

int weft__query_number(const struct weft_endpoint *e, const char *key, int otherwise)
{
    struct weft__span v;
    int number;
    if (!find(e, key, &v))
        return otherwise;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(options); i++)
        if (options[i].words != NULL &&
            is_key(&(struct weft__span){key, strlen(key), 0}, options[i].key))
            return place_of(options[i].words, v.at, v.len);
    return weft__span_number(&number, &v, "option", INT_MAX) == 0 ? number : otherwise;
}
