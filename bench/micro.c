/* SPDX-License-Identifier: MIT */
/*
 * What the runtime's small operations cost, in nanoseconds, beside the bars that they have to meet.
 *
 * Floor 6: public headers only. Nothing here waits for anything outside, so what is measured is the
 * thread's CPU time, which other programs disturb less. Each figure is the median of seven runs in
 * one process; the one that follows it is the fastest. Allocations are counted by wrapping glibc's
 * allocator in this program, over a whole run after a first one has warmed the pools.
 *
 * usage: micro [--tasks N]     N parked tasks for the memory figure (1,000,000; 0: leave it out)
 *
 * Invariants: exit 0 when every bar is met, 1 when one is missed, 2 for wrong usage.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weft/channel.h>
#include <weft/error.h>
#include <weft/group.h>
#include <weft/run.h>
#include <weft/sync.h>
#include <weft/time.h>

#define RUNS 7

/* --- Allocations --------------------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);

static uint64_t allocations; /* of this one thread */

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *ptr, size_t size)
{
    allocations++;
    return __libc_realloc(ptr, size);
}

/* --- Measuring ----------------------------------------------------------------------------- */

static bool missed;

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    (void)fprintf(stderr, "micro: %s: %s (%s)\n", what, weft_error_text(result),
                  weft_error_detail());
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct measure {
    const char *name;
    double bar;          /* 0: none */
    double (*run)(void); /* nanoseconds for one operation */
    uint64_t operations; /* of a run, for the allocations */
};

static void line(const char *name, double median, double best, double bar, double allocs)
{
    const char *verdict = bar == 0 ? "" : median <= bar ? "met" : "MISSED";
    if (bar != 0 && median > bar)
        missed = true;
    (void)printf("%-44s %8.1f %8.1f", name, median, best);
    if (bar != 0)
        (void)printf(" %8.0f", bar);
    else
        (void)printf(" %8s", "");
    (void)printf(" %8.2f  %s\n", allocs, verdict);
    (void)fflush(stdout);
}

static void measure(const struct measure *m)
{
    double t[RUNS];
    (void)m->run(); /* warms caches and pools */
    uint64_t before = allocations;
    for (int i = 0; i < RUNS; i++)
        t[i] = m->run();
    double allocs = (double)(allocations - before) / RUNS / (double)m->operations;
    qsort(t, RUNS, sizeof t[0], by_value);
    line(m->name, t[RUNS / 2], t[0], m->bar, allocs);
}

static int64_t cpu_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static double since(int64_t start, uint64_t operations)
{
    return (double)(cpu_ns() - start) / (double)operations;
}

/* --- Tasks --------------------------------------------------------------------------------- */

#define SWITCHES 400000u
#define SPAWNS 100000u

static int yielder(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < SWITCHES / 2; i++)
        must(weft_yield(), "yield");
    return 0;
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static double task_switch(void)
{
    struct weft_group *g;
    must(weft_group_open(&g), "group");
    must(weft_group_go(g, "a", yielder, NULL), "go");
    must(weft_group_go(g, "b", yielder, NULL), "go");
    int64_t start = cpu_ns();
    must(weft_group_wait(g, WEFT_NEVER), "wait");
    double ns = since(start, SWITCHES);
    must(weft_group_close(&g), "close");
    return ns;
}

static double spawn_wait(void)
{
    struct weft_group *g;
    must(weft_group_open(&g), "group");
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < SPAWNS; i++) {
        must(weft_group_go(g, "nothing", nothing, NULL), "go");
        must(weft_group_wait(g, WEFT_NEVER), "wait");
    }
    double ns = since(start, SPAWNS);
    must(weft_group_close(&g), "close");
    return ns;
}

static double spawn_join(void)
{
    struct weft_group *g;
    const struct weft_task_options o = {.name = "nothing", .site = WEFT_SITE};
    must(weft_group_open(&g), "group");
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < SPAWNS; i++) {
        struct weft_task *t;
        must(weft_group_spawn(g, &o, nothing, NULL, &t), "spawn");
        must(weft_task_join(&t, NULL, WEFT_NEVER), "join");
    }
    double ns = since(start, SPAWNS);
    must(weft_group_close(&g), "close");
    return ns;
}

static double spawn_many(void)
{
    struct weft_group *g;
    must(weft_group_open(&g), "group");
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < SPAWNS / 100; i++) {
        for (unsigned k = 0; k < 100; k++)
            must(weft_group_go(g, "nothing", nothing, NULL), "go");
        must(weft_group_wait(g, WEFT_NEVER), "wait");
    }
    double ns = since(start, SPAWNS);
    must(weft_group_close(&g), "close");
    return ns;
}

