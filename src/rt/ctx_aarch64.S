/* SPDX-License-Identifier: MIT */
/*
 * The context switch for 64-bit ARM, AAPCS64.
 *
 * Floor 2. Invariants: the save area is 176 bytes at the saved stack pointer, the same for a parked
 * context and for a fresh one; ctx.c reads it for backtraces, and so may a debugger's script.
 *
 *      0  x29 (frame pointer)         fresh: 0
 *      8  x30 (where it goes on)      fresh: weft__ctx_entry
 *     16  x19, x20                    fresh: fn, arg
 *     32  x21 to x28
 *     96  d8 to d15
 *    160  FPCR, 8 unused
 *
 * FPCR is written only when it differs, since writing it may stall the pipeline. The other context
 * is entered by ret, so that returns are predicted when tasks switch to one another (ctx_x86_64.S
 * says more), and because, where branch target identification is compiled in, an indirect branch
 * may not go to the place after a call.
 *
 * CFI: both contexts' save areas have the same layout, so what is said of the one before sp
 * changes holds for the other after it.
 */
#if defined(__aarch64__) && !(defined(WEFT_UCONTEXT) && WEFT_UCONTEXT)

#define SAVE_AREA 176

        .text

/* void weft__ctx_swap(void **save_sp [x0], void *load_sp [x1]) */
        .globl  weft__ctx_swap
        .hidden weft__ctx_swap
        .type   weft__ctx_swap, %function
        .p2align 4
weft__ctx_swap:
        .cfi_startproc
        hint    #34                     /* bti c */
        stp     x29, x30, [sp, #-SAVE_AREA]!
        .cfi_adjust_cfa_offset SAVE_AREA
        .cfi_rel_offset x29, 0
        .cfi_rel_offset x30, 8
        mrs     x9, fpcr
        stp     x19, x20, [sp, #16]
        .cfi_rel_offset x19, 16
        .cfi_rel_offset x20, 24
        stp     x21, x22, [sp, #32]
        .cfi_rel_offset x21, 32
        .cfi_rel_offset x22, 40
        stp     x23, x24, [sp, #48]
        .cfi_rel_offset x23, 48
        .cfi_rel_offset x24, 56
        stp     x25, x26, [sp, #64]
        .cfi_rel_offset x25, 64
        .cfi_rel_offset x26, 72
        stp     x27, x28, [sp, #80]
        .cfi_rel_offset x27, 80
        .cfi_rel_offset x28, 88
        stp     d8, d9, [sp, #96]
        .cfi_rel_offset d8, 96
        .cfi_rel_offset d9, 104
        stp     d10, d11, [sp, #112]
        .cfi_rel_offset d10, 112
        .cfi_rel_offset d11, 120
        stp     d12, d13, [sp, #128]
        .cfi_rel_offset d12, 128
        .cfi_rel_offset d13, 136
        stp     d14, d15, [sp, #144]
        .cfi_rel_offset d14, 144
        .cfi_rel_offset d15, 152
        str     x9, [sp, #160]
        mov     x10, sp
        str     x10, [x0]

        mov     sp, x1
        ldr     x10, [sp, #160]
        cmp     x9, x10
        b.ne    .Lload_fpcr
.Lfpcr_done:
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        .cfi_remember_state
        ldp     x29, x30, [sp], #SAVE_AREA
        .cfi_adjust_cfa_offset -SAVE_AREA
        .cfi_restore x19
        .cfi_restore x20
        .cfi_restore x21
        .cfi_restore x22
        .cfi_restore x23
        .cfi_restore x24
        .cfi_restore x25
        .cfi_restore x26
        .cfi_restore x27
        .cfi_restore x28
        .cfi_restore d8
        .cfi_restore d9
        .cfi_restore d10
        .cfi_restore d11
        .cfi_restore d12
        .cfi_restore d13
        .cfi_restore d14
        .cfi_restore d15
        .cfi_restore x29
        .cfi_restore x30
        ret
.Lload_fpcr:
        .cfi_restore_state
        msr     fpcr, x10
        b       .Lfpcr_done
        .cfi_endproc
        .size   weft__ctx_swap, . - weft__ctx_swap

/*
 * Where a fresh context starts. An unwinder that meets one before its first run looks up the
 * address before the label: the nop keeps that within the same CFI. x29 is zero, which ends a walk
 * by frame pointers, and the undefined x30 ends one by CFI.
 */
        .p2align 4
        .cfi_startproc
        .cfi_undefined x30
        nop
        .globl  weft__ctx_entry
        .hidden weft__ctx_entry
        .type   weft__ctx_entry, %function
weft__ctx_entry:
        hint    #36                     /* bti j */
        mov     x0, x20
        mov     x16, x19
        adr     x30, .Lreturned
        br      x16                     /* no call: see ctx_x86_64.S; x16, as `bti c` allows */
.Lreturned:
        brk     #1
        .cfi_endproc
        .size   weft__ctx_entry, . - weft__ctx_entry

#if defined(__ARM_FEATURE_BTI_DEFAULT)
/* Tells the linker that this object keeps branch target identification (BTI) possible. */
        .section .note.gnu.property, "a"
        .p2align 3
        .word   4                       /* size of the name */
        .word   16                      /* size of the description */
        .word   5                       /* NT_GNU_PROPERTY_TYPE_0 */
        .asciz  "GNU"
        .word   0xc0000000              /* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
        .word   4
        .word   1                       /* GNU_PROPERTY_AARCH64_FEATURE_1_BTI */
        .word   0
#endif

#endif

        .section .note.GNU-stack, "", %progbits
