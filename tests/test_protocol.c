/* SPDX-License-Identifier: MIT */
/*
 * Protocols: the order of callbacks, back-pressure, pausing, producers, receivers, clients, and
 * moving between the models.
 */
#include <sys/socket.h>

#include <weft/weft.h>

#include "rt_kit.h"

/* What the callbacks of one connection saw, in order, one letter each. */
struct seen {
    char order[256];
    size_t n;
    size_t bytes;
    int error;
    struct weft_stream *t;
    struct weft_event lost;
    int eof_keeps;
    int made_fails;
};

static void note(struct seen *s, char c)
{
    if (s->n < sizeof s->order - 1 && !(c == 'd' && s->n > 0 && s->order[s->n - 1] == 'd'))
        s->order[s->n++] = c;
}

static int on_made(struct weft_stream *t, void *arg)
{
    struct seen *s = arg;
    CHECK(weft_transport_get(t) == NULL);
    weft_transport_set(t, s);
    s->t = t;
    note(s, 'm');
    return s->made_fails;
}

static int on_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct seen *s = conn;
    char byte;
    CHECK(s->t == t && len > 0 && data != NULL);
    note(s, 'd');
    s->bytes += len;
    /* A call that would wait is refused in a callback. */
    CHECK_EQ(weft_sleep_ms(1), -EDEADLK);
    CHECK(weft_read(t, &byte, 1, WEFT_NEVER) < 0);
    return weft_transport_write(t, data, len);
}

static int on_eof(struct weft_stream *t, void *conn)
{
    struct seen *s = conn;
    (void)t;
    note(s, 'e');
    return s->eof_keeps;
}

static void on_paused(struct weft_stream *t, void *conn)
{
    (void)t;
    note(conn, 'p');
}

static void on_resumed(struct weft_stream *t, void *conn)
{
    (void)t;
    note(conn, 'r');
}

static void on_lost(struct weft_stream *t, int error, void *conn)
{
    struct seen *s = conn;
    CHECK(t == s->t);
    note(s, 'l');
    s->error = error;
    s->t = NULL;
    weft_event_set(&s->lost);
}

static const struct weft_protocol watch = {.made = on_made,
                                           .data = on_data,
                                           .eof = on_eof,
                                           .paused = on_paused,
                                           .resumed = on_resumed,
                                           .lost = on_lost};

struct served {
    struct weft_group *group;
    struct weft_server *server;
    char endpoint[WEFT_ENDPOINT_MAX];
};

static struct served serve(const struct weft_factory *f)
{
    struct served s = {.group = kit_group()};
    struct weft_server_options o = {.model = WEFT_PROTOCOLS};
    CHECK_EQ(weft_server_open(&s.server, s.group, "tcp://127.0.0.1:0", &o, NULL, NULL, f), 0);
    CHECK(weft_server_endpoint(s.server, s.endpoint, sizeof s.endpoint) > 0);
    return s;
}

static struct weft_stream *dial(const struct served *s)
{
    struct weft_stream *c = NULL;
    CHECK_EQ(weft_dial(&c, s->endpoint, NULL, weft_after_s(20)), 0);
    return c;
}

static void wait_lost(struct seen *s)
{
    CHECK_EQ(weft_event_wait(&s->lost, weft_after_s(20)), 0);
}

