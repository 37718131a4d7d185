/* SPDX-License-Identifier: MIT */
/*
 * Checks of the context switch: arguments and alignment at entry, many contexts in regular, random
 * and nested orders, unwinding, signals on a context's stack, contexts on several threads.
 *
 * Stacks come from malloc here, so that these checks need little more than ctx.h. To build them
 * alone: cc -DCTX_CHECK_MAIN -D_GNU_SOURCE -pthread -Isrc -Iinclude with ctx_check.c,
 * ctx_check_machine.c, src/rt/ctx.c, the machine's src/rt/ctx_*.S, src/base/base.c, and -lm.
 */
#include "ctx_check.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unwind.h>

_Thread_local int ctx_failures;
_Thread_local struct weft__ctx ctx_home;

static void run_once(void (*fn)(void *))
{
    struct flow f = {0};
    flow_start(&f, fn, &ctx_home);
    while (!f.done)
        weft__ctx_switch(&ctx_home, &f.ctx);
    flow_fini(&f);
}

/* ---- entry ---- */

static void entry_flow(void *arg)
{
    struct flow *f = arg;
    char here = 0;
    EXPECT(f->index == 42);
#if !WEFT__ASAN /* which may keep locals elsewhere */
    EXPECT(&here > f->stack && &here < f->stack + STACK_SIZE);
#endif
    EXPECT((uintptr_t)__builtin_frame_address(0) % 16 == 0);
    (void)here;
    for (int i = 0; i < 3; i++) {
        f->count++;
        flow_pause(f);
    }
    flow_end(f);
}

static int ctx_check_entry(void)
{
    /* Odd ends of stacks are legal. */
    for (size_t odd = 0; odd < 64; odd += 8) {
        struct flow f = {.index = 42};
        flow_start(&f, entry_flow, &ctx_home);
        weft__ctx_fini(&f.ctx);
        weft__ctx_make(&f.ctx, f.stack, f.stack + STACK_SIZE - odd, entry_flow, &f);
        for (uint64_t i = 1; i <= 3; i++) {
            weft__ctx_switch(&ctx_home, &f.ctx);
            EXPECT(f.count == i && !f.done);
        }
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(f.done);
        flow_fini(&f);
    }
    return ctx_failures;
}

/* ---- alignment: vector code and variadic calls with doubles use aligned stores ---- */

typedef float vector4 __attribute__((vector_size(16)));

static __attribute__((noinline)) vector4 twice(volatile vector4 *v)
{
    volatile vector4 copy = *v + *v;
    EXPECT((uintptr_t)&copy % 16 == 0);
    return copy;
}

static void alignment_flow(void *arg)
{
    char text[64];
    volatile vector4 v = {1, 2, 3, 4};
    vector4 t = twice(&v);
    EXPECT(t[0] == 2 && t[3] == 8);
    snprintf(text, sizeof(text), "%.2f %.1f %Lg", 1.25, 2.5, (long double)0.5);
    EXPECT(strcmp(text, "1.25 2.5 0.5") == 0);
    flow_end(arg);
}

static int ctx_check_alignment(void)
{
    run_once(alignment_flow);
    return ctx_failures;
}

/* ---- many contexts ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x7fb5d329728ea185u;
    x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44du;
    return x ^ (x >> 33);
}

/* Keeps a pattern on its stack, at a depth that differs between contexts, across all switches. */
static __attribute__((noinline)) void work(struct flow *f, size_t depth)
{
    volatile uint64_t kept[8];
    for (size_t i = 0; i < 8; i++)
        kept[i] = mix(f->index * 8 + i + depth);
    if (depth > 0) {
        work(f, depth - 1);
    } else {
        while (f->count < f->goal) {
            f->count++;
            flow_pause(f);
        }
    }
    for (size_t i = 0; i < 8; i++)
        EXPECT(kept[i] == mix(f->index * 8 + i + depth));
}

static void work_flow(void *arg)
{
    struct flow *f = arg;
    work(f, f->index % 7);
    flow_end(f);
}

#define MANY (SANITIZED ? 300 : 4000)

static int many(bool shuffled)
{
    struct flow *flows = calloc(MANY, sizeof(*flows));
    if (flows == NULL)
        abort();
    for (size_t i = 0; i < MANY; i++) {
        flows[i].index = i;
        flows[i].goal = 5 + i % 11;
        flow_start(&flows[i], work_flow, &ctx_home);
    }
    uint64_t seed = 1;
    size_t left = MANY;
    for (size_t turn = 0; left > 0; turn++) {
        size_t i = (shuffled ? mix(seed++) : turn) % MANY;
        while (flows[i].done)
            i = (i + 1) % MANY;
        weft__ctx_switch(&ctx_home, &flows[i].ctx);
        left -= flows[i].done;
    }
    for (size_t i = 0; i < MANY; i++) {
        EXPECT(flows[i].count == flows[i].goal);
        flow_fini(&flows[i]);
    }
    free(flows);
    return ctx_failures;
}

