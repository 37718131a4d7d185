/* SPDX-License-Identifier: MIT */
/* What the simulation's driver does beyond the contract of all drivers: its edges to the real
 * world, time, chance, crashes. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include <weft/error.h>

#include "base/base.h"
#include "driver_kit.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

#define SEEDS 6

static void open_seed(struct kit *k, uint64_t seed)
{
    kit_open(k, &weft__driver_sim, seed);
}

/* --- Edges ----------------------------------------------------------------------------------- */

static void not_outside(void **state)
{
    (void)state;
    const char *text = "";
    struct weft__sys *sys = NULL;
    struct weft__sys_options o = {.cancel_fd = -1};
    assert_int_equal(weft__driver_sim.probe(&text), -ENOSYS);
    assert_string_not_equal(text, "");
    assert_int_equal(weft__driver_sim.open(&sys, &o), -ENOSYS);
    assert_null(sys);
    weft__driver_sim.close(NULL);
}

static void one_loop_a_process(void **state)
{
    (void)state;
    struct kit k;
    const char *text = "";
    struct weft__sys *sys = NULL;
    struct weft__sys_options o = {.cancel_fd = -1};
    const struct weft__driver *d = NULL;
    open_seed(&k, 1);
    assert_int_equal(weft__driver_sim.probe(&text), 0);
    assert_int_equal(weft__driver_sim.open(&sys, &o), -EBUSY);
    assert_null(sys);
    assert_int_equal(weft__driver_choose(&d, NULL), 0);
    assert_ptr_equal(d, &weft__driver_sim);
    kit_close(&k);
}

/* A descriptor of the real kernel is named, and nothing is done to it. */
static void real_descriptors(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct kit k;
        char buf[4] = "abc";
        open_seed(&k, seed);
        for (int kind = WEFT__OP_ACCEPT; kind < WEFT__OP_KINDS; kind++) {
            struct top t;
            top_recv(&t, &k, 1, buf, sizeof buf);
            t.op.kind = (uint8_t)kind;
            assert_int_equal(top_run(&t), WEFT_EOUTSIDE);
            assert_non_null(strstr(weft_error_detail(), "descriptor 1,"));
        }
        assert_int_equal(weft__sim_close(k.proc, 1), WEFT_EOUTSIDE);
        assert_int_equal(weft__sim_close(k.proc, -1), -EBADF);
        assert_int_equal(weft__sim_close(k.proc, WEFT__SIM_FD_FIRST), -EBADF);
        kit_close(&k);
    }
}

