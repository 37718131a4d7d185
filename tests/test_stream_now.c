/* SPDX-License-Identifier: MIT */
/* Tests of streams with no time left, many at once: each takes what is there for it. */
#include <sys/socket.h>
#include <unistd.h>

#include <weft/stream.h>

#include "rt_kit.h"

#define MANY 80   /* more than a driver keeps buffers for before it knows of a need */
#define SIZE 8000 /* together more than a driver takes up in one wait */

struct many {
    struct weft_stream *s[MANY];
    int peers[MANY];
    ssize_t got[MANY];
};

struct one {
    struct many *all;
    int i;
    bool peek;
};

static int takes_it(void *arg)
{
    const struct one *o = arg;
    struct weft_stream *s = o->all->s[o->i];
    static char bytes[SIZE + 1];
    const void *data;
    if (!o->peek) {
        o->all->got[o->i] = weft_read(s, bytes, sizeof bytes, WEFT_NOW);
        return 0;
    }
    o->all->got[o->i] = weft_peek(s, &data, WEFT_NOW);
    if (o->all->got[o->i] > 0)
        weft_consume(s, (size_t)o->all->got[o->i]);
    return 0;
}

static void all_take(struct many *m, bool peek, ssize_t want)
{
    struct weft_group *g = kit_group();
    for (int i = 0; i < MANY; i++) {
        struct one o = {.all = m, .i = i, .peek = peek};
        struct weft_task_options options = {.name = "takes", .copy = sizeof o};
        CHECK_EQ(weft_group_spawn(g, &options, takes_it, &o, NULL), 0);
    }
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(m->got[i], want);
    CHECK_EQ(weft_group_close(&g), 0);
}

static void open_many(struct many *m)
{
    for (int i = 0; i < MANY; i++) {
        int fds[2];
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(weft_stream_from_fd(&m->s[i], fds[0]), 0);
        m->peers[i] = fds[1];
    }
}

static void close_many(struct many *m)
{
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(weft_close(&m->s[i], WEFT_NEVER), 0);
        CHECK_EQ(close(m->peers[i]), 0);
    }
}

static int many_take_what_is_there(void *arg)
{
    static struct many m;
    static char bytes[SIZE];
    (void)arg;
    open_many(&m);
    for (int round = 0; round < 4; round++) { /* behind a short read they look first */
        for (int i = 0; i < MANY; i++)
            CHECK_EQ(write(m.peers[i], bytes, sizeof bytes), SIZE);
        all_take(&m, round % 2 == 0, SIZE);
        all_take(&m, round / 2 == 0, -ETIMEDOUT);
    }
    close_many(&m);
    return 0;
}

static int takes_halves(void *arg)
{
    const struct one *o = arg;
    struct weft_stream *s = o->all->s[o->i];
    char bytes[SIZE / 2];
    CHECK_EQ(weft_read(s, bytes, 1, WEFT_NEVER), 1);
    CHECK_EQ(weft_read(s, bytes, sizeof bytes, WEFT_NOW), sizeof bytes);
    CHECK_EQ(weft_read_full(s, bytes, sizeof bytes, weft_after_s(60)), 0);
    CHECK_EQ(weft_read(s, bytes, 1, WEFT_NOW), -ETIMEDOUT);
    return 0;
}

/* What is left behind such an attempt is found by those that wait. */
static int the_rest_is_found(void *arg)
{
    static struct many m;
    static char bytes[SIZE + 1];
    (void)arg;
    open_many(&m);
    for (int round = 0; round < 3; round++) {
        struct weft_group *g = kit_group();
        for (int i = 0; i < MANY; i++) {
            struct one o = {.all = &m, .i = i};
            struct weft_task_options options = {.name = "halves", .copy = sizeof o};
            CHECK_EQ(weft_group_spawn(g, &options, takes_halves, &o, NULL), 0);
        }
        if (round != 1)
            kit_settle(); /* they wait */
        for (int i = 0; i < MANY; i++)
            CHECK_EQ(write(m.peers[i], bytes, sizeof bytes), sizeof bytes);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    close_many(&m);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(many_take_what_is_there),
    IN_TASK(the_rest_is_found),
};

KIT_MAIN(cases)