static int ctx_check_round_robin(void)
{
    return many(false);
}

static int ctx_check_random_order(void)
{
    return many(true);
}

/* Contexts that switch straight to one another, not by way of the one that made them. */
static int ctx_check_symmetric(void)
{
    enum { RING = 50 };
    struct flow flows[RING] = {0};
    for (size_t i = 0; i < RING; i++) {
        flows[i].index = i;
        flows[i].goal = 1000;
        flow_start(&flows[i], work_flow, i + 1 < RING ? &flows[i + 1].ctx : &ctx_home);
    }
    /* A round goes through all of them, since each pauses into the next one. */
    for (uint64_t round = 1; round <= 1000; round++) {
        weft__ctx_switch(&ctx_home, &flows[0].ctx);
        EXPECT(flows[0].count == round && flows[RING - 1].count == round);
    }
    weft__ctx_switch(&ctx_home, &flows[0].ctx);
    for (size_t i = 0; i < RING; i++) {
        EXPECT(flows[i].done);
        flow_fini(&flows[i]);
    }
    return ctx_failures;
}

/* Each context makes the next one, switches to and fro with it, and sees it end. */
static void nested_flow(void *arg)
{
    struct flow *f = arg;
    if (f->index > 0) {
        struct flow child = {.index = f->index - 1};
        flow_start(&child, nested_flow, &f->ctx);
        while (!child.done) {
            weft__ctx_switch(&f->ctx, &child.ctx);
            flow_pause(f);
        }
        EXPECT(child.count == child.index + 3);
        f->count = child.count - 2;
        flow_fini(&child);
    }
    for (int i = 0; i < 3; i++) {
        f->count++;
        flow_pause(f);
    }
    flow_end(f);
}

static int ctx_check_nested(void)
{
    struct flow f = {.index = 24};
    flow_start(&f, nested_flow, &ctx_home);
    while (!f.done)
        weft__ctx_switch(&ctx_home, &f.ctx);
    EXPECT(f.count == f.index + 3);
    flow_fini(&f);
    return ctx_failures;
}

static void reuse_flow(void *arg)
{
    volatile char frame[1024];
    for (size_t i = 0; i < sizeof(frame); i++)
        frame[i] = (char)i;
    flow_pause(arg);
    EXPECT(frame[1023] == (char)1023);
    flow_end(arg);
}

/* A stack serves one context after the other. */
static int ctx_check_reuse(void)
{
    struct flow f = {0};
    for (int i = 0; i < 1000; i++) {
        flow_start(&f, reuse_flow, &ctx_home);
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(!f.done);
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(f.done);
        weft__ctx_fini(&f.ctx);
    }
    flow_fini(&f);
    return ctx_failures;
}

/* ---- unwinding ---- */

static _Thread_local int frames_seen;

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    (void)context;
    int *n = arg;
    return ++*n > 1000 ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

static __attribute__((noinline)) int unwind_at(int depth)
{
    volatile int result = 0;
    if (depth > 0) {
        result = unwind_at(depth - 1);
    } else {
        void *frames[128];
        int n = 0;
        result = _Unwind_Backtrace(count_frame, &n);
        frames_seen = backtrace(frames, 128);
        EXPECT(frames_seen > 0 && frames_seen < 100);
    }
    return result;
}

static void unwind_flow(void *arg)
{
    EXPECT(unwind_at(0) == _URC_END_OF_STACK);
    int shallow = frames_seen;
    EXPECT(unwind_at(20) == _URC_END_OF_STACK);
    EXPECT(frames_seen == shallow + 20);
    /* unwind_at, this function, the trampoline; ASan's and TSan's runtime may add a few. */
    EXPECT(shallow >= 2 && shallow <= 8);
    flow_end(arg);
}

static int ctx_check_unwinding(void)
{
    run_once(unwind_flow);
    return ctx_failures;
}

static void parked_flow(void *arg)
{
    flow_pause(arg);
    flow_end(arg);
}

/* A parked context's registers lead through its frames to the end. */
static int ctx_check_saved(void)
{
    struct flow f = {0};
    flow_start(&f, parked_flow, &ctx_home);
    struct weft__ctx_regs regs = {0};
    if (weft__ctx_saved(&f.ctx, &regs)) {
        EXPECT(regs.pc != 0 && regs.fp == 0);
        EXPECT(regs.sp > (uintptr_t)f.stack && regs.sp < (uintptr_t)f.stack + STACK_SIZE);
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(weft__ctx_saved(&f.ctx, &regs));
        EXPECT(regs.pc != 0);
        EXPECT(regs.sp > (uintptr_t)f.stack && regs.sp < (uintptr_t)f.stack + STACK_SIZE);
#if defined(CTX_CHECK_FRAME_POINTERS)
        int frames = 0;
        for (uintptr_t fp = regs.fp; fp != 0 && frames < 100; frames++) {
            EXPECT(fp >= (uintptr_t)f.stack && fp < (uintptr_t)f.stack + STACK_SIZE);
            fp = *(uintptr_t *)fp;
        }
        EXPECT(frames >= 1 && frames < 10);
#endif
    }
    while (!f.done)
        weft__ctx_switch(&ctx_home, &f.ctx);
    flow_fini(&f);
    return ctx_failures;
}

