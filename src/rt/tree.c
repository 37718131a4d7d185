/* SPDX-License-Identifier: MIT */
/*
 * The tree of a loop: groups, tasks, threads and what they wait for, with backtraces on request.
 *
 * Floor 2. A parked task's backtrace is taken on its own stack: the task is resumed for a moment to
 * walk it and parks again, so the unwinder needs to know nothing of contexts. Threads have none:
 * only they could take it, and they are elsewhere (a debugger shows them).
 *
 * Invariants: printing changes nothing that the program can see; no lock is held while the sink is
 * called; the walk goes down no further than the printing thread's stack has room for.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <limits.h>
#include <link.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#if WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define VALGRIND_DISABLE_ERROR_REPORTING ((void)0)
#define VALGRIND_ENABLE_ERROR_REPORTING ((void)0)
#endif

#include "base/alloc.h"
#include "base/text.h"
#include "rt/printer.h"

#define LINE_BYTES 512
#define INDENT_MAX 80
#define FRAMES_MAX 48
/* What must be left of a task's stack for the unwinder: twice what it was seen to take, which
 * is 1.7 KiB on x86-64 and 5.7 KiB on aarch64, with its many registers. */
#if WEFT__ASAN || WEFT__TSAN
#define ROOM_FOR_UNWINDER ((size_t)65536)
#elif defined(__x86_64__)
#define ROOM_FOR_UNWINDER ((size_t)4096)
#else
#define ROOM_FOR_UNWINDER ((size_t)12288)
#endif
/* What printing a line may take, and how deep the walk may go on a thread's own stack. */
#define ROOM_FOR_LINE ((size_t)(WEFT__ASAN || WEFT__TSAN ? 65536 : 12288))
#define ROOM_FOR_WALK ((size_t)(WEFT__ASAN || WEFT__TSAN ? 393216 : 98304))

void weft__print(struct weft__printer *p, const char *fmt, ...)
{
    char line[LINE_BYTES];
    size_t indent = weft__min_size((size_t)p->depth * 2, INDENT_MAX);
    if (p->cut)
        return;
    memset(line, ' ', indent);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line + indent, sizeof line - indent - 1, fmt, ap);
    va_end(ap);
    size_t len = weft__min_size(indent + (n > 0 ? (size_t)n : 0), sizeof line - 2);
    line[len] = '\0';
    weft__text_make_printable(line);
    line[len] = '\n';
    p->sink(p->arg, line, len + 1);
}

