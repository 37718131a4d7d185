/* SPDX-License-Identifier: MIT */
/* What the tests of listeners share. */
#ifndef LISTENER_KIT_H
#define LISTENER_KIT_H

#include "rt_kit.h"

#include <sys/stat.h>
#include <unistd.h>

#include <weft/listener.h>

static inline struct weft_listener *listen_at(const char *endpoint,
                                              const struct weft_listen_options *o)
{
    struct weft_listener *l = NULL;
    CHECK_EQ(weft_listen(&l, endpoint, o), 0);
    return l;
}

static inline const char *endpoint_of(const struct weft_listener *l)
{
    static _Thread_local char text[WEFT_ENDPOINT_MAX];
    CHECK(weft_listener_endpoint(l, text, sizeof text) > 0);
    return text;
}

/* Dials the listener, which must answer; both ends are closed. */
static inline void check_answers(struct weft_listener *l, const char *endpoint)
{
    struct weft_stream *a = NULL, *b = NULL;
    char c = 0;
    CHECK_EQ(weft_dial(&a, endpoint, NULL, weft_after_s(30)), 0);
    CHECK_EQ(weft_accept(l, &b, weft_after_s(30)), 0);
    CHECK_EQ(weft_write(a, "!", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(a, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(b, &c, 1, weft_after_s(30)), 1);
    CHECK_EQ(c, '!');
    CHECK_EQ(weft_close(&a, WEFT_NEVER), 0);
    CHECK_EQ(weft_close(&b, WEFT_NEVER), 0);
}

/* A directory of its own with a place for a Unix socket. */
struct place {
    char dir[40];
    char path[64];
    char endpoint[80];
};

static inline struct place place_make(void)
{
    struct place p = {.dir = "/tmp/weft-test-XXXXXX"};
    CHECK(mkdtemp(p.dir) != NULL);
    (void)snprintf(p.path, sizeof p.path, "%s/socket", p.dir);
    (void)snprintf(p.endpoint, sizeof p.endpoint, "unix:%s", p.path);
    return p;
}

static inline void place_end(struct place *p)
{
    (void)unlink(p->path);
    CHECK_EQ(rmdir(p->dir), 0);
}

static inline bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

#endif
