/* SPDX-License-Identifier: MIT */
/*
 * Tests of what trees say: names, sites, what is waited for, backtraces; and that printing changes
 * nothing. How other processes ask for them is tested in test_see.c.
 */
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/offload.h>
#include <weft/signal.h>
#include <weft/stream.h>
#include <weft/tree.h>

#include "base/alloc.h"
#include "rt_kit.h"

struct text {
    char *data;
    size_t len;
};

static void collect(void *arg, const char *piece, size_t len)
{
    struct text *t = arg;
    t->data = realloc(t->data, t->len + len + 1);
    CHECK(t->data != NULL);
    memcpy(t->data + t->len, piece, len);
    t->len += len;
    t->data[t->len] = '\0';
}

/* The calling task's loop as text, to be freed. */
static char *tree(unsigned flags)
{
    struct text t = {NULL, 0};
    CHECK_EQ(weft_loop_tree(weft_loop_current(), flags, collect, &t), 0);
    return t.data;
}

/* The line that holds the word; NUL in the place of its end. */
static char *line_of(char *text, const char *word)
{
    char *at = strstr(text, word);
    if (at == NULL)
        (void)fprintf(stderr, "not there: %s\n%s", word, text);
    CHECK(at != NULL);
    while (at > text && at[-1] != '\n')
        at--;
    char *copy = strndup(at, strcspn(at, "\n"));
    CHECK(copy != NULL);
    return copy;
}

static void expect(char *text, const char *name, const char *word)
{
    char *line = line_of(text, name);
    if (strstr(line, word) == NULL)
        (void)fprintf(stderr, "no '%s' in: %s\n", word, line);
    CHECK(strstr(line, word) != NULL);
    free(line);
}

static size_t depth_of(char *text, const char *word)
{
    char *line = line_of(text, word);
    size_t n = strspn(line, " ");
    free(line);
    return n;
}

/* --- Every way to wait ------------------------------------------------------------------------ */

static struct world {
    struct weft_channel *empty, *full;
    struct weft_mutex mutex;
    struct weft_semaphore semaphore;
    struct weft_event event;
    struct weft_barrier barrier;
    struct weft_task *sleeper;
    struct weft_signals *signals;
    int pair[2];
    _Atomic bool job_stops;
    struct weft_stream *stream;
} world;

/* Not static, so that dladdr knows them; not tail calls, so that they are in the backtrace. */
int tree_waits_in_sleep(void *arg);
int tree_waits_in_recv(void *arg);
int tree_waits_in_send(void *arg);
int tree_waits_in_select(void *arg);
int tree_waits_in_lock(void *arg);
int tree_waits_in_acquire(void *arg);
int tree_waits_in_event(void *arg);
int tree_waits_in_barrier(void *arg);
int tree_waits_in_join(void *arg);
int tree_waits_in_group(void *arg);
int tree_waits_in_read(void *arg);
int tree_waits_in_poll(void *arg);
int tree_waits_in_offload(void *arg);
int tree_waits_in_signal(void *arg);
int tree_is_ready(void *arg);

#define BODY(name, call)                                                                           \
    int name(void *arg)                                                                            \
    {                                                                                              \
        (void)arg;                                                                                 \
        int err = (call);                                                                          \
        CHECK_EQ(err, -ECANCELED);                                                                 \
        return 0;                                                                                  \
    }

static char byte;
static const int watched_signals[] = {SIGUSR1, 0};

static int job(struct weft_job *j, void *arg)
{
    (void)arg;
    while (!weft_job_canceled_mt(j))
        usleep(1000); /* a job that takes its time; nothing waits for it */
    return -ECANCELED;
}

static int select_one(void)
{
    struct weft_select arms[] = {{.channel = world.empty, .recv = &byte},
                                 {.channel = world.full, .send = &byte}};
    return weft_select(arms, 2, WEFT_NEVER);
}

static int open_and_wait(void)
{
    struct weft_group *g = kit_group();
    CHECK_EQ(weft_group_deadline(g, weft_after_s(100)), 0);
    kit_go(g, "inner member", kit_sleep_long, NULL);
    int err = weft_group_wait(g, WEFT_NEVER);
    weft_group_close(&g);
    return err;
}

