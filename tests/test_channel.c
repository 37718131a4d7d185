/* SPDX-License-Identifier: MIT */
/* Tests of channels of both kinds, within one loop. */
#include "channel_kit.h"

/* --- One task ------------------------------------------------------------------------------ */

static int opening(void *arg)
{
    struct weft_channel *c = (struct weft_channel *)&c;
    struct weft_channel *const untouched = c;
    (void)arg;
    CHECK_EQ(weft_channel_open(&c, 0, 1), -EINVAL);
    CHECK_EQ(weft_channel_open(&c, 64 * 1024 + 1, 1), -EINVAL);
    CHECK_EQ(weft_channel_open_mt(&c, 0, 1), -EINVAL);
    CHECK_EQ(weft_channel_open(&c, 8, SIZE_MAX / 8), -ENOMEM);
    CHECK_EQ(weft_channel_open(&c, 8, SIZE_MAX), -ENOMEM);
    CHECK(c == untouched);
    c = NULL;
    weft_channel_close(&c);
    CHECK_EQ(weft_channel_open(&c, 64 * 1024, 2), 0);
    weft_channel_close(&c);
    CHECK(c == NULL);
    return 0;
}

static int queueing(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t size = 1; size <= 33; size++) {
            struct weft_channel *c = openers[kind](size, 3);
            unsigned char in[33], out[34];
            unsigned char next_in = 0, next_out = 0;
            for (int round = 0; round < 10; round++) {
                for (int i = 0; i < 3; i++, next_in++) {
                    memset(in, next_in, sizeof in);
                    CHECK_EQ(weft_channel_send(c, in, WEFT_NEVER), 0);
                    CHECK_EQ(weft_channel_count(c), i + 1);
                }
                CHECK_EQ(weft_channel_send(c, in, WEFT_NOW), -ETIMEDOUT);
                CHECK_EQ(weft_channel_send_nowait(c, in), -EAGAIN);
                for (int i = 0; i < (round % 3) + 1; i++, next_out++) {
                    memset(out, 0xEE, sizeof out);
                    CHECK_EQ(weft_channel_recv(c, out, WEFT_NEVER), 0);
                    CHECK_EQ(out[0], next_out);
                    CHECK_EQ(out[size - 1], next_out);
                    CHECK_EQ(out[size], 0xEE); /* item_size bytes, no more */
                }
                while (next_out != next_in) {
                    CHECK_EQ(weft_channel_recv_nowait(c, out), 0);
                    CHECK_EQ(out[0], next_out++);
                }
                CHECK_EQ(weft_channel_recv_nowait(c, out), -EAGAIN);
                CHECK_EQ(weft_channel_recv(c, out, WEFT_NOW), -ETIMEDOUT);
            }
            weft_channel_close(&c);
        }
    }
    return 0;
}

static int timing_out(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 1);
        int v = 1;
        weft_deadline d = soon();
        CHECK_EQ(weft_channel_recv(c, &v, d), -ETIMEDOUT);
        CHECK(weft_now_ns() >= d.ns);
        CHECK_EQ(v, 1);
        CHECK_EQ(weft_channel_send(c, &v, soon()), 0);
        d = soon();
        CHECK_EQ(weft_channel_send(c, &v, d), -ETIMEDOUT);
        CHECK(weft_now_ns() >= d.ns);
        CHECK_EQ(weft_channel_count(c), 1); /* it has moved no item */
        CHECK_EQ(weft_channel_send(c, &v, (weft_deadline){-7}), -ETIMEDOUT);
        CHECK_EQ(weft_channel_send(c, &v, (weft_deadline){1}), -ETIMEDOUT);
        CHECK_EQ(weft_channel_recv(c, &v, (weft_deadline){1}), 0);
        CHECK_EQ(weft_channel_recv_nowait(c, &v), -EAGAIN);
        weft_channel_close(&c);
    }
    return 0;
}

static int shutting(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 2);
        int v = 5;
        CHECK_EQ(weft_channel_send(c, &v, WEFT_NOW), 0);
        weft_channel_shut(c);
        weft_channel_shut(c);
        CHECK_EQ(weft_channel_send(c, &v, WEFT_NEVER), WEFT_ECLOSED);
        CHECK_EQ(weft_channel_send_nowait(c, &v), WEFT_ECLOSED);
        v = 0;
        CHECK_EQ(weft_channel_recv(c, &v, WEFT_NEVER), 0);
        CHECK_EQ(v, 5);
        CHECK_EQ(weft_channel_recv(c, &v, WEFT_NEVER), WEFT_ECLOSED);
        CHECK_EQ(weft_channel_recv_nowait(c, &v), WEFT_ECLOSED);
        CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), WEFT_ECLOSED);
        weft_channel_close(&c);
    }
    return 0;
}

