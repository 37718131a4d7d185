/* SPDX-License-Identifier: MIT */
/*
 * Tests of src/base: assertions, allocation hooks, lists, queues, the multi-producer hand-over,
 * buffers and logs. The timer wheel has its own file, and so have the errors.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/buffer.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mpsc.h"

/* A small generator, so that a failure repeats itself. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- base.h --- */

static void test_version(void **state)
{
    (void)state;
    char text[32];
    snprintf(text, sizeof(text), "%d.%d.%d", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR,
             WEFT_VERSION_PATCH);
    assert_string_equal(weft_version(), text);
    assert_string_equal(WEFT_VERSION, text);
}

static void test_assert_aborts_and_says_where(void **state)
{
    (void)state;
    int fds[2];
    char text[256] = "";
    size_t have = 0;
    ssize_t n;
    int status;

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        WEFT__ASSERT(have == 0);
        WEFT__ASSERT(have == 1);
        _exit(0);
    }
    close(fds[1]);
    while (have < sizeof(text) - 1 && (n = read(fds[0], text + have, sizeof(text) - 1 - have)) > 0)
        have += (size_t)n;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "test_base.c:"));
    assert_non_null(strstr(text, ": assertion failed: have == 1\n"));
}

static void test_helpers(void **state)
{
    (void)state;
    struct pair {
        int a;
        int b;
    } p = {1, 2};
    assert_ptr_equal(WEFT__CONTAINER_OF(&p.b, struct pair, b), &p);
    int four[4] = {0};
    assert_int_equal(WEFT__ARRAY_LEN(four), 4);
    assert_int_equal(weft__min_size(1, 2), 1);
    assert_int_equal(weft__max_size(1, 2), 2);
    assert_true(weft__min_i64(-1, 2) == -1 && weft__max_i64(-1, 2) == 2);
    assert_true(weft__min_u64(1, UINT64_MAX) == 1 && weft__max_u64(1, UINT64_MAX) == UINT64_MAX);
}

/* --- alloc.h --- */

/* Volatile, or the compiler sees the overflow and warns. */
static volatile size_t huge = SIZE_MAX / 2;

static void test_alloc_counts_and_fails_on_request(void **state)
{
    (void)state;
    void *p = weft__alloc(10);
    assert_non_null(p);
    weft__free(p);
    assert_int_equal(weft__alloc_count(), 0);

    weft__alloc_fail_at(3);
    uint64_t before = weft__alloc_count();
    char *a = weft__alloc(0);
    char *b = weft__calloc(4, 4);
    assert_non_null(a);
    assert_non_null(b);
    b[0] = 'x';
    assert_null(weft__realloc(b, 1000));
    assert_int_equal(b[0], 'x');
    b = weft__realloc(b, 1000); /* once only */
    assert_non_null(b);
    assert_int_equal(b[0], 'x');
    assert_int_equal(weft__alloc_count() - before, 4);

    weft__alloc_fail_at(1);
    assert_null(weft__strdup("text"));
    weft__alloc_fail_at(1);
    weft__alloc_fail_at(0);
    char *c = weft__strdup("text");
    assert_string_equal(c, "text");
    weft__alloc_hooks = false;
    before = weft__alloc_count();
    assert_non_null(p = weft__calloc(0, 8));
    weft__free(p);
    assert_int_equal(weft__alloc_count(), before);
    assert_null(weft__calloc(huge, 4));
    weft__free(a);
    weft__free(b);
    weft__free(c);
    weft__free(NULL);
}

/* --- list.h --- */

struct item {
    struct weft__node node;
    struct weft__slink link;
    int value;
};

static int value_of(struct weft__node *n)
{
    return WEFT__CONTAINER_OF(n, struct item, node)->value;
}

static void expect_list(struct weft__list *l, const char *digits)
{
    char forward[16] = "";
    size_t n = 0;
    WEFT__LIST_EACH(l, node) {
        assert_ptr_equal(node->next->prev, node);
        forward[n++] = (char)('0' + value_of(node));
    }
    assert_string_equal(forward, digits);
    assert_int_equal(weft__list_empty(l), n == 0);
}

