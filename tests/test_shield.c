/* SPDX-License-Identifier: MIT */
/* Tests of shields: what a cancelled task or thread may still wait for, and for how long. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rt_kit.h"
#include "sys/call.h"

/* --- Tasks --------------------------------------------------------------------------------- */

static int waits_shielded(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_shield(0);
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_sleep_ms(2), 0);
    struct weft_event e = WEFT_EVENT_INIT;
    weft_deadline d = weft_after_ms(2);
    CHECK_EQ(weft_event_wait(&e, d), -ETIMEDOUT); /* its own deadline counts as ever */
    weft_unshield();
    CHECK_EQ(weft_canceled(), -ECANCELED);
    CHECK_EQ(weft_yield(), -ECANCELED);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    return 0;
}

static int shield_allows_waiting(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", waits_shielded, NULL);
    kit_settle();
    return weft_group_close(&g);
}

static int waits_beyond_its_shield(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    int64_t start = weft_now_ns();
    weft_shield(4);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED); /* at the shield's end */
    CHECK(weft_now_ns() >= start + 4000000);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED); /* at once */
    CHECK_EQ(weft_yield(), -ECANCELED);
    weft_unshield();
    CHECK_EQ(weft_yield(), -ECANCELED);
    return 0;
}

static int shield_is_bounded(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", waits_beyond_its_shield, NULL);
    kit_settle();
    return weft_group_close(&g);
}

struct shielded {
    weft_deadline d;
    int64_t start;
    int result;
    int ms;
};

static int is_canceled_within_a_shield(void *arg)
{
    struct shielded *s = arg;
    s->start = weft_now_ns();
    weft_shield(s->ms);
    s->result = weft_sleep_until(s->d);
    CHECK_EQ(weft_canceled(), 0); /* still within */
    weft_unshield();
    CHECK_EQ(weft_yield(), -ECANCELED);
    return 0;
}

static int cancel_during_a_shielded_wait(void *arg)
{
    struct weft_group *g = kit_group();
    struct shielded s = {.d = WEFT_NEVER, .ms = 6};
    (void)arg;
    struct weft_task *t = kit_spawn(g, "shielded", is_canceled_within_a_shield, &s);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s.result, -ECANCELED);
    CHECK(weft_now_ns() >= s.start + 6000000); /* it waited to the end of the shield */

    /* Its own deadline comes first, and is met: nothing was cut short. */
    s = (struct shielded){.d = weft_after_ms(40), .ms = 100000};
    t = kit_spawn(g, "shielded", is_canceled_within_a_shield, &s);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s.result, 0);

    /* A deadline beyond the shield's end: the shield's end comes first. */
    s = (struct shielded){.d = weft_after_s(1000), .ms = 3};
    t = kit_spawn(g, "shielded", is_canceled_within_a_shield, &s);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s.result, -ECANCELED);
    return weft_group_close(&g);
}

static int shields_within_shields(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    int64_t start = weft_now_ns();
    weft_shield(60);
    weft_shield(1000000); /* the inner one cannot outlast the outer */
    CHECK_EQ(weft_sleep_ms(1), 0);
    weft_unshield();
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_sleep_ms(1), 0);
    weft_shield(1000000);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    CHECK(weft_now_ns() >= start + 60000000);
    CHECK(KIT_SLOW || weft_now_ns() < start + 900000000);
    weft_unshield();
    weft_unshield();
    CHECK_EQ(weft_canceled(), -ECANCELED);

    /* An inner one that ends sooner. */
    weft_shield(100000);
    weft_shield(3);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_unshield();
    weft_unshield();
    return 0;
}

static int shields_nest(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", shields_within_shields, NULL);
    kit_settle();
    return weft_group_close(&g);
}

static int the_outer_shield_goes_on(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_shield(100000);
    weft_shield(1);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_unshield();
    CHECK_EQ(weft_sleep_ms(1), 0); /* the outer one has long not ended */
    weft_unshield();
    return 0;
}

static int an_inner_shield_ends_alone(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", the_outer_shield_goes_on, NULL);
    kit_settle();
    return weft_group_close(&g);
}