static int read_stream(void)
{
    return (int)weft_read(world.stream, &byte, 1, WEFT_NEVER);
}

BODY(tree_waits_in_sleep, weft_sleep_until(weft_after_s(1000)))
BODY(tree_waits_in_recv, weft_channel_recv(world.empty, &byte, WEFT_NEVER))
BODY(tree_waits_in_send, weft_channel_send(world.full, &byte, WEFT_NEVER))
BODY(tree_waits_in_select, select_one())
BODY(tree_waits_in_lock, weft_mutex_lock(&world.mutex, WEFT_NEVER))
BODY(tree_waits_in_acquire, weft_semaphore_acquire(&world.semaphore, WEFT_NEVER))
BODY(tree_waits_in_event, weft_event_wait(&world.event, WEFT_NEVER))
BODY(tree_waits_in_barrier, weft_barrier_wait(&world.barrier, WEFT_NEVER))
BODY(tree_waits_in_join, weft_task_join(&world.sleeper, NULL, WEFT_NEVER))
BODY(tree_waits_in_group, open_and_wait())
BODY(tree_waits_in_read, read_stream())
BODY(tree_waits_in_poll, weft_poll(world.pair[1], POLLIN, WEFT_NEVER))
BODY(tree_waits_in_offload, weft_offload(job, NULL, WEFT_NEVER))
BODY(tree_waits_in_signal, weft_signals_wait(world.signals, WEFT_NEVER))

int tree_is_ready(void *arg)
{
    int err = 0;
    (void)arg;
    while (err == 0)
        err = weft_yield();
    CHECK_EQ(err, -ECANCELED);
    return 0;
}

static const struct {
    const char *name, *what;
    weft_fn fn;
} waits[] = {
    {"tree_waits_in_sleep", "waits in sleep, ", tree_waits_in_sleep},
    {"tree_waits_in_recv", "waits in channel recv", tree_waits_in_recv},
    {"tree_waits_in_send", "waits in channel send", tree_waits_in_send},
    {"tree_waits_in_select", "waits in select", tree_waits_in_select},
    {"tree_waits_in_lock", "waits in lock", tree_waits_in_lock},
    {"tree_waits_in_acquire", "waits in acquire", tree_waits_in_acquire},
    {"tree_waits_in_event", "waits in event", tree_waits_in_event},
    {"tree_waits_in_barrier", "waits in barrier", tree_waits_in_barrier},
    {"tree_waits_in_join", "waits in join", tree_waits_in_join},
    {"tree_waits_in_group", "waits in group wait", tree_waits_in_group},
    {"tree_waits_in_read", "waits in read fd ", tree_waits_in_read},
    {"tree_waits_in_poll", "waits in poll fd ", tree_waits_in_poll},
    {"tree_waits_in_offload", "waits in offload", tree_waits_in_offload},
    {"tree_waits_in_signal", "waits in signal fd ", tree_waits_in_signal},
    {"tree_is_ready", "ready", tree_is_ready},
};
#define WAITS (sizeof waits / sizeof waits[0])

static void make_world(void)
{
    world = (struct world){.job_stops = false};
    CHECK_EQ(weft_channel_open(&world.empty, 1, 1), 0);
    CHECK_EQ(weft_channel_open(&world.full, 1, 1), 0);
    CHECK_EQ(weft_channel_send(world.full, &byte, WEFT_NEVER), 0);
    CHECK_EQ(weft_mutex_lock(&world.mutex, WEFT_NEVER), 0);
    weft_semaphore_init(&world.semaphore, 0);
    weft_barrier_init(&world.barrier, 2);
    CHECK_EQ(weft_signals_open(&world.signals, watched_signals), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, world.pair), 0);
    CHECK_EQ(weft_stream_from_fd(&world.stream, world.pair[0]), 0);
}