void weft__print_peer(char *buf, size_t cap, int fd)
{
    union {
        struct sockaddr_storage storage;
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    socklen_t len = sizeof a;
    char text[INET6_ADDRSTRLEN];
    buf[0] = '\0';
    if (getpeername(fd, &a.sa, &len) < 0)
        return;
    if (a.sa.sa_family == AF_INET && inet_ntop(AF_INET, &a.v4.sin_addr, text, sizeof text) != NULL)
        snprintf(buf, cap, " peer %s:%u", text, ntohs(a.v4.sin_port));
    else if (a.sa.sa_family == AF_INET6 &&
             inet_ntop(AF_INET6, &a.v6.sin6_addr, text, sizeof text) != NULL)
        snprintf(buf, cap, " peer [%s]:%u", text, ntohs(a.v6.sin6_port));
}

/* --- Backtraces ----------------------------------------------------------------------------- */

static char exe[PATH_MAX]; /* the program's file; "" when it is not known */

/* backtrace loads the unwinder when it is first called, which takes more stack than a task has. */
static void load_unwinder(void)
{
    void *frames[2];
    (void)backtrace(frames, 2);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
}

static void print_frame(struct weft__printer *p, void *at)
{
    Dl_info info;
    void *extra = NULL;
    if (dladdr1(at, &info, &extra, RTLD_DL_LINKMAP) == 0 || extra == NULL) {
        weft__print(p, "at %p", at);
        return;
    }
    const struct link_map *map = extra;
    const char *file = map->l_name;
    if (file[0] == '\0') /* the program itself; dli_fname may be relative */
        file = exe[0] != '\0' ? exe : info.dli_fname;
    weft__print(p, "at %s [%s+0x%zx]", info.dli_sname != NULL ? info.dli_sname : "?", file,
                (size_t)((uintptr_t)at - map->l_addr));
}

/* What a peek hands over; one tree at a time is printed on a thread. */
static _Thread_local struct peeked {
    void *frames[FRAMES_MAX];
    int n;
    int first; /* the frame that called the switch */
} * peeked;

static void peek(struct weft__task *t)
{
    struct peeked *k = peeked;
    (void)t;
    k->n = backtrace(k->frames, FRAMES_MAX);
    for (int i = 0; i < k->n; i++)
        if (k->frames[i] == __builtin_extract_return_addr(__builtin_return_address(0)))
            k->first = i + 1;
}

/* Sets [at, end) of a parked task's stack to zero: dead frames, which a sanitizer may have
 * poisoned. */
static __attribute__((no_sanitize_address, no_sanitize_thread)) void clear(uintptr_t at,
                                                                           uintptr_t end)
{
    VALGRIND_DISABLE_ERROR_REPORTING;
    while (at < end) {
        *(volatile uintptr_t *)at = 0;
        at += sizeof(uintptr_t);
    }
    VALGRIND_ENABLE_ERROR_REPORTING;
}

/* Undoes what the unwinder did to the stack's high-water mark, and to the number of its pages. */
static void restore_mark(const struct weft__stack *s, size_t mark)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)s->hi - weft__stack_high_water(s);
    uintptr_t end = (uintptr_t)s->hi - mark;
    uintptr_t whole = end & ~(page - 1); /* pages below were fresh */
    from &= ~(page - 1);
    if (from >= end)
        return;
    if (from < whole)
        (void)madvise((void *)from, whole - from, MADV_DONTNEED);
    clear(whole, end);
}

static void take_backtrace(struct weft_loop *l, struct weft__task *t, struct peeked *ret)
{
    size_t mark = weft__stack_high_water(t->stack);
    struct weft__flow *before = weft__flow_current;
    ret->n = ret->first = 0;
    peeked = ret;
    t->peek = peek;
    t->peeked = true;
    weft__flow_current = &t->flow;
    weft__ctx_switch(&l->main, &t->ctx);
    weft__flow_current = before;
    peeked = NULL;
    restore_mark(t->stack, mark);
}

static void print_backtrace(struct weft__printer *p, struct weft__task *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!t->begun)
        return;
    if ((uintptr_t)t->ctx.sp < (uintptr_t)t->stack->lo + ROOM_FOR_UNWINDER) {
        weft__print(p, "  (too little is left of its stack for a backtrace)");
        return;
    }
    struct peeked *got = weft__alloc(sizeof *got);
    if (got == NULL)
        return;
    pthread_once(&once, load_unwinder);
    take_backtrace(t->flow.loop, t, got);
    p->depth++;
    for (int i = got->first; i < got->n; i++)
        print_frame(p, got->frames[i]);
    p->depth--;
    weft__free(got);
}

/* --- Lines ---------------------------------------------------------------------------------- */

struct text {
    char *at;
    size_t cap;
};

static void add(struct text *t, const char *fmt, ...) WEFT_PRINTF(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->at, t->cap, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : weft__min_size((size_t)n, t->cap - 1);
    t->at += len;
    t->cap -= len;
}

static double seconds_left(int64_t until_ns, int64_t now_ns)
{
    return (double)weft__max_i64(until_ns - now_ns, 0) / 1e9;
}

static void add_wait(struct text *out, const struct weft__wait *w, int64_t now_ns)
{
    char peer[WEFT__PRINT_PEER_MAX] = "";
    add(out, "waits in %s", w->what);
    if (w->fd >= 0) {
        weft__print_peer(peer, sizeof peer, w->fd);
        add(out, " fd %d%s", w->fd, peer);
    }
    if (w->until_ns != INT64_MAX)
        add(out, ", %.3f s left", seconds_left(w->until_ns, now_ns));
}

