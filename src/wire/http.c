/* SPDX-License-Identifier: MIT */
/*
 * The words of HTTP: tables of methods, status codes, names of fields and characters; see http.h.
 *
 * Floor 0. Invariants: all tables are const; the names' table is a perfect hash (no two known names
 * share a slot), so a look-up compares with one name at most. test_http_words.c holds the tables
 * against each other.
 */
#include "wire/http.h"

#include <arpa/inet.h>
#include <string.h>

#include "wire/http_name.h"

#define T WEFT__HC_TOKEN
#define V WEFT__HC_VALUE
#define G WEFT__HC_TARGET
#define P WEFT__HC_PATH
#define H WEFT__HC_HOST
#define X WEFT__HC_HEX
#define D WEFT__HC_DIGIT
#define C WEFT__HC_COOKIE
#define Q WEFT__HC_QDTEXT

/* clang-format off */
const uint16_t weft__http_chars[256] = {
    ['\t'] = V | Q,
    [' '] = V | Q,
    ['!'] = T | V | G | P | H | C | Q,
    ['"'] = V,
    ['#'] = T | V | C | Q,
    ['$'] = T | V | G | P | H | C | Q,
    ['%'] = T | V | G | P | C | Q,
    ['&'] = T | V | G | P | H | C | Q,
    ['\''] = T | V | G | P | H | C | Q,
    ['('] = V | G | P | H | C | Q,
    [')'] = V | G | P | H | C | Q,
    ['*'] = T | V | G | P | H | C | Q,
    ['+'] = T | V | G | P | H | C | Q,
    [','] = V | G | P | H | Q,
    ['-'] = T | V | G | P | H | C | Q,
    ['.'] = T | V | G | P | H | C | Q,
    ['/'] = V | G | P | C | Q,
    ['0' ... '9'] = T | V | G | P | H | X | D | C | Q,
    [':'] = V | G | P | C | Q,
    [';'] = V | G | P | H | Q,
    ['<'] = V | C | Q,
    ['='] = V | G | P | H | C | Q,
    ['>'] = V | C | Q,
    ['?'] = V | G | C | Q,
    ['@'] = V | G | P | C | Q,
    ['A' ... 'F'] = T | V | G | P | H | X | C | Q,
    ['G' ... 'Z'] = T | V | G | P | H | C | Q,
    ['['] = V | G | P | C | Q,
    ['\\'] = V | G,
    [']'] = V | G | P | C | Q,
    ['^'] = T | V | G | P | C | Q,
    ['_'] = T | V | G | P | H | C | Q,
    ['`'] = T | V | G | P | C | Q,
    ['a' ... 'f'] = T | V | G | P | H | X | C | Q,
    ['g' ... 'z'] = T | V | G | P | H | C | Q,
    ['{'] = V | G | P | C | Q,
    ['|'] = T | V | G | P | C | Q,
    ['}'] = V | G | P | C | Q,
    ['~'] = T | V | G | P | H | C | Q,
    [0x80 ... 0xff] = V | Q,
};
/* clang-format on */

#undef T
#undef V
#undef G
#undef P
#undef H
#undef X
#undef D
#undef C
#undef Q

static const char *const method_names[] = {
    [WEFT__HTTP_OTHER] = "OTHER",     [WEFT__HTTP_GET] = "GET",
    [WEFT__HTTP_HEAD] = "HEAD",       [WEFT__HTTP_POST] = "POST",
    [WEFT__HTTP_PUT] = "PUT",         [WEFT__HTTP_DELETE] = "DELETE",
    [WEFT__HTTP_CONNECT] = "CONNECT", [WEFT__HTTP_OPTIONS] = "OPTIONS",
    [WEFT__HTTP_TRACE] = "TRACE",     [WEFT__HTTP_PATCH] = "PATCH",
};

enum weft__http_method weft__http_method_of(struct weft__slice token)
{
    for (unsigned m = WEFT__HTTP_GET; m < WEFT__HTTP_METHODS; m++)
        if (weft__slice_is(token, method_names[m]))
            return (enum weft__http_method)m;
    return WEFT__HTTP_OTHER;
}

const char *weft__http_method_name(enum weft__http_method m)
{
    return (unsigned)m < WEFT__HTTP_METHODS ? method_names[m] : method_names[WEFT__HTTP_OTHER];
}

bool weft__http_method_safe(enum weft__http_method m)
{
    return m == WEFT__HTTP_GET || m == WEFT__HTTP_HEAD || m == WEFT__HTTP_OPTIONS ||
           m == WEFT__HTTP_TRACE;
}

