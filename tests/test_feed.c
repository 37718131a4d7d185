/* SPDX-License-Identifier: MIT */
/*
 * A stream whose receive goes on between the reading calls (src/net/feed.h; on io_uring, on epoll
 * the same without): nothing is lost, early or doubled, however it is read, cut short, paused,
 * handed on or ended.
 */
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/weft.h>

#include "net/feed.h"
#include "rt_kit.h"

/* A stream that has been read for a while, and the plain socket of its peer. */
struct pair {
    struct weft_stream *s;
    int peer;
};

static uint8_t at(size_t i)
{
    return (uint8_t)(i * 13 + (i >> 9));
}

static void send_all(int fd, const void *data, size_t len)
{
    for (const char *p = data; len > 0;) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        CHECK(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

static void peek_byte(struct weft_stream *s, weft_deadline d)
{
    const void *data;
    CHECK_EQ(weft_peek(s, &data, d), 1);
    weft_consume(s, 1);
}

static struct pair meet(void)
{
    struct weft_listener *l = NULL;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct pair p = {.peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK_EQ(getsockname(weft_listener_fd(l), (struct sockaddr *)&sa, &len), 0);
    CHECK_EQ(connect(p.peer, (struct sockaddr *)&sa, len), 0);
    CHECK_EQ(weft_accept(l, &p.s, weft_after_s(20)), 0);
    weft_listener_close(&l);
    for (int i = 0; i < WEFT__FEED_AFTER + 2; i++) {
        send_all(p.peer, "x", 1);
        peek_byte(p.s, weft_after_s(20));
    }
    bool multi = weft_loop_current()->sys->driver->multi_recv;
    CHECK_EQ(p.s->feed != NULL, multi);
    return p;
}

static void part(struct pair *p)
{
    if (p->s != NULL)
        CHECK_EQ(weft_close(&p->s, weft_after_s(20)), 0);
    CHECK_EQ(close(p->peer), 0);
}

/* Until what the peer has sent is no longer with the kernel, where something takes it from there.
 */
static void arrive(const struct pair *p)
{
    int left = p->s->feed != NULL;
    while (left > 0) {
        CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(ioctl(p->s->fd, FIONREAD, &left), 0);
    }
}

/* --- Reading ---------------------------------------------------------------------------------- */

struct writer {
    int fd;
    size_t size;
};

static void *write_pieces(void *arg)
{
    const struct writer *w = arg;
    uint8_t block[40000];
    unsigned seed = 1;
    for (size_t sent = 0; sent < w->size;) {
        seed = seed * 1103515245 + 12345;
        size_t n = 1 + (seed >> 8) % (seed & 4096 ? sizeof block : 200);
        n = n < w->size - sent ? n : w->size - sent;
        for (size_t i = 0; i < n; i++)
            block[i] = at(sent + i);
        send_all(w->fd, block, n);
        sent += n;
    }
    CHECK_EQ(shutdown(w->fd, SHUT_WR), 0);
    return NULL;
}

static ssize_t read_somehow(struct weft_stream *s, unsigned how, uint8_t *buf, size_t cap)
{
    const void *data;
    ssize_t n;
    switch (how % 6) {
    case 0:
        return weft_read(s, buf, cap, weft_after_s(20));
    case 1:
        return weft_read(s, buf, 1 + how % 100, weft_after_s(20));
    case 2:
        return weft_read(s, buf, cap, WEFT_NOW);
    case 3:
        n = weft_peek_min(s, &data, 1 + how % 30000, weft_after_s(20));
        break;
    case 4:
        n = weft_peek(s, &data, WEFT_NOW);
        break;
    default:
        n = weft_peek(s, &data, weft_after_s(20));
    }
    if (n > 0) {
        n = n < (ssize_t)cap ? n : (ssize_t)cap;
        n = how & 64 ? n : 1 + n / 2;
        memcpy(buf, data, (size_t)n);
        weft_consume(s, (size_t)n);
    }
    return n;
}

static int every_way_of_reading_gives_the_same_bytes(void *arg)
{
    struct pair p = meet();
    struct writer w = {.fd = p.peer, .size = 3000000};
    pthread_t thread;
    static uint8_t buf[20000];
    size_t got = 0;
    unsigned seed = 7;
    ssize_t n = 1;
    (void)arg;
    CHECK_EQ(pthread_create(&thread, NULL, write_pieces, &w), 0);
    while (n != 0) {
        seed = seed * 1103515245 + 12345;
        n = read_somehow(p.s, seed >> 8, buf, sizeof buf);
        CHECK(n >= 0 || n == -ETIMEDOUT || n == WEFT_EEOF);
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(buf[i], at(got + (size_t)i));
        got += n > 0 ? (size_t)n : 0;
    }
    CHECK_EQ(got, w.size);
    CHECK_EQ(weft_stream_bytes_in(p.s), w.size + WEFT__FEED_AFTER + 2);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    part(&p);
    return 0;
}

/* --- Cut short -------------------------------------------------------------------------------- */

static int wait_in_vain(void *arg)
{
    const void *data;
    CHECK_EQ(weft_peek(arg, &data, WEFT_NEVER), -ECANCELED);
    return 0;
}

static int cuts_lose_nothing(void *arg)
{
    struct pair p = meet();
    const void *data;
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct weft_group *g = kit_group();
        CHECK_EQ(weft_peek(p.s, &data, WEFT_NOW), -ETIMEDOUT);
        CHECK_EQ(weft_peek(p.s, &data, weft_after_ms(1)), -ETIMEDOUT);
        kit_go(g, "cut", wait_in_vain, p.s);
        if (i % 2)
            kit_settle();
        weft_group_cancel(g);
        CHECK_EQ(weft_group_close(&g), 0);
        send_all(p.peer, "y", 1);
        if (i % 3)
            kit_settle();
        peek_byte(p.s, i % 3 == 2 ? WEFT_NOW : weft_after_s(20));
    }
    part(&p);
    return 0;
}

static void *write_bytes(void *arg)
{
    const struct writer *w = arg;
    for (size_t i = 0; i < w->size; i++) {
        send_all(w->fd, "x", 1);
        (void)sched_yield();
    }
    return NULL;
}

/* Where the time is over and bytes come just then, a receive of the call's own may have them: that
 * does not count towards another feed. */
static int one_feed_is_enough(void *arg)
{
    struct pair p = meet();
    struct writer w = {.fd = p.peer, .size = 3000};
    const struct weft__feed *feed = p.s->feed;
    pthread_t thread;
    (void)arg;
    CHECK_EQ(pthread_create(&thread, NULL, write_bytes, &w), 0);
    for (size_t got = 0; got < w.size;) {
        const void *data;
        ssize_t n = weft_peek(p.s, &data, WEFT_NOW);
        CHECK(n > 0 || n == -ETIMEDOUT);
        CHECK(p.s->feed == feed);
        if (n > 0) {
            weft_consume(p.s, (size_t)n);
            got += (size_t)n;
        }
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    part(&p);
    return 0;
}

/* Who does not read is not brought more and more: the receive is taken back, and begun anew later.
 */
static int what_is_held_is_bounded(void *arg)
{
    enum { PIECE = 4096, PIECES = 30 };
    struct pair p = meet();
    uint8_t piece[PIECE];
    size_t got = 0;
    const void *data;
    ssize_t n;
    int left = 0;
    (void)arg;
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t k = 0; k < PIECE; k++)
            piece[k] = at(i * PIECE + k);
        send_all(p.peer, piece, PIECE);
        for (int k = 0; k < 20; k++)
            kit_settle();
    }
    CHECK_EQ(ioctl(p.s->fd, FIONREAD, &left), 0);
    CHECK(left >= PIECE * PIECES - 2 * (int)WEFT__FEED_HOLD);
    CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
    while ((n = weft_peek(p.s, &data, weft_after_s(20))) > 0) {
        for (ssize_t i = 0; i < n; i++, got++)
            CHECK_EQ(((const uint8_t *)data)[i], at(got));
        weft_consume(p.s, (size_t)n);
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, PIECE * PIECES);
    part(&p);
    return 0;
}

/* --- Ends ------------------------------------------------------------------------------------- */

/* The peer learns of it from the call itself, not only when the loop comes to its next turn. */
static int close_tells_at_once(void *arg)
{
    struct pair p = meet();
    char byte;
    (void)arg;
    CHECK_EQ(weft_close(&p.s, weft_after_s(20)), 0);
    struct pollfd f = {.fd = p.peer, .events = POLLIN};
    CHECK_EQ(poll(&f, 1, 20000), 1); /* holds the loop */
    CHECK_EQ(recv(p.peer, &byte, 1, 0), 0);
    part(&p);
    return 0;
}

static int abort_resets(void *arg)
{
    struct pair p = meet();
    char byte;
    (void)arg;
    weft_abort(&p.s);
    while (recv(p.peer, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(errno, ECONNRESET);
    part(&p);
    return 0;
}

static int a_reset_is_told_behind_the_bytes(void *arg)
{
    struct pair p = meet();
    struct linger reset = {.l_onoff = 1};
    const void *data;
    (void)arg;
    send_all(p.peer, "abc", 3);
    arrive(&p);
    bool has = p.s->feed != NULL; /* else the kernel drops them with the reset */
    CHECK_EQ(setsockopt(p.peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    CHECK_EQ(close(p.peer), 0);
    p.peer = dup(0);
    if (has) {
        CHECK_EQ(weft_peek(p.s, &data, weft_after_s(20)), 3);
        weft_consume(p.s, 3);
        CHECK_EQ(weft_peek(p.s, &data, weft_after_s(20)), -ECONNRESET);
    }
    weft_abort(&p.s);
    part(&p);
    return 0;
}

/* --- To another owner ------------------------------------------------------------------------- */

static int a_descriptor_leaves_with_all_that_came(void *arg)
{
    struct pair p = meet();
    uint8_t unread[200];
    size_t len = 0;
    (void)arg;
    send_all(p.peer, "hello, ", 7);
    arrive(&p);
    if (p.s->feed != NULL)
        CHECK_EQ(weft_stream_detach(&p.s, unread, 3, &len, weft_after_s(20)), -EMSGSIZE);
    send_all(p.peer, "world", 5);
    int fd = weft_stream_detach(&p.s, unread, sizeof unread, &len, weft_after_s(20));
    CHECK(fd >= 0);
    for (ssize_t n; len < 12; len += (size_t)n)
        CHECK((n = recv(fd, unread + len, sizeof unread - len, 0)) > 0);
    CHECK(len == 12 && memcmp(unread, "hello, world", 12) == 0);
    send_all(p.peer, "!", 1);
    CHECK_EQ(recv(fd, unread, 1, 0), 1);
    CHECK_EQ(close(fd), 0);
    part(&p);
    return 0;
}

struct heard {
    char text[64];
    size_t len;
    bool ended;
    struct weft_event changed;
};

static int heard_made(struct weft_stream *t, void *arg)
{
    weft_transport_set(t, arg);
    return 0;
}

static int heard_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct heard *h = conn;
    (void)t;
    CHECK(h->len + len <= sizeof h->text);
    memcpy(h->text + h->len, data, len);
    h->len += len;
    weft_event_set(&h->changed);
    return 0;
}

static void heard_lost(struct weft_stream *t, int error, void *conn)
{
    struct heard *h = conn;
    (void)t;
    CHECK_EQ(error, 0);
    h->ended = true;
    weft_event_set(&h->changed);
}

static int callbacks_get_all_that_came(void *arg)
{
    static const struct weft_protocol protocol = {
        .made = heard_made, .data = heard_data, .lost = heard_lost};
    const void *data;
    (void)arg;
    for (int i = 0; i < 4; i++) {
        struct pair p = meet();
        struct heard h = {.len = 0};
        struct weft_factory f = {.protocol = &protocol, .arg = &h};
        struct weft_group *g = kit_group();
        send_all(p.peer, "one ", 4);
        arrive(&p);
        CHECK_EQ(weft_peek(p.s, &data, weft_after_s(20)), 4);
        weft_consume(p.s, 2); /* the rest is read ahead */
        send_all(p.peer, "two ", 4);
        if (i & 1)
            arrive(&p);
        if (i & 2)
            CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
        if (i == 3)
            arrive(&p);
        CHECK_EQ(weft_protocol_attach(g, &p.s, &f), 0);
        if (!(i & 2)) {
            send_all(p.peer, "three", 5);
            CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
        }
        while (!h.ended) {
            CHECK_EQ(weft_event_wait(&h.changed, weft_after_s(20)), 0);
            weft_event_clear(&h.changed);
        }
        const char *want = i & 2 ? "e two " : "e two three";
        CHECK_EQ(h.len, strlen(want));
        CHECK(memcmp(h.text, want, h.len) == 0);
        CHECK_EQ(weft_group_close(&g), 0);
        part(&p);
    }
    return 0;
}

/* Who has asked for the descriptor can wait for it by other means. */
static int the_descriptor_can_be_polled(void *arg)
{
    struct pair p = meet();
    (void)arg;
    int fd = weft_stream_fd(p.s);
    for (int i = 0; i < 10; i++) {
        kit_settle();
        send_all(p.peer, "z", 1);
        CHECK(weft_poll(fd, POLLIN, weft_after_s(20)) > 0);
        peek_byte(p.s, WEFT_NOW);
    }
    CHECK(p.s->feed == NULL);
    part(&p);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(every_way_of_reading_gives_the_same_bytes),
    IN_TASK(cuts_lose_nothing),
    IN_TASK(one_feed_is_enough),
    IN_TASK(what_is_held_is_bounded),
    IN_TASK(close_tells_at_once),
    IN_TASK(abort_resets),
    IN_TASK(a_reset_is_told_behind_the_bytes),
    IN_TASK(a_descriptor_leaves_with_all_that_came),
    IN_TASK(callbacks_get_all_that_came),
    IN_TASK(the_descriptor_can_be_polled),
};
KIT_MAIN(cases)
