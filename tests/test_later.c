/* SPDX-License-Identifier: MIT */
/*
 * What a loop does when nothing else of its turn is left: order, shares, giving up, and when it is
 * not done.
 */
#include <errno.h>
#include <semaphore.h>
#include <time.h>

#include "rt/rt.h"
#include "rt_kit.h"

enum { PIECES = 40 };

static struct {
    int done[PIECES], n_done;
    int64_t piece_us;
    uint64_t first_turn, last_turn;
} all;

static void spin_us(int64_t us)
{
    struct timespec t;
    int64_t now, until = 0;
    do {
        CHECK_EQ(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
        now = t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
        until = until > 0 ? until : now + us;
    } while (now < until);
}

static bool pooled; /* the pieces are of the sort that may rest */

static int piece(void *arg)
{
    CHECK_EQ(weft__later_wait("piece", pooled, WEFT_NEVER), 0);
    uint64_t turn = weft_loop_current()->turns;
    all.first_turn = all.n_done == 0 ? turn : all.first_turn;
    all.last_turn = turn;
    all.done[all.n_done++] = (int)(intptr_t)arg;
    spin_us(all.piece_us);
    return 0;
}

/* Until all pieces are done it comes again and again, and takes so long each time. */
static int everything_else(void *arg)
{
    while (all.n_done < PIECES) {
        spin_us((intptr_t)arg);
        CHECK_EQ(weft_sleep_ms(1), 0);
    }
    return 0;
}

static uint64_t turns(int64_t piece_us, int64_t else_us)
{
    struct weft_group *g = kit_group();
    all.n_done = 0;
    all.piece_us = piece_us;
    for (int i = 0; i < PIECES; i++)
        kit_go(g, "piece", piece, (void *)(intptr_t)i);
    kit_go(g, "else", everything_else, (void *)(intptr_t)else_us);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    for (int i = 0; i < PIECES; i++)
        CHECK_EQ(all.done[i], i);
    return all.last_turn - all.first_turn + 1;
}

/* Where the rest is quick, the loop looks at it after every piece. */
static int one_a_turn(void *arg)
{
    (void)arg;
    /* Everything else is short beside a piece, whatever checks the loop's every step. */
    CHECK(turns(KIT_SLOW ? 20000 : 1000, 0) >= PIECES - 2);
    return 0;
}

/* Where the rest takes long, the pieces have as long, and so go on. */
static int half_of_the_loop(void *arg)
{
    (void)arg;
    uint64_t n = turns(500, 5000);
    CHECK(n >= 2);
    CHECK(n <= PIECES / 2);
    return 0;
}

static struct weft_task *waiting;

struct waited {
    weft_deadline until;
    int result;
};

static int cancels(void *arg)
{
    (void)arg;
    CHECK_EQ(weft__later_wait("piece", false, WEFT_NEVER), 0);
    weft_task_cancel(waiting); /* which stands behind this one */
    return 0;
}

static int waits(void *arg)
{
    struct waited *w = arg;
    w->result = weft__later_wait("piece", false, w->until);
    return 0;
}

static int holds_up(void *arg)
{
    CHECK_EQ(weft__later_wait("piece", false, WEFT_NEVER), 0);
    spin_us((intptr_t)arg);
    return 0;
}

/* Who does not wait any longer is not called, and holds up nobody. */
static int cancel_and_time_out(void *arg)
{
    struct waited never = {.until = WEFT_NEVER}, soon = {.until = weft_after_ms(1)};
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "cancels", cancels, NULL);
    waiting = kit_spawn(g, "waits", waits, &never);
    CHECK_EQ(weft_task_join(&waiting, NULL, weft_after_s(60)), 0);
    CHECK_EQ(never.result, -ECANCELED);
    kit_go(g, "holds up", holds_up, (void *)(intptr_t)2000);
    kit_go(g, "holds up", holds_up, (void *)(intptr_t)2000);
    waiting = kit_spawn(g, "waits", waits, &soon);
    CHECK_EQ(weft_task_join(&waiting, NULL, weft_after_s(60)), 0);
    CHECK_EQ(soon.result, -ETIMEDOUT);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(turns(0, 0) > 0);
    return 0;
}

/* --- The pool's backlog ----------------------------------------------------------------------- */

static sem_t let_go;

static void works(struct weft__work *w)
{
    (void)w;
    while (sem_wait(&let_go) < 0)
        CHECK_EQ(errno, EINTR);
}

static int n_worked;

static void worked(struct weft__work *w)
{
    (void)w;
    n_worked++;
}

static void until_worked(int n)
{
    while (n_worked < n)
        CHECK_EQ(weft_sleep_ms(1), 0);
}

/* With as much in the pool as it can do, and as much again, what is for it is not begun. */
static int rests_while_the_pool_is_behind(void *arg)
{
    enum { MOST = 64 };
    struct weft__work w[MOST];
    struct weft_loop *l = weft_loop_current();
    struct weft_group *g = kit_group();
    int n = 0;
    (void)arg;
    CHECK_EQ(sem_init(&let_go, 0, 0), 0);
    all.n_done = n_worked = 0;
    all.piece_us = 0;
    do {
        CHECK(n < MOST);
        w[n] = (struct weft__work){.run = works, .done = worked};
        CHECK_EQ(weft__work_post(l, &w[n++]), 0);
        CHECK_EQ(l->works, n);
    } while (l->works <= l->works_max);
    pooled = true;
    kit_go(g, "piece", piece, (void *)0);
    kit_go(g, "piece", piece, (void *)1);
    CHECK_EQ(weft_yield(), 0);
    pooled = false;
    CHECK_EQ(weft__later_wait("not of those", false, WEFT_NEVER), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(all.n_done, 0);
    CHECK(weft__loop_later_any(l));
    CHECK(!weft__loop_later_due(l));     /* so that the loop may sleep until it is told */
    CHECK(weft__work_withdraw(&w[--n])); /* the last in the pool's line */
    CHECK_EQ(l->works, n);
    CHECK_EQ(l->works, l->works_max);
    CHECK_EQ(sem_post(&let_go), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(all.n_done, 2);
    until_worked(1);
    CHECK_EQ(l->works, n - 1);
    for (int i = 1; i < n; i++)
        CHECK_EQ(sem_post(&let_go), 0);
    until_worked(n);
    CHECK_EQ(l->works, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static void a_thread_waits_for_nobody(const char *driver)
{
    (void)driver;
    CHECK_EQ(weft__later_wait("piece", false, WEFT_NEVER), 0);
}

static const struct kit_case cases[] = {
    IN_TASK(one_a_turn),
    IN_TASK(half_of_the_loop),
    IN_TASK(cancel_and_time_out),
    IN_TASK(rests_while_the_pool_is_behind),
    ON_THREAD(a_thread_waits_for_nobody),
};

int main(void)
{
    return kit_main(cases, WEFT__ARRAY_LEN(cases));
}
