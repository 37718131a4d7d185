/* SPDX-License-Identifier: MIT */
/* One exchange with a line service, at whatever endpoint: docs/guide/names.md. */
#include <stdio.h>

#include <weft/weft.h>

static int exchange(const char *endpoint, const struct weft_dial_options *o)
{
    weft_deadline d = weft_after_ms(2000); /* for all of it */
    struct weft_stream *s = NULL;
    char line[128];
    int err = weft_dial(&s, endpoint, o, d);
    if (err == 0)
        err = weft_write(s, "hello\n", 6, d);
    ssize_t n = err == 0 ? weft_read_until(s, line, sizeof line, '\n', d) : err;
    if (n > 0)
        printf("%.*s", (int)n, line);
    int closed = weft_close(&s, d);
    return n < 0 ? (int)n : closed;
}

int main(int argc, char **argv)
{
    struct weft_tls *tls = NULL;
    struct weft_tls_options trust = {.ca = argc > 2 ? argv[2] : NULL};
    struct weft_dial_options o = {.keepalive_s = 60};
    int err = argc > 2 ? weft_tls_open(&tls, &trust) : 0;
    o.tls = tls;
    if (err == 0)
        err = exchange(argc > 1 ? argv[1] : "tcp://localhost:7001", &o);
    weft_tls_close(&tls);
    if (err < 0)
        fprintf(stderr, "%s: %s\n", weft_error_text(err), weft_error_detail());
    return err < 0;
}