static void end_world(void)
{
    weft_channel_close(&world.empty);
    weft_channel_close(&world.full);
    weft_mutex_unlock(&world.mutex);
    weft_task_release(&world.sleeper);
    weft_signals_close(&world.signals);
    weft_abort(&world.stream);
    (void)close(world.pair[1]);
}

static int names_what_is_waited_for(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    make_world();
    world.sleeper = kit_spawn(g, "joined", kit_sleep_long, NULL);
    for (size_t i = 0; i < WAITS; i++)
        kit_go(g, waits[i].name, waits[i].fn, NULL);
    kit_settle();
    char *plain = tree(0);
    char *text = tree(WEFT_TREE_BACKTRACE);
    expect(plain, "task main #1 (weft_run)", "waits in tree");
    expect(plain, "inner member", "waits in sleep");
    CHECK(strstr(plain, " at ") == NULL);
    CHECK_EQ(depth_of(plain, "inner member"), depth_of(plain, "tree_waits_in_group") + 4);
    expect(plain, "group of 1, ", " s left");
    for (size_t i = 0; i < WAITS; i++) {
        char at[64], name[64];
        (void)snprintf(name, sizeof name, "task %s #", waits[i].name);
        (void)snprintf(at, sizeof at, "at %s [/", waits[i].name);
        expect(text, name, waits[i].what);
        expect(text, name, "rt_kit.h:");
        expect(text, name, ", stack ");
        CHECK_EQ(depth_of(text, at), depth_of(text, name) + 2);
    }
    free(plain);
    free(text);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    end_world();
    return 0;
}

/* --- Printing changes nothing ----------------------------------------------------------------- */

static int leaves_no_trace(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_loop_stats before, after;
    (void)arg;
    make_world();
    world.sleeper = kit_spawn(g, "joined", kit_sleep_long, NULL);
    for (size_t i = 0; i + 1 < WAITS; i++) /* not the one that is ready: it runs meanwhile */
        kit_go(g, waits[i].name, waits[i].fn, NULL);
    kit_settle();
    CHECK_EQ(weft_loop_stats(weft_loop_current(), &before), 0);
    free(tree(WEFT_TREE_BACKTRACE));
    CHECK_EQ(weft_loop_stats(weft_loop_current(), &after), 0);
    CHECK_EQ(after.switches, before.switches + 1); /* our own */
    char *first = tree(0);
    for (int i = 0; i < 3; i++)
        free(tree(WEFT_TREE_BACKTRACE));
    char *last = tree(0);
    for (size_t i = 0; i + 1 < WAITS; i++) { /* with their stacks' marks */
        char *a = line_of(first, waits[i].name), *b = line_of(last, waits[i].name);
        CHECK(strcmp(strstr(a, ", stack"), strstr(b, ", stack")) == 0);
        free(a);
        free(b);
    }
    free(first);
    free(last);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    end_world();
    return 0;
}

/* A task ends into one whose backtrace was just taken. */
static int ends_after_a_backtrace(void *arg)
{
    (void)arg;
    for (int round = 0; round < 20; round++) {
        struct weft_group *g = kit_group();
        struct weft_event e = {0};
        struct weft_task *t[4];
        world.event = e;
        for (int i = 0; i < 4; i++)
            t[i] = kit_spawn(g, "waiter", tree_waits_in_event, NULL);
        kit_settle();
        free(tree(WEFT_TREE_BACKTRACE));
        for (int i = 0; i < 4; i++)
            weft_task_cancel(t[i]);
        for (int i = 0; i < 4; i++)
            CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

/* --- Marks ------------------------------------------------------------------------------------ */

static int shielded(void *arg)
{
    (void)arg;
    weft_shield(50000);
    CHECK_EQ(weft_event_wait(&world.event, WEFT_NEVER), 0);
    weft_unshield();
    return 0;
}

static int fails(void *arg)
{
    (void)arg;
    return -EIO;
}

static int marks_cancels_and_errors(void *arg)
{
    struct weft_group *g = kit_group(), *bad = kit_group();
    (void)arg;
    world.event = (struct weft_event){0};
    kit_go(g, "in shield", shielded, NULL);
    kit_settle();
    weft_group_cancel(g);
    kit_go(bad, "bad", fails, NULL);
    kit_go(bad, "clean-up", shielded, NULL);
    kit_settle();
    char *text = tree(0);
    expect(text, "in shield", ", canceled, shielded for ");
    expect(text, "group of 1, canceled\n", "canceled");
    expect(text, ", error EIO", "group of 1, canceled, error EIO");
    free(text);
    weft_event_set(&world.event);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_group_close(&bad), -EIO);
    return 0;
}

/* --- Threads ---------------------------------------------------------------------------------- */

static _Atomic int threads_ready;

static int thread_member(void *arg)
{
    (void)arg;
    atomic_fetch_add(&threads_ready, 1);
    int err = weft_sleep_until(WEFT_NEVER);
    CHECK_EQ(err, -ECANCELED);
    return 0;
}

static int thread_parent(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "grandchild", thread_member, NULL);
    kit_go(g, "reader", thread_member, NULL);
    int err = weft_group_wait(g, WEFT_NEVER);
    CHECK(err == -ECANCELED || err == 0); /* 0: the members were quicker */
    return weft_group_close(&g);
}

