/* SPDX-License-Identifier: MIT */
/*
 * The context switch by POSIX ucontext, for machines without one in assembly.
 *
 * Floor 2. Invariants: the same as those of the .S files, but a switch also saves and restores the
 * signal mask, by a system call, so it costs some hundred nanoseconds. A parked context's
 * ucontext_t lies on its own stack, in the frame of the weft__ctx_swap that parked it; a fresh
 * one's lies at the top of its stack.
 */
#include "rt/ctx.h"

#if WEFT_UCONTEXT

#include <ucontext.h>

#include "base/base.h"

void weft__ctx_swap(void **save_sp, void *load_sp)
{
    ucontext_t here;
    here.uc_stack = (stack_t){0}; /* unused, but ASan's own swapcontext looks at it */
    *save_sp = &here;
    int r = swapcontext(&here, load_sp);
    WEFT__ASSERT(r == 0);
}

/* makecontext passes ints only: a pointer travels as two halves. */
static void entry(unsigned fn_high, unsigned fn_low, unsigned arg_high, unsigned arg_low)
{
    uintptr_t fn = (uintptr_t)(((uint64_t)fn_high << 32) | fn_low);
    uintptr_t arg = (uintptr_t)(((uint64_t)arg_high << 32) | arg_low);
    ((void (*)(void *))fn)((void *)arg);
    __builtin_trap(); /* a context's function returned */
}

void *weft__ctx_prepare(void *lo, void *hi, void (*fn)(void *), void *arg)
{
    uintptr_t top = ((uintptr_t)hi - sizeof(ucontext_t)) & ~(uintptr_t)63;
    ucontext_t *u = (ucontext_t *)top;
    WEFT__ASSERT(top > (uintptr_t)lo && top < (uintptr_t)hi);
    int r = getcontext(u);
    WEFT__ASSERT(r == 0);
    u->uc_stack.ss_sp = lo;
    u->uc_stack.ss_size = top - (uintptr_t)lo;
    u->uc_link = NULL;
    uint64_t f = (uintptr_t)fn;
    uint64_t a = (uintptr_t)arg;
    makecontext(u, (void (*)(void))(void *)entry, 4, (unsigned)(f >> 32), (unsigned)f,
                (unsigned)(a >> 32), (unsigned)a);
    return u;
}

bool weft__ctx_saved(const struct weft__ctx *c, struct weft__ctx_regs *ret)
{
    (void)c;
    (void)ret;
    return false;
}

#endif