static int callbacks_come_in_order(void *arg)
{
    struct seen seen = {.n = 0};
    struct weft_factory f = {.protocol = &watch, .arg = &seen};
    struct served s = serve(&f);
    struct weft_stream *c = dial(&s);
    char back[5], more;
    (void)arg;
    CHECK_EQ(weft_write(c, "hello", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, 5, weft_after_s(20)), 0);
    CHECK_EQ(weft_shutdown(c, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(c, &more, 1, weft_after_s(20)), 0);
    wait_lost(&seen);
    CHECK(strcmp(seen.order, "mdel") == 0);
    CHECK_EQ(seen.error, 0);
    CHECK_EQ(seen.bytes, 5);
    CHECK_EQ(weft_close(&c, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static int errors_end_the_connection(void *arg)
{
    (void)arg;
    struct seen seen = {.made_fails = WEFT_EPROTOCOL};
    struct weft_factory f = {.protocol = &watch, .arg = &seen};
    struct served s = serve(&f);
    struct weft_stream *c = NULL;
    char byte;
    if (weft_dial(&c, s.endpoint, NULL, weft_after_s(20)) == 0) /* the reset may be quicker */
        CHECK(weft_read(c, &byte, 1, weft_after_s(20)) <= 0);
    wait_lost(&seen);
    CHECK(strcmp(seen.order, "ml") == 0);
    CHECK_EQ(seen.error, WEFT_EPROTOCOL);
    weft_abort(&c);
    /* A reset by the peer. */
    seen = (struct seen){.n = 0};
    c = dial(&s);
    CHECK_EQ(weft_write(c, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(c, &byte, 1, weft_after_s(20)), 1);
    weft_abort(&c);
    wait_lost(&seen);
    CHECK_EQ(seen.error, -ECONNRESET);
    /* A cancel of the group. */
    seen = (struct seen){.n = 0};
    c = dial(&s);
    CHECK_EQ(weft_write(c, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(c, &byte, 1, weft_after_s(20)), 1);
    CHECK_EQ(weft_group_close(&s.group), 0);
    CHECK(strcmp(seen.order, "mdl") == 0);
    CHECK_EQ(seen.error, -ECANCELED);
    weft_abort(&c);
    return 0;
}

static int a_peer_that_never_reads_is_bounded(void *arg)
{
    static char flood[65536];
    struct seen seen = {.n = 0};
    struct weft_factory f = {.protocol = &watch, .arg = &seen, .write_mark = 32768};
    struct served s = serve(&f);
    struct weft_stream *c = dial(&s);
    (void)arg;
    size_t sent = 0;
    int err = 0;
    while (err == 0 && sent < ((size_t)64 << 20)) {
        err = weft_write(c, flood, sizeof flood, weft_after_ms(200));
        sent += err == 0 ? sizeof flood : 0;
    }
    CHECK_EQ(err, -ETIMEDOUT); /* it stopped reading us */
    CHECK(strstr(seen.order, "p") != NULL);
    CHECK(seen.t != NULL && weft_transport_queued(seen.t) <= 32768 + 2 * 16384);
    size_t got = 0; /* ... and goes on when we read */
    while (got < sent) {
        const void *data;
        ssize_t n = weft_peek(c, &data, weft_after_s(20));
        CHECK(n > 0);
        weft_consume(c, (size_t)n);
        got += (size_t)n;
    }
    CHECK(strstr(seen.order, "r") != NULL);
    weft_abort(&c);
    wait_lost(&seen);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static void write_too_much(void *arg)
{
    struct seen *s = arg;
    static char big[70000];
    CHECK_EQ(weft_transport_write(s->t, big, 60000), 0);
    CHECK_EQ(weft_transport_write(s->t, big, 60000), -ENOBUFS);
    CHECK(strstr(weft_error_detail(), "60000") != NULL);
    CHECK_EQ(weft_transport_queued(s->t), 60000);
    weft_transport_close(s->t);
    CHECK_EQ(weft_transport_write(s->t, big, 1), WEFT_ECLOSED);
}

static int a_write_beyond_the_maximum_is_refused(void *arg)
{
    struct seen seen = {.n = 0};
    struct weft_factory f = {
        .protocol = &watch, .arg = &seen, .write_mark = 16384, .write_max = 65536};
    struct served s = serve(&f);
    struct weft_stream *c = dial(&s);
    size_t got = 0;
    ssize_t n;
    const void *data;
    (void)arg;
    while (seen.t == NULL)
        CHECK_EQ(weft_yield(), 0);
    kit_as_callback(write_too_much, &seen);
    while ((n = weft_peek(c, &data, weft_after_s(20))) > 0) {
        weft_consume(c, (size_t)n);
        got += (size_t)n;
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, 60000); /* a graceful close sends what is queued */
    wait_lost(&seen);
    CHECK_EQ(seen.error, 0);
    CHECK_EQ(weft_close(&c, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static void hold(void *arg)
{
    weft_transport_pause_reading(((struct seen *)arg)->t);
}

static void go_on(void *arg)
{
    weft_transport_resume_reading(((struct seen *)arg)->t);
}

static int no_data_comes_while_reading_is_paused(void *arg)
{
    struct seen seen = {.n = 0};
    struct weft_factory f = {.protocol = &watch, .arg = &seen};
    struct served s = serve(&f);
    struct weft_stream *c = dial(&s);
    char back[4];
    (void)arg;
    while (seen.t == NULL)
        CHECK_EQ(weft_yield(), 0);
    for (int i = 0; i < 3; i++) {
        kit_as_callback(hold, &seen);
        size_t before = seen.bytes;
        CHECK_EQ(weft_write(c, "ping", 4, WEFT_NEVER), 0);
        CHECK_EQ(weft_read(c, back, 4, weft_after_ms(20)), -ETIMEDOUT);
        CHECK_EQ(seen.bytes, before);
        kit_as_callback(go_on, &seen);
        CHECK_EQ(weft_read_full(c, back, 4, weft_after_s(20)), 0);
    }
    CHECK_EQ(weft_close(&c, WEFT_NEVER), 0);
    wait_lost(&seen);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

/* --- Half-close and producers ----------------------------------------------------------------- */

struct half {
    struct weft_stream *c;
    size_t size;
};

static int send_then_shut(void *arg)
{
    static char block[65536];
    struct half *h = arg;
    for (size_t sent = 0; sent < h->size; sent += sizeof block)
        CHECK_EQ(weft_write(h->c, block, sizeof block, weft_after_s(30)), 0);
    return weft_shutdown(h->c, weft_after_s(20));
}

static int half_close_brings_everything_back(void *arg)
{
    struct seen seen = {.n = 0};
    struct weft_factory f = {.protocol = &watch, .arg = &seen};
    struct served s = serve(&f);
    struct half h = {.c = dial(&s), .size = (size_t)4 << 20};
    struct weft_group *g = kit_group();
    size_t got = 0;
    ssize_t n;
    const void *data;
    (void)arg;
    kit_go(g, "sender", send_then_shut, &h);
    while ((n = weft_peek(h.c, &data, weft_after_s(20))) > 0) {
        got += (size_t)n;
        weft_consume(h.c, (size_t)n);
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, h.size);
    wait_lost(&seen);
    CHECK_EQ(seen.error, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static int produce(struct weft_stream *t, void *arg)
{
    int *left = arg;
    char block[1000];
    memset(block, 'a' + *left % 26, sizeof block);
    CHECK_EQ(weft_transport_write(t, block, sizeof block), 0);
    if (--*left > 0)
        return 1;
    weft_transport_close(t);
    return 0;
}

static int produce_on_made(struct weft_stream *t, void *arg)
{
    return weft_transport_produce(t, produce, arg);
}

static int ignore_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)t, (void)data, (void)len, (void)conn;
    return 0;
}

static int a_producer_fills_as_it_drains(void *arg)
{
    static const struct weft_protocol p = {.made = produce_on_made, .data = ignore_data};
    (void)arg;
    for (int m = 0; m < 3; m++) {
        int left = 5000;
        struct weft_factory f = {.protocol = &p, .arg = &left, .write_mark = 20000};
        struct served s = {.group = kit_group()};
        struct weft_server_options o = {.model = (enum weft_model)m};
        CHECK_EQ(weft_server_open(&s.server, s.group, "tcp://127.0.0.1:0", &o, NULL, NULL, &f), 0);
        CHECK(weft_server_endpoint(s.server, s.endpoint, sizeof s.endpoint) > 0);
        struct weft_stream *c = dial(&s);
        size_t got = 0;
        ssize_t n;
        const void *data;
        while ((n = weft_peek(c, &data, weft_after_s(20))) > 0) {
            got += (size_t)n;
            weft_consume(c, (size_t)n);
        }
        CHECK_EQ(n, 0);
        CHECK_EQ(got, 5000000);
        CHECK_EQ(weft_close(&c, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

/* --- Between the models ----------------------------------------------------------------------- */

static int made_alone(struct weft_stream *t, void *arg)
{
    (void)arg;
    CHECK(weft_loop_current() != NULL);
    return weft_transport_write(t, "made", 4);
}

static int echo_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

static int attach_echo(struct weft_stream *s, void *arg)
{
    static const struct weft_protocol p = {.made = made_alone, .data = echo_data};
    char word[5];
    const void *ahead;
    CHECK_EQ(weft_read_full(s, word, 5, WEFT_NEVER), 0);
    CHECK(weft_peek(s, &ahead, WEFT_NEVER) > 0);
    CHECK_EQ(weft_write(s, "ready", 5, WEFT_NEVER), 0);
    int err = weft_protocol_attach(arg, &s, &(struct weft_factory){.protocol = &p});
    CHECK_EQ(err, 0);
    CHECK(s == NULL);
    return 0;
}

static int a_task_hands_its_stream_to_a_protocol(void *arg)
{
    struct weft_group *conns = kit_group(), *g = kit_group();
    struct weft_server *server;
    char endpoint[WEFT_ENDPOINT_MAX], back[14];
    struct weft_stream *c = NULL;
    (void)arg;
    CHECK_EQ(weft_server_open(&server, g, "tcp://127.0.0.1:0", NULL, attach_echo, conns, NULL), 0);
    CHECK(weft_server_endpoint(server, endpoint, sizeof endpoint) > 0);
    CHECK_EQ(weft_dial(&c, endpoint, NULL, weft_after_s(20)), 0);
    CHECK_EQ(weft_write(c, "helloahead", 10, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, 14, weft_after_s(20)), 0);
    CHECK(memcmp(back, "readymadeahead", 14) == 0);
    CHECK_EQ(weft_write(c, "later", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, 5, weft_after_s(20)), 0);
    CHECK_EQ(weft_close(&c, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_wait(conns, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&conns), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* A stream whose end the task has seen already: the protocol is told, behind what was left. */
static int an_end_that_was_seen_is_told_again(void *arg)
{
    (void)arg;
    for (size_t left = 0; left <= 5; left += 5) {
        struct seen seen = {.n = 0};
        struct weft_factory f = {.protocol = &watch, .arg = &seen};
        struct weft_group *g = kit_group();
        struct weft_stream *a = NULL, *b = NULL;
        const void *ahead;
        char back[5];
        CHECK_EQ(weft_socketpair(&a, &b), 0);
        CHECK_EQ(weft_write(a, "hello", left, WEFT_NEVER), 0);
        CHECK_EQ(weft_shutdown(a, weft_after_s(20)), 0);
        CHECK_EQ(weft_peek_min(b, &ahead, 10, weft_after_s(20)), left > 0 ? WEFT_EEOF : 0);
        CHECK_EQ(weft_protocol_attach(g, &b, &f), 0);
        wait_lost(&seen);
        CHECK(strcmp(seen.order, left > 0 ? "mdel" : "mel") == 0);
        CHECK_EQ(seen.bytes, left);
        CHECK_EQ(seen.error, 0);
        CHECK_EQ(weft_read_full(a, back, left, weft_after_s(20)), 0);
        CHECK_EQ(weft_read(a, back, 1, weft_after_s(20)), 0);
        CHECK_EQ(weft_close(&a, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

static int upper_task(struct weft_stream *s, void *arg)
{
    char c;
    (void)arg;
    while (weft_read(s, &c, 1, WEFT_NEVER) == 1) {
        c = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
        CHECK_EQ(weft_write(s, &c, 1, WEFT_NEVER), 0);
    }
    return 0;
}

static struct weft_group *detach_group;
static int detach_in_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    const char *bang = memchr(data, '!', len);
    size_t mine = bang != NULL ? (size_t)(bang - (const char *)data) + 1 : len;
    (void)conn;
    int err = weft_transport_write(t, data, mine);
    return err < 0 || bang == NULL
               ? err
               : weft_protocol_detach(detach_group, t, len - mine, upper_task, NULL);
}

static int a_protocol_hands_its_stream_to_a_task(void *arg)
{
    static const struct weft_protocol p = {.data = detach_in_data};
    struct weft_factory f = {.protocol = &p};
    struct served s = serve(&f);
    struct weft_stream *c = dial(&s);
    char back[9];
    (void)arg;
    detach_group = kit_group();
    CHECK_EQ(weft_write(c, "abc!def", 7, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, 7, weft_after_s(20)), 0);
    CHECK(memcmp(back, "abc!DEF", 7) == 0);
    CHECK_EQ(weft_write(c, "xy", 2, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, 2, weft_after_s(20)), 0);
    CHECK(memcmp(back, "XY", 2) == 0);
    CHECK_EQ(weft_close(&c, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_wait(detach_group, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&detach_group), 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(callbacks_come_in_order),
    IN_TASK(errors_end_the_connection),
    IN_TASK(a_peer_that_never_reads_is_bounded),
    IN_TASK(a_write_beyond_the_maximum_is_refused),
    IN_TASK(no_data_comes_while_reading_is_paused),
    IN_TASK(half_close_brings_everything_back),
    IN_TASK(a_producer_fills_as_it_drains),
    IN_TASK(a_task_hands_its_stream_to_a_protocol),
    IN_TASK(an_end_that_was_seen_is_told_again),
    IN_TASK(a_protocol_hands_its_stream_to_a_task),
};
KIT_MAIN(cases)
