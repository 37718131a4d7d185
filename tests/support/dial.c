/* SPDX-License-Identifier: MIT */
/*
 * Dials once and says what came of it, for tests that start it in a network of their own.
 *
 * usage: dial ENDPOINT HOSTS-FILE DEADLINE-MS
 *
 * One line: the result's name, the microseconds that it took, the peer's address or "-".
 */
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

struct what {
    const char *endpoint, *hosts;
    int64_t ms;
};

static int dial(void *arg)
{
    const struct what *w = arg;
    struct weft_stream *s = NULL;
    struct weft_address peer;
    char text[WEFT_ENDPOINT_MAX] = "-";
    int err = weft_dns_configure(&(struct weft_dns_options){.hosts = w->hosts, .resolv_conf = ""});
    if (err < 0)
        return err;
    int64_t began = weft_now_ns();
    err = weft_dial(&s, w->endpoint, NULL, weft_after_ms(w->ms));
    int64_t took = weft_now_ns() - began;
    if (err == 0 && weft_stream_peer(s, &peer) == 0)
        (void)weft_address_print(&peer, text, sizeof text);
    weft_abort(&s);
    (void)printf("%s %lld %s\n", err == 0 ? "0" : weft_error_name(err), (long long)took / 1000,
                 text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: dial ENDPOINT HOSTS-FILE DEADLINE-MS\n");
        return 2;
    }
    struct what w = {.endpoint = argv[1], .hosts = argv[2], .ms = strtoll(argv[3], NULL, 10)};
    return weft_run(NULL, dial, &w) < 0;
}
