/* SPDX-License-Identifier: MIT */
/*
 * 01: a client and a server on plain sockets. No loop, no task: every call blocks the thread, but
 * not without a limit. (Python: socket.)
 *
 *   01_socket server [ENDPOINT]    accepts one connection, greets it, reads what it says, ends
 *   01_socket client ENDPOINT      connects, prints the greeting, answers
 */
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static int server(const char *endpoint)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    char text[WEFT_ENDPOINT_MAX], said[1024];
    ssize_t n = 0;

    int err = weft_listen(&l, endpoint, NULL);
    if (err == 0 && (err = weft_listener_endpoint(l, text, sizeof text)) > 0) {
        printf("listening %s\n", text);
        fflush(stdout);
        err = weft_accept(l, &s, weft_after_s(30));
    }
    if (err == 0)
        err = weft_write(s, "Hello, World!\n", 14, weft_after_s(5));
    if (err == 0 && (n = weft_read(s, said, sizeof said, weft_after_s(5))) < 0)
        err = (int)n;
    if (err == 0)
        printf("heard %zd bytes: %.*s\n", n, (int)n, said);
    int closing = weft_close(&s, weft_after_s(5));
    weft_listener_close(&l);
    return err < 0 ? err : closing;
}

static int client(const char *endpoint)
{
    struct weft_stream *s = NULL;
    char greeting[1024];
    int err = weft_dial(&s, endpoint, NULL, weft_after_s(5));
    ssize_t n =
        err < 0 ? err : weft_read_until(s, greeting, sizeof greeting, '\n', weft_after_s(5));
    if (n > 0) {
        printf("%.*s", (int)n, greeting);
        n = weft_write(s, "good day", 8, weft_after_s(5));
    }
    int closing = weft_close(&s, weft_after_s(5));
    return n < 0 ? (int)n : closing;
}

int main(int argc, char **argv)
{
    bool is_client = argc > 2 && strcmp(argv[1], "client") == 0;
    int err = is_client ? client(argv[2]) : server(argc > 2 ? argv[2] : "tcp://127.0.0.1:8888");
    if (err < 0)
        fprintf(stderr, "%s: %s %s\n", argv[0], weft_error_text(err), weft_error_detail());
    return err < 0;
}
