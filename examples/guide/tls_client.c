/* SPDX-License-Identifier: MIT */
/* Says a line to a secured server, and prints what it is and what comes back.
 * usage: tls_client ENDPOINT NAME CA [CERTIFICATE KEY] */
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static int talk(struct weft_stream *s)
{
    struct weft_tls_info peer;
    char line[256];
    int err = weft_tls_info(s, &peer);
    if (err < 0)
        return err;
    printf("%s, %s, %s\n", peer.version, peer.subject, peer.resumed ? "resumed" : "new");
    if ((err = weft_write(s, "good day\n", 9, weft_after_s(5))) < 0 ||
        (err = weft_shutdown(s, weft_after_s(5))) < 0)
        return err;
    ssize_t n;
    while ((n = weft_read_until(s, line, sizeof line, '\n', weft_after_s(5))) > 0)
        printf("%.*s", (int)n, line);
    return (int)n; /* WEFT_EEOF: somebody cut the connection off */
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    struct weft_tls_certificate own = {.chain = argv[4], .key = argc > 5 ? argv[5] : NULL};
    struct weft_tls_options o = {.ca = argv[3], .certificates = &own, .n_certificates = argc > 5};
    struct weft_tls *tls = NULL;
    int err = weft_tls_open(&tls, &o);
    for (int i = 0; err == 0 && i < 2; i++) { /* the second one goes on with the session */
        struct weft_stream *s = NULL;
        err = weft_dial(&s, argv[1], NULL, weft_after_s(5));
        if (err == 0)
            err = weft_tls_connect(&s, tls, argv[2], weft_after_s(5));
        if (err == 0)
            err = talk(s);
        if (err < 0)
            fprintf(stderr, "%s: %s\n", weft_error_name(err), weft_error_detail());
        weft_close(&s, weft_after_s(5));
    }
    weft_tls_close(&tls);
    return err < 0;
}
