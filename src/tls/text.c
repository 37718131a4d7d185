/* SPDX-License-Identifier: MIT */
/*
 * Certificates as text: names as in RFC 2253, times in UTC, alternative names by kind.
 *
 * Floor 4. Invariants: results fit the buffer and are always ended; what a peer chose never looks
 * like something else: a value is shown whole or not at all, and what does not fit is told by
 * "..."; control characters are escaped or replaced; OpenSSL's error queue is left empty.
 */
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "tls/tls.h"

/* What stands for all that there is no room for; no name or part of one looks like it. */
#define MORE "..."

/* The length of the whole parts, each with the comma behind it, that the first `most` bytes of a
 * text of RFC 2253 have. */
static size_t whole_parts(const char *text, size_t most)
{
    size_t whole = 0;
    for (size_t i = 0; i < most; i++) {
        if (text[i] == '\\')
            i++; /* what follows is part of a value, also a comma */
        else if (text[i] == ',')
            whole = i + 1;
    }
    return whole;
}

void weft__tls_name_text(const X509_NAME *name, char *buf, size_t cap)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    unsigned long how = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    bool whole = bio != NULL && X509_NAME_print_ex(bio, name, 0, how) >= 0;
    size_t n = whole ? (size_t)BIO_get_mem_data(bio, &text) : 0;
    if (n >= cap) {
        whole = false;
        n = whole_parts(text, cap - sizeof MORE);
    }
    if (n > 0)
        memcpy(buf, text, n);
    memcpy(buf + n, whole ? "" : MORE, whole ? 1 : sizeof MORE);
    weft__text_make_printable(buf);
    BIO_free(bio);
    ERR_clear_error();
}

void weft__tls_time_text(const ASN1_TIME *t, char *buf, size_t cap)
{
    struct tm tm;
    buf[0] = '\0';
    if (ASN1_TIME_to_tm(t, &tm))
        (void)snprintf(buf, cap, "%04d-%02d-%02d %02d:%02d:%02d UTC", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    ERR_clear_error();
}

/* --- Alternative names ------------------------------------------------------------------------ */

/* A text that takes a name as a whole or not at all. */
struct list {
    char *buf;
    size_t cap, len;
    bool full; /* something was left out */
};

static void put(struct list *l, const char *bytes, size_t n)
{
    if (!l->full && n < l->cap - l->len)
        memcpy(l->buf + l->len, bytes, n);
    else
        l->full = true;
    l->len += l->full ? 0 : n;
}

/* A value as its owner wrote it, by its length: what could end it, or begin another, is escaped. */
static void put_value(struct list *l, const char *kind, const ASN1_STRING *value)
{
    const unsigned char *bytes = ASN1_STRING_get0_data(value);
    put(l, kind, strlen(kind));
    for (int i = 0; i < ASN1_STRING_length(value) && !l->full; i++) {
        char text[5];
        bool plain = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != ',' && bytes[i] != '\\';
        int n = snprintf(text, sizeof text, plain ? "%c" : "\\x%02X", bytes[i]);
        put(l, text, (size_t)n);
    }
}

static void put_address(struct list *l, const ASN1_STRING *address)
{
    char text[INET6_ADDRSTRLEN] = "other";
    int len = ASN1_STRING_length(address);
    bool known = len == 4 || len == 16;
    if (known)
        (void)inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text,
                        sizeof text);
    put(l, "IP:", known ? 3 : 0);
    put(l, text, strlen(text));
}

static void put_name(struct list *l, const GENERAL_NAME *g)
{
    switch (g->type) {
    case GEN_DNS:
        put_value(l, "DNS:", g->d.dNSName);
        break;
    case GEN_EMAIL:
        put_value(l, "email:", g->d.rfc822Name);
        break;
    case GEN_URI:
        put_value(l, "URI:", g->d.uniformResourceIdentifier);
        break;
    case GEN_IPADD:
        put_address(l, g->d.iPAddress);
        break;
    default:
        put(l, "other", 5);
        break;
    }
}

void weft__tls_names_text(X509 *cert, char *buf, size_t cap)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    struct list l = {.buf = buf, .cap = cap - (sizeof ", " MORE - 1)};
    bool more = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        size_t whole = l.len;
        put(&l, ", ", whole > 0 ? 2 : 0);
        put_name(&l, sk_GENERAL_NAME_value(names, i));
        if (l.full)
            l.len = whole;
        more |= l.full;
        l.full = false;
    }
    (void)snprintf(buf + l.len, cap - l.len, "%s%s", more && l.len > 0 ? ", " : "",
                   more ? MORE : "");
    GENERAL_NAMES_free(names);
    ERR_clear_error();
}