/* --- Channels ------------------------------------------------------------------------------ */

#define ITEMS 400000u

static double channel_alone(struct weft_channel *c, weft_deadline d)
{
    uint64_t v = 0;
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < ITEMS; i++) {
        must(weft_channel_send(c, &v, d), "send");
        must(weft_channel_recv(c, &v, d), "recv");
    }
    double ns = since(start, ITEMS);
    weft_channel_close(&c);
    return ns;
}

static double channel_plain(void)
{
    struct weft_channel *c;
    must(weft_channel_open(&c, sizeof(uint64_t), 16), "channel");
    return channel_alone(c, WEFT_NEVER);
}

static double channel_plain_deadline(void)
{
    struct weft_channel *c;
    must(weft_channel_open(&c, sizeof(uint64_t), 16), "channel");
    return channel_alone(c, weft_after_s(1000));
}

static double channel_mt(void)
{
    struct weft_channel *c;
    must(weft_channel_open_mt(&c, sizeof(uint64_t), 16), "channel");
    return channel_alone(c, WEFT_NEVER);
}

struct ping {
    struct weft_channel *in, *out;
    weft_deadline d;
};

static int ponger(void *arg)
{
    struct ping *p = arg;
    for (unsigned i = 0; i < ITEMS / 2; i++) {
        uint64_t v;
        must(weft_channel_recv(p->in, &v, p->d), "recv");
        must(weft_channel_send(p->out, &v, p->d), "send");
    }
    return 0;
}

/* Nanoseconds from one task to the other; each message is one wait of a receiver. */
static double ping_pong(bool mt, weft_deadline d)
{
    struct ping p = {.d = d}, q = {.d = d};
    struct weft_group *g;
    uint64_t v = 1;
    must(mt ? weft_channel_open_mt(&p.in, sizeof v, 1) : weft_channel_open(&p.in, sizeof v, 1),
         "c");
    must(mt ? weft_channel_open_mt(&p.out, sizeof v, 1) : weft_channel_open(&p.out, sizeof v, 1),
         "c");
    q.in = p.out;
    q.out = p.in;
    must(weft_group_open(&g), "group");
    must(weft_group_go(g, "a", ponger, &p), "go");
    must(weft_group_go(g, "b", ponger, &q), "go");
    must(weft_channel_send(p.in, &v, WEFT_NEVER), "first");
    int64_t start = cpu_ns();
    must(weft_group_wait(g, WEFT_NEVER), "wait");
    double ns = since(start, ITEMS);
    must(weft_group_close(&g), "close");
    weft_channel_close(&p.in);
    weft_channel_close(&p.out);
    return ns;
}

static double ping_pong_plain(void)
{
    return ping_pong(false, WEFT_NEVER);
}

static double ping_pong_mt(void)
{
    return ping_pong(true, WEFT_NEVER);
}

static double ping_pong_deadline(void)
{
    return ping_pong(false, weft_after_s(1000));
}

/* What a deadline adds to a wait that ends before it: arming the timer and taking it back. */
static double timer(void)
{
    return ping_pong_deadline() - ping_pong_plain();
}

static double select_two(void)
{
    struct weft_channel *c[2];
    uint64_t v = 0;
    must(weft_channel_open(&c[0], sizeof v, 1), "channel");
    must(weft_channel_open(&c[1], sizeof v, 1), "channel");
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < ITEMS; i++) {
        struct weft_select s[2] = {{.channel = c[0], .recv = &v}, {.channel = c[1], .recv = &v}};
        must(weft_channel_send(c[i & 1], &v, WEFT_NEVER), "send");
        must(weft_select(s, 2, WEFT_NEVER), "select");
    }
    double ns = since(start, ITEMS);
    weft_channel_close(&c[0]);
    weft_channel_close(&c[1]);
    return ns;
}

/* --- Locks --------------------------------------------------------------------------------- */

static double mutex(void)
{
    struct weft_mutex m = WEFT_MUTEX_INIT;
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < ITEMS; i++) {
        must(weft_mutex_lock(&m, WEFT_NEVER), "lock");
        weft_mutex_unlock(&m);
    }
    return since(start, ITEMS);
}

static double semaphore(void)
{
    struct weft_semaphore s = WEFT_SEMAPHORE_INIT(1);
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < ITEMS; i++) {
        must(weft_semaphore_acquire(&s, WEFT_NEVER), "acquire");
        weft_semaphore_release(&s);
    }
    return since(start, ITEMS);
}

/* --- Memory -------------------------------------------------------------------------------- */