struct farewell {
    struct weft_group *before, *within;
    int before_result, within_result;
    bool work_done;
};

static int notes(void *arg)
{
    int *result = arg;
    *result = weft_sleep_until(WEFT_NEVER);
    return *result;
}

static int works(void *arg)
{
    struct farewell *f = arg;
    CHECK_EQ(weft_sleep_ms(1), 0);
    f->work_done = true;
    return 0;
}

static int shelters_a_group(void *arg)
{
    struct farewell *f = arg;
    f->before = kit_group();
    kit_go(f->before, "before", notes, &f->before_result);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_shield(0);
    f->within = kit_group();
    kit_go(f->within, "works", works, f); /* a clean-up may have tasks of its own */
    CHECK_EQ(weft_group_wait(f->within, WEFT_NEVER), 0);
    CHECK(f->work_done);
    kit_go(f->within, "within", notes, &f->within_result);
    kit_settle();
    CHECK_EQ(f->before_result, -ECANCELED);
    CHECK_EQ(f->within_result, 1);
    weft_unshield(); /* what is still open hears of the cancel now */
    CHECK_EQ(weft_group_wait(f->within, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_group_close(&f->within), 0);
    CHECK_EQ(f->within_result, -ECANCELED);
    CHECK_EQ(weft_group_close(&f->before), 0);
    return 0;
}

static int shield_shelters_groups(void *arg)
{
    struct weft_group *g = kit_group();
    struct farewell f = {.within_result = 1, .before_result = 1};
    (void)arg;
    kit_go(g, "farewell", shelters_a_group, &f);
    kit_settle();
    return weft_group_close(&g);
}

/* A group that was opened in a shield before the cancel came. */
static int shelters_a_group_early(void *arg)
{
    struct farewell *f = arg;
    weft_shield(0);
    f->within = kit_group();
    kit_go(f->within, "within", notes, &f->within_result);
    CHECK_EQ(weft_sleep_ms(5), 0); /* cancelled meanwhile */
    CHECK_EQ(f->within_result, 1);
    weft_unshield();
    CHECK_EQ(weft_group_close(&f->within), 0);
    CHECK_EQ(f->within_result, -ECANCELED);
    return 0;
}

static int shield_shelters_groups_opened_before_the_cancel(void *arg)
{
    struct weft_group *g = kit_group();
    struct farewell f = {.within_result = 1};
    (void)arg;
    kit_go(g, "farewell", shelters_a_group_early, &f);
    kit_settle();
    return weft_group_close(&g);
}

/* --- Threads ------------------------------------------------------------------------------- */

struct shielded_thread {
    weft_deadline d;
    int ms;
    _Atomic bool within;
    int result;
    int64_t took;
};

static int thread_is_canceled_within_a_shield(void *arg)
{
    struct shielded_thread *s = arg;
    int64_t start = weft_now_ns();
    weft_shield(s->ms);
    s->within = true;
    s->result = weft_sleep_until(s->d);
    CHECK_EQ(weft_canceled(), 0);
    s->took = weft_now_ns() - start;
    weft_unshield();
    CHECK_EQ(weft_canceled(), -ECANCELED);
    return 0;
}

static void cancel_during_a_threads_shielded_wait(const char *driver)
{
    (void)driver;
    for (int far = 0; far < 3; far++) {
        struct weft_group *g = kit_group();
        struct shielded_thread s = {.ms = far == 2 ? 100000 : 40};
        s.d = far == 2 ? weft_after_ms(60) : far == 1 ? weft_after_s(1000) : WEFT_NEVER;
        kit_go(g, "shielded", thread_is_canceled_within_a_shield, &s);
        while (!s.within)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(2), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(s.result, far == 2 ? 0 : -ECANCELED);
        CHECK(s.took >= 40000000);
    }
}

/* --- Operations of threads that outlive a shield ------------------------------------------- */

#define PENDING_MAX 64

/* Connections to a listener that takes none: the last one stays under way. */
struct pending {
    struct sockaddr_in to;
    int listener, fds[PENDING_MAX], n;
};

static void pending_open(struct pending *p)
{
    socklen_t len = sizeof p->to;
    *p = (struct pending){.to = {.sin_family = AF_INET}};
    p->to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(p->listener >= 0);
    CHECK_EQ(bind(p->listener, (struct sockaddr *)&p->to, sizeof p->to), 0);
    CHECK_EQ(getsockname(p->listener, (struct sockaddr *)&p->to, &len), 0);
    CHECK_EQ(listen(p->listener, 0), 0);
    for (int err = 0; err == 0;) {
        CHECK(p->n < PENDING_MAX);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        p->fds[p->n++] = fd;
        struct weft__io io = {.op = {.kind = WEFT__OP_CONNECT, .fd = fd}};
        io.op.u.connect.addr = (struct sockaddr *)&p->to;
        io.op.u.connect.addrlen = sizeof p->to;
        err = weft__await(&io, "connect", weft_after_ms(60));
        CHECK(err == 0 || err == -ETIMEDOUT);
    }
}

static void pending_close(struct pending *p)
{
    for (int i = 0; i < p->n; i++)
        CHECK_EQ(close(p->fds[i]), 0);
    CHECK_EQ(close(p->listener), 0);
}

static int connects_beyond_its_shield(void *arg)
{
    struct pending *p = arg;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    struct weft__io io = {.op = {.kind = WEFT__OP_CONNECT, .fd = fd}};
    io.op.u.connect.addr = (struct sockaddr *)&p->to;
    io.op.u.connect.addrlen = sizeof p->to;
    weft_deadline d = weft_after_ms(60);
    weft_shield(20);
    CHECK_EQ(weft__await(&io, "connect", d), -ETIMEDOUT);
    CHECK(weft_now_ns() >= d.ns);
    weft_unshield();
    CHECK_EQ(close(fd), 0);
    return 0;
}

static void a_connect_outlives_a_shield(const char *driver)
{
    struct weft_group *g = kit_group();
    struct pending p;
    (void)driver;
    pending_open(&p);
    CHECK_EQ(connects_beyond_its_shield(&p), 0);
    kit_go(g, "connects", connects_beyond_its_shield, &p);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    pending_close(&p);
}

/* A time-out that the socket itself tells of is not a shield's end. */
static int is_told_of_a_time_out(void *arg)
{
    int *fd = arg;
    char byte;
    for (int canceled = 0; canceled < 2; canceled++) {
        struct weft__io io = {.op = {.kind = WEFT__OP_RECV, .fd = *fd}};
        io.op.u.io.buf = &byte;
        io.op.u.io.len = 1;
        weft_shield(60000);
        weft__fault_at(1, ETIMEDOUT);
        int n = weft__await(&io, "read", WEFT_NEVER);
        weft__fault_at(0, 0);
        CHECK_EQ(n, -ETIMEDOUT);
        weft_unshield();
        if (canceled == 0)
            CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    }
    return 0;
}

static void a_sockets_time_out_is_told_in_a_shield(const char *driver)
{
    struct weft_group *g = kit_group();
    int fds[2];
    (void)driver;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_EQ(shutdown(fds[1], SHUT_WR), 0); /* a second attempt would find the end */
    kit_go(g, "reads", is_told_of_a_time_out, &fds[0]);
    CHECK_EQ(weft_group_wait(g, weft_after_ms(20)), -ETIMEDOUT);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

/* What was sent within a shield is not sent again behind its end. */
static int sends_beyond_its_shield(void *arg)
{
    int *fds = arg;
    static char bytes[1 << 21];
    struct weft__io io = {.op = {.kind = WEFT__OP_SEND, .fd = fds[0]}};
    io.op.u.io.buf = bytes;
    io.op.u.io.len = sizeof bytes;
    weft_shield(10);
    CHECK_EQ(weft__await(&io, "write", weft_after_ms(40)), -ETIMEDOUT);
    weft_unshield();
    size_t got = 0;
    for (ssize_t n; (n = recv(fds[1], bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
        got += (size_t)n;
    CHECK_EQ(io.op.moved, got);
    return 0;
}

static void a_send_outlives_a_shield(const char *driver)
{
    struct weft_group *g = kit_group();
    int fds[2];
    (void)driver;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    kit_go(g, "sends", sends_beyond_its_shield, fds);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

static int polls_beyond_its_shield(void *arg)
{
    struct shielded_thread *s = arg;
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    struct weft__io io = {.op = {.kind = WEFT__OP_POLL, .fd = fds[0], .u.poll.events = POLLIN}};
    int64_t start = weft_now_ns();
    weft_shield(s->ms);
    s->within = true;
    s->result = weft__await(&io, "poll", s->d);
    s->took = weft_now_ns() - start;
    weft_unshield();
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
    return 0;
}

/* Cancelled within the shield, and behind its end. */
static void a_canceled_operation_ends_with_its_shield(const char *driver)
{
    (void)driver;
    for (int behind = 0; behind < 2; behind++) {
        struct weft_group *g = kit_group();
        struct shielded_thread s = {.ms = behind ? 1 : 40, .d = WEFT_NEVER};
        kit_go(g, "shielded", polls_beyond_its_shield, &s);
        while (!s.within)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(20 * behind), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(s.result, -ECANCELED);
        CHECK(s.took >= 1000000 * (int64_t)s.ms);
    }
}

/* --- Groups of threads --------------------------------------------------------------------- */

struct sheltering {
    _Atomic bool within;
    int in_group;
};

static int notes_in_thread(void *arg)
{
    struct sheltering *s = arg;
    s->in_group = weft_sleep_ms(5); /* not cancelled, as its group is sheltered */
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    return 0;
}

static int thread_shelters_a_group(void *arg)
{
    struct sheltering *s = arg;
    weft_shield(0);
    struct weft_group *g = kit_group();
    kit_go(g, "below", notes_in_thread, s);
    s->within = true;
    CHECK_EQ(weft_group_wait(g, weft_after_ms(60)), -ETIMEDOUT);
    weft_unshield();
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* Shields open and close while others cancel: no cancel is lost, nobody waits for ever. */
static int shields_often(void *arg)
{
    ((struct sheltering *)arg)->within = true;
    while (weft_canceled() == 0) {
        struct weft_group *g;
        weft_shield(0);
        CHECK_EQ(weft_group_open(&g), 0);
        int err = weft_group_go(g, "below", kit_sleep_long, NULL);
        weft_unshield();
        CHECK(err == 0 || err == -ECANCELED);
        err = weft_group_wait(g, weft_after_us(30));
        CHECK(err == 0 || err == -ETIMEDOUT || err == -ECANCELED);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

static void shields_shelter_groups_of_threads(const char *driver)
{
    struct weft_group *g = kit_group();
    struct sheltering s = {.in_group = 1};
    (void)driver;
    kit_go(g, "shelters", thread_shelters_a_group, &s);
    while (!s.within)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(s.in_group, 0);
    for (int i = 0; i < 20; i++) {
        struct sheltering x[2] = {{.in_group = 0}, {.in_group = 0}};
        g = kit_group();
        kit_go(g, "often", shields_often, &x[0]);
        kit_go(g, "often", shields_often, &x[1]);
        while (!x[0].within || !x[1].within)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_until(weft_after_us(20 * i)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
}

static const struct kit_case cases[] = {
    IN_TASK(shield_allows_waiting),
    IN_TASK(shield_is_bounded),
    IN_TASK(cancel_during_a_shielded_wait),
    IN_TASK(shields_nest),
    IN_TASK(an_inner_shield_ends_alone),
    IN_TASK(shield_shelters_groups),
    IN_TASK(shield_shelters_groups_opened_before_the_cancel),
    ON_THREAD(cancel_during_a_threads_shielded_wait),
    ON_THREAD(a_connect_outlives_a_shield),
    ON_THREAD(a_sockets_time_out_is_told_in_a_shield),
    ON_THREAD(a_send_outlives_a_shield),
    ON_THREAD(a_canceled_operation_ends_with_its_shield),
    ON_THREAD(shields_shelter_groups_of_threads),
};

KIT_MAIN(cases)
