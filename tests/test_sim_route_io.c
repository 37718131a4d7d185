/* SPDX-License-Identifier: MIT */
/*
 * System calls that the library makes for a simulated host and that have more than one part:
 * batches of datagrams, files to sockets, the paths of Unix sockets.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sim_host_kit.h"
#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

/* --- Calls of several parts --------------------------------------------------------------------
 */

#define DATAGRAMS 6

static int datagrams_in_batches(void *arg)
{
    struct weft_udp *a = NULL, *b = NULL;
    struct weft_datagram out[DATAGRAMS], in[DATAGRAMS + 2];
    char room[DATAGRAMS + 2][4], text[DATAGRAMS][2];
    int got = 0;
    (void)arg;
    CHECK_EQ(weft_udp_open(&a, "udp://here:9", NULL), 0);
    CHECK_EQ(weft_udp_dial(&b, "udp://here:9", NULL), 0);
    for (int i = 0; i < DATAGRAMS; i++) {
        text[i][0] = 'n';
        text[i][1] = (char)('0' + i);
        out[i] = (struct weft_datagram){.data = text[i], .len = 2};
    }
    CHECK_EQ(weft_udp_send_batch(b, out, DATAGRAMS, WEFT_NEVER), DATAGRAMS);
    for (int i = 0; i < DATAGRAMS + 2; i++)
        in[i] = (struct weft_datagram){.data = room[i], .cap = sizeof room[i]};
    while (got < DATAGRAMS) {
        int n = weft_udp_recv_batch(a, in + got, DATAGRAMS + 2 - got, weft_after_s(1));
        CHECK(n > 0);
        got += n;
    }
    CHECK_EQ(got, DATAGRAMS);
    for (int i = 0; i < DATAGRAMS; i++)
        CHECK(in[i].len == 2 && memcmp(in[i].data, text[i], 2) == 0);
    CHECK_EQ(weft_udp_recv_batch(a, in, 1, WEFT_NOW), -ETIMEDOUT);
    /* Nobody is there: the refusal is the first result, not lost behind others. */
    weft_udp_close(&a);
    CHECK_EQ(weft_udp_send_batch(b, out, 1, WEFT_NEVER), 1);
    CHECK_EQ(weft_sleep_ms(10), 0);
    CHECK_EQ(weft_udp_recv_batch(b, in, 2, weft_after_s(1)), -ECONNREFUSED);
    weft_udp_close(&b);
    return 0;
}

static void test_batches(void **state)
{
    (void)state;
    alone(datagrams_in_batches);
}

/* --- Files to sockets --------------------------------------------------------------------------
 */

#define FILE_SIZE 600000 /* more than a socket takes */

static char pattern(size_t i)
{
    return (char)(i * 31 + i / 251);
}

static int read_file_back(void *arg)
{
    struct weft_stream *s = arg;
    static char buf[FILE_SIZE];
    CHECK_EQ(weft_read_full(s, buf, FILE_SIZE - 10, WEFT_NEVER), 0);
    for (size_t i = 0; i < FILE_SIZE - 10; i++)
        CHECK(buf[i] == pattern(i + 10));
    return 0;
}

static int sends_files(void *arg)
{
    struct weft__proc *p = weft__sim_proc;
    struct weft_stream *a = NULL, *b = NULL;
    struct weft_group *g = kit_group();
    off_t offset = 10;
    char piece[1000];
    (void)arg;
    int fd = weft__sim_open(p, "/data", O_RDWR | O_CREAT, 0600);
    CHECK(fd >= WEFT__SIM_FD_FIRST);
    for (size_t at = 0; at < FILE_SIZE; at += sizeof piece) {
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = pattern(at + i);
        for (size_t done = 0; done < sizeof piece;) {
            ssize_t n =
                weft__sim_pwrite(p, fd, piece + done, sizeof piece - done, (int64_t)(at + done));
            CHECK(n > 0);
            done += (size_t)n;
        }
    }
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    kit_go(g, "reader", read_file_back, b);
    CHECK_EQ(weft_sendfile(a, fd, &offset, FILE_SIZE - 10, WEFT_NEVER), 0);
    CHECK_EQ(offset, FILE_SIZE);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    /* Past the end, and from a descriptor of the real kernel. */
    CHECK_EQ(weft_sendfile(a, fd, &offset, 1, WEFT_NEVER), WEFT_EEOF);
    offset = 0;
    CHECK_EQ(weft_sendfile(a, STDIN_FILENO, &offset, 1, WEFT_NEVER), WEFT_EOUTSIDE);
    weft_abort(&a);
    weft_abort(&b);
    weft__call_close(fd);
    return weft_group_close(&g);
}

static void test_sendfile(void **state)
{
    static const struct weft_sim_faults f = {.short_io = 0.5, .again = 0.2};
    (void)state;
    alone_with(sends_files, &f);
}

/* --- Unix sockets ------------------------------------------------------------------------------
 */

static int binds_paths(void *arg)
{
    struct weft_listener *l = NULL, *second = NULL;
    struct stat st;
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/dead.sock"};
    (void)arg;
    CHECK_EQ(weft_listen(&l, "unix:/run/x.sock", NULL), 0);
    CHECK(weft__call_lstat("/run/x.sock", &st) == 0 && S_ISSOCK(st.st_mode));
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK(access("/run/x.sock", F_OK) != 0); /* not in the real file system */
    CHECK_EQ(weft_listen(&second, "unix:/run/x.sock", NULL), -EADDRINUSE);
    weft_listener_close(&l);
    CHECK_EQ(weft__call_lstat("/run/x.sock", &st), -ENOENT);
    /* A path that is left over is taken over. */
    int fd = weft__call_socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= WEFT__SIM_FD_FIRST);
    CHECK_EQ(weft__call_bind(fd, (const struct sockaddr *)&un, sizeof un), 0);
    weft__call_close(fd);
    CHECK_EQ(weft__call_lstat(un.sun_path, &st), 0);
    CHECK_EQ(weft_listen(&l, "unix:/run/dead.sock", NULL), 0);
    weft_listener_close(&l);
    return 0;
}

static void test_unix(void **state)
{
    (void)state;
    alone(binds_paths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_sendfile),
        cmocka_unit_test(test_unix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