static void test_list(void **state)
{
    (void)state;
    struct item items[6] = {0};
    struct weft__list a = WEFT__LIST_INIT(a);
    struct weft__list b;
    weft__list_init(&b);
    for (int i = 0; i < 6; i++)
        items[i].value = i;

    assert_null(weft__list_first(&a));
    assert_null(weft__list_pop_front(&a));
    assert_null(weft__list_pop_back(&a));
    weft__list_push_back(&a, &items[1].node);
    weft__list_push_back(&a, &items[3].node);
    weft__list_push_front(&a, &items[0].node);
    weft__list_insert_before(&items[3].node, &items[2].node);
    expect_list(&a, "0123");
    assert_ptr_equal(weft__list_next(&a, &items[2].node), &items[3].node);
    assert_null(weft__list_next(&a, &items[3].node));
    assert_ptr_equal(weft__list_last(&a), &items[3].node);

    weft__list_remove(&items[1].node);
    assert_false(weft__node_linked(&items[1].node));
    weft__list_remove(&items[1].node); /* twice is legal */
    expect_list(&a, "023");

    weft__list_push_back(&b, &items[4].node);
    weft__list_push_back(&b, &items[5].node);
    weft__list_splice_back(&a, &b);
    expect_list(&a, "02345");
    expect_list(&b, "");
    weft__list_splice_back(&a, &b);
    expect_list(&a, "02345");
    weft__list_splice_back(&b, &a);
    expect_list(&b, "02345");

    WEFT__LIST_EACH_SAFE(&b, n, tmp) {
        if (value_of(n) % 2 == 0)
            weft__list_remove(n);
    }
    expect_list(&b, "35");
    assert_int_equal(value_of(weft__list_pop_back(&b)), 5);
    assert_int_equal(value_of(weft__list_pop_front(&b)), 3);
    expect_list(&b, "");
}

static int pop(struct weft__queue *q)
{
    struct weft__slink *n = weft__queue_pop_front(q);
    return n == NULL ? -1 : WEFT__CONTAINER_OF(n, struct item, link)->value;
}

static void test_queue(void **state)
{
    (void)state;
    struct item items[6] = {0};
    struct weft__queue a = {0};
    struct weft__queue b;
    weft__queue_init(&b);
    for (int i = 0; i < 6; i++)
        items[i].value = i;

    assert_true(weft__queue_empty(&a));
    assert_int_equal(pop(&a), -1);
    weft__queue_push_back(&a, &items[1].link);
    weft__queue_push_back(&a, &items[2].link);
    weft__queue_push_front(&a, &items[0].link);
    weft__queue_splice_back(&b, &a); /* into an empty one */
    assert_true(weft__queue_empty(&a));
    weft__queue_splice_back(&b, &a); /* from an empty one */
    weft__queue_push_front(&a, &items[3].link);
    weft__queue_push_back(&a, &items[4].link);
    weft__queue_splice_back(&b, &a);
    for (int i = 0; i < 5; i++)
        assert_int_equal(pop(&b), i);
    assert_true(weft__queue_empty(&b));
    weft__queue_push_back(&b, &items[5].link); /* usable after it ran empty */
    assert_int_equal(pop(&b), 5);
    assert_int_equal(pop(&b), -1);
}

/* --- mpsc.h --- */

#define PRODUCERS 4
#define PER_PRODUCER 20000

struct producer {
    struct weft__mpsc *mpsc;
    atomic_int *wakes;
    struct item items[PER_PRODUCER];
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (int i = 0; i < PER_PRODUCER; i++) {
        p->items[i].value = i;
        if (weft__mpsc_push(p->mpsc, &p->items[i].link))
            atomic_fetch_add(p->wakes, 1);
    }
    return NULL;
}

static void test_mpsc_keeps_order_of_each_producer(void **state)
{
    (void)state;
    struct weft__mpsc mpsc;
    struct weft__queue q = {0};
    atomic_int wakes = 0;
    int takes = 0;
    int next[PRODUCERS] = {0};
    pthread_t threads[PRODUCERS];
    struct producer *producers = weft__calloc(PRODUCERS, sizeof(*producers));
    assert_non_null(producers);

    weft__mpsc_init(&mpsc);
    assert_true(weft__mpsc_empty(&mpsc));
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i].mpsc = &mpsc;
        producers[i].wakes = &wakes;
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (int got = 0; got < PRODUCERS * PER_PRODUCER;) {
        weft__mpsc_take(&mpsc, &q);
        takes += !weft__queue_empty(&q);
        struct weft__slink *n;
        while ((n = weft__queue_pop_front(&q)) != NULL) {
            struct item *item = WEFT__CONTAINER_OF(n, struct item, link);
            size_t who = (size_t)((char *)item - (char *)producers) / sizeof(*producers);
            assert_int_equal(item->value, next[who]);
            next[who]++;
            got++;
        }
        sched_yield();
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(weft__mpsc_empty(&mpsc));
    /* One wake-up for each time that something lay there to be taken. */
    assert_int_equal(atomic_load(&wakes), takes);
    weft__free(producers);
}

/* --- buffer.h --- */

