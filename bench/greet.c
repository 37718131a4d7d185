/* SPDX-License-Identifier: MIT */
/*
 * The server whose handshakes bench/tls.py counts: it says one byte and closes, without reading, as
 * nginx does there with its `return`.
 *
 * Floor 6. usage: bench-greet task|protocol DRIVER ENDPOINT; prints `listening ENDPOINT`, ends on
 * SIGTERM.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <weft/weft.h>

static int handler(struct weft_stream *s, void *arg)
{
    (void)arg;
    return weft_write(s, "x", 1, weft_after_s(5));
}

static int made(struct weft_stream *t, void *arg)
{
    (void)arg;
    int err = weft_transport_write(t, "x", 1);
    weft_transport_close(t);
    return err;
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    (void)t, (void)bytes, (void)len, (void)conn;
    return 0;
}

static int run(void *arg)
{
    static const struct weft_protocol greet = {.made = made, .data = data};
    static const struct weft_factory factory = {.protocol = &greet};
    char **argv = arg, endpoint[WEFT_ENDPOINT_MAX];
    bool callbacks = strcmp(argv[1], "protocol") == 0;
    struct weft_server_options o = {.model = callbacks ? WEFT_PROTOCOLS : WEFT_TASKS};
    struct weft_signals *signals = NULL;
    struct weft_server *server = NULL;
    struct weft_group *g = NULL;
    int r = weft_signals_open(&signals, (int[]){SIGINT, SIGTERM, 0});
    if (r == 0)
        r = weft_group_open(&g);
    if (r == 0)
        r = weft_server_open(&server, g, argv[3], &o, callbacks ? NULL : handler, NULL,
                             callbacks ? &factory : NULL);
    if (r == 0)
        r = weft_server_endpoint(server, endpoint, sizeof endpoint);
    if (r < 0) {
        (void)fprintf(stderr, "bench-greet: %s: %s\n", weft_error_text(r), weft_error_detail());
    } else {
        printf("listening %s\n", endpoint);
        fflush(stdout);
        r = weft_signals_wait(signals, WEFT_NEVER);
    }
    (void)weft_group_close(&g);
    weft_signals_close(&signals);
    return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    return weft_run(&(struct weft_options){.driver = argv[2]}, run, argv);
}
