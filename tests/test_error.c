/* SPDX-License-Identifier: MIT */
/*
 * Tests of error codes, classes, names, texts and details, and of docs/ERRORS.md, which must list
 * every code that Weft has words of its own for.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"

#define LAST_ERRNO 133
#define FIRST_OWN (-10001)
#define LAST_OWN WEFT_EURL

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(weft_error_name(0), "OK");
    assert_string_equal(weft_error_name(4096), "OK");
    assert_string_equal(weft_error_name(-ETIMEDOUT), "ETIMEDOUT");
    assert_string_equal(weft_error_name(WEFT_EEOF), "WEFT_EEOF");
    assert_string_equal(weft_error_name(-EKEYREVOKED), "EKEYREVOKED"); /* the C library's */
    const int unknown[] = {-5000, -10000, LAST_OWN - 1, -12345678, INT_MIN, INT_MIN + 1};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(unknown); i++) {
        assert_string_equal(weft_error_name(unknown[i]), "UNKNOWN");
        assert_int_equal(weft_error_class(unknown[i]), WEFT_CLASS_SYSTEM);
        assert_string_equal(weft_error_text(unknown[i]),
                            "an error that this version of Weft does not know");
    }
}

static void test_classes(void **state)
{
    (void)state;
    assert_int_equal(weft_error_class(0), WEFT_CLASS_OK);
    assert_int_equal(weft_error_class(INT_MAX), WEFT_CLASS_OK);
    assert_int_equal(weft_error_class(-ETIMEDOUT), WEFT_CLASS_TIMEOUT);
    assert_int_equal(weft_error_class(-ECANCELED), WEFT_CLASS_CANCELED);
    assert_int_equal(weft_error_class(-ECONNRESET), WEFT_CLASS_PEER);
    assert_int_equal(weft_error_class(WEFT_EEOF), WEFT_CLASS_PEER);
    assert_int_equal(weft_error_class(WEFT_ETOOLONG), WEFT_CLASS_PROTOCOL);
    assert_int_equal(weft_error_class(-EADDRINUSE), WEFT_CLASS_ADDRESS);
    assert_int_equal(weft_error_class(WEFT_ENAME), WEFT_CLASS_ADDRESS);
    assert_int_equal(weft_error_class(-EACCES), WEFT_CLASS_PERMISSION);
    assert_int_equal(weft_error_class(-EMFILE), WEFT_CLASS_RESOURCE);
    assert_int_equal(weft_error_class(WEFT_ELIMIT), WEFT_CLASS_RESOURCE);
    assert_int_equal(weft_error_class(-EDEADLK), WEFT_CLASS_USAGE);
    for (int code = WEFT_EOUTSIDE; code >= WEFT_ELEAK; code--)
        assert_int_equal(weft_error_class(code), WEFT_CLASS_USAGE);
    assert_int_equal(weft_error_class(WEFT_ETLS), WEFT_CLASS_PROTOCOL);
    assert_int_equal(weft_error_class(WEFT_ECERTIFICATE), WEFT_CLASS_PERMISSION);
    assert_int_equal(weft_error_class(-EIO), WEFT_CLASS_SYSTEM);
    assert_int_equal(weft_error_class(-EKEYREVOKED), WEFT_CLASS_SYSTEM);

    assert_string_equal(weft_error_class_name(WEFT_CLASS_OK), "ok");
    assert_string_equal(weft_error_class_name(WEFT_CLASS_SYSTEM), "system");
    assert_string_equal(weft_error_class_name((enum weft_error_class)10), "unknown");
    assert_string_equal(weft_error_class_name((enum weft_error_class) - 1), "unknown");
}

static void test_every_code_has_words(void **state)
{
    (void)state;
    for (int code = FIRST_OWN; code >= LAST_OWN; code--) {
        assert_int_equal(strncmp(weft_error_name(code), "WEFT_E", 6), 0);
        assert_null(strstr(weft_error_text(code), "does not know"));
        assert_int_not_equal(weft_error_class(code), WEFT_CLASS_SYSTEM);
    }
    for (int e = 1; e <= LAST_ERRNO; e++) {
        if (strerrorname_np(e) == NULL)
            continue; /* 41 and 58 are not errors on Linux */
        assert_string_equal(weft_error_name(-e), strerrorname_np(e));
        assert_null(strstr(weft_error_text(-e), "does not know"));
    }
}

/* --- details --- */

