/* SPDX-License-Identifier: MIT */
/*
 * The stack pool: stack.h says what it promises.
 *
 * Floor 2. Invariants:
 * - A stack is in one of four states. Uncarved: its index is not below slab->carved, its record is
 *   uninitialised and it has no guard. Live: out of the pool. Hot: in the ring of free stacks,
 *   pages kept. Cold: in its slab's list, linked by index, pages given back.
 * - slab->out counts its live and hot stacks. A slab is in `roomy` exactly while it has cold or
 *   uncarved stacks.
 * - The ring holds pointers, newest at head, so a get reads no free stack's memory but its record.
 */
#include "rt/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/list.h"
#include "rt/ctx.h"

#if WEFT__ASAN
#include <sanitizer/asan_interface.h>
#endif
#if defined(WEFT_HAVE_VALGRIND) && WEFT_HAVE_VALGRIND
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_STACK_REGISTER(lo, hi) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#define VALGRIND_MAKE_MEM_NOACCESS(at, size) ((void)(at), (void)(size))
#define VALGRIND_MAKE_MEM_UNDEFINED(at, size) ((void)(at), (void)(size))
#define VALGRIND_MAKE_MEM_DEFINED(at, size) ((void)(at), (void)(size))
#define VALGRIND_DISABLE_ERROR_REPORTING ((void)0)
#define VALGRIND_ENABLE_ERROR_REPORTING ((void)0)
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* Slabs grow from the first number of stacks to the second, but not beyond the bytes. */
#define SLAB_FIRST ((size_t)64)
#define SLAB_LAST ((size_t)4096)
#define SLAB_BYTES ((size_t)256 * 1024 * 1024)

/* Values of weft__stack.next that are not an index. */
#define NEXT_NONE UINT32_MAX
#define NEXT_LIVE (UINT32_MAX - 1)
#define NEXT_HOT (UINT32_MAX - 2)

#define RING_SIZE 2048
_Static_assert(WEFT__STACK_HOT_MAX + WEFT__STACK_BATCH <= RING_SIZE, "ring too small");
_Static_assert((RING_SIZE & (RING_SIZE - 1)) == 0, "indices are masked");
_Static_assert(sizeof(struct weft__stack) <= 32 || sizeof(void *) != 8, "bookkeeping per stack");

struct weft__stack_slab {
    struct weft__node all;   /* in pool->slabs */
    struct weft__node roomy; /* in pool->roomy, or unlinked */
    char *base;
    uint32_t count;
    uint32_t carved;
    uint32_t out;
    uint32_t cold; /* first of the cold stacks, NEXT_NONE when there is none */
    struct weft__stack stacks[];
};

struct weft__stack_pool {
    uint32_t ring_head; /* where the next put goes; only the low bits count */
    uint32_t ring_used;
    size_t live;
    size_t max_stacks;
    size_t slot_size;
    size_t guard_size;
    size_t mapped;
    size_t next_count; /* stacks of the next slab */
    size_t slab_count;
    size_t users; /* opens without a close */
    bool guard_mprotect;
    bool on_valgrind;
    struct weft__list slabs;
    struct weft__list roomy;
    char detail[192];
    struct weft__stack *ring[RING_SIZE];
};

static _Thread_local struct weft__stack_pool *shared;

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

struct weft__stack_pool *weft__stack_pool_share(struct weft__stack_pool *p)
{
    struct weft__stack_pool *before = shared;
    shared = p;
    return before;
}

int weft__stack_pool_open(struct weft__stack_pool **ret, size_t stack_size, size_t max_stacks)
{
    if (stack_size > WEFT__STACK_SIZE_MAX)
        return -EINVAL;
    if (stack_size == 0)
        stack_size = WEFT__ASAN || WEFT__TSAN ? WEFT__STACK_SIZE_DEFAULT_SANITIZED
                                              : WEFT__STACK_SIZE_DEFAULT;
    stack_size = weft__max_size(stack_size, WEFT__STACK_SIZE_MIN);

    size_t page = page_size();
    size_t slot_size = weft__max_size(round_up(stack_size, page), 2 * page);
    if (shared != NULL && shared->slot_size == slot_size && max_stacks == 0) {
        shared->users++;
        *ret = shared;
        return 0;
    }
    struct weft__stack_pool *p = weft__calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->users = 1;
    p->slot_size = slot_size;
    p->guard_size = round_up(weft__min_size(p->slot_size / 8, (size_t)64 * 1024), page);
    p->max_stacks = max_stacks == 0 ? SIZE_MAX : max_stacks;
    p->next_count = SLAB_FIRST;
    p->on_valgrind = RUNNING_ON_VALGRIND != 0;
    const char *guard = secure_getenv("WEFT_STACK_GUARD");
    p->guard_mprotect = guard != NULL && strcmp(guard, "mprotect") == 0;
    weft__list_init(&p->slabs);
    weft__list_init(&p->roomy);
    *ret = p;
    return 0;
}

