/* SPDX-License-Identifier: MIT */
/*
 * Checks of the context switch that know the machine: callee-saved registers and the
 * floating-point environment.
 */
#include "ctx_check.h"

#include <fenv.h>

/* ---- callee-saved registers ---- */

static void spoil_flow(void *arg)
{
    struct flow *f = arg;
    for (;;) {
#if defined(__x86_64__)
        __asm__ volatile("mov $-1, %%rbx; mov %%rbx, %%r12; mov %%rbx, %%r13; mov %%rbx, %%r14\n"
                         "mov %%rbx, %%r15" ::
                             : "rbx", "r12", "r13", "r14", "r15");
#elif defined(__aarch64__)
        __asm__ volatile("mov x19, #-1; mov x20, x19; mov x21, x19; mov x22, x19; mov x23, x19\n"
                         "mov x24, x19; mov x25, x19; mov x26, x19; mov x27, x19; mov x28, x19\n"
                         "fmov d8, x19; fmov d9, x19; fmov d10, x19; fmov d11, x19\n"
                         "fmov d12, x19; fmov d13, x19; fmov d14, x19; fmov d15, x19" ::
                             : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",
                               "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15");
#endif
        flow_pause(f);
    }
}

#if !SANITIZED && defined(__x86_64__)

/* Fills the callee-saved registers, calls weft__ctx_swap, and stores what they are afterwards. */
static void swap_with_marks(void **save, void *load, uint64_t marks[6])
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n" /* the red zone */
                     "push %%rbp; push %[marks]; mov %%rsp, %%rcx\n"
                     "sub $256, %%rsp; and $-16, %%rsp; push %%rcx; push %%rcx\n"
                     "mov $0x1111, %%ebx; mov $0x2222, %%ebp; mov $0x3333, %%r12d\n"
                     "mov $0x4444, %%r13d; mov $0x5555, %%r14d; mov $0x6666, %%r15d\n"
                     "call weft__ctx_swap\n"
                     "pop %%rcx; mov %%rcx, %%rsp; pop %%rax\n"
                     "mov %%rbx, (%%rax); mov %%rbp, 8(%%rax); mov %%r12, 16(%%rax)\n"
                     "mov %%r13, 24(%%rax); mov %%r14, 32(%%rax); mov %%r15, 40(%%rax)\n"
                     "pop %%rbp; lea 128(%%rsp), %%rsp"
                     : "+D"(save), "+S"(load), [marks] "+d"(marks)
                     :
                     : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory",
                       "cc");
}
#define MARKS 6

#elif !SANITIZED && defined(__aarch64__)

static void swap_with_marks(void **save, void *load, uint64_t marks[18])
{
    register void **x0 __asm__("x0") = save;
    register void *x1 __asm__("x1") = load;
    register uint64_t *x2 __asm__("x2") = marks;
    __asm__ volatile(
        "stp x29, x2, [sp, #-16]!\n"
        "mov x19, #0x1111; mov x20, #0x2222; mov x21, #0x3333; mov x22, #0x4444\n"
        "mov x23, #0x5555; mov x24, #0x6666; mov x25, #0x7777; mov x26, #0x8888\n"
        "mov x27, #0x9999; mov x28, #0xaaaa\n"
        "mov x9, #0xbbbb; fmov d8, x9; mov x9, #0xcccc; fmov d9, x9\n"
        "mov x9, #0xdddd; fmov d10, x9; mov x9, #0xeeee; fmov d11, x9\n"
        "mov x9, #0xffff; fmov d12, x9; mov x9, #0x1110; movk x9, #1, lsl #16; fmov d13, x9\n"
        "mov x9, #0x2221; movk x9, #1, lsl #16; fmov d14, x9\n"
        "mov x9, #0x3332; movk x9, #1, lsl #16; fmov d15, x9\n"
        "bl weft__ctx_swap\n"
        "ldp x29, x2, [sp], #16\n"
        "stp x19, x20, [x2]; stp x21, x22, [x2, #16]; stp x23, x24, [x2, #32]\n"
        "stp x25, x26, [x2, #48]; stp x27, x28, [x2, #64]\n"
        "stp d8, d9, [x2, #80]; stp d10, d11, [x2, #96]\n"
        "stp d12, d13, [x2, #112]; stp d14, d15, [x2, #128]\n"
        : "+r"(x0), "+r"(x1), "+r"(x2)
        :
        : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
          "x17", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "d0",
          "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13", "d14",
          "d15", "d16", "d17", "d18", "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27",
          "d28", "d29", "d30", "d31", "memory", "cc");
}
#define MARKS 18

#endif

