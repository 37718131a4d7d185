/* SPDX-License-Identifier: MIT */
/*
 * What the driver tests share; see driver_kit.h.
 */
#include "driver_kit.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/sim/world.h"

_Noreturn void kit_failed(const char *file, int line, const char *expr)
{
    fprintf(stderr, "%s:%d: check failed: %s (errno %d)\n", file, line, expr, errno);
    abort();
}

int kit_count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    KIT_CHECK(d != NULL);
    int n = 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    n -= 3; /* ., .. and the directory's own */
    for (size_t i = 0; weft__sim_proc != NULL && i < weft__sim_proc->n_fds; i++)
        n += weft__sim_proc->fds[i] != NULL;
    return n;
}

static void open_world(struct kit *k, uint64_t seed)
{
    struct weft__host *h = NULL;
    assert_int_equal(weft__world_open(&k->world, seed), 0);
    assert_int_equal(weft__host_open(&h, k->world, "host"), 0);
    assert_int_equal(weft__proc_open(&k->proc, h), 0);
    k->proc->lazy = seed % 2 == 1;
    weft__sim_proc = k->proc;
}

static void close_world(struct kit *k)
{
    weft__sim_proc = NULL;
    weft__proc_close(k->proc);
    weft__world_close(k->world);
}

void kit_open(struct kit *k, const struct weft__driver *drv, uint64_t seed)
{
    *k = (struct kit){.drv = drv, .block = drv == &weft__driver_block};
    k->sim = drv == &weft__driver_sim;
    if (k->sim)
        open_world(k, seed);
    k->fds_before = kit_count_fds();
    struct weft__sys_options o = {.cancel_fd = -1};
    assert_int_equal(drv->open(&k->sys, &o), 0);
    assert_ptr_equal(k->sys->driver, drv);
}

void kit_close(struct kit *k)
{
    assert_int_equal(k->sys->in_flight, 0);
    k->drv->close(k->sys);
    assert_int_equal(kit_count_fds(), k->fds_before);
    if (k->sim)
        close_world(k);
}

/* ---- operations ---- */

static void on_done(struct weft__op *op)
{
    struct top *t = (struct top *)(void *)op;
    KIT_CHECK(!t->ended);
    t->results++;
    if (!op->more)
        t->ended = true;
    if (t->then != NULL)
        t->then(t);
}

void top_init(struct top *t, struct kit *k, enum weft__op_kind kind, int fd)
{
    memset(t, 0, sizeof(*t));
    t->kit = k;
    t->cancel_fd = -1;
    t->op.kind = (uint8_t)kind;
    t->op.fd = fd;
    t->op.done = on_done;
    t->op.res = INT32_MIN;
    t->op.until_ns = weft__clock_ns() + KIT_PATIENCE;
}

static void top_io(struct top *t, struct kit *k, enum weft__op_kind kind, int fd, const void *buf,
                   size_t len)
{
    top_init(t, k, kind, fd);
    t->op.u.io.buf = (void *)(uintptr_t)buf;
    t->op.u.io.len = (uint32_t)len;
}

void top_recv(struct top *t, struct kit *k, int fd, void *buf, size_t len)
{
    top_io(t, k, WEFT__OP_RECV, fd, buf, len);
}

void top_recv_pool(struct top *t, struct kit *k, int fd)
{
    top_init(t, k, WEFT__OP_RECV_POOL, fd);
}

void top_send(struct top *t, struct kit *k, int fd, const void *buf, size_t len)
{
    top_io(t, k, WEFT__OP_SEND, fd, buf, len);
}

void top_read(struct top *t, struct kit *k, int fd, void *buf, size_t len)
{
    top_io(t, k, WEFT__OP_READ, fd, buf, len);
}

void top_write(struct top *t, struct kit *k, int fd, const void *buf, size_t len)
{
    top_io(t, k, WEFT__OP_WRITE, fd, buf, len);
}

void top_poll(struct top *t, struct kit *k, int fd, short events)
{
    top_init(t, k, WEFT__OP_POLL, fd);
    t->op.u.poll.events = events;
}

void top_accept(struct top *t, struct kit *k, int fd)
{
    top_init(t, k, WEFT__OP_ACCEPT, fd);
}

void top_connect(struct top *t, struct kit *k, int fd, const struct sockaddr *sa, socklen_t len)
{
    top_init(t, k, WEFT__OP_CONNECT, fd);
    t->op.u.connect.addr = sa;
    t->op.u.connect.addrlen = len;
}