/*
 * Unmaps a slab without any used stack and frees its record. False, with the slab as it was, when
 * the kernel refuses: neighbouring slabs may be one mapping, cutting a hole into that makes two,
 * and the number of mappings is limited.
 */
static bool slab_unmap(struct weft__stack_pool *p, struct weft__stack_slab *slab)
{
    size_t size = slab->count * p->slot_size;
    if (munmap(slab->base, size) != 0)
        return false;
#if WEFT__ASAN
    ASAN_UNPOISON_MEMORY_REGION(slab->base, size);
#endif
    if (p->on_valgrind) {
        for (uint32_t i = 0; i < slab->carved; i++)
            VALGRIND_STACK_DEREGISTER(slab->stacks[i].valgrind_id);
    }
    weft__list_remove(&slab->all);
    weft__list_remove(&slab->roomy);
    p->mapped -= slab->count;
    p->slab_count--;
    weft__free(slab);
    return true;
}

void weft__stack_pool_close(struct weft__stack_pool *p)
{
    if (p == NULL || --p->users > 0)
        return;
    WEFT__ASSERT(p->live == 0);
    WEFT__LIST_EACH_SAFE(&p->slabs, n, tmp) {
        struct weft__stack_slab *slab = WEFT__CONTAINER_OF(n, struct weft__stack_slab, all);
        if (slab_unmap(p, slab))
            continue;
        /* What cannot be unmapped shall at least cost no memory. */
        (void)madvise(slab->base, slab->count * p->slot_size, MADV_DONTNEED);
        weft__list_remove(&slab->all);
        weft__free(slab);
    }
    weft__free(p);
}

const char *weft__stack_pool_detail(const struct weft__stack_pool *p)
{
    return p->detail;
}

static int fail_mmap(struct weft__stack_pool *p, int error)
{
    snprintf(p->detail, sizeof(p->detail),
             "cannot map task stacks of %zu bytes beside the %zu in use: %s "
             "(see ulimit -v and vm.overcommit_memory)",
             p->slot_size, p->live, strerrordesc_np(error));
    return -error;
}

static int fail_mprotect(struct weft__stack_pool *p, int error)
{
    if (error == ENOMEM)
        snprintf(p->detail, sizeof(p->detail),
                 "cannot guard another task stack beside the %zu in use: without Linux 6.13 each "
                 "takes two mappings of the process; raise vm.max_map_count",
                 p->live);
    else
        snprintf(p->detail, sizeof(p->detail), "cannot guard a task stack: %s",
                 strerrordesc_np(error));
    return -error;
}

