/* SPDX-License-Identifier: MIT */
/*
 * A connection whose handler or callback has failed ends with a reset, whatever the error was: a
 * peer must not take what it has for all there was.
 */
#include <weft/weft.h>

#include "rt_kit.h"

/* Such as a backend of its own has reset. */
static int fail_late(struct weft_stream *s, void *arg)
{
    char byte;
    CHECK_EQ(weft_read(s, &byte, 1, WEFT_NEVER), 1);
    CHECK_EQ(weft_write(s, "a part", 6, WEFT_NEVER), 0);
    return *(const int *)arg;
}

static int fail_in_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)data, (void)len;
    CHECK_EQ(weft_transport_write(t, "a part", 6), 0);
    return *(const int *)conn;
}

static int abort_in_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)data, (void)len;
    CHECK_EQ(weft_transport_write(t, "a part", 6), 0);
    weft_transport_abort(t, *(const int *)conn);
    return 0;
}

static int keep_error(struct weft_stream *t, void *arg)
{
    weft_transport_set(t, arg);
    return 0;
}

static void lost_with_it(struct weft_stream *t, int error, void *conn)
{
    (void)t;
    CHECK_EQ(error, *(const int *)conn);
}

static void ends_with_a_reset(const struct weft_server_options *o, weft_handler handler, void *arg,
                              const struct weft_factory *f)
{
    struct weft_group *g = kit_group();
    struct weft_server *server = NULL;
    struct weft_stream *c = NULL;
    char at[WEFT_ENDPOINT_MAX], buf[16];
    ssize_t n;
    CHECK_EQ(weft_server_open(&server, g, "tcp://127.0.0.1:0", o, handler, arg, f), 0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    CHECK_EQ(weft_dial(&c, at, NULL, weft_after_s(20)), 0);
    CHECK_EQ(weft_write(c, "x", 1, weft_after_s(20)), 0);
    do
        n = weft_read(c, buf, sizeof buf, weft_after_s(20));
    while (n > 0);
    CHECK_EQ(n, -ECONNRESET);
    weft_abort(&c);
    CHECK_EQ(weft_group_close(&g), 0);
}

static int whatever_the_error_was(void *arg)
{
    static const struct weft_protocol protocols[] = {
        {.made = keep_error, .data = fail_in_data, .lost = lost_with_it},
        {.made = keep_error, .data = abort_in_data, .lost = lost_with_it}};
    static int errors[] = {-ECONNRESET, -EPIPE, WEFT_EPROTOCOL};
    (void)arg;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct weft_server_options o = {.model = WEFT_TASKS};
        ends_with_a_reset(&o, fail_late, &errors[i], NULL);
        o.model = WEFT_THREADS;
        ends_with_a_reset(&o, fail_late, &errors[i], NULL);
        o.model = WEFT_PROTOCOLS;
        for (size_t k = 0; k < 2; k++)
            ends_with_a_reset(&o, NULL, NULL,
                              &(struct weft_factory){.protocol = &protocols[k], .arg = &errors[i]});
    }
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(whatever_the_error_was),
};
KIT_MAIN(cases)