static void urgent_bytes_are_refused(void **state)
{
    (void)state;
    struct kit k;
    int fds[2];
    char byte;
    open_seed(&k, 2);
    kit_pair(KIT_TCP4, fds);
    assert_int_equal(raw_send(fds[0], "x", 1, MSG_OOB), -1);
    assert_int_equal(errno, EOPNOTSUPP);
    assert_int_equal(raw_recv(fds[1], &byte, 1, MSG_OOB | MSG_DONTWAIT), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(raw_recv(fds[1], &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    raw_close(fds[0]);
    raw_close(fds[1]);
    kit_close(&k);
}

/* --- Time ------------------------------------------------------------------------------------ */

static void nothing_can_happen(void **state)
{
    (void)state;
    struct kit k;
    int fds[2];
    char byte;
    struct top t;
    open_seed(&k, 2);
    assert_int_equal(weft__sys_wait(k.sys, INT64_MAX), -EDEADLK);
    kit_pair(KIT_PAIR, fds);
    top_recv(&t, &k, fds[0], &byte, 1);
    top_start(&t);
    assert_int_equal(weft__sys_wait(k.sys, INT64_MAX), -EDEADLK);
    top_cancel(&t);
    assert_int_equal(top_finish(&t), -ECANCELED);
    kit_close_fd(&k, fds[0]);
    raw_close(fds[1]);
    kit_close(&k);
}

/* Where the world is run by steps a wait returns at once, and leaves its deadline. */
static void by_steps(void **state)
{
    (void)state;
    struct kit k;
    struct top t;
    open_seed(&k, 1);
    k.world->run_by_steps = true;
    int64_t now = weft__clock_ns(), before = k.world->now_ns;
    assert_int_equal(weft__sys_wait(k.sys, now + 5000), 0);
    assert_int_equal(k.world->now_ns, before);
    assert_int_equal(weft__world_next_ns(k.world), before + 5000);
    assert_int_equal(weft__sys_wait(k.sys, now + 7000), 0); /* a new one replaces it */
    assert_int_equal(weft__world_next_ns(k.world), before + 7000);
    assert_true(weft__list_empty(&k.world->runnable));
    assert_true(weft__world_step(k.world));
    assert_int_equal(weft__clock_ns(), now + 7000);
    assert_false(weft__list_empty(&k.world->runnable));
    weft__list_remove(&k.proc->runnable);

    assert_int_equal(weft__sys_wait(k.sys, INT64_MAX), 0);
    assert_int_equal(weft__world_next_ns(k.world), INT64_MAX);
    assert_true(weft__list_empty(&k.world->runnable));
    top_init(&t, &k, WEFT__OP_NOP, -1);
    top_start(&t);
    assert_false(weft__list_empty(&k.world->runnable)); /* it has something to do */
    weft__list_remove(&k.proc->runnable);
    assert_int_equal(weft__sys_wait(k.sys, INT64_MAX), 1);
    assert_true(t.ended);
    /* What was told may have made tasks ready, so it is asked again. */
    assert_false(weft__list_empty(&k.world->runnable));
    weft__list_remove(&k.proc->runnable);
    k.world->run_by_steps = false;
    kit_close(&k);
}

/* --- Chance ---------------------------------------------------------------------------------- */

/* Operations that are put off by chance do not overtake one another. */
static void put_off_in_order(void **state)
{
    (void)state;
    enum { COUNT = 60 };
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        for (int f = 0; f < KIT_FAMILIES; f++) {
            struct kit k;
            struct top t[COUNT];
            char out[COUNT], in[COUNT];
            int fds[2], at_once = 0;
            open_seed(&k, 2 * seed); /* not lazy by itself */
            kit_pair((enum kit_family)f, fds);
            k.proc->host->faults.again = weft__probability(0.3);
            for (int i = 0; i < COUNT; i++) {
                out[i] = (char)i;
                top_send(&t[i], &k, fds[0], &out[i], 1);
                top_start(&t[i]);
                at_once += t[i].at_once;
                if (i % 7 == 6)
                    kit_turn(&k);
            }
            for (int i = 0; i < COUNT; i++)
                assert_int_equal(top_finish(&t[i]), 1);
            assert_in_range(at_once, 1, COUNT - 1);
            for (int i = 0; i < COUNT; i++) {
                top_recv(&t[i], &k, fds[1], &in[i], 1);
                top_start(&t[i]);
            }
            for (int i = 0; i < COUNT; i++)
                assert_int_equal(top_finish(&t[i]), 1);
            assert_memory_equal(in, out, COUNT);
            k.proc->host->faults.again = 0;
            kit_close_fd(&k, fds[0]);
            kit_close_fd(&k, fds[1]);
            kit_close(&k);
        }
    }
}

struct heap_of {
    struct top t;
    int results;
    bool ended_early;
};

static void count_result(struct top *t)
{
    struct heap_of *h = t->arg;
    KIT_CHECK(t->op.res > 0);
    h->results++;
    h->ended_early |= !t->op.more;
    weft__rbuf_put(t->kit->sys, t->op.rbuf);
}

/* Any result of a MULTI receive may be the last, but not where the world is asked for order. */
static void multi_recv_ends_by_chance(void **state)
{
    (void)state;
    int early = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        for (int in_order = 0; in_order < 2; in_order++) {
            struct kit k;
            struct heap_of h = {.results = 0};
            int fds[2];
            open_seed(&k, seed);
            k.world->in_order = in_order;
            kit_pair(KIT_PAIR, fds);
            top_recv_pool(&h.t, &k, fds[0]);
            h.t.op.flags = WEFT__OP_MULTI;
            h.t.then = count_result;
            h.t.arg = &h;
            top_start(&h.t);
            assert_false(h.t.ended); /* its results come from wait */
            for (int i = 0; i < 100 && !h.t.ended; i++) {
                kit_put(fds[1], "x", 1);
                kit_turn(&k);
                assert_int_equal(h.results, i + 1);
            }
            if (in_order)
                assert_false(h.ended_early);
            early += h.ended_early;
            if (!h.t.ended) {
                h.t.then = NULL;
                top_cancel(&h.t);
                assert_int_equal(top_finish(&h.t), -ECANCELED);
            }
            kit_close_fd(&k, fds[0]);
            raw_close(fds[1]);
            kit_close(&k);
        }
    }
    assert_in_range(early, 1, SEEDS);
}

/* --- Faults of the host ---------------------------------------------------------------------- */

static void short_and_refused(void **state)
{
    (void)state;
    int shorts = 0, refused = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct kit k;
        struct top t;
        struct sockaddr_storage sa;
        socklen_t len;
        int fds[2];
        uint8_t out[1000], in[1000];
        open_seed(&k, seed);
        kit_pair(KIT_TCP6, fds);
        k.proc->host->faults.short_io = weft__probability(0.5);
        for (size_t i = 0; i < sizeof out; i++)
            out[i] = (uint8_t)(i * 7);
        top_send(&t, &k, fds[0], out, sizeof out); /* SEND is whole all the same */
        assert_int_equal(top_run(&t), sizeof out);
        for (size_t got = 0; got < sizeof in;) {
            top_recv(&t, &k, fds[1], in + got, sizeof in - got);
            int n = top_run(&t);
            assert_in_range(n, 1, sizeof in - got);
            got += (size_t)n;
            shorts += got < sizeof in;
        }
        assert_memory_equal(in, out, sizeof in);
        k.proc->host->faults.short_io = 0;
        kit_close_fd(&k, fds[0]);
        kit_close_fd(&k, fds[1]);

        /* A connection that found no descriptor waits for the next accept. */
        int l = kit_listener(KIT_TCP4, 4, &sa, &len), c = kit_socket(KIT_TCP4), fd;
        assert_int_equal(raw_connect(c, (struct sockaddr *)(void *)&sa, len), 0);
        k.proc->host->faults.no_files = weft__probability(0.7);
        do {
            top_accept(&t, &k, l);
            fd = top_run(&t);
            assert_true(fd >= 0 || fd == -EMFILE);
            refused += fd < 0;
        } while (fd < 0);
        k.proc->host->faults.no_files = 0;
        assert_int_equal(kit_count_fds() - k.fds_before, 3);
        kit_close_fd(&k, fd);
        kit_close_fd(&k, l);
        raw_close(c);
        kit_close(&k);
    }
    assert_true(shorts > SEEDS && refused > 0);
}

