/* SPDX-License-Identifier: MIT */
/*
 * The context switch for x86-64, System V ABI.
 *
 * Floor 2. Invariants: the save area is 64 bytes at the saved stack pointer, the same for a parked
 * context and for a fresh one; ctx.c reads it for backtraces, and so may a debugger's script.
 *
 *      0  MXCSR (4 bytes), x87 control word (2 bytes), 2 unused
 *      8  r15
 *     16  r14
 *     24  r13    fresh: unused
 *     32  r12    fresh: arg
 *     40  rbx    fresh: fn
 *     48  rbp    fresh: 0
 *     56  return address
 *
 * The resumed context is entered by ret. The processor predicts it from the calls made before, which
 * were the other context's; but tasks switch straight to one another (task.c), both within the same
 * few calls, and then this and the returns that follow are predicted rightly: 10 ns from one
 * weft_yield to the next. An indirect jump would be, too, but leaves an entry too many on the
 * return stack, and each return after it goes wrong: 25 ns.
 *
 * MXCSR is loaded always, since that costs less than to compare it, and the x87 control word only
 * when it differs, since loading another value is slow.
 *
 * CFI: both contexts' save areas have the same layout, so what is said of the one before rsp
 * changes holds for the other after it.
 */
#if defined(__x86_64__) && !(defined(WEFT_UCONTEXT) && WEFT_UCONTEXT)

        .text

/* void weft__ctx_swap(void **save_sp [rdi], void *load_sp [rsi]) */
        .globl  weft__ctx_swap
        .hidden weft__ctx_swap
        .type   weft__ctx_swap, @function
        .p2align 4
weft__ctx_swap:
        .cfi_startproc
        endbr64
        subq    $56, %rsp
        .cfi_adjust_cfa_offset 56
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        movq    %rbp, 48(%rsp)
        .cfi_rel_offset rbp, 48
        movq    %rbx, 40(%rsp)
        .cfi_rel_offset rbx, 40
        movq    %r12, 32(%rsp)
        .cfi_rel_offset r12, 32
        movq    %r13, 24(%rsp)
        .cfi_rel_offset r13, 24
        movq    %r14, 16(%rsp)
        .cfi_rel_offset r14, 16
        movq    %r15, 8(%rsp)
        .cfi_rel_offset r15, 8
        movq    %rsp, (%rdi)
        movzwl  4(%rsp), %eax
        cmpw    4(%rsi), %ax
        jne     .Lload_x87
.Lx87_done:
        .cfi_remember_state
        movq    %rsi, %rsp
        ldmxcsr (%rsp)
        movq    8(%rsp), %r15
        .cfi_restore r15
        movq    16(%rsp), %r14
        .cfi_restore r14
        movq    24(%rsp), %r13
        .cfi_restore r13
        movq    32(%rsp), %r12
        .cfi_restore r12
        movq    40(%rsp), %rbx
        .cfi_restore rbx
        movq    48(%rsp), %rbp
        .cfi_restore rbp
        addq    $56, %rsp
        .cfi_adjust_cfa_offset -56
        ret
.Lload_x87:
        .cfi_restore_state
        fldcw   4(%rsi)
        jmp     .Lx87_done
        .cfi_endproc
        .size   weft__ctx_swap, . - weft__ctx_swap

/*
 * Where a fresh context starts. An unwinder that meets a context before its first run
 * looks up the address before the label: the nop keeps that within the same CFI.
 * fn finds the stack aligned as after any call; the two zero words that weft__ctx_prepare left
 * above it end a walk by frame pointers, and the undefined rip ends one by CFI.
 *
 * fn is jumped to, with its return address pushed by hand: a call would leave an entry on the
 * processor's return stack that no ret ever takes, so that when fn's flow ends, every return of the
 * one that goes on is predicted wrongly (35 ns of spawning and joining a task).
 */
        .p2align 4
        .cfi_startproc
        .cfi_undefined rip
        nop
        .globl  weft__ctx_entry
        .hidden weft__ctx_entry
        .type   weft__ctx_entry, @function
weft__ctx_entry:
        endbr64
        movq    %r12, %rdi
        leaq    .Lreturned(%rip), %rax
        pushq   %rax
        jmp     *%rbx
.Lreturned:
        ud2
        .cfi_endproc
        .size   weft__ctx_entry, . - weft__ctx_entry

/*
 * Tells the linker that this object keeps CET's branch tracking (IBT) possible. Shadow stacks are
 * not claimed: a switch would have to change those too, so a program with Weft in it runs without.
 */
        .section .note.gnu.property, "a"
        .p2align 3
        .long   4               /* size of the name */
        .long   16              /* size of the description */
        .long   5               /* NT_GNU_PROPERTY_TYPE_0 */
        .asciz  "GNU"
        .long   0xc0000002      /* GNU_PROPERTY_X86_FEATURE_1_AND */
        .long   4
        .long   1               /* GNU_PROPERTY_X86_FEATURE_1_IBT */
        .long   0

#endif

        .section .note.GNU-stack, "", @progbits
