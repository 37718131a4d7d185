/* SPDX-License-Identifier: MIT */
/*
 * One seed is one run in every build: the traces of some scenarios are what they were when
 * tests/sim/expected_traces.txt was last written (tools/sim-traces.sh). The rest of that is in
 * tests/cli/test_sim_determinism.py; this much is looked at with every compiler and switch.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_kit.h"

#define HASH 64

/* Runs a scenario with a seed; the sum of its trace, as text. */
static void hash_of(const char *program, unsigned seed, const char *trace, char ret[HASH + 1])
{
    char command[2048];
    int n = snprintf(command, sizeof command,
                     "WEFT_SIM_SEED=%u WEFT_SIM_TRACE='%s' %s'%s' >&2 && sha256sum <'%s'", seed,
                     trace, kit_emulator(), program, trace);
    assert_true(n > 0 && (size_t)n < sizeof command);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t len = fread(ret, 1, HASH, f);
    ret[len] = '\0';
    while (fgetc(f) != EOF) {
    }
    assert_int_equal(pclose(f), 0);
    assert_int_equal(len, HASH);
}

static void as_last_looked_at(void **state)
{
    const char *root = getenv("WEFT_SOURCE_ROOT"), *programs = getenv("WEFT_SIM_PROGRAMS");
    char path[1024], name[64], want[HASH + 1], got[HASH + 1];
    char trace[] = "/tmp/weft-sim-trace-XXXXXX";
    unsigned seed;
    int lines = 0;
    (void)state;
    if (root == NULL || programs == NULL)
        skip();
    (void)snprintf(path, sizeof path, "%s/tests/sim/expected_traces.txt", root);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int fd = mkstemp(trace);
    assert_true(fd >= 0);
    (void)close(fd);
    for (; fscanf(f, "%63s %u %64s", name, &seed, want) == 3; lines++) {
        (void)snprintf(path, sizeof path, "%s/scenario_%s", programs, name);
        hash_of(path, seed, trace, got);
        if (strcmp(got, want) != 0)
            print_error("%s, seed %u: another trace than expected\n", name, seed);
        assert_string_equal(got, want);
    }
    (void)fclose(f);
    (void)unlink(trace);
    assert_true(lines >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_last_looked_at)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