static void limit_of_descriptors(void **state)
{
    (void)state;
    struct kit k;
    int fds[2], more[2];
    open_seed(&k, 1);
    k.proc->host->max_fds = 5;
    kit_pair(KIT_PAIR, fds);
    int one = kit_socket(KIT_TCP4), two = kit_socket(KIT_TCP6);
    assert_int_equal(raw_pipe(more), -1); /* there is room for one, and it is given back */
    assert_int_equal(errno, EMFILE);
    int three = kit_socket(KIT_UNIX);
    assert_int_equal(raw_socket(AF_INET, SOCK_STREAM), -1);
    assert_int_equal(errno, EMFILE);
    raw_close(one);
    assert_int_equal(kit_socket(KIT_TCP4), one); /* the lowest number that is free */
    raw_close(one);
    raw_close(two);
    raw_close(three);
    raw_close(fds[0]);
    raw_close(fds[1]);
    kit_close(&k);
}

/* --- A failed connect ------------------------------------------------------------------------ */

static int error_of(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    assert_int_equal(raw_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
    return error;
}

static void listen_at(struct weft__proc *p, const struct sockaddr_in *sa)
{
    int l = weft__sim_socket(p, AF_INET, SOCK_STREAM, 0);
    assert_int_equal(weft__sim_bind(p, l, (const struct sockaddr *)(const void *)sa, sizeof *sa),
                     0);
    assert_int_equal(weft__sim_listen(p, l, 4), 0);
}

/* Of one that nobody waits for: poll(2) tells that it is over, SO_ERROR how, and that once. */
static void connect_fails_late(void **state)
{
    (void)state;
    struct kit k;
    struct weft__host *other = NULL;
    struct weft__proc *proc = NULL;
    open_seed(&k, 2);
    assert_int_equal(weft__host_open(&other, k.world, "other"), 0);
    assert_int_equal(weft__proc_open(&proc, other), 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(80)};
    sa.sin_addr = other->address4;
    int fd = kit_socket(KIT_TCP4);
    assert_int_equal(raw_set_nonblock(fd, true), 0);
    for (int round = 0; round < 3; round++) {
        struct top t;
        if (round == 2)
            listen_at(proc, &sa);
        assert_int_equal(raw_connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa), -1);
        assert_int_equal(errno, EINPROGRESS);
        top_poll(&t, &k, fd, POLLOUT);
        top_start(&t);
        kit_turn(&k);
        assert_false(t.ended);
        assert_int_equal(top_finish(&t), round < 2 ? POLLOUT | POLLERR | POLLHUP : POLLOUT);
        if (round == 0) {
            assert_int_equal(error_of(fd), ECONNREFUSED);
            assert_int_equal(error_of(fd), 0);
        }
    }
    assert_int_equal(error_of(fd), 0); /* what the second ended with was its own */
    kit_close_fd(&k, fd);
    weft__proc_close(proc);
    kit_close(&k);
}