/* --- Tasks --------------------------------------------------------------------------------- */

struct peer {
    struct weft_channel *c;
    int value;
    int result;
    weft_deadline d;
    int *order; /* counts who ended */
    int place;
};

static int sender(void *arg)
{
    struct peer *p = arg;
    p->result = weft_channel_send(p->c, &p->value, p->d);
    if (p->order != NULL)
        p->place = (*p->order)++;
    return 0;
}

static int receiver(void *arg)
{
    struct peer *p = arg;
    p->result = weft_channel_recv(p->c, &p->value, p->d);
    if (p->order != NULL)
        p->place = (*p->order)++;
    return 0;
}

static int receivers_are_served_in_order(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 1);
        struct weft_group *g = kit_group();
        struct peer p[5];
        int order = 0;
        for (int i = 0; i < 5; i++) {
            p[i] = (struct peer){.c = c, .d = WEFT_NEVER, .order = &order};
            kit_go(g, "receiver", receiver, &p[i]);
        }
        kit_settle();
        for (int i = 0; i < 5; i++) {
            int v = 100 + i;
            CHECK_EQ(weft_channel_send(c, &v, WEFT_NOW), 0);
            CHECK_EQ(weft_channel_count(c), 0); /* handed over, also before the receiver runs */
        }
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        for (int i = 0; i < 5; i++) {
            CHECK_EQ(p[i].result, 0);
            CHECK_EQ(p[i].value, 100 + i);
            CHECK_EQ(p[i].place, i);
        }
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&c);
    }
    return 0;
}

static int senders_are_served_in_order(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 2);
        struct weft_group *g = kit_group();
        struct peer p[6];
        int order = 0;
        for (int i = 0; i < 6; i++) {
            p[i] = (struct peer){.c = c, .value = i, .d = WEFT_NEVER, .order = &order};
            kit_go(g, "sender", sender, &p[i]);
        }
        kit_settle();
        CHECK_EQ(order, 2);
        CHECK_EQ(weft_channel_count(c), 2);
        for (int i = 0; i < 6; i++) {
            int v = -1;
            CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), 0);
            CHECK_EQ(v, i);
            CHECK_EQ(weft_channel_count(c), i < 4 ? 2 : 5 - i); /* the place was taken at once */
        }
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        for (int i = 0; i < 6; i++)
            CHECK(p[i].result == 0 && p[i].place == i);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&c);
    }
    return 0;
}

static int rendezvous(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 0);
        struct weft_group *g = kit_group();
        int order = 0, v = 0;
        struct peer s = {.c = c, .value = 7, .d = WEFT_NEVER, .order = &order};
        CHECK_EQ(weft_channel_send_nowait(c, &v), -EAGAIN);
        CHECK_EQ(weft_channel_recv_nowait(c, &v), -EAGAIN);
        kit_go(g, "sender", sender, &s);
        kit_settle();
        CHECK_EQ(order, 0); /* not before it is received */
        CHECK_EQ(weft_channel_count(c), 0);
        CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), 0);
        CHECK_EQ(v, 7);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(s.result, 0);

        struct peer r = {.c = c, .d = WEFT_NEVER};
        kit_go(g, "receiver", receiver, &r);
        kit_settle();
        v = 8;
        CHECK_EQ(weft_channel_send_nowait(c, &v), 0);
        CHECK_EQ(weft_channel_send_nowait(c, &v), -EAGAIN);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(r.value, 8);

        /* A sender that is shut out has moved nothing. */
        s = (struct peer){.c = c, .d = WEFT_NEVER};
        kit_go(g, "sender", sender, &s);
        kit_settle();
        weft_channel_shut(c);
        CHECK_EQ(weft_channel_recv_nowait(c, &v), WEFT_ECLOSED);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(s.result, WEFT_ECLOSED);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&c);
    }
    return 0;
}

static int shut_wakes_everybody(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *empty = openers[kind](sizeof(int), 1);
        struct weft_channel *full = openers[kind](sizeof(int), 1);
        struct weft_group *g = kit_group();
        struct peer p[6];
        int v = 0;
        CHECK_EQ(weft_channel_send_nowait(full, &v), 0);
        for (int i = 0; i < 6; i++) {
            p[i] = (struct peer){.c = i < 3 ? empty : full, .d = WEFT_NEVER};
            kit_go(g, "peer", i < 3 ? receiver : sender, &p[i]);
        }
        kit_settle();
        CHECK_EQ(weft_group_count(g), 6);
        weft_channel_shut(empty);
        weft_channel_shut(full);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        for (int i = 0; i < 6; i++)
            CHECK_EQ(p[i].result, WEFT_ECLOSED);
        CHECK_EQ(weft_channel_count(full), 1); /* still to be received */
        CHECK_EQ(weft_channel_recv_nowait(full, &v), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&empty);
        weft_channel_close(&full);
    }
    return 0;
}