/* Maps a slab. The memory is readable and writable at once, but nothing of it is touched. */
static int slab_map(struct weft__stack_pool *p)
{
    size_t count = weft__min_size(p->next_count, weft__max_size(SLAB_BYTES / p->slot_size, 1));
    count = weft__min_size(count, p->max_stacks - p->mapped);
    WEFT__ASSERT(count > 0);

    struct weft__stack_slab *slab = NULL;
    char *base = MAP_FAILED;
    int error = ENOMEM;
    for (;; count = (count + 1) / 2) {
        slab = weft__alloc(sizeof(*slab) + count * sizeof(slab->stacks[0]));
        if (slab != NULL) {
            base = mmap(NULL, count * p->slot_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
            if (base != MAP_FAILED)
                break;
            error = errno;
            weft__free(slab);
        }
        if (count == 1)
            return fail_mmap(p, error);
    }
    /* A huge page under a stack would cost 2 MiB for a touched page. EINVAL: there are none. */
    (void)madvise(base, count * p->slot_size, MADV_NOHUGEPAGE);

    slab->base = base;
    slab->count = (uint32_t)count;
    slab->carved = 0;
    slab->out = 0;
    slab->cold = NEXT_NONE;
    weft__node_init(&slab->all);
    weft__node_init(&slab->roomy);
    weft__list_push_front(&p->slabs, &slab->all);
    weft__list_push_front(&p->roomy, &slab->roomy);
    p->mapped += count;
    p->slab_count++;
    p->next_count = weft__min_size(p->next_count * 2, SLAB_LAST);
    return 0;
}

/* Once the kernel has refused MADV_GUARD_INSTALL (too old, locked memory, seccomp), the pool goes
 * on with mprotect. */
static int install_guard(struct weft__stack_pool *p, void *at)
{
    if (!p->guard_mprotect) {
        if (madvise(at, p->guard_size, MADV_GUARD_INSTALL) == 0)
            return 0;
        p->guard_mprotect = true;
    }
    if (mprotect(at, p->guard_size, PROT_NONE) == 0)
        return 0;
    return fail_mprotect(p, errno);
}

/* Makes the next never-used stack of the slab ready. */
static int carve(struct weft__stack_pool *p, struct weft__stack_slab *slab)
{
    uint32_t i = slab->carved;
    char *slot = slab->base + i * p->slot_size;
    int r = install_guard(p, slot);
    if (r < 0)
        return r;
    struct weft__stack *s = &slab->stacks[i];
    s->lo = slot + p->guard_size;
    s->hi = slot + p->slot_size;
    s->slab = slab;
    s->next = slab->cold;
    s->valgrind_id = 0;
    if (p->on_valgrind)
        s->valgrind_id = (uint32_t)VALGRIND_STACK_REGISTER(s->lo, (char *)s->hi - 1);
    slab->cold = i;
    slab->carved++;
    return 0;
}

/* Takes a stack without pages, for when no free one has any. */
static int get_cold(struct weft__stack_pool *p, struct weft__stack **ret)
{
    int r = 0;
    if (weft__list_empty(&p->roomy) && (r = slab_map(p)) < 0)
        return r;
    struct weft__stack_slab *slab =
        WEFT__CONTAINER_OF(weft__list_first(&p->roomy), struct weft__stack_slab, roomy);
    if (slab->cold == NEXT_NONE && (r = carve(p, slab)) < 0)
        return r;
    struct weft__stack *s = &slab->stacks[slab->cold];
    slab->cold = s->next;
    slab->out++;
    if (slab->cold == NEXT_NONE && slab->carved == slab->count)
        weft__list_remove(&slab->roomy);
    *ret = s;
    return 0;
}

static int fail_limit(struct weft__stack_pool *p)
{
    snprintf(p->detail, sizeof(p->detail), "the limit of %zu task stacks is reached",
             p->max_stacks);
    return -EAGAIN;
}

static size_t usable_size(const struct weft__stack *s)
{
    return (size_t)((char *)s->hi - (char *)s->lo);
}

int weft__stack_get(struct weft__stack_pool *p, struct weft__stack **ret)
{
    struct weft__stack *s = NULL;
    if (WEFT__UNLIKELY(p->live >= p->max_stacks))
        return fail_limit(p);
    if (WEFT__LIKELY(p->ring_used > 0)) {
        p->ring_used--;
        s = p->ring[--p->ring_head % RING_SIZE];
    } else {
        int r = get_cold(p, &s);
        if (r < 0)
            return r;
    }
    s->next = NEXT_LIVE;
    p->live++;
#if WEFT__ASAN
    ASAN_UNPOISON_MEMORY_REGION(s->lo, usable_size(s));
#endif
    if (WEFT__UNLIKELY(p->on_valgrind))
        VALGRIND_MAKE_MEM_UNDEFINED(s->lo, usable_size(s));
    *ret = s;
    return 0;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)(*(struct weft__stack *const *)a)->lo;
    uintptr_t y = (uintptr_t)(*(struct weft__stack *const *)b)->lo;
    return (x > y) - (x < y);
}

/* Gives the pages of `count` stacks of one slab, sorted by address, back to the kernel: one system
 * call for each run of neighbours. Guards stay what they are. */
static void release_pages(struct weft__stack_pool *p, struct weft__stack **stacks, size_t count)
{
    for (size_t i = 0; i < count;) {
        size_t n = 1;
        while (i + n < count &&
               (char *)stacks[i + n]->lo == (char *)stacks[i]->lo + n * p->slot_size)
            n++;
        /* It cannot fail but for locked memory, where the pages are meant to stay. */
        (void)madvise(stacks[i]->lo, (n - 1) * p->slot_size + usable_size(stacks[i]),
                      MADV_DONTNEED);
        i += n;
    }
}

/* Makes the oldest batch of the ring cold. */
static __attribute__((noinline)) void trim(struct weft__stack_pool *p)
{
    struct weft__stack *batch[WEFT__STACK_BATCH];
    uint32_t tail = p->ring_head - p->ring_used;
    for (uint32_t i = 0; i < WEFT__STACK_BATCH; i++)
        batch[i] = p->ring[(tail + i) % RING_SIZE];
    p->ring_used -= WEFT__STACK_BATCH;
    qsort(batch, WEFT__STACK_BATCH, sizeof(batch[0]), by_address);

    for (size_t i = 0; i < WEFT__STACK_BATCH;) {
        struct weft__stack_slab *slab = batch[i]->slab;
        size_t n = 0;
        while (i + n < WEFT__STACK_BATCH && batch[i + n]->slab == slab) {
            batch[i + n]->next = slab->cold;
            slab->cold = (uint32_t)(batch[i + n] - slab->stacks);
            n++;
        }
        WEFT__ASSERT(slab->out >= n);
        slab->out -= (uint32_t)n;
        if (!weft__node_linked(&slab->roomy))
            weft__list_push_back(&p->roomy, &slab->roomy);
        bool spare = weft__list_first(&p->roomy) != weft__list_last(&p->roomy);
        if (slab->out > 0 || !spare || !slab_unmap(p, slab))
            release_pages(p, &batch[i], n);
        i += n;
    }
}

