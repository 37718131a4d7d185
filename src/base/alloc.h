/* SPDX-License-Identifier: MIT */
/*
 * Every allocation of the library goes through here, so that tests can count allocations and make
 * each one fail in turn.
 *
 * Floor 0. Invariants: while weft__alloc_hooks is false, a call costs one relaxed load more than
 * malloc; size 0 is legal and gives a pointer that may be freed; free takes NULL; memory comes
 * from malloc, so memory of a library that uses malloc (asprintf, getline) may be freed here too.
 */
#ifndef WEFT__BASE_ALLOC_H
#define WEFT__BASE_ALLOC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL when out of memory. calloc and array allocations check the product for overflow. */
void *weft__alloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *weft__calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
/* On failure the old block is untouched and still the caller's. */
void *weft__realloc(void *ptr, size_t size) __attribute__((alloc_size(2)));
char *weft__strdup(const char *s) __attribute__((malloc));
void weft__free(void *ptr);

/*
 * Test hooks, for the whole process and any thread.
 *
 * weft__alloc_hooks: set it to true to count; weft__alloc_fail_at() sets it too.
 * weft__alloc_fail_at(n): the n-th allocation from now fails (1 = the next one), once; 0 = none.
 * weft__alloc_count(): allocations asked for so far while the hooks were on, failed ones included.
 * weft__alloc_live(): blocks allocated less blocks freed while the hooks were on.
 */
extern _Atomic bool weft__alloc_hooks;
void weft__alloc_fail_at(uint64_t n);
uint64_t weft__alloc_count(void);
int64_t weft__alloc_live(void);

/*
 * For simulations, in which hosts run out of memory. weft__alloc_refuse_by(fn): fn is asked before
 * each allocation of any thread, and true makes it fail; NULL takes back one such call. Turns the
 * hooks on while anyone refuses. There is one fn for the whole process.
 * weft__alloc_sure: while it is above 0, the calling thread's allocations are not asked about.
 */
void weft__alloc_refuse_by(bool (*fn)(void));
extern _Thread_local unsigned weft__alloc_sure
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

#endif