static long status_kib(const char *key)
{
    char text[200];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL)
        return -1;
    while (fgets(text, sizeof text, f) != NULL) {
        if (strncmp(text, key, strlen(key)) == 0)
            kib = strtol(text + strlen(key), NULL, 10);
    }
    (void)fclose(f);
    return kib;
}

static unsigned long count_maps(void)
{
    unsigned long n = 0;
    int ch;
    FILE *f = fopen("/proc/self/maps", "r");
    if (f == NULL)
        return 0;
    while ((ch = getc(f)) != EOF)
        n += ch == '\n';
    (void)fclose(f);
    return n;
}

static int parked(void *arg)
{
    int err = weft_event_wait(arg, WEFT_NEVER);
    return err == -ECANCELED ? 0 : err;
}

static int park(void *arg)
{
    size_t n = *(size_t *)arg;
    struct weft_event never = WEFT_EVENT_INIT;
    struct weft_group *g;
    long rss = status_kib("VmRSS:"), pte = status_kib("VmPTE:");
    int64_t start = cpu_ns();
    must(weft_group_open(&g), "group");
    for (size_t i = 0; i < n; i++)
        must(weft_group_go(g, "parked", parked, &never), "go");
    for (size_t i = 0; i < n / 256 + 2; i++)
        must(weft_yield(), "yield"); /* until each of them waits */
    double s = (double)(cpu_ns() - start) / 1e9;
    rss = status_kib("VmRSS:") - rss;
    pte = status_kib("VmPTE:") - pte;
    double gib = (double)(rss + pte) / 1024 / 1024;
    double bar = 4.6 * (double)n / 1e6;
    if (gib > bar)
        missed = true;
    (void)printf("%zu parked tasks: %.2f GiB resident + %.2f GiB page tables = %.2f GiB "
                 "(bar %.2f) %s; %.0f bytes each; %lu maps; %.2f s of CPU to start\n",
                 n, (double)rss / 1024 / 1024, (double)pte / 1024 / 1024, gib, bar,
                 gib <= bar ? "met" : "MISSED", (double)(rss + pte) * 1024 / (double)n,
                 count_maps(), s);
    start = cpu_ns();
    must(weft_group_close(&g), "close");
    (void)printf("cancelled and joined in %.2f s of CPU\n", (double)(cpu_ns() - start) / 1e9);
    return 0;
}

/* --- All of it ----------------------------------------------------------------------------- */

static const struct measure measures[] = {
    {"task switch, one way", 20, task_switch, SWITCHES},
    {"spawn + join, one at a time, by its group", 150, spawn_wait, SPAWNS},
    {"spawn + join, one at a time, by handle", 150, spawn_join, SPAWNS},
    {"spawn + join, a hundred at a time", 150, spawn_many, SPAWNS},
    {"channel send + recv, uncontended", 60, channel_plain, ITEMS},
    {"channel send + recv, with far deadlines", 60, channel_plain_deadline, ITEMS},
    {"channel from one task to another", 0, ping_pong_plain, ITEMS},
    {"channel to another, far deadlines", 0, ping_pong_deadline, ITEMS},
    {"timer arm + cancel (difference of the two)", 40, timer, ITEMS},
    {"_mt channel send + recv, uncontended", 0, channel_mt, ITEMS},
    {"_mt channel from one task to another", 0, ping_pong_mt, ITEMS},
    {"channel send + select of two", 0, select_two, ITEMS},
    {"mutex lock + unlock", 0, mutex, ITEMS},
    {"semaphore acquire + release", 0, semaphore, ITEMS},
};

static int run(void *arg)
{
    (void)arg;
    (void)printf("driver %s; nanoseconds\n%-44s %8s %8s %8s %8s\n", weft_driver_name(), "",
                 "median", "best", "bar", "allocs");
    for (size_t i = 0; i < sizeof measures / sizeof measures[0]; i++)
        measure(&measures[i]);
    return 0;
}

int main(int argc, char **argv)
{
    size_t tasks = 1000000;
    if (argc == 3 && strcmp(argv[1], "--tasks") == 0) {
        char *end;
        tasks = strtoul(argv[2], &end, 10);
        if (*end != '\0' || tasks > 1000000)
            argc = 2;
    }
    if (argc != 1 && argc != 3) {
        (void)fprintf(stderr, "usage: micro [--tasks N], N at most 1000000\n");
        return 2;
    }
    must(weft_run(NULL, run, NULL), "run");
    if (tasks > 0)
        must(weft_run(NULL, park, &tasks), "parking");
    return missed ? 1 : 0;
}