/* ---- signals ---- */

static volatile sig_atomic_t signal_frames;

static void on_signal(int signo)
{
    (void)signo;
    void *frames[64];
    signal_frames = backtrace(frames, 64);
}

static void signal_flow(void *arg)
{
    struct flow *f = arg;
    raise(SIGUSR1);
    EXPECT(signal_frames > 2 && signal_frames < 32);
    signal_frames = 0;
    flow_pause(f);
    raise(SIGUSR1);
    EXPECT(signal_frames > 2 && signal_frames < 32);
    flow_end(f);
}

/* A signal that arrives while a context runs is handled on its stack. */
static int ctx_check_signals(void)
{
    void *warm[4];
    (void)backtrace(warm, 4); /* loads the unwinder, which the handler must not */
    struct sigaction act = {.sa_handler = on_signal};
    struct sigaction old;
    sigaction(SIGUSR1, &act, &old);
    run_once(signal_flow);
    sigaction(SIGUSR1, &old, NULL);
    return ctx_failures;
}

/* ---- threads ---- */

static void *thread_main(void *arg)
{
    (void)arg;
    weft__ctx_adopt(&ctx_home);
    enum { FLOWS = 20 };
    struct flow flows[FLOWS] = {0};
    for (size_t i = 0; i < FLOWS; i++) {
        flows[i].index = i;
        flows[i].goal = 200;
        flow_start(&flows[i], work_flow, &ctx_home);
    }
    for (int round = 0; round <= 200; round++)
        for (size_t i = 0; i < FLOWS; i++)
            weft__ctx_switch(&ctx_home, &flows[i].ctx);
    for (size_t i = 0; i < FLOWS; i++) {
        EXPECT(flows[i].done && flows[i].count == 200);
        flow_fini(&flows[i]);
    }
    weft__ctx_fini(&ctx_home);
    return (void *)(intptr_t)ctx_failures;
}

static int ctx_check_threads(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        EXPECT(pthread_create(&threads[i], NULL, thread_main, NULL) == 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        EXPECT(pthread_join(threads[i], &failed) == 0);
        ctx_failures += (int)(intptr_t)failed;
    }
    return ctx_failures;
}

/* A context that adopts itself and runs contexts of its own, as a loop within a task would. */
static void adopt_flow(void *arg)
{
    struct weft__ctx outer = ctx_home;
    weft__ctx_adopt(&ctx_home);
    run_once(alignment_flow);
    weft__ctx_fini(&ctx_home);
    ctx_home = outer;
    flow_end(arg);
}

static int ctx_check_adopt_inside(void)
{
    run_once(adopt_flow);
    return ctx_failures;
}

/* ---- the list ---- */

#define CHECK(name)                                                                                \
    static int run_##name(void)                                                                    \
    {                                                                                              \
        ctx_failures = 0;                                                                          \
        weft__ctx_adopt(&ctx_home);                                                                \
        int failed = ctx_check_##name();                                                           \
        weft__ctx_fini(&ctx_home);                                                                 \
        return failed;                                                                             \
    }

CHECK(entry)
CHECK(alignment)
CHECK(registers)
CHECK(floating_point)
CHECK(float_control)
CHECK(round_robin)
CHECK(random_order)
CHECK(symmetric)
CHECK(nested)
CHECK(reuse)
CHECK(unwinding)
CHECK(saved)
CHECK(signals)
CHECK(threads)
CHECK(adopt_inside)

const struct ctx_check ctx_checks[] = {
    {"entry", run_entry},
    {"alignment", run_alignment},
    {"registers", run_registers},
    {"floating_point", run_floating_point},
    {"float_control", run_float_control},
    {"round_robin", run_round_robin},
    {"random_order", run_random_order},
    {"symmetric", run_symmetric},
    {"nested", run_nested},
    {"reuse", run_reuse},
    {"unwinding", run_unwinding},
    {"saved", run_saved},
    {"signals", run_signals},
    {"threads", run_threads},
    {"adopt_inside", run_adopt_inside},
};
const size_t ctx_check_count = sizeof(ctx_checks) / sizeof(ctx_checks[0]);

#if defined(CTX_CHECK_MAIN)

int main(void)
{
    int failed = 0;
    for (size_t i = 0; i < ctx_check_count; i++) {
        int r = ctx_checks[i].run();
        if (r != 0)
            printf("failed: %s\n", ctx_checks[i].name);
        failed += r != 0;
    }
    printf("%zu checks, %d failed\n", ctx_check_count, failed);
    return failed != 0;
}

#endif
