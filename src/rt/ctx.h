/* SPDX-License-Identifier: MIT */
/*
 * Contexts: a flow of control that has a stack of its own and runs when another one switches to
 * it. Tasks are built on this; nothing here knows of tasks, loops or scheduling.
 *
 * Floor 2. Invariants:
 * - A switch keeps everything that the machine's ABI calls callee-saved: registers, stack pointer
 *   and the floating-point control state (rounding, flush to zero, trapped exceptions). It does
 *   not keep the signal mask, and thread-local storage stays that of the thread.
 * - A context is resumed on the thread that made it: it does not migrate.
 * - A switch makes no system call (but for the ucontext fallback) and never fails.
 * - Unwinders see a context's entry function as the outermost frame but one: the trampoline below
 *   it says in its CFI, and with zero words for those who follow frame pointers, that it is the
 *   end.
 *
 * Three implementations of weft__ctx_swap and weft__ctx_prepare: ctx_x86_64.S, ctx_aarch64.S, and
 * ctx_ucontext.c for other machines (WEFT_UCONTEXT=1 chooses it everywhere). A sanitizer must be
 * told of each switch, so in such builds the wrappers do so; else they are one call.
 */
#ifndef WEFT__RT_CTX_H
#define WEFT__RT_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef WEFT_UCONTEXT
#if (defined(__x86_64__) && defined(__LP64__)) || (defined(__aarch64__) && defined(__LP64__))
#define WEFT_UCONTEXT 0
#else
#define WEFT_UCONTEXT 1
#endif
#endif

/* WEFT__ASAN, WEFT__TSAN: 1 when compiled with that sanitizer, by gcc or by clang. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT__ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define WEFT__TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(WEFT__ASAN)
#define WEFT__ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(WEFT__TSAN)
#define WEFT__TSAN 1
#endif
#ifndef WEFT__ASAN
#define WEFT__ASAN 0
#endif
#ifndef WEFT__TSAN
#define WEFT__TSAN 0
#endif

#if WEFT__ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if WEFT__TSAN
#include <sanitizer/tsan_interface.h>
#endif

struct weft__ctx {
    void *sp; /* while the context does not run: where its registers are saved */
#if WEFT__ASAN
    const void *asan_lo; /* its stack, which ASan asks for on each switch to it */
    size_t asan_size;
    void *asan_fake; /* ASan's stack of locals that may outlive their frame; saved on leaving */
#endif
#if WEFT__TSAN
    void *tsan_fiber;
    bool tsan_owned; /* made by weft__ctx_make, not a thread's own */
#endif
#if WEFT__ASAN || WEFT__TSAN
    void (*first_fn)(void *); /* what the first entry calls after telling the sanitizer */
    void *first_arg;
#endif
};

#if WEFT__ASAN
/* The stack of the context that runs on this thread; unset until the first switch. */
struct weft__ctx_bounds {
    const void *lo;
    size_t size;
};
extern _Thread_local struct weft__ctx_bounds weft__ctx_running;
#endif

/*
 * Prepares a context that, when first switched to, calls fn(arg) on the stack [lo, hi). fn must
 * never return: it ends with weft__ctx_switch_final. The context starts with the floating-point
 * control state of the caller, as a thread does.
 *
 * It touches only the highest bytes below hi (less than 128; about 1 KiB with the fallback on
 * x86-64). In sanitizer builds *c must stay where it is until first entered. No waiting, no
 * failure.
 */
void weft__ctx_make(struct weft__ctx *c, void *lo, void *hi, void (*fn)(void *), void *arg);

/*
 * Makes *c stand for the flow that is running now, on the thread's own stack, so that it can be
 * the `from` of a switch. Call it once per thread and use; weft__ctx_fini pairs it.
 */
void weft__ctx_adopt(struct weft__ctx *c);

/* Frees what a sanitizer keeps for the context, which must not be running. Takes a zeroed one. */
void weft__ctx_fini(struct weft__ctx *c);

/* A parked context as an unwinder by frame pointers wants it. */
struct weft__ctx_regs {
    uintptr_t pc; /* where it goes on */
    uintptr_t sp;
    uintptr_t fp;
};

/* The saved registers of a context that does not run. False where they are not known (ucontext). */
bool weft__ctx_saved(const struct weft__ctx *c, struct weft__ctx_regs *ret);

/* Per machine. Saves the registers below the stack pointer, stores that address in *save_sp, and
 * goes on with the registers saved at load_sp. */
void weft__ctx_swap(void **save_sp, void *load_sp);

/* Per machine. Lays out a save area below hi with which weft__ctx_swap enters fn(arg). */
void *weft__ctx_prepare(void *lo, void *hi, void (*fn)(void *), void *arg);

/*
 * Saves the running flow in *from and resumes *to; returns when something switches to *from
 * again. *from must be the context that is running.
 */
static inline void weft__ctx_switch(struct weft__ctx *from, struct weft__ctx *to)
{
#if WEFT__ASAN
    __sanitizer_start_switch_fiber(&from->asan_fake, to->asan_lo, to->asan_size);
#endif
#if WEFT__TSAN
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
    weft__ctx_swap(&from->sp, to->sp);
#if WEFT__ASAN
    __sanitizer_finish_switch_fiber(from->asan_fake, NULL, NULL);
    weft__ctx_running = (struct weft__ctx_bounds){from->asan_lo, from->asan_size};
#endif
}

/*
 * As weft__ctx_switch, but *from never runs again, so that ASan frees its fake stack. Whoever
 * runs next may release the stack and weft__ctx_fini(from).
 */
_Noreturn static inline void weft__ctx_switch_final(struct weft__ctx *from, struct weft__ctx *to)
{
#if WEFT__ASAN
    __sanitizer_start_switch_fiber(NULL, to->asan_lo, to->asan_size);
#endif
#if WEFT__TSAN
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
    weft__ctx_swap(&from->sp, to->sp);
    __builtin_trap(); /* an ended context was resumed */
}

#endif
