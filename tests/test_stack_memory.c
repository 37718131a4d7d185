/* SPDX-License-Identifier: MIT */
/*
 * What stacks cost: memory and page tables for many of them, pages given back after a burst,
 * mappings when guards need them.
 */
#include "stack_support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t max_map_count(void)
{
    size_t count = SIZE_MAX;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (f != NULL) {
        if (fscanf(f, "%zu", &count) != 1)
            count = SIZE_MAX;
        fclose(f);
    }
    return count;
}

/* Without MADV_GUARD_INSTALL the mappings run out first, and the message says what to raise. */
static void test_mappings_run_out(void **state)
{
    (void)state;
    size_t max = max_map_count();
    if (!plain() || max > 200000)
        skip();
    setenv("WEFT_STACK_GUARD", "mprotect", 1);
    struct weft__stack_pool *p = open_pool(0, 0);
    unsetenv("WEFT_STACK_GUARD");
    struct weft__stack **stacks = calloc(max, sizeof(struct weft__stack *));
    assert_non_null(stacks);
    size_t count = 0;
    int r = 0;
    while (count < max && (r = weft__stack_get(p, &stacks[count])) == 0)
        count++;
    assert_int_equal(r, -ENOMEM);
    assert_true(count > max / 2 - 2000);
    assert_null(stacks[count]);
    char detail[256];
    snprintf(detail, sizeof(detail), "%s", weft__stack_pool_detail(p));
    struct weft__stack *again = NULL;
    assert_int_equal(weft__stack_get(p, &again), -ENOMEM);
    put_many(p, stacks, count);
    assert_non_null(strstr(detail, "vm.max_map_count"));
    put_many(p, get_many(p, 3000), 3000);
    weft__stack_pool_close(p);
}

/* Pages of the stack that have memory; none if it is unmapped. */
static size_t resident_pages(const char *lo, const char *hi)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t count = (size_t)(hi - lo) / page;
    size_t resident = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned char present = 0;
        if (mincore((void *)(lo + i * page), page, &present) == 0)
            resident += present & 1;
    }
    return resident;
}

static void test_release(void **state)
{
    (void)state;
    if (!plain())
        skip();
    enum { COUNT = 6000, PAGES = 3 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct weft__stack_pool *p = open_pool(0, 0);
    struct weft__stack **stacks = get_many(p, COUNT);
    char **lo = calloc(COUNT, sizeof(char *));
    assert_non_null(lo);
    size_t usable = (size_t)((char *)stacks[0]->hi - (char *)stacks[0]->lo);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(resident_pages(stacks[i]->lo, stacks[i]->hi), 0);
        for (size_t k = 1; k <= PAGES; k++)
            ((char *)stacks[i]->hi)[-(ptrdiff_t)(k * page)] = 1;
        assert_int_equal(resident_pages(stacks[i]->lo, stacks[i]->hi), PAGES);
        lo[i] = stacks[i]->lo;
    }
    size_t mapped = stats_of(p).mapped;
    put_many(p, stacks, COUNT);
    struct weft__stack_stats stats = stats_of(p);
    assert_true(stats.hot >= WEFT__STACK_HOT_MAX);
    assert_true(stats.hot < WEFT__STACK_HOT_MAX + WEFT__STACK_BATCH);
    assert_true(stats.mapped < mapped && stats.slabs >= 1);
    size_t resident = 0;
    for (size_t i = 0; i < COUNT; i++)
        resident += resident_pages(lo[i], lo[i] + usable);
    assert_int_equal(resident, stats.hot * PAGES);

    /* The hot ones come first, the newest of them foremost; the others are fresh again. */
    stacks = get_many(p, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        if (i < stats.hot)
            assert_ptr_equal(stacks[i]->lo, lo[COUNT - 1 - i]);
        else
            assert_int_equal(((char *)stacks[i]->hi)[-(ptrdiff_t)page], 0);
    }
    free(lo);
    put_many(p, stacks, COUNT);
    weft__stack_pool_close(p);
}

/* KiB of a line of /proc/self/status. */
static size_t status_kib(const char *name)
{
    char line[128];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtoul(line + strlen(name) + 1, NULL, 10);
    fclose(f);
    return kib;
}

/* 100,000 stacks with one touched page each: the bookkeeping and the kernel's page tables are to
 * be little beside the page. */
static void test_many(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!plain() || emulated() || page > 4096 || sysconf(_SC_AVPHYS_PAGES) < 1L << 18)
        skip();
    struct weft__stack_pool *p = open_pool(0, 0);
    weft__stack_put(p, get(p));
    size_t count = stats_of(p).guard_mprotect ? 20000 : 100000;
    struct weft__stack **stacks = calloc(count, sizeof(struct weft__stack *));
    assert_non_null(stacks);
    memset(stacks, 1, count * sizeof(struct weft__stack *));
    size_t rss = status_kib("VmRSS");
    size_t tables = status_kib("VmPTE");
    for (size_t i = 0; i < count; i++) {
        stacks[i] = get(p);
        memset((char *)stacks[i]->hi - 2048, 1, 2048);
    }
    size_t bytes = (status_kib("VmRSS") - rss + status_kib("VmPTE") - tables) * 1024;
    print_message("%zu bytes for each of %zu stacks\n", bytes / count, count);
    assert_true(bytes / count >= 4096);
    assert_true(bytes / count <= 4600);
    put_many(p, stacks, count);
    weft__stack_pool_close(p);
    size_t left = status_kib("VmRSS");
    assert_true(left < rss + 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mappings_run_out),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests_name("stack_memory", tests, NULL, NULL);
}
