/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes URLs. Input: a URL, and after a zero byte a reference to resolve against it. Checked for
 * every input: what was read is read again from its text as itself; the text holds nothing that a
 * URL may not hold; the strings are those of the text; a host is in its final form; what is
 * resolved is a URL of its own.
 */
#include <weft/url.h>

#include "http1_fuzz.h"
#include "wire/http.h"

static void check(const struct weft_url *u)
{
    struct weft_url *again = NULL;
    char buf[WEFT_URL_MAX + 16];
    size_t len = strlen(u->text);
    WEFT__ASSERT(len <= WEFT_URL_MAX);
    for (const char *c = u->text; *c != '\0'; c++)
        WEFT__ASSERT((unsigned char)*c > 0x20 && (unsigned char)*c < 0x7f &&
                     strchr("\"<>", *c) == NULL);
    int r = weft_url_parse(&again, u->text, len);
    WEFT__ASSERT(r == 0);
    WEFT__ASSERT(strcmp(again->text, u->text) == 0 && strcmp(again->host, u->host) == 0);
    WEFT__ASSERT(strcmp(again->path, u->path) == 0 && strcmp(again->username, u->username) == 0);
    WEFT__ASSERT(strcmp(again->password, u->password) == 0 && again->port == u->port);
    WEFT__ASSERT((again->query == NULL) == (u->query == NULL));
    WEFT__ASSERT((again->fragment == NULL) == (u->fragment == NULL));
    WEFT__ASSERT(again->host_kind == u->host_kind && again->has_port == u->has_port);
    WEFT__ASSERT(strstr(u->path, "/../") == NULL || u->path[0] != '/');
    if (u->web) {
        struct weft__slice host;
        int port;
        WEFT__ASSERT(u->host_kind != WEFT_URL_NO_HOST && u->path[0] == '/');
        WEFT__ASSERT(weft_url_same_origin(u, again));
        /* a server of ours takes it as a Host field and as a target */
        ssize_t n = weft_url_authority(u, buf, sizeof(buf));
        WEFT__ASSERT(n > 0);
        WEFT__ASSERT(weft__http_host_split(weft__slice_of(buf, (size_t)n), &host, &port));
        n = weft_url_target(u, buf, sizeof(buf));
        WEFT__ASSERT(n > 0 && weft__http_all(weft__slice_of(buf, (size_t)n), WEFT__HC_TARGET));
        WEFT__ASSERT(weft__http_all(weft__slice_text(u->path), WEFT__HC_PATH));
        WEFT__ASSERT(weft_url_endpoint(u, buf, sizeof(buf)) > 0);
    }
    weft_url_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = weft__min_size(size, 2048);
    char *copy = fuzz_copy(data, len);
    struct weft__slice all = weft__slice_of(copy, len);
    size_t zero = weft__slice_find(all, '\0', 0);
    struct weft__slice ref = weft__slice_from(all, zero + 1);
    struct weft_url *base = NULL;
    struct weft_url *u = NULL;
    int r = weft_url_parse(&base, copy, zero);
    WEFT__ASSERT((r == 0) == (base != NULL));
    if (r == 0) {
        check(base);
        r = weft_url_resolve(&u, base, ref.at, ref.len);
        WEFT__ASSERT((r == 0) == (u != NULL));
        if (r == 0)
            check(u);
        weft_url_free(u);
        weft_url_free(base);
    } else {
        WEFT__ASSERT(r == WEFT_EURL);
    }
    weft__free(copy);
    return 0;
}