static __attribute__((noinline)) void print_task(struct weft__printer *p, struct weft__task *t)
{
    struct weft__flow *f = &t->flow;
    char line[400];
    struct text out = {line, sizeof line};
    if (f->wait != NULL && !f->wait->ended)
        add_wait(&out, f->wait, p->now_ns);
    else
        add(&out, t->begun ? "ready" : "not begun yet");
    add(&out, ", stack %zu of %zu bytes", weft__stack_high_water(t->stack),
        (size_t)((char *)t->stack->hi - (char *)t->stack->lo));
    if (atomic_load_explicit(&f->canceled, memory_order_relaxed))
        add(&out, ", canceled");
    if (f->shields > 0)
        add(&out, ", shielded for %.3f s", seconds_left(f->shield_ns, p->now_ns));
    if (f->finishing)
        add(&out, ", finishing");
    if (f->note != NULL)
        f->note(f, out.at, out.cap);
    weft__print(p, "%s %s #%llu (%s) %s", f->member.cls->kind, f->name, (unsigned long long)f->id,
                f->site, line);
}

/* Under weft__tree_lock. A thread's wait lies on its stack, and ends under the thread's own lock.
 */
static __attribute__((noinline)) void print_thread(struct weft__printer *p, struct weft__thread *t)
{
    struct weft__flow *f = &t->flow;
    char line[400];
    struct text out = {line, sizeof line};
    pthread_mutex_lock(&t->lock);
    if (f->wait != NULL)
        add_wait(&out, f->wait, p->now_ns);
    else if (t->inner != NULL)
        add(&out, "runs loop %s", t->inner->options.name);
    else
        add(&out, "running");
    pthread_mutex_unlock(&t->lock);
    if (atomic_load_explicit(&f->canceled, memory_order_relaxed))
        add(&out, ", canceled");
    weft__print(p, "%s %s (%s) %s", f->member.cls->kind, f->name, f->site, line);
}

static __attribute__((noinline)) void print_group_line(struct weft__printer *p,
                                                       const struct weft_group *g)
{
    char line[160];
    struct text out = {line, sizeof line};
    add(&out, "group of %zu", g->live);
    if (g->deadline_ns != INT64_MAX)
        add(&out, ", %.3f s left", seconds_left(g->deadline_ns, p->now_ns));
    if (g->timed_out)
        add(&out, ", timed out");
    if (g->canceled)
        add(&out, ", canceled");
    if (g->closing)
        add(&out, ", closing");
    if (g->error < 0)
        add(&out, ", error %s", weft_error_name(g->error));
    weft__print(p, "%s", line);
}

/* --- Threads: first into memory, since the sink is not to be called under the lock ------------ */

struct held_back {
    char *data;
    size_t len, cap;
    bool lost;
};

static void hold_back(void *arg, const char *text, size_t len)
{
    struct held_back *b = arg;
    if (b->len + len > b->cap && !b->lost) {
        size_t cap = weft__max_size(2 * (b->len + len), 1024);
        char *grown = weft__realloc(b->data, cap);
        b->lost = grown == NULL;
        if (grown != NULL) {
            b->data = grown;
            b->cap = cap;
        }
    }
    if (b->lost)
        return;
    memcpy(b->data + b->len, text, len);
    b->len += len;
}

static void print_thread_tree(struct weft__printer *p, struct weft__thread *t)
{
    print_thread(p, t);
    weft__print_flow_groups(p, &t->flow);
}

static void print_thread_first(struct weft__printer *p, struct weft__thread *t)
{
    struct held_back text = {.data = NULL};
    struct weft__printer inner = *p;
    inner.sink = hold_back;
    inner.arg = &text;
    inner.locked = true;
    pthread_mutex_lock(&weft__tree_lock);
    print_thread_tree(&inner, t);
    pthread_mutex_unlock(&weft__tree_lock);
    if (text.len > 0 && !p->cut)
        p->sink(p->arg, text.data, text.len);
    weft__free(text.data);
    if (text.lost)
        weft__print(p, "... out of memory");
}

/* --- The walk ------------------------------------------------------------------------------- */

void weft__tree_flow(struct weft__member *m, struct weft__printer *p)
{
    struct weft__flow *f = WEFT__CONTAINER_OF(m, struct weft__flow, member);
    if (f->kind == WEFT__FLOW_THREAD) {
        if (p->locked)
            print_thread_tree(p, weft__thread_of(f));
        else
            print_thread_first(p, weft__thread_of(f));
        return;
    }
    print_task(p, weft__task_of(f));
    if ((p->flags & WEFT_TREE_BACKTRACE) != 0)
        print_backtrace(p, weft__task_of(f));
    weft__print_flow_groups(p, f);
}

