/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers of the HTTP/2 server and of the router have kept, replayed: every input is
 * checked as it is there.
 */
#include "rt_kit.h"

#include <dirent.h>

#include "../fuzz/http2_server_fuzz.h"
#include "../fuzz/router_fuzz.h"

static size_t replay(const char *name, void (*one)(const uint8_t *data, size_t size))
{
    static uint8_t data[1 << 16];
    const char *root = getenv("WEFT_SOURCE_ROOT");
    char path[1024];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "%s/fuzz/corpus/%s", root != NULL ? root : ".", name);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        char file[1400];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        FILE *f = fopen(file, "rb");
        assert_non_null(f);
        size_t size = fread(data, 1, sizeof data, f);
        (void)fclose(f);
        uint8_t *exact = malloc(size > 0 ? size : 1); /* a read behind the end is seen */
        assert_non_null(exact);
        memcpy(exact, data, size);
        one(exact, size);
        free(exact);
        count++;
    }
    (void)closedir(dir);
    return count;
}

static void test_http2_server(void **state)
{
    (void)state;
    assert_true(replay("http2_server", h2_fuzz_one) > 25);
    h2_fuzz_app_close();
}

static void test_router(void **state)
{
    (void)state;
    assert_true(replay("router", router_fuzz_one) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http2_server),
        cmocka_unit_test(test_router),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
