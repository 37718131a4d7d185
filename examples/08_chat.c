/* SPDX-License-Identifier: MIT */
/*
 * 08: a chat with channels, 08_chat [ENDPOINT]. Each guest has a bounded channel and a task that
 * writes from it; who does not read loses lines, not the server's memory. (Python: an asyncio.Queue
 * a client.)
 */
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

#define GUESTS 64
struct line {
    char text[256];
    size_t len;
};
static struct weft_channel *guests[GUESTS]; /* of one loop: no lock */

static int writer(void *arg)
{
    struct weft_stream *s = ((void **)arg)[0];
    struct weft_channel *mine = ((void **)arg)[1];
    struct line line;
    int err = 0;
    while (err == 0 && (err = weft_channel_recv(mine, &line, WEFT_NEVER)) == 0)
        err = weft_write(s, line.text, line.len, weft_after_s(10));
    return err == WEFT_ECLOSED ? 0 : err;
}

static int guest(struct weft_stream *s, void *arg)
{
    struct weft_group *group = NULL;
    struct weft_channel *mine = NULL;
    struct line line;
    ssize_t n = 0;
    int seat = 0, err = weft_channel_open(&mine, sizeof line, 16);
    (void)arg;
    while (seat < GUESTS && guests[seat] != NULL)
        seat++;
    if (err < 0 || seat == GUESTS || (err = weft_group_open(&group)) < 0) {
        weft_channel_close(&mine);
        return err < 0 ? err : WEFT_ELIMIT;
    }
    guests[seat] = mine;
    err = weft_group_go(group, "writer", writer, ((void *[]){s, mine}));
    while (err == 0 &&
           (n = weft_read_until(s, line.text, sizeof line.text, '\n', WEFT_NEVER)) > 0) {
        line.len = (size_t)n;
        for (int i = 0; i < GUESTS; i++)
            if (guests[i] != NULL && i != seat && weft_channel_send_nowait(guests[i], &line) < 0)
                printf("guest %d does not read: a line is dropped\n", i);
    }
    guests[seat] = NULL;
    weft_channel_shut(mine);
    int wrote = weft_group_close(&group);
    weft_channel_close(&mine);
    return err < 0 ? err : n < 0 ? (int)n : wrote;
}
#define HANDLER guest
#include "serve.h"