static int cancel_moves_nothing(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 1);
        struct weft_group *g = kit_group();
        struct peer p[3];
        struct weft_task *t[3];
        int v = 1;
        for (int i = 0; i < 3; i++) {
            p[i] = (struct peer){.c = c, .value = -1, .d = WEFT_NEVER};
            t[i] = kit_spawn(g, "receiver", receiver, &p[i]);
        }
        kit_settle();
        weft_task_cancel(t[0]);
        weft_task_cancel(t[1]);
        /* Before either has run: the item goes past both of them. */
        CHECK_EQ(weft_channel_send(c, &v, WEFT_NOW), 0);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
        CHECK_EQ(p[0].result, -ECANCELED);
        CHECK_EQ(p[1].result, -ECANCELED);
        CHECK_EQ(p[1].value, -1);
        CHECK_EQ(p[2].result, 0);
        CHECK_EQ(p[2].value, 1);

        CHECK_EQ(weft_channel_send(c, &v, WEFT_NOW), 0);
        p[0] = (struct peer){.c = c, .value = 2, .d = WEFT_NEVER};
        p[1] = (struct peer){.c = c, .value = 3, .d = WEFT_NEVER};
        t[0] = kit_spawn(g, "sender", sender, &p[0]);
        t[1] = kit_spawn(g, "sender", sender, &p[1]);
        kit_settle();
        weft_task_cancel(t[0]);
        CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), 0);
        CHECK_EQ(v, 1);
        CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), 0);
        CHECK_EQ(v, 3);
        CHECK_EQ(weft_task_join(&t[0], NULL, WEFT_NEVER), 0);
        CHECK_EQ(weft_task_join(&t[1], NULL, WEFT_NEVER), 0);
        CHECK_EQ(p[0].result, -ECANCELED);
        CHECK_EQ(p[1].result, 0);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&c);
    }
    return 0;
}

static int keeps_what_it_was_handed(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 0);
        struct weft_group *g = kit_group();
        struct peer r = {.c = c, .d = WEFT_NEVER};
        struct weft_task *t = kit_spawn(g, "receiver", receiver, &r);
        int v = 9;
        kit_settle();
        CHECK_EQ(weft_channel_send_nowait(c, &v), 0);
        weft_task_cancel(t); /* after the hand-over, before it runs */
        CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
        CHECK_EQ(r.result, 0);
        CHECK_EQ(r.value, 9);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&c);
    }
    return 0;
}

static int canceled_task_is_refused(void *arg)
{
    struct weft_channel *c = plain(sizeof(int), 4);
    struct weft_channel *m = mt(sizeof(int), 4);
    struct weft_group *g = kit_group();
    struct peer p[4] = {{.c = c, .d = WEFT_NEVER},
                        {.c = m, .d = WEFT_NEVER},
                        {.c = c, .d = WEFT_NEVER},
                        {.c = m, .d = WEFT_NEVER}};
    struct weft_task *t[4];
    int v = 1;
    (void)arg;
    CHECK_EQ(weft_channel_send(c, &v, WEFT_NOW), 0);
    CHECK_EQ(weft_channel_send(m, &v, WEFT_NOW), 0);
    for (int i = 0; i < 4; i++) {
        t[i] = kit_spawn(g, "peer", i < 2 ? sender : receiver, &p[i]);
        weft_task_cancel(t[i]); /* before it began: it runs, and is refused though it could go on */
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
        CHECK_EQ(p[i].result, -ECANCELED);
    }
    CHECK_EQ(weft_channel_count(c), 1);
    CHECK_EQ(weft_channel_count(m), 1);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_channel_close(&c);
    weft_channel_close(&m);
    return 0;
}

static void in_callback(void *arg)
{
    struct weft_channel *c = arg;
    struct weft_select s = {.channel = c, .send = &(int){1}};
    int v = 0;
    CHECK_EQ(weft_channel_send(c, &v, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_select(&s, 1, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_channel_recv_nowait(c, &v), -EAGAIN);
    v = 3;
    CHECK_EQ(weft_channel_send_nowait(c, &v), 0);
    CHECK_EQ(weft_channel_send_nowait(c, &v), -EAGAIN);
    CHECK_EQ(weft_channel_recv_nowait(c, &v), 0);
    CHECK_EQ(v, 3);
}

static int callbacks_do_not_wait(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 1);
        kit_as_callback(in_callback, c);
        weft_channel_close(&c);
    }
    return 0;
}