int ctx_check_registers(void)
{
    struct flow f = {0};
    flow_start(&f, spoil_flow, &ctx_home);
#if defined(MARKS)
    for (int round = 0; round < 3; round++) {
        uint64_t marks[MARKS] = {0};
        swap_with_marks(&ctx_home.sp, f.ctx.sp, marks);
        for (size_t i = 0; i < MARKS; i++)
            EXPECT(marks[i] == 0x1111 * (i + 1));
    }
#endif
    /* The same as a compiler sees it: more live values than there are registers. */
    volatile uint64_t seed = 7;
    uint64_t a = seed * 3, b = seed * 5, c = seed * 7, d = seed * 11, e = seed * 13, g = seed * 17;
    double x = (double)seed / 3, y = (double)seed / 5, z = (double)seed / 7;
    for (int round = 0; round < 3; round++) {
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(a == 21 && b == 35 && c == 49 && d == 77 && e == 91 && g == 119);
        EXPECT(x == 7.0 / 3 && y == 7.0 / 5 && z == 7.0 / 7);
    }
    flow_fini(&f); /* abandoned where it paused: nothing of it needs to run */
    return ctx_failures;
}

/* ---- floating-point environment ---- */

static double third(void)
{
    volatile double one = 1;
    volatile double three = 3;
    return one / three;
}

static long double third_long(void)
{
    volatile long double one = 1;
    volatile long double three = 3;
    return one / three;
}

static void rounding_flow(void *arg)
{
    struct flow *f = arg;
    EXPECT(fegetround() == (int)f->goal); /* of whoever made it */
    fesetround(FE_UPWARD);
    double up = third();
    long double up_long = third_long();
    for (int i = 0; i < 3; i++) {
        flow_pause(f);
        EXPECT(fegetround() == FE_UPWARD);
        EXPECT(third() == up && third_long() == up_long);
    }
    flow_end(f);
}

int ctx_check_floating_point(void)
{
    fesetround(FE_DOWNWARD);
    double down = third();
    long double down_long = third_long();
    fesetround(FE_TONEAREST);
    double near = third();
    long double near_long = third_long();

    struct flow f = {.goal = FE_TONEAREST};
    struct flow g = {.goal = FE_DOWNWARD};
    flow_start(&f, rounding_flow, &ctx_home);
    fesetround(FE_DOWNWARD);
    flow_start(&g, rounding_flow, &ctx_home);
    fesetround(FE_TONEAREST);
    while (!f.done) {
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(fegetround() == FE_TONEAREST);
        EXPECT(third() == near && third_long() == near_long);
        fesetround(FE_DOWNWARD);
        weft__ctx_switch(&ctx_home, &g.ctx);
        EXPECT(fegetround() == FE_DOWNWARD);
        EXPECT(third() == down && third_long() == down_long);
        fesetround(FE_TONEAREST);
    }
    EXPECT(g.done);
    flow_fini(&f);
    flow_fini(&g);
    return ctx_failures;
}

#if defined(__x86_64__)

static uint32_t get_mxcsr(void)
{
    uint32_t v = 0;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}

static uint16_t get_x87(void)
{
    uint16_t v = 0;
    __asm__ volatile("fnstcw %0" : "=m"(v));
    return v;
}

static void set_float_control(uint32_t mxcsr, uint16_t x87)
{
    __asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(x87));
}

static void float_control_flow(void *arg)
{
    struct flow *f = arg;
    set_float_control(0x9fc0, 0x027f); /* flush to zero, denormals are zero; double precision */
    for (int i = 0; i < 3; i++) {
        flow_pause(f);
        EXPECT((get_mxcsr() & 0xffc0) == 0x9fc0 && get_x87() == 0x027f);
    }
    flow_end(f);
}

int ctx_check_float_control(void)
{
    if (RUNNING_ON_VALGRIND)
        return 0; /* it emulates no mode but the rounding mode */
    uint32_t mxcsr = get_mxcsr();
    uint16_t x87 = get_x87();
    struct flow f = {0};
    flow_start(&f, float_control_flow, &ctx_home);
    while (!f.done) {
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(get_mxcsr() == mxcsr && get_x87() == x87);
    }
    flow_fini(&f);
    return ctx_failures;
}

#elif defined(__aarch64__)

static uint64_t get_fpcr(void)
{
    uint64_t v = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(v));
    return v;
}

static void float_control_flow(void *arg)
{
    struct flow *f = arg;
    uint64_t flush = get_fpcr() | (1u << 24);
    __asm__ volatile("msr fpcr, %0" ::"r"(flush));
    for (int i = 0; i < 3; i++) {
        flow_pause(f);
        EXPECT(get_fpcr() == flush);
    }
    flow_end(f);
}

int ctx_check_float_control(void)
{
    uint64_t fpcr = get_fpcr();
    struct flow f = {0};
    flow_start(&f, float_control_flow, &ctx_home);
    while (!f.done) {
        weft__ctx_switch(&ctx_home, &f.ctx);
        EXPECT(get_fpcr() == fpcr);
    }
    flow_fini(&f);
    return ctx_failures;
}

#else

int ctx_check_float_control(void)
{
    return 0;
}

#endif