void top_msg(struct top *t, struct kit *k, enum weft__op_kind kind, int fd, struct msghdr *msg)
{
    top_init(t, k, kind, fd);
    t->op.u.msg.msg = msg;
}

static void *run_block(void *arg)
{
    struct top *t = arg;
    KIT_CHECK(weft__sys_submit(t->own, &t->op));
    return NULL;
}

void top_start(struct top *t)
{
    if (!t->kit->block) {
        if (weft__sys_submit(t->kit->sys, &t->op)) {
            t->at_once = t->ended = true;
            t->results++;
            if (t->then != NULL)
                t->then(t);
        }
        return;
    }
    t->cancel_fd = eventfd(0, EFD_CLOEXEC);
    KIT_CHECK(t->cancel_fd >= 0);
    struct weft__sys_options o = {.cancel_fd = t->cancel_fd};
    KIT_CHECK(t->kit->drv->open(&t->own, &o) == 0);
    t->threaded = true;
    KIT_CHECK(pthread_create(&t->thread, NULL, run_block, t) == 0);
}

static void close_own(struct top *t)
{
    t->kit->drv->close(t->own);
    t->own = NULL;
    close(t->cancel_fd);
}

int top_finish(struct top *t)
{
    if (t->threaded) {
        KIT_CHECK(pthread_join(t->thread, NULL) == 0);
        t->threaded = false;
        t->ended = true;
        t->results++;
        if (t->op.kind != WEFT__OP_RECV_POOL || t->op.res <= 0)
            close_own(t);
        if (t->then != NULL)
            t->then(t);
        return t->op.res;
    }
    kit_until(t->kit, &t->ended);
    return t->op.res;
}

int top_run(struct top *t)
{
    if (!t->kit->block)
        top_start(t);
    else if (weft__sys_submit(t->kit->sys, &t->op))
        t->ended = true;
    return top_finish(t);
}

void top_cancel(struct top *t)
{
    if (t->threaded) {
        uint64_t one = 1;
        KIT_CHECK(write(t->cancel_fd, &one, sizeof(one)) == sizeof(one));
    } else if (!t->ended) {
        weft__sys_cancel(t->kit->sys, &t->op);
    }
}

void top_put(struct top *t)
{
    if (t->own != NULL) {
        weft__rbuf_put(t->own, t->op.rbuf);
        close_own(t);
    } else {
        weft__rbuf_put(t->kit->sys, t->op.rbuf);
    }
}

void kit_turn(struct kit *k)
{
    int r = weft__sys_wait(k->sys, 0);
    KIT_CHECK(r >= 0);
}

void kit_until(struct kit *k, const bool *flag)
{
    int64_t limit = weft__clock_ns() + KIT_PATIENCE;
    while (!*flag) {
        int r = weft__sys_wait(k->sys, limit);
        KIT_CHECK(r >= 0);
        KIT_CHECK(*flag || weft__clock_ns() < limit);
    }
}

void kit_close_fd(struct kit *k, int fd)
{
    weft__sys_close_fd(k->sys, fd);
}

/* ---- sockets ---- */

static int domain_of(enum kit_family f)
{
    return f == KIT_TCP4 ? AF_INET : f == KIT_TCP6 ? AF_INET6 : AF_UNIX;
}

int kit_socket(enum kit_family f)
{
    int fd = raw_socket(domain_of(f), SOCK_STREAM);
    KIT_CHECK(fd >= 0);
    return fd;
}