static void test_detail(void **state)
{
    (void)state;
    weft__error_detail_clear();
    assert_string_equal(weft_error_detail(), "");

    errno = EAGAIN;
    assert_int_equal(weft__fail(WEFT_ENAME, "no address for %s", "host\n.example\x7f"), WEFT_ENAME);
    assert_int_equal(errno, EAGAIN);
    assert_string_equal(weft_error_detail(), "no address for host?.example?");

    /* The old detail may be an argument of the new one. */
    weft__error_detail("dial: %s", weft_error_detail());
    assert_string_equal(weft_error_detail(), "dial: no address for host?.example?");

    char longer[500];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    weft__error_detail("%s", longer);
    assert_int_equal(strlen(weft_error_detail()), 199);
    weft__error_detail_clear();
}

/* What a scheduler does: each flow has a slot of its own. */
static void test_detail_of_flows(void **state)
{
    (void)state;
    struct weft__detail *first = NULL;
    struct weft__detail *second = NULL;

    weft__error_detail("thread");
    weft__detail_slot = &first;
    assert_string_equal(weft_error_detail(), "");
    weft__error_detail_clear();
    assert_null(first); /* nothing is allocated before there is something to say */
    weft__error_detail("first");
    weft__detail_slot = &second;
    assert_string_equal(weft_error_detail(), "");
    weft__alloc_fail_at(1);
    weft__error_detail("lost");
    weft__alloc_fail_at(0);
    weft__alloc_hooks = false;
    assert_null(second);
    assert_string_equal(weft_error_detail(), "");
    weft__error_detail("second");
    weft__detail_slot = &first;
    assert_string_equal(weft_error_detail(), "first");
    weft__detail_slot = NULL;
    assert_string_equal(weft_error_detail(), "thread");
    weft__error_detail_clear();
    assert_string_equal(second->text, "second");
    weft__free(first);
    weft__free(second);
}

static void *other_thread(void *arg)
{
    bool *ok = arg;
    *ok = strcmp(weft_error_detail(), "") == 0;
    weft__error_detail("other");
    return NULL;
}

static void test_detail_of_threads(void **state)
{
    (void)state;
    bool ok = false;
    pthread_t thread;
    weft__error_detail("mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &ok), 0);
    pthread_join(thread, NULL);
    assert_true(ok);
    assert_string_equal(weft_error_detail(), "mine");
    weft__error_detail_clear();
}

/* --- docs/ERRORS.md --- */

/* The page as one string; the caller frees it. */
static char *read_page(void)
{
    const char *root = getenv("WEFT_SOURCE_ROOT");
    char path[4096];
    char *page = NULL;
    size_t size = 0;
    if (root == NULL)
        return NULL;
    snprintf(path, sizeof(path), "%s/docs/ERRORS.md", root);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(getdelim(&page, &size, '\0', file) > 0);
    fclose(file);
    return page;
}

static void expect_line(const char *page, int code, bool with_number)
{
    char line[400];
    char number[16] = "";
    if (with_number)
        snprintf(number, sizeof(number), " %d |", code);
    snprintf(line, sizeof(line), "\n| `%s` |%s %s | %s |", weft_error_name(code), number,
             weft_error_class_name(weft_error_class(code)), weft_error_text(code));
    if (strstr(page, line) == NULL)
        fail_msg("docs/ERRORS.md lacks this line:%s", line);
}

static void test_page_lists_everything(void **state)
{
    (void)state;
    char *page = read_page();
    if (page == NULL) {
        skip(); /* run by hand, without the source tree */
        return;
    }
    for (int code = FIRST_OWN; code >= LAST_OWN; code--)
        expect_line(page, code, true);
    for (int e = 1; e <= LAST_ERRNO; e++) {
        if (strerrorname_np(e) != NULL && strcmp(weft_error_text(-e), strerrordesc_np(e)) != 0)
            expect_line(page, -e, false);
    }
    for (int cls = WEFT_CLASS_OK; cls <= WEFT_CLASS_SYSTEM; cls++) {
        char line[64];
        snprintf(line, sizeof(line), "\n| `%s` |",
                 weft_error_class_name((enum weft_error_class)cls));
        if (strstr(page, line) == NULL)
            fail_msg("docs/ERRORS.md lacks the class line:%s", line);
    }
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_every_code_has_words),
        cmocka_unit_test(test_detail),
        cmocka_unit_test(test_detail_of_flows),
        cmocka_unit_test(test_detail_of_threads),
        cmocka_unit_test(test_page_lists_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
