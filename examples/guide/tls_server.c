/* SPDX-License-Identifier: MIT */
/* A secured echo server; SIGHUP has it read its certificate again.
 * usage: tls_server CERTIFICATE KEY [CA-OF-CLIENTS] */
#include <signal.h>
#include <stdio.h>
#include <weft/weft.h>

static int echo(struct weft_stream *s, void *arg)
{
    struct weft_tls_info who;
    const void *data;
    ssize_t n = 0;
    (void)arg;
    int err = weft_tls_info(s, &who);
    if (err == 0 && who.verified) /* a certificate was shown, and is trusted */
        err = weft_printf(s, weft_after_s(5), "hello, %s\n", who.subject);
    while (err == 0 && (n = weft_peek(s, &data, WEFT_NEVER)) > 0) {
        err = weft_write(s, data, (size_t)n, weft_after_s(5));
        weft_consume(s, (size_t)n);
    }
    return n < 0 ? (int)n : err;
}

static void failed(void *arg, const struct weft_address *peer, int error)
{
    (void)arg, (void)peer;
    fprintf(stderr, "%s: %s\n", weft_error_name(error), weft_error_detail());
}

static int serve(void *arg)
{
    char **argv = arg, at[WEFT_ENDPOINT_MAX];
    struct weft_tls_certificate own = {.chain = argv[1], .key = argv[2]};
    struct weft_tls_options o = {.certificates = &own, .n_certificates = 1, .ca = argv[3]};
    struct weft_tls *tls = NULL;
    struct weft_group *g = NULL;
    struct weft_server *server;
    struct weft_signals *signals = NULL;
    o.client = argv[3] != NULL ? WEFT_TLS_CLIENT_REQUIRED : WEFT_TLS_CLIENT_ANY;
    int err = weft_signals_open(&signals, (int[]){SIGHUP, SIGTERM, 0});
    if (err == 0 && (err = weft_tls_open(&tls, &o)) == 0 && (err = weft_group_open(&g)) == 0) {
        struct weft_server_options so = {.tls = tls, .failed = failed, .max_handshakes = 1000};
        err = weft_server_open(&server, g, "tls://127.0.0.1:0", &so, echo, NULL, NULL);
    }
    if (err == 0 && (err = weft_server_endpoint(server, at, sizeof at)) > 0)
        dprintf(1, "listening %s\n", at);
    while (err >= 0 && (err = weft_signals_wait(signals, WEFT_NEVER)) == SIGHUP)
        if (weft_tls_reload(tls) < 0) /* everything stays as it was */
            fprintf(stderr, "not reloaded: %s\n", weft_error_detail());
    weft_group_close(&g);
    weft_tls_close(&tls);
    weft_signals_close(&signals);
    return err < 0 ? err : 0;
}

int main(int argc, char **argv)
{
    return argc < 3 || weft_run(NULL, serve, argv) < 0;
}