void weft__stack_put(struct weft__stack_pool *p, struct weft__stack *s)
{
    WEFT__ASSERT(s->next == NEXT_LIVE);
#if WEFT__ASAN
    ASAN_POISON_MEMORY_REGION(s->lo, usable_size(s));
#endif
    if (WEFT__UNLIKELY(p->on_valgrind))
        VALGRIND_MAKE_MEM_NOACCESS(s->lo, usable_size(s));
    s->next = NEXT_HOT;
    p->live--;
    p->ring[p->ring_head++ % RING_SIZE] = s;
    if (WEFT__UNLIKELY(++p->ring_used >= WEFT__STACK_HOT_MAX + WEFT__STACK_BATCH))
        trim(p);
}

/* Sets present[i] for each of `count` pages from `at` that has memory (or is swapped out). */
static void find_pages(int pagemap, uintptr_t at, size_t count, uint8_t *present)
{
    uint64_t entries[64];
    size_t page = page_size();
    WEFT__ASSERT(count <= WEFT__ARRAY_LEN(entries));
    ssize_t want = (ssize_t)(count * sizeof(entries[0]));
    if (pagemap >= 0 &&
        pread(pagemap, entries, (size_t)want, (off_t)(at / page * sizeof(entries[0]))) == want) {
        for (size_t i = 0; i < count; i++)
            present[i] = (entries[i] >> 62) != 0; /* bit 63: present, bit 62: swapped */
        return;
    }
    /* No /proc: mincore knows the pages in memory, which is all of them without swap. */
    if (mincore((void *)at, count * page, present) != 0)
        memset(present, 1, count);
}

/* The lowest word of [at, end) that is not zero, or end. It reads dead and poisoned frames. */
static __attribute__((no_sanitize_address, no_sanitize_thread)) uintptr_t first_word(uintptr_t at,
                                                                                     uintptr_t end)
{
    while (at < end && *(const volatile uintptr_t *)at == 0)
        at += sizeof(uintptr_t);
    return at;
}

size_t weft__stack_high_water(const struct weft__stack *s)
{
    size_t page = page_size();
    uintptr_t hi = (uintptr_t)s->hi;
    uintptr_t at = (uintptr_t)s->lo;
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    VALGRIND_DISABLE_ERROR_REPORTING;
    for (bool found = false; at < hi && !found;) {
        uint8_t present[64];
        size_t count = weft__min_size((hi - at + page - 1) / page, sizeof(present));
        find_pages(pagemap, at, count, present);
        for (size_t i = 0; i < count && !found; i++) {
            uintptr_t end = weft__min_size(at + page, hi);
            uintptr_t word = present[i] ? first_word(at, end) : end;
            found = word < end;
            at = word;
        }
    }
    VALGRIND_ENABLE_ERROR_REPORTING;
    VALGRIND_MAKE_MEM_DEFINED(&at, sizeof at); /* though it hangs on words that nobody wrote */
    if (pagemap >= 0)
        close(pagemap);
    return hi - at;
}

bool weft__stack_guard_hit(const struct weft__stack_pool *p, const void *addr,
                           struct weft__stack **ret)
{
    WEFT__LIST_EACH(&p->slabs, n) {
        struct weft__stack_slab *slab = WEFT__CONTAINER_OF(n, struct weft__stack_slab, all);
        size_t offset = (uintptr_t)addr - (uintptr_t)slab->base;
        size_t i = offset / p->slot_size;
        if (i < slab->carved && offset % p->slot_size < p->guard_size) {
            *ret = &slab->stacks[i];
            return true;
        }
    }
    return false;
}

void weft__stack_pool_stats(const struct weft__stack_pool *p, struct weft__stack_stats *ret)
{
    *ret = (struct weft__stack_stats){
        .live = p->live,
        .hot = p->ring_used,
        .mapped = p->mapped,
        .slabs = p->slab_count,
        .stack_size = p->slot_size,
        .guard_size = p->guard_size,
        .guard_mprotect = p->guard_mprotect,
    };
}
