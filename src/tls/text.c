/* SPDX-License-Identifier: MIT */
/*
 * Certificates as text: names as in RFC 2253, times in UTC, alternative names by kind.
 *
 * Floor 4. Invariants: results are cut to the buffer and always ended; a byte that a peer chose and
 * that is no printable ASCII is escaped or replaced; OpenSSL's error queue is left empty.
 */
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "tls/tls.h"

/* Moves what was printed to buf. */
static void drain(BIO *bio, char *buf, size_t cap)
{
    int n = bio != NULL ? BIO_read(bio, buf, (int)cap - 1) : 0;
    buf[n > 0 ? n : 0] = '\0';
    weft__text_make_printable(buf);
    BIO_free(bio);
    ERR_clear_error();
}

void weft__tls_name_text(const X509_NAME *name, char *buf, size_t cap)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL)
        X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    drain(bio, buf, cap);
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

static int one_name(const GENERAL_NAME *g, char *buf, size_t cap)
{
    char text[INET6_ADDRSTRLEN] = "";
    switch (g->type) {
    case GEN_DNS:
        return snprintf(buf, cap, "DNS:%.*s", ASN1_STRING_length(g->d.dNSName),
                        (const char *)ASN1_STRING_get0_data(g->d.dNSName));
    case GEN_EMAIL:
        return snprintf(buf, cap, "email:%.*s", ASN1_STRING_length(g->d.rfc822Name),
                        (const char *)ASN1_STRING_get0_data(g->d.rfc822Name));
    case GEN_URI:
        return snprintf(buf, cap, "URI:%.*s", ASN1_STRING_length(g->d.uniformResourceIdentifier),
                        (const char *)ASN1_STRING_get0_data(g->d.uniformResourceIdentifier));
    case GEN_IPADD:
        if (inet_ntop(ASN1_STRING_length(g->d.iPAddress) == 16 ? AF_INET6 : AF_INET,
                      ASN1_STRING_get0_data(g->d.iPAddress), text, sizeof text) == NULL)
            return 0;
        return snprintf(buf, cap, "IP:%s", text);
    default:
        return snprintf(buf, cap, "other");
    }
}

void weft__tls_names_text(X509 *cert, char *buf, size_t cap)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && at + 3 < cap; i++) {
        if (i > 0)
            at += (size_t)snprintf(buf + at, cap - at, ", ");
        int n = one_name(sk_GENERAL_NAME_value(names, i), buf + at, cap - at);
        at += n > 0 ? (size_t)n : 0;
    }
    GENERAL_NAMES_free(names);
    weft__text_make_printable(buf);
    ERR_clear_error();
}
