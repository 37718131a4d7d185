/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that polls readable when one of two others does, for embedding a loop (floor 1).
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

int weft__poll_set_open(int a, int b)
{
    int err = weft__fault();
    if (err < 0)
        return err;
    if (weft__sim_proc != NULL)
        return weft__sim_refuse("weft_loop_fd");
    int set = epoll_create1(EPOLL_CLOEXEC);
    if (set < 0)
        return -errno;
    struct epoll_event ev = {.events = EPOLLIN};
    if (epoll_ctl(set, EPOLL_CTL_ADD, a, &ev) < 0 || epoll_ctl(set, EPOLL_CTL_ADD, b, &ev) < 0) {
        err = -errno;
        close(set);
        return err;
    }
    return set;
}
