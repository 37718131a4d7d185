/* SPDX-License-Identifier: MIT */
/*
 * Contexts of TLS from the command line. See cli_tls.h.
 *
 * Shows: a context with whom to trust, and one with what to show.
 *
 * Floor 6.
 */
#include "cli_tls.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"

bool cli_is_tls(const char *endpoint)
{
    return strncmp(endpoint, "tls:", 4) == 0;
}

int cli_tls_client(const char *verb, struct weft_tls **ret, const char *ca, bool insecure)
{
    if (ca == NULL && !insecure)
        return CLI_GO_ON;
    if (ca != NULL && insecure)
        return cli_usage_error(verb, "--ca and --insecure-no-verify exclude each other");
    struct weft_tls_options o = {.ca = ca, .insecure_no_verify = insecure};
    int r = weft_tls_open(ret, &o);
    return r < 0 ? cli_failed_code(verb, r, "cannot use %s", ca != NULL ? ca : "TLS") : CLI_GO_ON;
}

int cli_tls_server(const char *verb, struct weft_tls **ret, const char *cert, const char *key,
                   bool offload)
{
    struct weft_tls_certificate own = {.chain = cert, .key = key};
    struct weft_tls_options o = {
        .certificates = &own, .n_certificates = 1, .handshake_offload = offload};
    char *text = NULL;
    int r = 0;
    if (key != NULL && cert == NULL)
        return cli_usage_error(verb, "--key needs --cert");
    if (cert == NULL) {
        r = weft_tls_self_signed(&text, NULL, 0);
        own.chain = text;
        fprintf(stderr,
                "weft %s: NO CERTIFICATE WAS GIVEN (--cert, --key): one was made on the spot, for "
                "localhost,\nthat nobody trusts. Clients need --insecure-no-verify.\n",
                verb);
    }
    if (r == 0)
        r = weft_tls_open(ret, &o);
    weft_tls_text_free(&text);
    return r < 0 ? cli_failed_code(verb, r, "cannot use %s", cert != NULL ? cert : "TLS")
                 : CLI_GO_ON;
}
