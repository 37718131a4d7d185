/* SPDX-License-Identifier: MIT */
/*
 * Streams under failures: the n-th allocation, then the n-th system call or operation, fails, for
 * every n. Nothing may hang, leak, or arrive wrongly; and a failed call must not have said 0.
 */
#include "stream_kit.h"

#include <weft/listener.h>

#include "base/alloc.h"
#include "sys/call.h"

#define LARGE 300000u
#define SMALL 5000u

static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE, .max = 1000};

struct talk {
    struct weft_stream *s;
    int error;
};

static weft_deadline late(void)
{
    return weft_after_s(20);
}

static int say(struct weft_stream *s)
{
    static uint8_t text[LARGE];
    uint64_t at = 0;
    int err = 0;
    for (; err == 0 && at < SMALL; at += 100) {
        stream_kit_fill(text, at, 100);
        err = weft_write(s, text, 100, late());
    }
    stream_kit_fill(text, SMALL, LARGE);
    if (err == 0)
        err = weft_write(s, text, LARGE, late());
    if (err == 0)
        err = weft_write_record(s, &line, "a record of the end", 19, late());
    if (err == 0)
        err = weft_shutdown(s, late());
    return err;
}

static int speaker(void *arg)
{
    struct talk *t = arg;
    char c;
    t->error = say(t->s);
    if (t->error == 0)
        t->error = (int)weft_read(t->s, &c, 1, late());
    if (t->error < 0)
        weft_abort(&t->s);
    return 0;
}

static int listen_to(struct weft_stream *s)
{
    const void *data;
    uint64_t at = 0;
    size_t len;
    static uint8_t text[40000];
    int err = weft_read_full(s, text, 70, late());
    if (err < 0)
        return err;
    stream_kit_expect(text, 0, 70);
    for (at = 70; at < LARGE + SMALL;) {
        size_t left = (size_t)(LARGE + SMALL - at);
        ssize_t n = at % 2 ? weft_peek_min(s, &data, weft__min_size(left, 20000), late())
                           : weft_read(s, text, weft__min_size(left, sizeof text), late());
        if (n <= 0)
            return n < 0 ? (int)n : WEFT_EEOF;
        size_t used = weft__min_size(left, (size_t)n);
        stream_kit_expect(at % 2 ? data : text, at, used);
        if (at % 2)
            weft_consume(s, used);
        at += used;
    }
    err = weft_read_record(s, &line, &data, &len, late());
    if (err <= 0)
        return err < 0 ? err : WEFT_EEOF;
    CHECK_EQ(len, 19);
    CHECK(memcmp(data, "a record of the end", 19) == 0);
    return (int)weft_read(s, text, 1, late());
}

static int listener(void *arg)
{
    struct talk *t = arg;
    t->error = listen_to(t->s);
    if (t->error < 0)
        weft_abort(&t->s);
    else
        t->error = weft_close(&t->s, late());
    return 0;
}

/* Makes a pair; 0, or the error of what failed. */
static int make(const struct stream_kit *k, struct talk *a, struct talk *b)
{
    struct weft_listener *l = NULL;
    char at[WEFT_ENDPOINT_MAX];
    if (k->maker->memory)
        return weft_pipe_open(&a->s, &b->s, 0);
    if (!k->maker->tcp)
        return weft_socketpair(&a->s, &b->s);
    int err = weft_listen(&l, "tcp://127.0.0.1:0", NULL);
    if (err == 0)
        err = weft_listener_endpoint(l, at, sizeof at);
    if (err > 0)
        err = weft_dial(&a->s, at, NULL, late());
    if (err == 0)
        err = weft_accept(l, &b->s, late());
    weft_listener_close(&l);
    return err;
}

/* The whole conversation. 0, or the first error of one of the two. */
static int converse(const struct stream_kit *k)
{
    struct talk a = {0}, b = {0};
    struct weft_group *g = NULL;
    int err = make(k, &a, &b);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "speaker", speaker, &a);
    if (err == 0)
        err = weft_group_go(g, "listener", listener, &b);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    if (g != NULL)
        (void)weft_group_close(&g);
    weft_abort(&a.s);
    weft_abort(&b.s);
    if (err == 0)
        err = a.error < 0 ? a.error : b.error;
    CHECK(err != -ETIMEDOUT);
    return err;
}

static void allocations(const struct stream_kit *k)
{
    uint64_t n = 1;
    CHECK_EQ(converse(k), 0);
    size_t fds = stream_kit_count_fds();
    for (; n < 500; n++) {
        weft__alloc_fail_at(n);
        uint64_t before = weft__alloc_count();
        int err = converse(k);
        uint64_t asked = weft__alloc_count() - before;
        weft__alloc_fail_at(0);
        weft__alloc_hooks = false;
        CHECK_EQ(stream_kit_count_fds(), fds);
        if (asked < n) {
            CHECK_EQ(err, 0);
            break;
        }
    }
    CHECK(n > 3 && n < 500);
}

static void calls(const struct stream_kit *k)
{
    static const int errors[] = {ENOBUFS, ECONNRESET};
    CHECK_EQ(converse(k), 0);
    size_t fds = stream_kit_count_fds();
    for (size_t i = 0; i < 2; i++) {
        uint64_t n = 1, max = KIT_SLOW ? 60 : 400;
        for (; n < max; n++) {
            weft__fault_at(n, errors[i]);
            int err = converse(k);
            uint64_t passed = weft__fault_count();
            weft__fault_at(0, 0);
            CHECK_EQ(stream_kit_count_fds(), fds);
            if (passed < n) {
                CHECK_EQ(err, 0);
                break;
            }
        }
    }
}

static const struct stream_case cases[] = {
    STREAM_CASE(allocations, STREAM_KIT_LOOP | STREAM_KIT_PLAIN),
    STREAM_CASE(calls, STREAM_KIT_LOOP | STREAM_KIT_PLAIN),
};
STREAM_KIT_MAIN(cases)
