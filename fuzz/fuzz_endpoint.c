/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes endpoint strings. Whatever bytes come: no crash, the out-parameter untouched and a detail
 * set on refusal; what is accepted prints, and the print reads back to the same endpoint.
 *
 * Floor 3. With -DWEFT_FUZZ_REPLAY it is a program that runs the files named as its arguments.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/address.h>
#include <weft/error.h>

#include "replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok, const char *what, const char *text)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %s\n", what, text);
    abort();
}

/* What is said of an option can be read, whatever room there is for it. */
static void check_option(const struct weft_endpoint *e, const char *key, const char *text)
{
    char value[WEFT_QUERY_MAX + 1];
    int n = weft_endpoint_option(e, key, value, sizeof(value));
    check(n == -ENOENT || (n > 0 && strlen(value) == (size_t)n), "an option cannot be read", text);
    check(n < 0 || weft_endpoint_option(e, key, value, (size_t)n) == -ENOSPC, "too little room",
          text);
}

static void check_accepted(const struct weft_endpoint *e, const char *text)
{
    char print[WEFT_ENDPOINT_MAX];
    char again[WEFT_ENDPOINT_MAX];
    struct weft_endpoint back;
    int n = weft_endpoint_print(e, print, sizeof(print));
    check(n > 0 && strlen(print) == (size_t)n, "accepted but not printed", text);
    check(weft_endpoint_parse(&back, print) == 0, "printed but not read back", print);
    check(back.kind == e->kind && back.fd == e->fd && back.any == e->any && back.port == e->port &&
              strcmp(back.host, e->host) == 0 && strcmp(back.query, e->query) == 0 &&
              back.address.len == e->address.len &&
              memcmp(&back.address.sa, &e->address.sa, sizeof(back.address.sa)) == 0,
          "read back as another", print);
    check(weft_endpoint_print(&back, again, sizeof(again)) == n && strcmp(print, again) == 0,
          "two prints differ", again);
    check(weft_endpoint_print(e, again, (size_t)n) < 0, "printed into too little room", print);
    check_option(e, "bind", print);
    check_option(e, "ca", print);
    check_option(e, "key", print);
    if (e->address.len > 0)
        check(weft_address_equal(&e->address, &back.address) &&
                  weft_address_print(&e->address, again, sizeof(again)) > 0,
              "addresses differ", print);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct weft_endpoint untouched = {.fd = -77};
    struct weft_endpoint e = untouched;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';

    int r = weft_endpoint_parse(&e, text);
    if (r == 0) {
        check_accepted(&e, text);
    } else {
        check(r == WEFT_EENDPOINT, "refused with a strange code", text);
        check(memcmp(&e, &untouched, sizeof(e)) == 0, "refused but written", text);
        check(weft_error_detail()[0] != '\0', "refused without a reason", text);
    }
    struct weft_address a;
    if (weft_address_ip(&a, text, 65535) == 0)
        check(weft_address_port(&a) == 65535, "port lost", text);
    if (weft_address_unix(&a, text) == 0)
        check(weft_address_port(&a) == -1, "port of a path", text);
    free(text);
    return 0;
}