static int inner_main(void *arg)
{
    (void)arg;
    atomic_fetch_add(&threads_ready, 1);
    int err = weft_sleep_until(WEFT_NEVER);
    CHECK_EQ(err, -ECANCELED);
    return 0;
}

static int runs_a_loop(void *arg)
{
    (void)arg;
    struct weft_options o = {.name = "inner loop", .driver = "epoll"};
    return weft_run(&o, inner_main, NULL);
}

/* Prints until all of the words are there: the threads take their own time. */
static void await_words(const char *const *words)
{
    for (;;) {
        char *text = tree(WEFT_TREE_BACKTRACE);
        size_t i = 0;
        while (words[i] != NULL && strstr(text, words[i]) != NULL)
            i++;
        free(text);
        if (words[i] == NULL)
            return;
        CHECK_EQ(weft_sleep_ms(1), 0);
    }
}

static int shows_threads(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    atomic_store(&threads_ready, 0);
    struct weft__spawn spawn = {.fn = thread_parent, .name = "parent", .site = "here"};
    CHECK_EQ(weft__thread_spawn(g, &spawn, NULL), 0);
    spawn.fn = runs_a_loop;
    spawn.name = "looper";
    CHECK_EQ(weft__thread_spawn(g, &spawn, NULL), 0);
    await_words((const char *const[]){"thread parent (here) waits in group wait\n", "group of 2\n",
                                      "thread looper (here) runs loop inner loop\n",
                                      ") waits in sleep\n", NULL});
    char *text = tree(0);
    CHECK_EQ(depth_of(text, "thread grandchild"), depth_of(text, "thread parent") + 4);
    free(text);
    while (atomic_load(&threads_ready) < 3)
        CHECK_EQ(weft_sleep_ms(1), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Depth and size --------------------------------------------------------------------------- */

static int chain(void *arg)
{
    int left = *(int *)arg - 1;
    struct weft_group *g = kit_group();
    struct weft_task_options o = {.name = "link", .site = WEFT_SITE, .copy = sizeof left};
    if (left == 0)
        weft_event_set(&world.event);
    else
        CHECK_EQ(weft_group_spawn(g, &o, chain, &left, NULL), 0);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    return weft_group_close(&g);
}

static int prints_from_a_task_of_a_nested_loop(void *arg)
{
    struct weft_group *g = kit_group();
    world.event = (struct weft_event){0};
    kit_go(g, "link", chain, arg);
    CHECK_EQ(weft_event_wait(&world.event, WEFT_NEVER), 0);
    char *text = tree(WEFT_TREE_BACKTRACE);
    CHECK(strstr(text, "task link #2") != NULL);
    CHECK(strstr(text, "... what lies deeper is not shown") != NULL);
    free(text);
    weft_group_cancel(g);
    return weft_group_close(&g);
}

static int keeps_within_its_stack(void *arg)
{
    int deep = 3000;
    (void)arg;
    CHECK_EQ(prints_from_a_task_of_a_nested_loop(&deep), 0);
    struct weft_options o = {.driver = weft_driver_name(), .name = "nested"};
    CHECK_EQ(weft_run(&o, prints_from_a_task_of_a_nested_loop, &deep), 0); /* on a task's stack */
    return 0;
}

static int uses_most_of_its_stack(void *arg)
{
    struct weft__task *t = weft__task_of(weft__flow_current);
    size_t left = (size_t)((char *)__builtin_frame_address(0) - (char *)t->stack->lo);
    (void)arg;
    volatile char *big = __builtin_alloca(left - (KIT_SANITIZED ? 60000 : 3000));
    big[0] = 1;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    return 0;
}

static int walks_no_full_stack(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "full", uses_most_of_its_stack, NULL);
    kit_settle();
    char *text = tree(WEFT_TREE_BACKTRACE);
    CHECK(strstr(text, "(too little is left of its stack for a backtrace)") != NULL);
    free(text);
    weft_group_cancel(g);
    return weft_group_close(&g);
}

/* --- Who may print ---------------------------------------------------------------------------- */

static int nested_body(void *arg)
{
    struct text t = {NULL, 0};
    CHECK_EQ(weft_loop_tree(arg, 0, collect, &t), -EDEADLK); /* the outer loop stands still */
    return 0;
}

static void print_in_callback(void *arg)
{
    CHECK_EQ(weft_loop_tree(weft_loop_current(), WEFT_TREE_BACKTRACE, collect, arg), 0);
}

static void *print_elsewhere(void *arg)
{
    struct text t = {NULL, 0};
    CHECK_EQ(weft_loop_tree(arg, 0, collect, &t), WEFT_ETHREAD);
    return NULL;
}

static int answers_where_it_can(void *arg)
{
    struct weft_loop *l = weft_loop_current();
    struct text t = {NULL, 0};
    struct weft_group *g = kit_group();
    pthread_t thread;
    (void)arg;
    struct weft_options o = {.driver = weft_driver_name()};
    CHECK_EQ(weft_run(&o, nested_body, l), 0);
    CHECK_EQ(pthread_create(&thread, NULL, print_elsewhere, l), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(weft_loop_tree(l, 0, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_loop_tree(NULL, 0, collect, &t), -EINVAL);
    kit_go(g, "tree_waits_in_sleep", tree_waits_in_sleep, NULL);
    kit_settle();
    kit_as_callback(print_in_callback, &t);
    expect(t.data, "at tree_waits_in_sleep", "tree_waits_in_sleep");
    free(t.data);
    weft_group_cancel(g);
    return weft_group_close(&g);
}

static void prints_between_steps(const char *driver)
{
    struct weft_options o = {.driver = driver, .name = "driven"};
    struct weft_loop *l = NULL;
    struct text t = {NULL, 0};
    assert_int_equal(weft_loop_open(&l, &o), 0);
    assert_int_equal(
        weft_group_go(weft_loop_group(l), "tree_waits_in_sleep", tree_waits_in_sleep, NULL), 0);
    assert_int_equal(weft_loop_tree(l, WEFT_TREE_BACKTRACE, collect, &t), 0);
    assert_non_null(strstr(t.data, "not begun yet"));
    assert_int_equal(weft_loop_step(l, WEFT_NOW), 1);
    assert_int_equal(weft_loop_tree(l, WEFT_TREE_BACKTRACE, collect, &t), 0);
    assert_non_null(strstr(t.data, "loop driven ("));
    assert_non_null(strstr(t.data, "at tree_waits_in_sleep [/"));
    free(t.data);
    weft_loop_close(&l);
}

static const struct kit_case cases[] = {
    IN_TASK(names_what_is_waited_for),
    IN_TASK(leaves_no_trace),
    IN_TASK(ends_after_a_backtrace),
    IN_TASK(marks_cancels_and_errors),
    IN_TASK(shows_threads),
    IN_TASK(keeps_within_its_stack),
    IN_TASK(walks_no_full_stack),
    IN_TASK(answers_where_it_can),
    ON_THREAD(prints_between_steps),
};

KIT_MAIN(cases)
