/* SPDX-License-Identifier: MIT */
/* Giving streams and descriptors away, and waiting for descriptors that are not Weft's. */
#include "stream_kit.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/server.h"
#include "net/stream.h"
#include "sys/call.h"

static void write_now(struct weft_stream *s, const char *text)
{
    CHECK_EQ(weft_write(s, text, strlen(text), WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(s, WEFT_NEVER), 0);
}

static void expect_text(struct weft_stream *s, const char *text)
{
    char buf[64];
    CHECK_EQ(weft_read_full(s, buf, strlen(text), weft_after_s(60)), 0);
    CHECK(memcmp(buf, text, strlen(text)) == 0);
}

/* --- Detach ---------------------------------------------------------------------------------- */

static void detach_and_go_on(const struct stream_kit *k)
{
    static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE};
    struct stream_pair p = stream_kit_pair(k);
    struct weft_stream *s = p.b;
    const void *data;
    char unread[8];
    size_t len = 99;
    write_now(p.a, "line\nmore");
    CHECK_EQ(weft_peek_min(p.b, &data, 9, weft_after_s(60)), 9);
    CHECK_EQ(weft_read_record(p.b, &line, &data, &len, WEFT_NEVER), 1);
    CHECK_EQ(weft_write(p.b, "joined", 6, WEFT_NEVER), 0); /* is flushed */
    len = 99;
    CHECK_EQ(weft_stream_detach(&p.b, unread, 3, &len, WEFT_NEVER), -EMSGSIZE);
    CHECK(p.b == s && len == 99);
    int fd = weft_stream_detach(&p.b, unread, sizeof unread, &len, WEFT_NEVER);
    CHECK(fd >= 0);
    CHECK(p.b == NULL);
    CHECK(len == 4 && memcmp(unread, "more", 4) == 0);
    expect_text(p.a, "joined");
    CHECK_EQ(weft_stream_from_fd(&p.b, fd), 0);
    write_now(p.a, "again");
    expect_text(p.b, "again");
    fd = weft_stream_detach(&p.b, NULL, 0, NULL, WEFT_NEVER);
    CHECK(fd >= 0);
    weft__call_close(fd); /* of a simulation, too */
    stream_kit_close(&p);
}

static int read_for_long(void *arg)
{
    char c;
    CHECK_EQ(weft_read(arg, &c, 1, WEFT_NEVER), 1);
    return 0;
}

static void detach_refused(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct weft_group *g = kit_group();
    kit_go(g, "reads", read_for_long, p.b);
    kit_settle();
    if (k->maker->memory || k->maker->tls) /* there is no descriptor that says it all */
        CHECK_EQ(weft_stream_detach(&p.a, NULL, 0, NULL, WEFT_NEVER), -EOPNOTSUPP);
    else
        CHECK_EQ(weft_stream_detach(&p.b, NULL, 0, NULL, WEFT_NEVER), -EBUSY);
    write_now(p.a, "x");
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(p.a != NULL && p.b != NULL);
    stream_kit_close(&p);
}

/* What cannot be flushed in time keeps the stream as it is. */
static void detach_times_out(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    char text[4000] = "";
    do {
        while (weft_write(p.a, text, sizeof text, weft_after_ms(10)) == 0) {
        }
    } while (weft_flush(p.a, weft_after_ms(20)) == 0);
    CHECK_EQ(weft_stream_detach(&p.a, NULL, 0, NULL, weft_after_ms(3)), -ETIMEDOUT);
    CHECK(p.a != NULL);
    CHECK_EQ(p.a->error, 0);
    weft_abort(&p.b);
    int err = weft_stream_detach(&p.a, NULL, 0, NULL, weft_after_s(60));
    CHECK(err == -EPIPE || err == -ECONNRESET);
    stream_kit_close(&p);
}

static void detach_from_a_server(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct weft__conn c = {.stream = p.b};
    p.b->conn = &c;
    int fd = weft_stream_detach(&p.b, NULL, 0, NULL, WEFT_NEVER);
    CHECK(fd >= 0);
    CHECK(c.stream == NULL);
    weft__call_close(fd);
    stream_kit_close(&p);
}

struct passed {
    int fd;
    const char *driver;
};

static int go_on_elsewhere(void *arg)
{
    const struct passed *q = arg;
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_stream_from_fd(&s, q->fd), 0);
    expect_text(s, "over there");
    CHECK_EQ(weft_write(s, "received", 8, WEFT_NEVER), 0);
    return weft_close(&s, weft_after_s(60));
}

static int on_a_loop(void *arg)
{
    const struct passed *q = arg;
    struct weft_options o = {.driver = q->driver};
    return weft_run(&o, go_on_elsewhere, arg);
}

