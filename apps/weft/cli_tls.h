/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_CLI_TLS_H
#define WEFT_APP_CLI_TLS_H
/*
 * What `weft connect`, `echo` and `load` share about TLS: contexts from the command line.
 *
 * Floor 6.
 */
#include <stdbool.h>

#include <weft/tls.h>

/* Whether an endpoint is one of TLS. */
bool cli_is_tls(const char *endpoint);

/*
 * A client's context, for `ca` (a file, or NULL) and --insecure-no-verify; *ret stays NULL when
 * neither is given. CLI_GO_ON or what to exit with.
 */
int cli_tls_client(const char *verb, struct weft_tls **ret, const char *ca, bool insecure);

/*
 * A server's context: of cert and key, or, with neither, of a certificate that is made on the spot
 * and said so loudly. offload: handshakes on the work pool. CLI_GO_ON or what to exit with.
 */
int cli_tls_server(const char *verb, struct weft_tls **ret, const char *cert, const char *key,
                   bool offload);

#endif
