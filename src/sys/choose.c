/* SPDX-License-Identifier: MIT */
/*
 * Which driver a loop gets, and the few calls that belong to no driver (floor 1).
 *
 * Invariants: features are probed, never inferred from a kernel version; a driver that was asked
 * for by name is never replaced by another one; inside a simulation there is one, whatever is asked
 * for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "base/error.h"
#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"
#include "sys/sys.h"

/* Best first. The block driver is not here: it has no loop. */
static const struct weft__driver *const loop_drivers[] = {
    &weft__driver_uring,
    &weft__driver_epoll,
};

static int choose_named(const struct weft__driver **ret, const char *name)
{
    for (size_t i = 0; i < WEFT__ARRAY_LEN(loop_drivers); i++) {
        const struct weft__driver *d = loop_drivers[i];
        if (strcmp(name, d->name) != 0)
            continue;
        const char *text = "";
        int err = d->probe(&text);
        if (err < 0)
            return weft__fail(-ENOSYS, "driver %s cannot be used: %s", name, text);
        *ret = d;
        return 0;
    }
    return weft__fail(-EINVAL, "no driver is named \"%s\": there are uring and epoll", name);
}

int weft__driver_choose(const struct weft__driver **ret, const char *name)
{
    if (WEFT__UNLIKELY(weft__sim_proc != NULL)) {
        *ret = &weft__driver_sim;
        return 0;
    }
    if (name == NULL)
        name = secure_getenv("WEFT_DRIVER");
    if (name != NULL && name[0] != '\0' && strcmp(name, "auto") != 0)
        return choose_named(ret, name);

    const char *text = "";
    for (size_t i = 0; i < WEFT__ARRAY_LEN(loop_drivers); i++) {
        if (loop_drivers[i]->probe(&text) < 0)
            continue;
        *ret = loop_drivers[i];
        return 0;
    }
    return weft__fail(-ENOSYS, "no driver can be used here; the last one: %s", text);
}

void weft__sys_close_fd(struct weft__sys *sys, int fd)
{
    if (sys != NULL)
        sys->driver->forget(sys, fd, false);
    weft__call_close(fd);
}

void weft__sys_close_only_fd(struct weft__sys *sys, int fd)
{
    if (sys != NULL)
        sys->driver->forget(sys, fd, true);
    weft__call_close(fd);
}

static int64_t clock_of(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t weft__clock_ns(void)
{
    struct weft__proc *proc = weft__sim_proc;
    return WEFT__UNLIKELY(proc != NULL) ? weft__sim_clock_ns(proc) : clock_of(CLOCK_MONOTONIC);
}

int64_t weft__clock_used_ns(void)
{
    return WEFT__UNLIKELY(weft__sim_proc != NULL) ? 0 : clock_of(CLOCK_THREAD_CPUTIME_ID);
}
