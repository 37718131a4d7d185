/* SPDX-License-Identifier: MIT */
/* The client of docs/guide/websocket.md: says each argument behind the URL, prints the answers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static int talk(void *arg)
{
    char **argv = arg;
    struct weft_ws_options o = {.deflate = true};
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    int err = weft_ws_dial(&ws, argv[1], &o, NULL, weft_after_s(10));
    for (char **text = argv + 2; err == 0 && *text != NULL; text++) {
        err = weft_ws_write(ws, WEFT_WS_TEXT, *text, strlen(*text), weft_after_s(10));
        if (err == 0 && weft_ws_read(ws, &m, weft_after_s(10)) > 0)
            printf("%.*s\n", (int)m.len, (const char *)m.data);
    }
    int closed = weft_ws_close(&ws, 1000, "thank you", weft_after_s(10));
    return err < 0 ? err : closed;
}

int main(int argc, char **argv)
{
    int err = argc > 1 ? weft_run(NULL, talk, argv) : -EINVAL;
    if (err < 0)
        fprintf(stderr, "%s: %s\n", weft_error_text(err), weft_error_detail());
    return err < 0;
}
