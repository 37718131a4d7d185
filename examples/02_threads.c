/* SPDX-License-Identifier: MIT */
/*
 * 02: the same server with a thread for each connection. A group opened on a plain thread holds
 * threads; the handler is ordinary blocking code. (Python: socketserver.ThreadingTCPServer.)
 *
 *   02_threads [ENDPOINT]      until SIGINT or SIGTERM
 */
#include <stdio.h>
#include <weft/weft.h>

static int greet(struct weft_stream *s, void *arg)
{
    char said[1024];
    (void)arg;
    int err = weft_write(s, "Hello, World!\n", 14, weft_after_s(5));
    ssize_t n = err < 0 ? err : weft_read(s, said, sizeof said, weft_after_s(30));
    if (n > 0)
        printf("heard %zd bytes: %.*s\n", n, (int)n, said);
    return n < 0 ? (int)n : 0;
}

int main(int argc, char **argv)
{
    const char *endpoint = argc > 1 ? argv[1] : "tcp://127.0.0.1:8888";
    struct weft_server_options options = {.model = WEFT_THREADS, .max_connections = 100};
    struct weft_signals *signals = NULL;
    struct weft_server *server = NULL;
    struct weft_group *group = NULL;
    char text[WEFT_ENDPOINT_MAX];

    int err = weft_signals_open(&signals, (int[]){SIGINT, SIGTERM, 0});
    if (err == 0)
        err = weft_group_open(&group);
    if (err == 0)
        err = weft_server_open(&server, group, endpoint, &options, greet, NULL, NULL);
    if (err == 0 && (err = weft_server_endpoint(server, text, sizeof text)) > 0) {
        printf("listening %s\n", text);
        fflush(stdout);
        err = weft_signals_wait(signals, WEFT_NEVER);
        err = weft_server_drain(server, weft_after_s(5)); /* let them finish what they began */
    }
    if (err < 0)
        fprintf(stderr, "%s: %s %s\n", argv[0], weft_error_text(err), weft_error_detail());
    (void)weft_group_close(&group);
    weft_signals_close(&signals);
    return err < 0;
}
