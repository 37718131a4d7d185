/* SPDX-License-Identifier: MIT */
/* Two tasks and their end: talk.h says what they are. Floor 6. */
#include "talk.h"

#include <weft/group.h>

int talk_both_ways(weft_fn input, weft_fn output, void *arg)
{
    struct weft_group *g = NULL;
    int r = weft_group_open(&g);
    if (r == 0)
        r = weft_group_go(g, "input", input, arg);
    if (r == 0)
        r = weft_group_go(g, "output", output, arg);
    if (r == 0)
        r = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    return r == TALK_ENDED ? 0 : r;
}
