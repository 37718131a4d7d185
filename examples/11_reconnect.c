/* SPDX-License-Identifier: MIT */
/*
 * 11: a client that comes back. It greets its server and prints what it hears; when it is refused
 * or the connection is lost it tries again, later each time. (Twisted's
 * ReconnectingClientFactory.)
 *
 *   11_reconnect [ENDPOINT]      until SIGINT or SIGTERM
 */
#include <inttypes.h>
#include <stdio.h>
#include <weft/weft.h>

static int made(struct weft_stream *t, void *arg)
{
    (void)arg;
    return weft_transport_write(t, "hello\n", 6);
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    (void)t;
    (void)conn;
    printf("heard %.*s", (int)len, (const char *)bytes);
    fflush(stdout);
    return 0;
}

static void state(void *arg, bool connected, int error, int64_t delay_ms)
{
    (void)arg;
    if (connected)
        printf("connected\n");
    else
        printf("down: %s; again in %" PRId64 " ms\n", weft_error_text(error), delay_ms);
    fflush(stdout);
}

static int work(void *endpoint)
{
    static const struct weft_protocol protocol = {.made = made, .data = data};
    struct weft_reconnect_options options = {.first_ms = 50, .max_ms = 5000, .state = state};
    struct weft_factory factory = {.protocol = &protocol};
    struct weft_reconnector *client = NULL;
    struct weft_signals *signals = NULL;
    struct weft_group *group = NULL;
    int err = weft_signals_open(&signals, (int[]){SIGINT, SIGTERM, 0});
    if (err == 0 && (err = weft_group_open(&group)) == 0)
        err = weft_reconnector_open(&client, group, endpoint, &options, &factory);
    if (err == 0)
        err = weft_signals_wait(signals, WEFT_NEVER);
    (void)weft_group_close(&group); /* ends it, and its connection */
    weft_signals_close(&signals);
    return err;
}

int main(int argc, char **argv)
{
    return weft_run(NULL, work, argc > 1 ? argv[1] : "tcp://127.0.0.1:8888") < 0;
}
