/* SPDX-License-Identifier: MIT */
/*
 * 04: echo as a protocol made by a factory: callbacks on the loop, no task and no stack a
 * connection. Change the word WEFT_PROTOCOLS to WEFT_TASKS or WEFT_THREADS and the same callbacks
 * run in a task or thread for each. (Twisted's reactor, Protocol and Factory; asyncio.Protocol.)
 *
 *   04_protocol [ENDPOINT]      until it is killed
 */
#include <stdio.h>
#include <weft/weft.h>

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, bytes, len);
}

static int serve(void *arg)
{
    static const struct weft_protocol echo = {.data = data};
    struct weft_server_options options = {.model = WEFT_PROTOCOLS};
    struct weft_factory factory = {.protocol = &echo};
    struct weft_server *server = NULL;
    struct weft_group *group = NULL;
    char text[WEFT_ENDPOINT_MAX];

    int err = weft_group_open(&group);
    if (err == 0)
        err = weft_server_open(&server, group, arg, &options, NULL, NULL, &factory);
    if (err == 0 && (err = weft_server_endpoint(server, text, sizeof text)) > 0) {
        printf("listening %s\n", text);
        fflush(stdout);
        err = weft_group_wait(group, WEFT_NEVER);
    }
    if (err < 0)
        fprintf(stderr, "serve: %s %s\n", weft_error_text(err), weft_error_detail());
    (void)weft_group_close(&group);
    return err;
}

int main(int argc, char **argv)
{
    return weft_run(NULL, serve, argc > 1 ? argv[1] : "tcp://127.0.0.1:8888") < 0;
}
