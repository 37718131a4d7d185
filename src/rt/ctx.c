/* SPDX-License-Identifier: MIT */
/*
 * What of a context is not the switch itself: making one, adopting a thread's stack, and what the
 * sanitizers want to know.
 *
 * Floor 2. Invariants: the save areas laid out here are those of the machine's .S file. In
 * sanitizer builds a context's first run goes through first_entry, since ASan must be told of the
 * end of every switch, also of the one that enters a fresh stack.
 */
#include "rt/ctx.h"

#include <pthread.h>
#include <string.h>

#include "base/base.h"

#if !WEFT_UCONTEXT

/* The trampoline in the .S file: a symbol to take the address of, not a function to call. */
extern const char weft__ctx_entry[] __attribute__((visibility("hidden")));

#if defined(__x86_64__)

struct save_area {
    uint32_t mxcsr;
    uint16_t x87_control;
    uint16_t unused;
    uint64_t r15, r14, r13, r12, rbx;
    uint64_t frame_pointer;
    uint64_t go_on;
};
_Static_assert(sizeof(struct save_area) == 64, "ctx_x86_64.S");

static void fill(struct save_area *s, void (*fn)(void *), void *arg)
{
    __asm__ volatile("stmxcsr %0" : "=m"(s->mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(s->x87_control));
    s->rbx = (uintptr_t)fn;
    s->r12 = (uintptr_t)arg;
}

#elif defined(__aarch64__)

struct save_area {
    uint64_t frame_pointer;
    uint64_t go_on;
    uint64_t x19, x20, x21_to_x28[8];
    uint64_t d8_to_d15[8];
    uint64_t fpcr;
    uint64_t unused;
};
_Static_assert(sizeof(struct save_area) == 176, "ctx_aarch64.S");

static void fill(struct save_area *s, void (*fn)(void *), void *arg)
{
    __asm__ volatile("mrs %0, fpcr" : "=r"(s->fpcr));
    s->x19 = (uintptr_t)fn;
    s->x20 = (uintptr_t)arg;
}

#else
#error "no context switch in assembly for this machine: compile with WEFT_UCONTEXT=1"
#endif

void *weft__ctx_prepare(void *lo, void *hi, void (*fn)(void *), void *arg)
{
    /* Two zero words above the save area end a walk by frame pointers. */
    uintptr_t top = ((uintptr_t)hi & ~(uintptr_t)15) - 16;
    struct save_area *s = (struct save_area *)(top - sizeof(*s));
    WEFT__ASSERT((uintptr_t)s > (uintptr_t)lo);
    memset((void *)top, 0, 16);
    memset(s, 0, sizeof(*s));
    s->go_on = (uintptr_t)weft__ctx_entry;
    fill(s, fn, arg);
    return s;
}

bool weft__ctx_saved(const struct weft__ctx *c, struct weft__ctx_regs *ret)
{
    const struct save_area *s = c->sp;
    ret->pc = (uintptr_t)s->go_on;
    ret->sp = (uintptr_t)s + sizeof(*s);
    ret->fp = (uintptr_t)s->frame_pointer;
    return true;
}

#endif

#if WEFT__ASAN

_Thread_local struct weft__ctx_bounds weft__ctx_running;

/* Finds the bounds of the stack that runs now: the thread's, or else that of the context that
 * runs, for a loop that is started from within a task of another one. */
static void find_stack(struct weft__ctx *c)
{
    pthread_attr_t attr;
    void *lo = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &lo, &size);
        pthread_attr_destroy(&attr);
    }
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (here - (uintptr_t)lo < size) {
        c->asan_lo = lo;
        c->asan_size = size;
    } else {
        c->asan_lo = weft__ctx_running.lo;
        c->asan_size = weft__ctx_running.size;
    }
}

#endif

#if WEFT__ASAN || WEFT__TSAN

static void first_entry(void *arg)
{
    struct weft__ctx *c = arg;
#if WEFT__ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
    weft__ctx_running = (struct weft__ctx_bounds){c->asan_lo, c->asan_size};
#endif
    c->first_fn(c->first_arg);
    __builtin_trap(); /* a context's function returned */
}

#endif

void weft__ctx_make(struct weft__ctx *c, void *lo, void *hi, void (*fn)(void *), void *arg)
{
#if WEFT__ASAN || WEFT__TSAN
    *c = (struct weft__ctx){.first_fn = fn, .first_arg = arg};
    fn = first_entry;
    arg = c;
#endif
#if WEFT__ASAN
    c->asan_lo = lo;
    c->asan_size = (size_t)((char *)hi - (char *)lo);
#endif
#if WEFT__TSAN
    c->tsan_fiber = __tsan_create_fiber(0);
    c->tsan_owned = true;
#endif
    c->sp = weft__ctx_prepare(lo, hi, fn, arg);
}

void weft__ctx_adopt(struct weft__ctx *c)
{
    *c = (struct weft__ctx){0};
#if WEFT__ASAN
    find_stack(c);
#endif
#if WEFT__TSAN
    c->tsan_fiber = __tsan_get_current_fiber();
#endif
}

void weft__ctx_fini(struct weft__ctx *c)
{
#if WEFT__TSAN
    if (c->tsan_owned)
        __tsan_destroy_fiber(c->tsan_fiber);
#endif
    *c = (struct weft__ctx){0};
}