static void send_3(void *arg)
{
    CHECK_EQ(weft_channel_send_nowait(arg, &(int){3}), 0);
}

static int callback_wakes_a_receiver(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 0);
        struct weft_group *g = kit_group();
        struct peer r = {.c = c, .d = WEFT_NEVER};
        kit_go(g, "receiver", receiver, &r);
        kit_settle();
        kit_as_callback(send_3, c);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK(r.result == 0 && r.value == 3);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&c);
    }
    return 0;
}

struct pump {
    struct weft_channel *in, *out;
    uint64_t n, sum;
};

static int pump_numbers(void *arg)
{
    struct pump *p = arg;
    for (uint64_t i = 0; i < p->n; i++)
        CHECK_EQ(weft_channel_send(p->out, &i, WEFT_NEVER), 0);
    return 0;
}

static int pump_through(void *arg)
{
    struct pump *p = arg;
    uint64_t v;
    int err;
    while ((err = weft_channel_recv(p->in, &v, WEFT_NEVER)) == 0) {
        p->sum += v;
        if (p->out != NULL)
            CHECK_EQ(weft_channel_send(p->out, &v, WEFT_NEVER), 0);
    }
    CHECK_EQ(err, WEFT_ECLOSED);
    if (p->out != NULL)
        weft_channel_shut(p->out);
    return 0;
}

static int pipeline(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t capacity = 0; capacity < 4; capacity++) {
            struct weft_channel *a = openers[kind](8, capacity), *b = openers[kind](8, capacity);
            struct weft_group *g = kit_group();
            struct pump first = {.out = a, .n = 500};
            struct pump middle = {.in = a, .out = b};
            struct pump last = {.in = b};
            kit_go(g, "last", pump_through, &last);
            kit_go(g, "middle", pump_through, &middle);
            struct weft_task *t = kit_spawn(g, "first", pump_numbers, &first);
            CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
            weft_channel_shut(a);
            CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
            CHECK_EQ(last.sum, 500 * 499 / 2);
            CHECK_EQ(weft_group_close(&g), 0);
            weft_channel_close(&a);
            weft_channel_close(&b);
        }
    }
    return 0;
}

/* --- Fairness ------------------------------------------------------------------------------ */

static int hog(void *arg)
{
    struct weft_channel *c = arg;
    for (int v = 0;; v++) {
        int err = weft_channel_send(c, &v, WEFT_NEVER);
        if (err == 0)
            err = weft_channel_recv(c, &v, WEFT_NEVER);
        if (err < 0)
            return err;
    }
}

static int hog_in_vain(void *arg)
{
    for (int v = 0;;) {
        int err = weft_channel_recv(arg, &v, WEFT_NOW);
        CHECK(err < 0);
        if (err == -ECANCELED)
            return err;
    }
}

static int hog_select(void *arg)
{
    int v = 0;
    for (;;) {
        struct weft_select s = {.channel = arg, .recv = &v};
        int err = weft_select(&s, 1, WEFT_NOW);
        if (err == -ECANCELED)
            return err;
    }
}

static int hogs_starve_nobody(void *arg)
{
    (void)arg;
    for (size_t kind = 0; kind < 2; kind++) {
        struct weft_channel *c = openers[kind](sizeof(int), 1),
                            *none = openers[kind](sizeof(int), 1);
        struct weft_channel *ended = openers[kind](sizeof(int), 1);
        struct weft_group *g = kit_group();
        weft_channel_shut(ended);
        kit_go(g, "hog", hog, c);
        kit_go(g, "hog in vain", hog_in_vain, none);
        kit_go(g, "hog in vain", hog_in_vain, ended);
        kit_go(g, "hog select", hog_select, none);
        for (int i = 0; i < 100; i++)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(1), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_channel_close(&c);
        weft_channel_close(&none);
        weft_channel_close(&ended);
    }
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(opening),
    IN_TASK(queueing),
    IN_TASK(timing_out),
    IN_TASK(shutting),
    IN_TASK(receivers_are_served_in_order),
    IN_TASK(senders_are_served_in_order),
    IN_TASK(rendezvous),
    IN_TASK(shut_wakes_everybody),
    IN_TASK(cancel_moves_nothing),
    IN_TASK(keeps_what_it_was_handed),
    IN_TASK(canceled_task_is_refused),
    IN_TASK(callbacks_do_not_wait),
    IN_TASK(callback_wakes_a_receiver),
    IN_TASK(pipeline),
    IN_TASK(hogs_starve_nobody),
};

KIT_MAIN(cases)