static void *thread_main(void *arg)
{
    const struct passed *q = arg;
    CHECK_EQ(q->driver != NULL ? on_a_loop(arg) : go_on_elsewhere(arg), 0);
    return NULL;
}

/* From here to a thread, and to a loop in a thread. */
static void detach_to_another(const struct stream_kit *k)
{
    static const char *const drivers[] = {NULL, "epoll"};
    for (size_t i = 0; i < 2; i++) {
        struct stream_pair p = stream_kit_pair(k);
        pthread_t thread;
        char c;
        CHECK_EQ(weft_read(p.b, &c, 1, WEFT_NOW), -ETIMEDOUT); /* the driver knows it now */
        struct passed q = {weft_stream_detach(&p.b, NULL, 0, NULL, WEFT_NEVER), drivers[i]};
        CHECK(q.fd >= 0);
        CHECK_EQ(pthread_create(&thread, NULL, thread_main, &q), 0);
        write_now(p.a, "over there");
        expect_text(p.a, "received");
        CHECK_EQ(weft_read(p.a, &c, 1, weft_after_s(60)), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        stream_kit_close(&p);
    }
}

/* --- Descriptors over a Unix socket ---------------------------------------------------------- */

static bool same_file(int a, int b)
{
    struct stat x, y;
    CHECK_EQ(fstat(a, &x), 0);
    CHECK_EQ(fstat(b, &y), 0);
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void descriptors(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    int pipes[2], got[64];
    size_t n = 64;
    CHECK_EQ(pipe(pipes), 0);
    if (k->maker->tcp || k->maker->memory) {
        CHECK_EQ(weft_send_fds(p.a, pipes, 2, WEFT_NEVER), -EOPNOTSUPP);
        CHECK_EQ(weft_recv_fds(p.b, got, &n, WEFT_NEVER), -EOPNOTSUPP);
        goto out;
    }
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_ms(3)), -ETIMEDOUT);
    CHECK_EQ(weft_send_fds(p.a, pipes, 0, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_send_fds(p.a, pipes, 65, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_write(p.a, "first", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_send_fds(p.a, pipes, 2, WEFT_NEVER), 0);
    expect_text(p.b, "first"); /* joined writes keep their place */
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_s(60)), 1);
    CHECK_EQ(n, 2);
    for (int i = 0; i < 2; i++) {
        CHECK(same_file(got[i], pipes[i]));
        CHECK_EQ(fcntl(got[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        close(got[i]);
    }
    CHECK_EQ(weft_stream_bytes_out(p.a), 6);
    CHECK_EQ(weft_stream_bytes_in(p.b), 6);

    int many[64];
    for (int i = 0; i < 64; i++)
        many[i] = pipes[0];
    n = 64;
    CHECK_EQ(weft_send_fds(p.a, many, 64, WEFT_NEVER), 0);
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_s(60)), 1);
    CHECK_EQ(n, 64);
    for (int i = 0; i < 64; i++)
        close(got[i]);

    /* No room: none is left open, and the stream goes on. */
    size_t before = kit_count_fds();
    CHECK_EQ(weft_send_fds(p.a, many, 3, WEFT_NEVER), 0);
    n = 2;
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_s(60)), -EMSGSIZE);
    CHECK_EQ(n, 2);
    CHECK_EQ(kit_count_fds(), before);

    /* Ordinary bytes are not taken for descriptors, and not lost. */
    write_now(p.a, "text");
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_s(60)), WEFT_EPROTOCOL);
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_s(60)), -EINVAL);
    expect_text(p.b, "text");
    CHECK_EQ(weft_shutdown(p.a, WEFT_NEVER), 0);
    CHECK_EQ(weft_send_fds(p.a, pipes, 1, WEFT_NEVER), WEFT_ECLOSED);
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_s(60)), 0);
    CHECK_EQ(weft_recv_fds(p.b, got, &n, weft_after_s(60)), 0);
    CHECK_EQ(weft_close(&p.b, WEFT_NEVER), 0);
    p.b = p.a;
    p.a = NULL;
out:
    close(pipes[0]);
    close(pipes[1]);
    stream_kit_close(&p);
}

#define ROUNDS 300

static int send_many(void *arg)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < ROUNDS; i++)
        CHECK_EQ(weft_send_fds(arg, &fd, 1, weft_after_s(60)), 0);
    close(fd);
    return 0;
}

static int recv_many(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        int fd;
        size_t n = 1;
        CHECK_EQ(weft_recv_fds(arg, &fd, &n, weft_after_s(60)), 1);
        close(fd);
    }
    return 0;
}

static void many_descriptors(const struct stream_kit *k)
{
    struct stream_pair p = {NULL, NULL};
    (void)k;
    CHECK_EQ(weft_socketpair(&p.a, &p.b), 0);
    stream_kit_both(&p, send_many, recv_many);
    stream_kit_close(&p);
}

