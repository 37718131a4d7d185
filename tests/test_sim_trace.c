/* SPDX-License-Identifier: MIT */
/* The trace of a simulation ends with it: what is on its way then is in no line. */
#include <unistd.h>

#include "sim_run_kit.h"

/* Says something and ends before that arrives. */
static int say_and_go(void *arg)
{
    struct weft_stream *s = NULL;
    (void)arg;
    CHECK_EQ(weft_dial(&s, "tcp://server:80", NULL, weft_after_s(30)), 0);
    CHECK_EQ(weft_write(s, "last words", 10, WEFT_NEVER), 0);
    return weft_close(&s, WEFT_NEVER);
}

static void ends_with_the_simulation(void **state)
{
    struct sim_kit k;
    char *text = NULL;
    size_t len = 0;
    (void)state;
    FILE *trace = open_memstream(&text, &len);
    assert_non_null(trace);
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = 1, .trace = trace});
    sim_kit_server(&k);
    assert_int_equal(weft_sim_host(k.sim, "client", say_and_go, NULL), 0);
    sim_kit_run(&k, 60 * SECOND, 0);
    assert_int_equal(weft_sim_crash(k.sim, "server"), 0);
    assert_int_equal(fflush(trace), 0);
    size_t before = len;
    assert_non_null(strstr(text, "main returns 0"));
    sim_kit_close(&k, 0);
    assert_int_equal(fclose(trace), 0);
    assert_int_equal(len, before);
    free(text);
}

/* The file is closed by then: under a sanitizer a line that comes later is found. */
static void file_of_the_environment(void **state)
{
    char name[] = "/tmp/weft-sim-trace-XXXXXX";
    struct sim_kit k;
    char text[4096];
    (void)state;
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    (void)setenv("WEFT_SIM_TRACE", name, 1);
    sim_kit_open(&k, 1);
    (void)unsetenv("WEFT_SIM_TRACE");
    sim_kit_server(&k);
    assert_int_equal(weft_sim_host(k.sim, "client", say_and_go, NULL), 0);
    sim_kit_run(&k, 60 * SECOND, 0);
    assert_int_equal(weft_sim_crash(k.sim, "server"), 0);
    sim_kit_close(&k, 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    (void)unlink(name);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "server: crashes\n"));
    assert_string_equal(strstr(text, "server: crashes\n"), "server: crashes\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_with_the_simulation),
        cmocka_unit_test(file_of_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
