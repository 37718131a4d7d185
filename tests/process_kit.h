/* SPDX-License-Identifier: MIT */
/*
 * What the tests of child processes share.
 */
#ifndef PROCESS_KIT_H
#define PROCESS_KIT_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/weft.h>

#include "rt_kit.h"
#include "sys/call.h"

#define ARGV(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* Runs fn in a loop of each driver that this machine has, or of the one that WEFT_DRIVER names. */
static inline void on_loops(weft_fn fn)
{
    static const char *const drivers[] = {"epoll", "uring"};
    const char *only = getenv("WEFT_DRIVER");
    for (size_t i = 0; i < WEFT__ARRAY_LEN(drivers); i++) {
        if (only != NULL && only[0] != '\0' && strcmp(only, drivers[i]) != 0)
            continue;
        struct weft_options o = {.driver = drivers[i]};
        int result = weft_run(&o, fn, NULL);
        if (result != -ENOSYS)
            CHECK_EQ(result, 0);
    }
}

/* The same, and on this plain thread. */
static inline void everywhere(weft_fn fn)
{
    CHECK_EQ(fn(NULL), 0);
    on_loops(fn);
}

static inline bool no_children(void)
{
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

/* All that a child says, as text. */
static inline void read_all(struct weft_stream *s, char *buf, size_t size)
{
    size_t len = 0;
    ssize_t n;
    while ((n = weft_read(s, buf + len, size - 1 - len, weft_after_s(60))) > 0)
        len += (size_t)n;
    CHECK_EQ(n, 0);
    buf[len] = '\0';
}

static inline int end_status(struct weft_process *p)
{
    int status = -1;
    CHECK_EQ(weft_process_wait(p, &status, weft_after_s(60)), 0);
    return status;
}

/* Runs a program to its end and returns its status; what it says is in buf. */
static inline int run(const struct weft_process_options *o, char *buf, size_t size)
{
    struct weft_process *p = NULL;
    CHECK_EQ(weft_process_open(&p, o), 0);
    if (weft_process_out(p) != NULL)
        read_all(weft_process_out(p), buf, size);
    int status = end_status(p);
    weft_process_close(&p);
    CHECK(p == NULL);
    return status;
}

/* A child that has said that it is ready, and waits for the end of its input. */
static inline void open_ready(struct weft_process **p, const char *script, int kill_signal,
                              int64_t after)
{
    char buf[6];
    CHECK_EQ(weft_process_open(p, &(struct weft_process_options){.argv = ARGV("sh", "-c", script),
                                                                 .in = WEFT_PIPE_STREAM,
                                                                 .out = WEFT_PIPE_STREAM,
                                                                 .kill_signal = kill_signal,
                                                                 .kill_after_ms = after}),
             0);
    CHECK_EQ(weft_read_full(weft_process_out(*p), buf, 6, weft_after_s(60)), 0);
    CHECK(memcmp(buf, "ready\n", 6) == 0);
}

/* Whether processes can be tested at all: older valgrinds do not know the call. */
static inline bool has_pidfd(void)
{
    int fd = weft__call_pidfd_open(getpid());
    if (fd == -ENOSYS) {
        print_message("pidfd_open is not to be had here\n");
        return false;
    }
    CHECK(fd >= 0);
    close(fd);
    return true;
}

#endif
