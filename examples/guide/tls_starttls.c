/* SPDX-License-Identifier: MIT */
/* A protocol that begins in plain text, in callbacks: STARTTLS, then a secured echo.
 * usage: tls_starttls CERTIFICATE KEY */
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static struct weft_tls *tls;

static int secured(struct weft_stream *t, void *conn)
{
    (void)conn;
    weft_transport_set(t, tls); /* from now on data is what came secured */
    return 0;
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    static const char word[] = "STARTTLS\n";
    size_t n = sizeof word - 1;
    if (conn != NULL)
        return weft_transport_write(t, bytes, len);
    if (len < n || memcmp(bytes, word, n) != 0)
        return WEFT_EPROTOCOL;
    int err = weft_transport_write(t, "220 go ahead\n", 13);
    return err < 0 ? err : weft_tls_accept_nowait(t, tls, len - n, secured);
}

static int serve(void *arg)
{
    static const struct weft_protocol protocol = {.data = data};
    static const struct weft_factory factory = {.protocol = &protocol};
    char **argv = arg, at[WEFT_ENDPOINT_MAX];
    struct weft_tls_certificate own = {.chain = argv[1], .key = argv[2]};
    struct weft_server_options o = {.model = WEFT_PROTOCOLS};
    struct weft_server *server;
    struct weft_group *g = NULL;
    int err =
        weft_tls_open(&tls, &(struct weft_tls_options){.certificates = &own, .n_certificates = 1});
    if (err == 0 && (err = weft_group_open(&g)) == 0)
        err = weft_server_open(&server, g, "tcp://127.0.0.1:0", &o, NULL, NULL, &factory);
    if (err == 0 && weft_server_endpoint(server, at, sizeof at) > 0)
        printf("listening %s\n", at);
    fflush(stdout);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    weft_group_close(&g);
    weft_tls_close(&tls);
    return err;
}

int main(int argc, char **argv)
{
    return argc != 3 || weft_run(NULL, serve, argv) < 0;
}