void weft__print_group(struct weft__printer *p, struct weft_group *g)
{
    p->depth++;
    if ((uintptr_t)__builtin_frame_address(0) < p->stack_floor) {
        if (!weft__list_empty(&g->members))
            weft__print(p, "... what lies deeper is not shown");
    } else {
        WEFT__LIST_EACH(&g->members, n) {
            struct weft__member *m = WEFT__CONTAINER_OF(n, struct weft__member, link);
            if (p->cut)
                break;
            m->cls->tree(m, p);
        }
    }
    p->depth--;
}

void weft__print_flow_groups(struct weft__printer *p, struct weft__flow *f)
{
    p->depth++;
    WEFT__LIST_EACH(&f->groups, n) {
        struct weft_group *g = WEFT__CONTAINER_OF(n, struct weft_group, link);
        print_group_line(p, g);
        weft__print_group(p, g);
    }
    p->depth--;
}

/* The lowest address that the walk may reach, where the loop runs: on a thread, or, where loops
 * nest, on a task's stack. */
static uintptr_t stack_floor(const struct weft_loop *l)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    struct weft__flow *outer = l->in_turn ? l->outer : weft__flow_current;
    if (outer != NULL && outer->kind == WEFT__FLOW_TASK)
        return (uintptr_t)weft__task_of(outer)->stack->lo + ROOM_FOR_LINE;
    return here - ROOM_FOR_WALK;
}

void weft__print_loop(struct weft__printer *p, struct weft_loop *l)
{
    p->stack_floor = stack_floor(l);
    if ((uintptr_t)__builtin_frame_address(0) < p->stack_floor) {
        weft__print(p, "loop %s runs where too little stack is left to show it", l->options.name);
        return;
    }
    weft__print(p, "loop %s (%s), %zu tasks, %llu operations under way, %llu turns%s",
                l->options.name, l->sys->driver->name, l->tasks_live,
                (unsigned long long)l->sys->in_flight, (unsigned long long)l->turns,
                l->root.canceled ? ", canceled" : "");
    weft__print_group(p, &l->root);
    /* Groups that callbacks have opened. A server's are shown by its worker. */
    p->depth++;
    WEFT__LIST_EACH(&l->callback.groups, n) {
        struct weft_group *g = WEFT__CONTAINER_OF(n, struct weft_group, link);
        if (g == &l->root || g->emptied != NULL)
            continue;
        print_group_line(p, g);
        weft__print_group(p, g);
    }
    p->depth--;
}

/* --- For the program itself ----------------------------------------------------------------- */

/* A task cannot look at others from its own stack: the loop does it for it. */
struct request {
    struct weft__run run;
    struct weft__wait wait;
    struct weft__printer printer;
    struct weft_loop *loop;
};

static void print_for_task(struct weft__run *r)
{
    struct request *q = WEFT__CONTAINER_OF(r, struct request, run);
    weft__print_loop(&q->printer, q->loop);
    weft__wait_trigger(&q->wait, 0);
}

int weft_loop_tree(struct weft_loop *l, unsigned flags, weft_tree_sink sink, void *arg)
{
    struct request q = {.loop = l, .run = {.fn = print_for_task}};
    q.printer =
        (struct weft__printer){.sink = sink, .arg = arg, .flags = flags, .now_ns = weft_now_ns()};
    if (l == NULL || sink == NULL)
        return weft__fail(-EINVAL, l == NULL ? "no loop" : "no sink");
    if (!pthread_equal(l->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the loop belongs to another thread");
    if (l->running == NULL) {
        weft__print_loop(&q.printer, l);
        return 0;
    }
    if (weft__flow_self() != &l->running->flow)
        return weft__fail(-EDEADLK, "a nested loop runs");
    weft__wait_init(&q.wait, "tree", -1, NULL);
    weft__loop_ready(l, &q.run);
    return weft__wait_block(&q.wait, WEFT_NEVER);
}
