/* SPDX-License-Identifier: MIT */
/*
 * The stack pool: order, sizes, limits, failures, guards by both means, high-water marks, and
 * contexts that come and go on its stacks.
 */
#include "stack_support.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"

/* ---- order, sizes, limits ---- */

static void test_lifo(void **state)
{
    (void)state;
    struct weft__stack_pool *p = open_pool(0, 0);
    struct weft__stack *a = get(p);
    struct weft__stack *b = get(p);
    struct weft__stack *c = get(p);
    assert_ptr_not_equal(a, b);
    assert_ptr_not_equal(b, c);
    weft__stack_put(p, b);
    weft__stack_put(p, a);
    weft__stack_put(p, c);
    assert_ptr_equal(get(p), c);
    assert_ptr_equal(get(p), a);
    assert_ptr_equal(get(p), b);
    assert_int_equal(stats_of(p).live, 3);
    weft__stack_put(p, a);
    weft__stack_put(p, b);
    weft__stack_put(p, c);
    assert_int_equal(stats_of(p).live, 0);
    assert_int_equal(stats_of(p).hot, 3);
    weft__stack_pool_close(p);
    weft__stack_pool_close(NULL);
}

static void test_sizes(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    static const size_t asked[] = {0, 1, 16384, 33000, 65536, 1 << 20, 16 << 20};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(asked); i++) {
        struct weft__stack_pool *p = open_pool(asked[i], 0);
        struct weft__stack_stats stats = stats_of(p);
        assert_int_equal(stats.slabs, 0);
        assert_true(stats.stack_size >= asked[i] && stats.stack_size >= WEFT__STACK_SIZE_MIN);
        assert_true(stats.stack_size % page == 0 && stats.guard_size % page == 0);
        assert_true(stats.guard_size >= page);
        struct weft__stack **stacks = get_many(p, 5);
        for (size_t k = 0; k < 5; k++) {
            struct weft__stack *s = stacks[k];
            size_t usable = (size_t)((char *)s->hi - (char *)s->lo);
            assert_int_equal(usable, stats.stack_size - stats.guard_size);
            assert_int_equal((uintptr_t)s->hi % page, 0);
            if (!RUNNING_ON_VALGRIND)
                assert_int_equal(*(char *)s->lo, 0);
            memset(s->lo, (int)k + 1, 8);
            memset((char *)s->hi - 8, (int)k + 1, 8);
        }
        for (size_t k = 0; k < 5; k++) {
            assert_int_equal(*(char *)stacks[k]->lo, (int)k + 1);
            assert_int_equal(((char *)stacks[k]->hi)[-1], (int)k + 1);
        }
        put_many(p, stacks, 5);
        weft__stack_pool_close(p);
    }
    struct weft__stack_pool *none = NULL;
    assert_int_equal(weft__stack_pool_open(&none, WEFT__STACK_SIZE_MAX + 1, 0), -EINVAL);
    assert_null(none);
}

static void test_limit(void **state)
{
    (void)state;
    struct weft__stack_pool *p = open_pool(0, 100);
    assert_string_equal(weft__stack_pool_detail(p), "");
    struct weft__stack **stacks = get_many(p, 100);
    struct weft__stack *s = NULL;
    assert_int_equal(weft__stack_get(p, &s), -EAGAIN);
    assert_null(s);
    assert_non_null(strstr(weft__stack_pool_detail(p), "limit of 100"));
    assert_int_equal(stats_of(p).mapped, 100);
    weft__stack_put(p, stacks[50]);
    stacks[50] = get(p);
    assert_int_equal(weft__stack_get(p, &s), -EAGAIN);
    put_many(p, stacks, 100);
    put_many(p, get_many(p, 100), 100);
    weft__stack_pool_close(p);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    struct weft__stack_pool *p = NULL;
    weft__alloc_fail_at(1);
    assert_int_equal(weft__stack_pool_open(&p, 0, 0), -ENOMEM);
    assert_null(p);
    weft__alloc_fail_at(0);
    p = open_pool(0, 0);
    /* A slab that cannot be had is tried again smaller. */
    weft__alloc_fail_at(1);
    struct weft__stack *s = get(p);
    weft__alloc_fail_at(0);
    assert_int_equal(stats_of(p).mapped, 32);
    weft__stack_put(p, s);
    weft__stack_pool_close(p);

    p = open_pool(0, 1);
    s = NULL;
    weft__alloc_fail_at(1);
    assert_int_equal(weft__stack_get(p, &s), -ENOMEM);
    weft__alloc_fail_at(0);
    assert_null(s);
    assert_non_null(strstr(weft__stack_pool_detail(p), "cannot map"));
    weft__stack_put(p, get(p));
    weft__stack_pool_close(p);
}

