/* SPDX-License-Identifier: MIT */
/*
 * 05: UDP. A server that sends each datagram back, and a client that asks it and waits 1 s for the
 * answer. (Python: socket with SOCK_DGRAM, asyncio.DatagramProtocol.)
 *
 *   05_udp server [ENDPOINT]          until it is killed
 *   05_udp client ENDPOINT WORD
 */
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static int server(const char *endpoint)
{
    struct weft_udp *u = NULL;
    struct weft_address from;
    char text[WEFT_ENDPOINT_MAX], datagram[65536];
    int err = weft_udp_open(&u, endpoint, NULL);
    if (err == 0 && (err = weft_udp_endpoint(u, text, sizeof text)) > 0) {
        printf("listening %s\n", text);
        fflush(stdout);
    }
    while (err >= 0) {
        ssize_t n = weft_udp_recv(u, datagram, sizeof datagram, &from, WEFT_NEVER);
        if (n < 0)
            err = (int)n;
        else if (weft_udp_send(u, datagram, (size_t)n, &from, WEFT_NEVER) < 0)
            continue; /* who cannot be answered does not end the server for the others */
    }
    weft_udp_close(&u);
    return err;
}

static int client(const char *endpoint, const char *word)
{
    struct weft_udp *u = NULL;
    char answer[65536];
    ssize_t n = 0;
    int err = weft_udp_dial(&u, endpoint, NULL);
    if (err == 0)
        err = weft_udp_send(u, word, strlen(word), NULL, weft_after_s(1));
    if (err == 0 && (n = weft_udp_recv(u, answer, sizeof answer, NULL, weft_after_s(1))) < 0)
        err = (int)n;
    if (err == 0)
        printf("%.*s\n", (int)n, answer);
    weft_udp_close(&u);
    return err;
}

int main(int argc, char **argv)
{
    bool asks = argc > 3 && strcmp(argv[1], "client") == 0;
    int err = asks ? client(argv[2], argv[3]) : server(argc > 2 ? argv[2] : "udp://127.0.0.1:8888");
    if (err < 0)
        fprintf(stderr, "%s: %s %s\n", argv[0], weft_error_text(err), weft_error_detail());
    return err < 0;
}