static int recv_canceled(void *arg)
{
    int fd;
    size_t n = 1;
    CHECK_EQ(weft_recv_fds(arg, &fd, &n, WEFT_NEVER), -ECANCELED);
    return 0;
}

static int recv_closed(void *arg)
{
    int fd;
    size_t n = 1;
    CHECK_EQ(weft_recv_fds(arg, &fd, &n, WEFT_NEVER), WEFT_ECLOSED);
    return 0;
}

static void receiving_is_cut_short(const struct stream_kit *k)
{
    struct stream_pair p = {NULL, NULL};
    CHECK_EQ(weft_socketpair(&p.a, &p.b), 0);
    struct weft_group *g = kit_group();
    kit_go(g, "receives", recv_canceled, p.b);
    if (stream_kit_on_loop(k))
        kit_settle();
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    if (stream_kit_on_loop(k)) {
        g = kit_group();
        kit_go(g, "receives", recv_closed, p.b);
        kit_settle();
        CHECK_EQ(weft_close(&p.b, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    stream_kit_close(&p);
}

/* --- Foreign descriptors --------------------------------------------------------------------- */

static int poll_it(void *arg)
{
    int fd = *(int *)arg;
    CHECK_EQ(weft_poll(fd, POLLIN, WEFT_NEVER), POLLIN);
    return 0;
}

static int poll_canceled(void *arg)
{
    int fd = *(int *)arg;
    CHECK_EQ(weft_poll(fd, POLLIN, WEFT_NEVER), -ECANCELED);
    return 0;
}

static void polling(const struct stream_kit *k)
{
    for (int round = 0; round < 3; round++) { /* each time the same numbers, other files */
        int fds[2];
        char c = 'x';
        CHECK_EQ(pipe(fds), 0);
        CHECK_EQ(weft_poll(fds[0], POLLIN, weft_after_ms(3)), -ETIMEDOUT);
        CHECK_EQ(weft_poll(fds[0], POLLIN, WEFT_NOW), -ETIMEDOUT);
        CHECK_EQ(weft_poll(fds[1], POLLOUT, WEFT_NOW), POLLOUT);
        struct weft_group *g = kit_group();
        kit_go(g, "polls", poll_canceled, &fds[0]);
        weft_group_cancel(g);
        CHECK_EQ(weft_group_close(&g), 0);
        g = kit_group();
        kit_go(g, "polls", poll_it, &fds[0]);
        kit_go(g, "polls, too", poll_it, &fds[0]);
        if (stream_kit_on_loop(k))
            kit_settle();
        CHECK_EQ(write(fds[1], &c, 1), 1);
        CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(weft_poll(fds[0], POLLIN, WEFT_NOW), POLLIN);
        close(fds[1]);
        CHECK_EQ(weft_poll(fds[0], POLLIN, WEFT_NEVER), POLLIN | POLLHUP);
        CHECK_EQ(read(fds[0], &c, 1), 1);
        CHECK_EQ(weft_poll(fds[0], POLLIN, WEFT_NEVER), POLLHUP);
        close(fds[0]);
    }
    CHECK_EQ(weft_poll(-1, POLLIN, WEFT_NEVER), -EBADF);
    CHECK_EQ(weft_poll(1 << 20, POLLIN, WEFT_NEVER), -EBADF);
}

static void in_callback(void *arg)
{
    CHECK_EQ(weft_poll(*(int *)arg, POLLOUT, WEFT_NOW), -EDEADLK);
}

static void polling_in_a_callback(const struct stream_kit *k)
{
    int fd = 1;
    (void)k;
    kit_as_callback(in_callback, &fd);
}

static const struct stream_case cases[] = {
    STREAM_CASE(detach_and_go_on, STREAM_KIT_SOCKET | STREAM_KIT_PLAIN),
    STREAM_CASE(detach_refused, STREAM_KIT_LOOP),
    STREAM_CASE(detach_times_out, STREAM_KIT_LOOP | STREAM_KIT_SOCKET | STREAM_KIT_PLAIN),
    STREAM_CASE(detach_from_a_server, STREAM_KIT_SOCKET | STREAM_KIT_PLAIN),
    STREAM_CASE(detach_to_another, STREAM_KIT_SOCKET | STREAM_KIT_PLAIN | STREAM_KIT_REAL),
    STREAM_CASE(descriptors, STREAM_KIT_REAL),
    STREAM_CASE(many_descriptors, STREAM_KIT_ONCE | STREAM_KIT_REAL),
    STREAM_CASE(receiving_is_cut_short, STREAM_KIT_ONCE),
    STREAM_CASE(polling, STREAM_KIT_ONCE | STREAM_KIT_REAL),
    STREAM_CASE(polling_in_a_callback, STREAM_KIT_ONCE | STREAM_KIT_LOOP),
};
STREAM_KIT_MAIN(cases)
