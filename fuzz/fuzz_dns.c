/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what the resolver reads: messages of name servers, names, and resolv.conf. Checked for
 * every input:
 * - a message that is taken for good has records, at most WEFT_DNS_RECORDS_MAX, and gives as many
 *   when it is read again; all texts end within what was allocated for them;
 * - TTLs are within what RFC 2181 allows, and age only makes them shorter;
 * - a name that is taken is in lower case, and is taken again as itself;
 * - a configuration is within its bounds, whatever the file says.
 *
 * Built with clang -fsanitize=fuzzer; or with -DWEFT_FUZZ_REPLAY as a plain program that runs the
 * files given as arguments.
 *
 * Input: what it is (message of one of six types, name, resolv.conf), then that.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weft/dns.h>

#include "base/alloc.h"
#include "dns/dns.h"
#include "replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ASKED "a.test"

static const uint16_t types[] = {WEFT_DNS_A,   WEFT_DNS_PTR,  WEFT_DNS_MX,
                                 WEFT_DNS_TXT, WEFT_DNS_AAAA, WEFT_DNS_SRV};

static void check_record(const struct weft_dns_record *r, uint16_t type, uint32_t shortest)
{
    WEFT__ASSERT(r->ttl_s <= INT32_MAX && r->ttl_s >= shortest);
    WEFT__ASSERT((r->name != NULL) ==
                 (type == WEFT_DNS_PTR || type == WEFT_DNS_MX || type == WEFT_DNS_SRV));
    WEFT__ASSERT(r->name == NULL || strlen(r->name) < WEFT__DNS_TEXT);
    WEFT__ASSERT((r->text != NULL) == (type == WEFT_DNS_TXT));
    WEFT__ASSERT(r->text == NULL || r->text[r->text_len] == '\0');
    WEFT__ASSERT((r->address.len > 0) == (type == WEFT_DNS_A || type == WEFT_DNS_AAAA));
}

static void message(uint16_t type, const unsigned char *msg, size_t len)
{
    struct weft__dns_scan s;
    weft__dns_scan(&s, msg, len, ASKED, type, NULL, NULL);
    WEFT__ASSERT(s.n <= WEFT_DNS_RECORDS_MAX && strlen(s.name) < WEFT__DNS_TEXT);
    WEFT__ASSERT(s.status <= WEFT__DNS_MALFORMED);
    if (s.status != WEFT__DNS_OK)
        return;
    WEFT__ASSERT(s.n > 0);
    for (uint32_t age_s = 0; age_s < 100; age_s += 60) {
        struct weft_dns_answer *a = weft__dns_build(msg, len, ASKED, type, age_s);
        WEFT__ASSERT(a != NULL && a->n == s.n && strcmp(a->name, s.name) == 0);
        WEFT__ASSERT(a->ttl_s == (s.ttl_s > age_s ? s.ttl_s - age_s : 0));
        for (size_t i = 0; i < a->n; i++)
            check_record(&a->at[i], type, a->ttl_s);
        weft_dns_answer_free(&a);
    }
}

/* A copy with a NUL, of exactly that size. */
static char *text_of(const unsigned char *bytes, size_t len)
{
    char *text = malloc(len + 1);
    WEFT__ASSERT(text != NULL);
    memcpy(text, bytes, len);
    text[len] = '\0';
    return text;
}

static void name(const unsigned char *bytes, size_t len)
{
    char *text = text_of(bytes, len), first[WEFT__DNS_NAME], again[WEFT__DNS_NAME];
    bool absolute, other;
    if (weft__dns_name(first, text, &absolute) == 0) {
        WEFT__ASSERT(strlen(first) <= 253 && first[strcspn(first, "ABCXYZ")] == '\0');
        WEFT__ASSERT(weft__dns_name(again, first, &other) == 0 && strcmp(first, again) == 0);
        WEFT__ASSERT(!other);
    }
    free(text);
}

static void configuration(const unsigned char *bytes, size_t len)
{
    struct weft__dns_settings *s = NULL;
    struct weft__dns_conf c;
    char *text = text_of(bytes, len);
    WEFT__ASSERT(weft__dns_settings_make(&s, NULL) == 0);
    weft__dns_conf_make(&c, s, text);
    WEFT__ASSERT(c.n_servers >= 1 && c.n_servers <= 3 && c.n_domains <= WEFT__DNS_DOMAINS);
    WEFT__ASSERT(c.ndots >= 0 && c.ndots <= 15 && c.tries >= 1 && c.tries <= 10);
    WEFT__ASSERT(c.timeout_ms >= 1000 && c.timeout_ms <= 60000);
    for (size_t i = 0; i < c.n_domains; i++)
        WEFT__ASSERT(strlen(c.domains[i]) > 0 && strlen(c.domains[i]) <= 253);
    weft__free(s);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    unsigned what = data[0] % 8;
    if (what < 6)
        message(types[what], data + 1, size - 1);
    else if (what == 6)
        name(data + 1, size - 1);
    else
        configuration(data + 1, size - 1);
    return 0;
}