/* --- Crashes --------------------------------------------------------------------------------- */

/* Everything under way ends, in whatever state it is; then there is no machine to ask. */
static void crash_ends_what_is_under_way(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct kit k;
        int fds[2], full[2];
        char buf[8];
        static char much[1u << 20];
        struct sockaddr_storage sa;
        socklen_t len;
        struct top recv, poll, send, accept, multi, nop;
        open_seed(&k, seed);
        kit_pair(KIT_PAIR, fds);
        kit_pair(KIT_TCP4, full);
        int l = kit_listener(KIT_TCP4, 4, &sa, &len);
        top_recv(&recv, &k, fds[0], buf, sizeof buf);
        top_poll(&poll, &k, fds[1], POLLIN);
        top_send(&send, &k, full[0], much, sizeof much);
        top_accept(&accept, &k, l);
        top_recv_pool(&multi, &k, full[0]);
        multi.op.flags = WEFT__OP_MULTI;
        top_init(&nop, &k, WEFT__OP_NOP, -1);
        struct top *all[] = {&recv, &poll, &send, &accept, &multi};
        for (size_t i = 0; i < WEFT__ARRAY_LEN(all); i++)
            top_start(all[i]);
        if (seed > 2)
            kit_turn(&k);
        top_start(&nop);
        weft__proc_crash(k.proc);
        for (size_t i = 0; i < WEFT__ARRAY_LEN(all); i++) {
            assert_int_equal(top_finish(all[i]), -ECANCELED);
            assert_int_equal(all[i]->results, 1);
        }
        assert_int_equal(top_finish(&nop), 0);
        assert_int_equal(kit_count_fds(), k.fds_before);
        top_recv(&recv, &k, fds[0], buf, sizeof buf);
        assert_int_equal(top_run(&recv), -ENETDOWN);
        assert_int_equal(raw_socket(AF_INET, SOCK_STREAM), -1);
        assert_int_equal(errno, ENETDOWN);
        assert_int_equal(raw_pipe(fds), -1);
        assert_int_equal(errno, ENETDOWN);
        kit_close(&k);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_outside),        cmocka_unit_test(one_loop_a_process),
        cmocka_unit_test(real_descriptors),   cmocka_unit_test(urgent_bytes_are_refused),
        cmocka_unit_test(nothing_can_happen), cmocka_unit_test(by_steps),
        cmocka_unit_test(put_off_in_order),   cmocka_unit_test(multi_recv_ends_by_chance),
        cmocka_unit_test(short_and_refused),  cmocka_unit_test(limit_of_descriptors),
        cmocka_unit_test(connect_fails_late), cmocka_unit_test(crash_ends_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