/* ---- children that end badly ---- */

/* Runs fn in a child with what it writes to stderr thrown away; its wait status. */
static int in_child(void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(99);
        for (int signo = 1; signo < 32; signo++)
            signal(signo, SIG_DFL);
        fn();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void use_up_address_space(void)
{
    struct weft__stack_pool *p = NULL;
    struct weft__stack *s = NULL;
    struct rlimit small = {256u << 20, 256u << 20};
    if (setrlimit(RLIMIT_AS, &small) != 0 || weft__stack_pool_open(&p, 0, 0) != 0)
        _exit(1);
    int r = 0;
    size_t count = 0;
    while ((r = weft__stack_get(p, &s)) == 0)
        count++;
    if (r != -ENOMEM || count < 4000 || strstr(weft__stack_pool_detail(p), "ulimit -v") == NULL)
        _exit(2);
    _exit(42);
}

static void test_address_space(void **state)
{
    (void)state;
    if (!plain() || emulated()) /* its own memory is in the same limit */
        skip();
    int status = in_child(use_up_address_space);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void put_twice(void)
{
    struct weft__stack_pool *p = open_pool(0, 0);
    struct weft__stack *s = get(p);
    weft__stack_put(p, s);
    weft__stack_put(p, s);
}

static void close_with_live_stack(void)
{
    struct weft__stack_pool *p = open_pool(0, 0);
    (void)get(p);
    weft__stack_pool_close(p);
}

static void test_misuse(void **state)
{
    (void)state;
    int status = in_child(put_twice);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = in_child(close_with_live_stack);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* ---- guards ---- */

static struct {
    struct weft__stack_pool *pool;
    struct weft__stack *stack; /* the one that overflows */
    struct weft__ctx home;
    struct weft__ctx ctx;
} crash;

static void on_segv(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    struct weft__stack *s = NULL;
    if (!weft__stack_guard_hit(crash.pool, info->si_addr, &s))
        _exit(1);
    _exit(s == crash.stack ? 42 : 2);
}

static volatile int never; /* keeps the compiler from seeing that the recursion has no end */

static __attribute__((noinline)) int overflow(int depth)
{
    volatile char frame[256];
    frame[depth % 256] = (char)depth;
    if (never)
        return 0;
    return overflow(depth + 1) + frame[depth % 256];
}

static void overflow_main(void *arg)
{
    (void)arg;
    _exit(overflow(1) == 0);
}

static void overflow_stack(void)
{
    weft__ctx_adopt(&crash.home);
    weft__ctx_make(&crash.ctx, crash.stack->lo, crash.stack->hi, overflow_main, NULL);
    weft__ctx_switch(&crash.home, &crash.ctx);
}

static void overflow_and_report(void)
{
    static char alternate[64 * 1024];
    stack_t ss = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
    struct sigaction act = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaltstack(&ss, NULL) != 0 || sigaction(SIGSEGV, &act, NULL) != 0)
        _exit(3);
    overflow_stack();
}

/* Overflows a stack of the pool, in a child that reports it and in one that does not. */
static void expect_guarded(struct weft__stack_pool *p, struct weft__stack *s)
{
    crash.pool = p;
    crash.stack = s;
    int status = in_child(overflow_and_report);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    status = in_child(overflow_stack);
    if (plain())
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    else
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static void check_guards(bool by_mprotect)
{
    struct weft__stack_pool *p = open_pool(0, 0);
    enum { COUNT = 2000 };
    struct weft__stack **stacks = get_many(p, COUNT);
    struct weft__stack_stats stats = stats_of(p);
    if (by_mprotect)
        assert_true(stats.guard_mprotect);
    for (size_t i = 0; i < COUNT; i++) {
        struct weft__stack *s = NULL;
        assert_false(weft__stack_guard_hit(p, stacks[i]->lo, &s));
        assert_false(weft__stack_guard_hit(p, (char *)stacks[i]->hi - 1, &s));
        assert_null(s);
        assert_true(weft__stack_guard_hit(p, (char *)stacks[i]->lo - 1, &s));
        assert_ptr_equal(s, stacks[i]);
        s = NULL;
        const char *lowest = (char *)stacks[i]->lo - stats.guard_size;
        assert_true(weft__stack_guard_hit(p, lowest, &s));
        assert_ptr_equal(s, stacks[i]);
    }
    struct weft__stack *s = NULL;
    assert_false(weft__stack_guard_hit(p, &s, &s));
    assert_false(weft__stack_guard_hit(p, NULL, &s));

    if (!RUNNING_ON_VALGRIND)
        expect_guarded(p, stacks[COUNT / 2]);
    put_many(p, stacks, COUNT);
    /* A guard outlives the pages of its stack: take the ones that were given back, too. */
    stacks = get_many(p, COUNT);
    if (!RUNNING_ON_VALGRIND) {
        expect_guarded(p, stacks[0]);
        expect_guarded(p, stacks[1500]);
        expect_guarded(p, stacks[COUNT - 1]);
    }
    put_many(p, stacks, COUNT);
    weft__stack_pool_close(p);
}

static void test_guards(void **state)
{
    (void)state;
    if (emulated())
        skip();
    check_guards(false);
}

static void test_guards_by_mprotect(void **state)
{
    (void)state;
    setenv("WEFT_STACK_GUARD", "mprotect", 1);
    check_guards(true);
    unsetenv("WEFT_STACK_GUARD");
}

/* ---- high-water mark ---- */

static void test_high_water(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 4 << 20};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(sizes); i++) {
        struct weft__stack_pool *p = open_pool(sizes[i], 0);
        struct weft__stack *s = get(p);
        size_t usable = (size_t)((char *)s->hi - (char *)s->lo);
        static const size_t depths[] = {8, 4096, 5000, 12296, 20000};
        assert_int_equal(weft__stack_high_water(s), 0);
        for (size_t k = 0; k < WEFT__ARRAY_LEN(depths); k++) {
            ((char *)s->hi)[-(ptrdiff_t)depths[k]] = 1;
            assert_int_equal(weft__stack_high_water(s), depths[k]);
        }
        *(char *)s->lo = 1;
        assert_int_equal(weft__stack_high_water(s), usable);
        /* It is the mark of all users since the pages were fresh. */
        weft__stack_put(p, s);
        s = get(p);
        assert_int_equal(weft__stack_high_water(s), usable);
        weft__stack_put(p, s);
        weft__stack_pool_close(p);
    }
}

/* ---- in use ---- */

static struct weft__ctx home;

struct user {
    struct weft__ctx ctx;
    struct weft__stack *stack;
    size_t left;
    uint64_t mark;
};

static void user_main(void *arg)
{
    struct user *u = arg;
    volatile uint64_t marks[200];
    for (size_t i = 0; i < WEFT__ARRAY_LEN(marks); i++)
        marks[i] = u->mark + i;
    while (u->left > 0) {
        weft__ctx_switch(&u->ctx, &home);
        u->left--;
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(marks); i++)
        if (marks[i] != u->mark + i)
            abort();
    u->mark = 0;
    weft__ctx_switch_final(&u->ctx, &home);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Contexts come and go at random, more of them in some phases than in others. */
static void test_churn(void **state)
{
    (void)state;
    size_t most = plain() ? 3000 : 150;
    struct weft__stack_pool *p = open_pool(0, most);
    struct user *users = calloc(most, sizeof(*users));
    assert_non_null(users);
    weft__ctx_adopt(&home);
    uint64_t seed = 1;
    for (size_t step = 0; step < 60 * most; step++) {
        size_t reach = step / (10 * most) % 2 == 0 ? most : most / 20;
        struct user *u = &users[next_random(&seed) % most];
        if (u->stack == NULL && (size_t)(u - users) < reach) {
            u->stack = get(p);
            u->left = next_random(&seed) % 8;
            u->mark = step + 1;
            weft__ctx_make(&u->ctx, u->stack->lo, u->stack->hi, user_main, u);
        } else if (u->stack != NULL) {
            weft__ctx_switch(&home, &u->ctx);
            if (u->mark == 0) {
                weft__ctx_fini(&u->ctx);
                weft__stack_put(p, u->stack);
                u->stack = NULL;
            }
        }
    }
    for (size_t i = 0; i < most; i++) {
        if (users[i].stack == NULL)
            continue;
        while (users[i].mark != 0)
            weft__ctx_switch(&home, &users[i].ctx);
        weft__ctx_fini(&users[i].ctx);
        weft__stack_put(p, users[i].stack);
    }
    weft__ctx_fini(&home);
    free(users);
    assert_int_equal(stats_of(p).live, 0);
    weft__stack_pool_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lifo),          cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_limit),         cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_address_space), cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_guards),        cmocka_unit_test(test_guards_by_mprotect),
        cmocka_unit_test(test_high_water),    cmocka_unit_test(test_churn),
    };
    return cmocka_run_group_tests_name("stack", tests, NULL, NULL);
}
