/* SPDX-License-Identifier: MIT */
/*
 * The checks of the context switch, as a list that two programs run: test_ctx.c under cmocka, and
 * ctx_check.c itself, compiled with CTX_CHECK_MAIN, as a plain program for machines where there is
 * no cmocka (the cross-built one that runs under qemu). ctx_check_machine.c holds those that know
 * the machine's registers.
 */
#ifndef CTX_CHECK_H
#define CTX_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "rt/ctx.h"

#if defined(WEFT_HAVE_VALGRIND) && WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_STACK_REGISTER(lo, hi) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

struct ctx_check {
    const char *name;
    int (*run)(void); /* the number of failed expectations, each printed to stderr */
};

extern const struct ctx_check ctx_checks[];
extern const size_t ctx_check_count;

int ctx_check_registers(void);
int ctx_check_floating_point(void);
int ctx_check_float_control(void);

#define SANITIZED (WEFT__ASAN || WEFT__TSAN)
#define STACK_SIZE ((size_t)(SANITIZED || WEFT_UCONTEXT ? 128 : 32) * 1024)

extern _Thread_local int ctx_failures;
extern _Thread_local struct weft__ctx ctx_home; /* the thread's own flow */

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: expected: %s\n", __FILE__, __LINE__, #cond);                   \
            ctx_failures++;                                                                        \
        }                                                                                          \
    } while (0)

/* A context with its stack, and what the checks want to remember of it. */
struct flow {
    struct weft__ctx ctx;
    char *stack;
    unsigned valgrind_id;
    struct weft__ctx *back; /* where it goes when it stops */
    size_t index;
    uint64_t count;
    uint64_t goal;
    bool done;
};

static inline void flow_start(struct flow *f, void (*fn)(void *), struct weft__ctx *back)
{
    if (f->stack == NULL) {
        f->stack = aligned_alloc(64, STACK_SIZE);
        if (f->stack == NULL)
            abort();
        f->valgrind_id = (unsigned)VALGRIND_STACK_REGISTER(f->stack, f->stack + STACK_SIZE - 1);
    }
    f->back = back;
    f->done = false;
    f->count = 0;
    weft__ctx_make(&f->ctx, f->stack, f->stack + STACK_SIZE, fn, f);
}

static inline void flow_pause(struct flow *f)
{
    weft__ctx_switch(&f->ctx, f->back);
}

_Noreturn static inline void flow_end(struct flow *f)
{
    f->done = true;
    weft__ctx_switch_final(&f->ctx, f->back);
}

static inline void flow_fini(struct flow *f)
{
    weft__ctx_fini(&f->ctx);
    VALGRIND_STACK_DEREGISTER(f->valgrind_id);
    free(f->stack);
    f->stack = NULL;
}

#endif