bool weft__http_method_idempotent(enum weft__http_method m)
{
    return weft__http_method_safe(m) || m == WEFT__HTTP_PUT || m == WEFT__HTTP_DELETE;
}

/* One line a code, so that the table can be read down. */
/* clang-format off */
const char *weft__http_reason(int status)
{
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 102: return "Processing";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 207: return "Multi-Status";
    case 208: return "Already Reported";
    case 226: return "IM Used";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 305: return "Use Proxy";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 423: return "Locked";
    case 424: return "Failed Dependency";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 506: return "Variant Also Negotiates";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    case 511: return "Network Authentication Required";
    default: return "Unknown";
    }
}
/* clang-format on */

enum weft__http_name weft__http_name_of(struct weft__slice name)
{
    /* The fast look-up takes a control character for a letter; here one may come. */
    enum weft__http_name n = weft__http_name_find(name.at, name.len);
    return n != WEFT__HN_OTHER && weft__http_token(name) ? n : WEFT__HN_OTHER;
}

const char *weft__http_name_text(enum weft__http_name name)
{
    return (unsigned)name < WEFT__HTTP_NAMES ? weft__http_names[name].text : "";
}

bool weft__http_all(struct weft__slice s, unsigned classes)
{
    for (size_t i = 0; i < s.len; i++)
        if (!weft__http_is(s.at[i], classes))
            return false;
    return true;
}

bool weft__http_token(struct weft__slice s)
{
    return s.len > 0 && weft__http_all(s, WEFT__HC_TOKEN);
}

/* Of eight bytes: not 0 when one is below 0x20 or DEL. HTAB is among them, which is asked again. */
static inline uint64_t odd_of_8(const char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    uint64_t v;
    memcpy(&v, at, sizeof v);
    uint64_t del = v ^ (0x7f * ones);
    return (((v - 0x20 * ones) & ~v) | ((del - ones) & ~del)) & tops;
}

bool weft__http_value(struct weft__slice s)
{
    if (s.len >= 8) { /* the last eight may have been looked at already */
        uint64_t odd = odd_of_8(s.at + s.len - 8);
        for (size_t i = 0; i + 8 < s.len && odd == 0; i += 8)
            odd = odd_of_8(s.at + i);
        if (odd == 0)
            return s.at[0] != ' ' && s.at[s.len - 1] != ' ';
    }
    if (s.len > 0 &&
        (s.at[0] == ' ' || s.at[0] == '\t' || s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        return false;
    return weft__http_all(s, WEFT__HC_VALUE);
}

bool weft__http_decimal(struct weft__slice s, uint64_t *value)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.at[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *value = v;
    return true;
}

/* An IPv6 address as the C library reads it, without a zone (RFC 3986 section 3.2.2). */
static bool is_ipv6(struct weft__slice s)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char binary[16];
    if (s.len >= sizeof(text) || memchr(s.at, '\0', s.len) != NULL)
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    return inet_pton(AF_INET6, text, binary) == 1;
}

/* The length of a reg-name, or IPv4address, which is one by its characters, at the beginning. */
static size_t host_name_length(struct weft__slice s)
{
    size_t i = 0;
    for (;;) {
        while (i < s.len && weft__http_is(s.at[i], WEFT__HC_HOST))
            i++;
        if (i + 2 >= s.len || s.at[i] != '%' || !weft__http_is(s.at[i + 1], WEFT__HC_HEX) ||
            !weft__http_is(s.at[i + 2], WEFT__HC_HEX))
            return i;
        i += 3;
    }
}

/* Digits, at most five that matter: false when they are no port. */
static bool port_of(struct weft__slice s, int *port)
{
    unsigned number = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.at[i] - (unsigned)'0';
        if (digit > 9)
            return false;
        number = number * 10 + digit;
        if (number > 65535)
            return false;
    }
    *port = (int)number;
    return true;
}

bool weft__http_host_split(struct weft__slice s, struct weft__slice *host, int *port)
{
    size_t colon;
    int number = -1;
    if (s.len == 0) {
        *host = s;
        *port = -1;
        return true;
    }
    if (s.at[0] == '[') {
        size_t close = weft__slice_find(s, ']', 0);
        if (close == s.len || !is_ipv6(weft__slice_part(s, 1, close)))
            return false;
        colon = close + 1;
    } else {
        colon = host_name_length(s);
        if (colon == 0 || colon > WEFT__HTTP_HOST_MAX)
            return false;
    }
    if (colon < s.len) {
        if (s.at[colon] != ':')
            return false;
        struct weft__slice digits = weft__slice_from(s, colon + 1);
        if (digits.len > 0 && !port_of(digits, &number))
            return false;
    }
    *host = weft__slice_part(s, 0, colon);
    *port = number;
    return true;
}