int kit_listener(enum kit_family f, int backlog, struct sockaddr_storage *sa, socklen_t *len)
{
    int fd = kit_socket(f);
    memset(sa, 0, sizeof(*sa));
    sa->ss_family = (sa_family_t)domain_of(f);
    if (f == KIT_TCP4) {
        ((struct sockaddr_in *)(void *)sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *len = sizeof(struct sockaddr_in);
    } else if (f == KIT_TCP6) {
        ((struct sockaddr_in6 *)(void *)sa)->sin6_addr = in6addr_loopback;
        *len = sizeof(struct sockaddr_in6);
    } else {
        static unsigned count;
        struct sockaddr_un *un = (struct sockaddr_un *)(void *)sa;
        snprintf(un->sun_path, sizeof(un->sun_path), "/tmp/weft-driver-%d-%u", (int)getpid(),
                 count++);
        *len = sizeof(*un);
    }
    KIT_CHECK(raw_bind(fd, (struct sockaddr *)(void *)sa, *len) == 0);
    KIT_CHECK(raw_listen(fd, backlog) == 0);
    if (f != KIT_UNIX)
        KIT_CHECK(raw_getsockname(fd, (struct sockaddr *)(void *)sa, len) == 0);
    return fd;
}

void kit_unlink(const struct sockaddr_storage *sa)
{
    if (sa->ss_family == AF_UNIX)
        raw_unlink(((const struct sockaddr_un *)(const void *)sa)->sun_path);
}

void kit_pair(enum kit_family f, int fds[2])
{
    if (f == KIT_PAIR) {
        KIT_CHECK(raw_socketpair(fds) == 0);
        return;
    }
    struct sockaddr_storage sa;
    socklen_t len;
    int l = kit_listener(f, 1, &sa, &len);
    fds[0] = kit_socket(f);
    KIT_CHECK(raw_connect(fds[0], (struct sockaddr *)(void *)&sa, len) == 0);
    fds[1] = raw_accept(l);
    KIT_CHECK(fds[1] >= 0);
    raw_close(l);
    kit_unlink(&sa);
    if (f != KIT_UNIX) {
        int on = 1;
        raw_setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        raw_setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

void kit_put(int fd, const void *buf, size_t len)
{
    const char *p = buf;
    while (len > 0) {
        ssize_t n = raw_write(fd, p, len);
        KIT_CHECK(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

void kit_get(int fd, void *buf, size_t len)
{
    char *p = buf;
    while (len > 0) {
        ssize_t n = raw_read(fd, p, len);
        KIT_CHECK(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

void kit_reset(int fd)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    KIT_CHECK(raw_setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
    raw_close(fd);
}

bool kit_is_nonblock(int fd)
{
    int on = raw_is_nonblock(fd);
    KIT_CHECK(on >= 0);
    return on != 0;
}

size_t kit_fill(int fd)
{
    static const char junk[65536];
    size_t sum = 0;
    /* On TCP, room may appear after EAGAIN while the peer's buffer grows. */
    for (int quiet = 0; quiet < 3;) {
        ssize_t n = raw_send(fd, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL);
        KIT_CHECK(n > 0 || errno == EAGAIN);
        quiet = n > 0 ? 0 : quiet + 1;
        sum += n > 0 ? (size_t)n : 0;
    }
    return sum;
}

size_t kit_drain(int fd)
{
    static char junk[65536];
    size_t sum = 0;
    ssize_t n;
    while ((n = raw_recv(fd, junk, sizeof(junk), MSG_DONTWAIT)) > 0)
        sum += (size_t)n;
    return sum;
}

/* ---- a reader beside the test ---- */

uint64_t kit_checksum(const uint8_t *p, size_t len, size_t at)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += (at + i + 1) * p[i];
    return sum;
}

static void reader_take(struct kit_reader *r, size_t n)
{
    r->sum += kit_checksum(r->buf, n, r->len);
    r->len += n;
}

static void *reader_main(void *arg)
{
    struct kit_reader *r = arg;
    ssize_t n;
    while ((n = raw_read(r->fd, r->buf, sizeof(r->buf))) > 0)
        reader_take(r, (size_t)n);
    KIT_CHECK(n == 0);
    return NULL;
}

static void reader_then(struct top *t);

/* As long as operations end at once they are a loop here, and no recursion. */
static void reader_go(struct kit_reader *r, struct kit *k)
{
    do {
        r->again = false;
        top_recv(&r->t, k, r->fd, r->buf, sizeof(r->buf));
        r->t.then = reader_then;
        r->t.arg = r;
        r->starting = true;
        top_start(&r->t);
        r->starting = false;
    } while (r->again);
}

static void reader_then(struct top *t)
{
    struct kit_reader *r = t->arg;
    KIT_CHECK(t->op.res >= 0);
    reader_take(r, (size_t)t->op.res);
    if (t->op.res == 0)
        r->over = true;
    else if (r->starting)
        r->again = true;
    else
        reader_go(r, t->kit);
}

void kit_reader_start(struct kit_reader *r, struct kit *k, int fd)
{
    *r = (struct kit_reader){.fd = fd, .threaded = !k->sim};
    if (k->sim)
        reader_go(r, k);
    else
        KIT_CHECK(pthread_create(&r->thread, NULL, reader_main, r) == 0);
}

void kit_reader_join(struct kit_reader *r)
{
    if (r->threaded)
        KIT_CHECK(pthread_join(r->thread, NULL) == 0);
    else
        kit_until(r->t.kit, &r->over);
}

uint32_t kit_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}