static void test_buffer_against_model(void **state)
{
    (void)state;
    enum { MAX = 3000 };
    static char model[MAX];
    size_t model_len = 0;
    uint64_t random = 88172645463325252u;
    char next_byte = 0;
    struct weft__buffer b;
    weft__buffer_init(&b, MAX);

    for (int step = 0; step < 20000; step++) {
        char piece[700];
        size_t n = (size_t)(next_random(&random) % (next_random(&random) % sizeof(piece) + 1));
        if (next_random(&random) % 2 == 0) {
            for (size_t i = 0; i < n; i++)
                piece[i] = next_byte++;
            int r = weft__buffer_append(&b, piece, n);
            if (model_len + n > MAX) {
                assert_int_equal(r, WEFT_ELIMIT);
                next_byte = (char)(next_byte - (char)n);
            } else {
                assert_int_equal(r, 0);
                memcpy(model + model_len, piece, n);
                model_len += n;
            }
        } else {
            n = weft__min_size(n, model_len);
            weft__buffer_consume(&b, n);
            model_len -= n;
            memmove(model, model + n, model_len);
        }
        if (next_random(&random) % 16 == 0)
            weft__buffer_trim(&b);
        assert_int_equal(weft__buffer_len(&b), model_len);
        assert_int_equal(weft__buffer_room(&b), MAX - model_len);
        assert_true(b.cap <= MAX);
        if (model_len > 0)
            assert_memory_equal(weft__buffer_data(&b), model, model_len);
    }
    weft__buffer_fini(&b);
}

static void test_buffer_edges(void **state)
{
    (void)state;
    struct weft__buffer b;
    void *room;
    assert_int_equal(sizeof(b), 24);
    weft__buffer_init(&b, 10);
    assert_null(weft__buffer_data(&b));
    assert_int_equal(weft__buffer_append(&b, "", 0), 0);
    assert_null(b.memory);
    assert_int_equal(weft__buffer_append(&b, "0123456789", 10), 0);
    assert_int_equal(weft__buffer_append(&b, "x", 1), WEFT_ELIMIT);
    assert_int_equal(weft__buffer_reserve(&b, SIZE_MAX, &room), WEFT_ELIMIT);
    assert_memory_equal(weft__buffer_data(&b), "0123456789", 10);

    /* At the maximum the bytes move, they do not allocate. */
    weft__buffer_consume(&b, 2);
    weft__alloc_fail_at(1);
    assert_int_equal(weft__buffer_append(&b, "ab", 2), 0);
    weft__alloc_fail_at(0);
    assert_memory_equal(weft__buffer_data(&b), "23456789ab", 10);

    weft__buffer_trim(&b); /* not empty: nothing happens */
    assert_int_equal(weft__buffer_len(&b), 10);
    weft__buffer_consume(&b, 10);
    weft__buffer_trim(&b);
    assert_null(b.memory);

    room = &b;
    weft__alloc_fail_at(1);
    assert_int_equal(weft__buffer_reserve(&b, 5, &room), -ENOMEM);
    weft__alloc_fail_at(0);
    assert_ptr_equal(room, &b);
    assert_int_equal(weft__buffer_reserve(&b, 5, &room), 0);
    assert_true(weft__buffer_spare(&b) >= 5);
    memcpy(room, "hello", 5);
    weft__buffer_commit(&b, 5);
    assert_memory_equal(weft__buffer_data(&b), "hello", 5);
    weft__buffer_fini(&b);
    weft__buffer_fini(&b);
    weft__buffer_fini(NULL);
    weft__alloc_hooks = false;
}

/* --- log.h --- */

struct heard {
    int count;
    enum weft_log_level level;
    char text[600];
};

static void hear(void *arg, enum weft_log_level level, const char *text)
{
    struct heard *h = arg;
    h->count++;
    h->level = level;
    snprintf(h->text, sizeof(h->text), "%s", text);
    errno = EIO;
}

static void test_log(void **state)
{
    (void)state;
    struct heard h = {0};
    struct weft__log log = {.fn = hear, .arg = &h};
    struct weft__log silent = {0};
    char longer[1000];

    weft__log_printf(NULL, WEFT_LOG_ERROR, "nobody hears this");
    weft__log_printf(&silent, WEFT_LOG_ERROR, "nor this");
    assert_int_equal(h.count, 0);

    errno = EAGAIN;
    weft__log_printf(&log, WEFT_LOG_WARNING, "peer sent %s, %d bytes", "a\x1b[2Jb\n", 7);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(h.count, 1);
    assert_int_equal(h.level, WEFT_LOG_WARNING);
    assert_string_equal(h.text, "peer sent a?[2Jb?, 7 bytes");

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    weft__log_printf(&log, WEFT_LOG_DEBUG, "%s", longer);
    assert_int_equal(strlen(h.text), 499);

    assert_string_equal(weft_log_level_name(WEFT_LOG_ERROR), "error");
    assert_string_equal(weft_log_level_name(WEFT_LOG_DEBUG), "debug");
    assert_string_equal(weft_log_level_name((enum weft_log_level)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: it expects that nothing has been counted yet. */
        cmocka_unit_test(test_alloc_counts_and_fails_on_request),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_assert_aborts_and_says_where),
        cmocka_unit_test(test_helpers),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_mpsc_keeps_order_of_each_producer),
        cmocka_unit_test(test_buffer_against_model),
        cmocka_unit_test(test_buffer_edges),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
