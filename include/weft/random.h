/* SPDX-License-Identifier: MIT */
#ifndef WEFT_RANDOM_H
#define WEFT_RANDOM_H
/*
 * Random numbers: the kernel's, fit for keys and tokens (getrandom(2)). Inside a simulation they
 * follow from its seed, another sequence for each start of a host, so that a run can be repeated;
 * a program that draws all its chance from here needs nothing else for that.
 *
 * Thread rule: any thread. Nothing here waits, but for the kernel's first entropy when a machine
 * has just been started. Nothing here fails: a process whose sandbox forbids getrandom(2) is ended,
 * as numbers that are none would be worse.
 */
#include <stddef.h>
#include <stdint.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

/* Fills len bytes. */
WEFT_API void weft_random(void *buf, size_t len);

WEFT_API uint64_t weft_random_u64(void);

/* 0 to n - 1, each as likely as the others; 0 for n == 0. */
WEFT_API uint64_t weft_random_below(uint64_t n);

WEFT_END_DECLS
#endif
