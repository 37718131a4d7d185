/* SPDX-License-Identifier: MIT */
/*
 * 06: a client with one time budget. A deadline is a point in time, so connect, write and read
 * share the same 500 ms, however they divide them. (Python: asyncio.timeout around the whole.)
 *
 *   06_budget ENDPOINT      asks an echo server, prints the answer; exit 1 when time is up
 */
#include <stdio.h>
#include <weft/weft.h>

static int ask(const char *endpoint, char *answer, size_t len)
{
    weft_deadline budget = weft_after_ms(500);
    struct weft_stream *s = NULL;
    int err = weft_dial(&s, endpoint, NULL, budget);
    if (err == 0)
        err = weft_write(s, "ping", 4, budget);
    if (err == 0)
        err = weft_read_full(s, answer, len, budget);
    int closing = weft_close(&s, budget);
    return err < 0 ? err : closing;
}

int main(int argc, char **argv)
{
    char answer[4];
    if (argc < 2) {
        fprintf(stderr, "usage: %s ENDPOINT\n", argv[0]);
        return 2;
    }
    int err = ask(argv[1], answer, sizeof answer);
    if (err < 0)
        fprintf(stderr, "%s: %s (%s)\n", argv[1], weft_error_text(err),
                weft_error_class_name(weft_error_class(err)));
    else
        printf("%.4s\n", answer);
    return err < 0;
}
