/* SPDX-License-Identifier: MIT */
/*
 * 07: groups and cancellation. Three tasks start in a group; the group gets 50 ms; every task ends,
 * each with its clean-up, before the group closes. (Python: asyncio.TaskGroup with asyncio.timeout;
 * Trio's nursery.)
 *
 *   07_groups
 */
#include <errno.h>
#include <stdio.h>
#include <weft/weft.h>

static void farewell(void *arg)
{
    printf("%s cleans up\n", (const char *)arg);
}

static int worker(void *arg)
{
    int err = weft_defer(farewell, arg); /* runs however the task ends */
    while (err == 0) {
        printf("%s works\n", (const char *)arg);
        err = weft_sleep_ms(1000);
    }
    printf("%s was stopped: %s\n", (const char *)arg, weft_error_name(err));
    return err;
}

static int parent(void *arg)
{
    static const char *const names[] = {"ada", "grace", "edsger"};
    struct weft_group *group = NULL;
    (void)arg;
    int err = weft_group_open(&group);
    for (int i = 0; i < 3 && err == 0; i++)
        err = weft_group_go(group, names[i], worker, (void *)names[i]);
    if (err == 0)
        err = weft_group_deadline(group, weft_after_ms(50));
    if (err == 0)
        err = weft_group_wait(group, WEFT_NEVER);
    printf("the group ended: %s\n", weft_error_name(err));
    (void)weft_group_close(&group);
    return err;
}

int main(void)
{
    return weft_run(NULL, parent, NULL) == -ETIMEDOUT ? 0 : 1;
}
