/* SPDX-License-Identifier: MIT */
/*
 * Protocols whose receive brings many results: what comes while reading is being paused, and while
 * the connection changes hands, is neither lost nor early.
 */
#include <sys/socket.h>
#include <unistd.h>

#include <weft/weft.h>

#include "rt_kit.h"

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

/* A reader that pauses in the middle of a flood gets every byte, and the end last, never paused. */
struct flooded {
    struct weft_stream *t;
    struct weft_event changed;
    size_t bytes, calls;
    bool paused, ended;
};

static uint8_t flood_at(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

static int flooded_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct flooded *f = conn;
    const uint8_t *p = data;
    CHECK(!f->paused && !f->ended);
    for (size_t i = 0; i < len; i++)
        CHECK_EQ(p[i], flood_at(f->bytes + i));
    f->bytes += len;
    if (++f->calls % 3 == 0) {
        weft_transport_pause_reading(t);
        f->paused = true;
        weft_event_set(&f->changed);
    }
    return 0;
}

static int flooded_eof(struct weft_stream *t, void *conn)
{
    struct flooded *f = conn;
    (void)t;
    CHECK(!f->paused);
    f->ended = true;
    weft_event_set(&f->changed);
    return 0;
}

static int flooded_made(struct weft_stream *t, void *arg)
{
    ((struct flooded *)arg)->t = t;
    weft_transport_set(t, arg);
    return 0;
}

static void flooded_go_on(void *arg)
{
    struct flooded *f = arg;
    f->paused = false;
    weft_transport_resume_reading(f->t);
}

struct flooder {
    struct weft_stream *c;
    size_t size;
};

static int send_flood(void *arg)
{
    struct flooder *h = arg;
    uint8_t block[5000];
    for (size_t sent = 0; sent < h->size; sent += sizeof block) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = flood_at(sent + i);
        CHECK_EQ(weft_write(h->c, block, sizeof block, weft_after_s(30)), 0);
    }
    return weft_shutdown(h->c, weft_after_s(20));
}

static int a_flood_that_is_paused_comes_whole(void *arg)
{
    static const struct weft_protocol p = {
        .made = flooded_made, .data = flooded_data, .eof = flooded_eof};
    struct flooded seen = {.bytes = 0};
    struct weft_factory f = {.protocol = &p, .arg = &seen};
    struct served s = serve(&f);
    struct flooder h = {.c = dial(&s), .size = 2000000};
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "flood", send_flood, &h);
    for (size_t pauses = 0; !seen.ended; pauses++) {
        CHECK_EQ(weft_event_wait(&seen.changed, weft_after_s(20)), 0);
        weft_event_clear(&seen.changed);
        size_t before = seen.bytes;
        if (pauses % 4 == 0)
            kit_settle();
        CHECK(seen.bytes == before || !seen.paused);
        if (seen.paused)
            kit_as_callback(flooded_go_on, &seen);
    }
    CHECK_EQ(seen.bytes, h.size);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

/* What came to the connection while it changed hands: the task gets all of it, and how it ended. */
static struct weft_group *detach_group;
static size_t heir_from; /* what others have read before it */
static ssize_t heir_got;
static int heir_error;

static int heir(struct weft_stream *s, void *arg)
{
    uint8_t buf[1000];
    ssize_t n;
    (void)arg;
    heir_got = 0;
    while ((n = weft_read(s, buf, sizeof buf, weft_after_s(20))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(buf[i], flood_at(heir_from + (size_t)(heir_got + i)));
        heir_got += n;
    }
    heir_error = (int)n;
    return 0;
}

static int detach_at_first(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)data, (void)conn;
    heir_from = 1;
    return weft_protocol_detach(detach_group, t, len - 1, heir, NULL);
}

static int greet(struct weft_stream *t, void *arg)
{
    (void)arg;
    return weft_transport_write(t, "hello", 5);
}

static int a_task_gets_what_came_while_it_took_over(void *arg)
{
    static const struct weft_protocol p = {.made = greet, .data = detach_at_first};
    (void)arg;
    for (int round = 0; round < 40; round++) {
        bool reset = round % 4 == 3; /* a Unix peer that leaves our greeting unread */
        char at[WEFT_ENDPOINT_MAX];
        static uint8_t out[70000];
        uint8_t in[5];
        struct weft_factory f = {.protocol = &p};
        struct weft_group *g = kit_group();
        struct weft_server *server;
        struct weft_server_options o = {.model = WEFT_PROTOCOLS};
        struct weft_stream *c = NULL;
        size_t size = round % 3 == 0 ? 10 : sizeof out;
        detach_group = kit_group();
        heir_got = -1;
        (void)snprintf(at, sizeof at, "unix:@weft-test-heir-%d", (int)getpid());
        const char *end = round & 1 ? at : "tcp://127.0.0.1:0";
        CHECK_EQ(weft_server_open(&server, g, end, &o, NULL, NULL, &f), 0);
        CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
        CHECK_EQ(weft_dial(&c, at, NULL, weft_after_s(20)), 0);
        for (size_t i = 0; i < size; i++)
            out[i] = flood_at(i);
        while (reset && recv(weft_stream_fd(c), in, 5, MSG_PEEK | MSG_DONTWAIT) != 5)
            CHECK_EQ(weft_yield(), 0);
        if (!reset)
            CHECK_EQ(weft_read_full(c, in, 5, weft_after_s(20)), 0);
        CHECK_EQ(weft_write(c, out, size, weft_after_s(20)), 0);
        CHECK_EQ(weft_flush(c, weft_after_s(20)), 0);
        if (reset)
            weft_abort(&c);
        else
            CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
        while (heir_got < 0) /* until the connection has been handed over */
            CHECK_EQ(weft_yield(), 0);
        int err = weft_group_wait(detach_group, weft_after_s(20)); /* how its close went, too */
        CHECK(err == 0 || (reset && (err == -EPIPE || err == -ECONNRESET)));
        CHECK_EQ(heir_got, size - 1);
        CHECK_EQ(heir_error, reset ? -ECONNRESET : 0);
        CHECK_EQ(weft_group_close(&detach_group), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

/* Detached when the queue has drained, reading being paused till then: what had come is there. */
static int fill_up(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    static const uint8_t much[2000000];
    (void)data, (void)conn;
    heir_from = len;
    return weft_transport_write(t, much, sizeof much);
}

static void detach_when_drained(struct weft_stream *t, void *conn)
{
    (void)conn;
    CHECK_EQ(weft_protocol_detach(detach_group, t, 0, heir, NULL), 0);
}

static int what_came_while_writing_was_paused_goes_along(void *arg)
{
    static const struct weft_protocol p = {.data = fill_up, .resumed = detach_when_drained};
    static uint8_t out[70000], in[2000000];
    char at[WEFT_ENDPOINT_MAX];
    struct weft_factory f = {.protocol = &p, .write_mark = 1000, .write_max = sizeof in};
    struct weft_group *g = kit_group();
    struct weft_server_options o = {.model = WEFT_PROTOCOLS};
    struct weft_stream *c = NULL;
    (void)arg;
    detach_group = kit_group();
    (void)snprintf(at, sizeof at, "unix:@weft-test-drained-%d", (int)getpid());
    CHECK_EQ(weft_serve_protocol(g, at, &o, &f), 0);
    CHECK_EQ(weft_dial(&c, at, NULL, weft_after_s(20)), 0);
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = flood_at(i);
    CHECK_EQ(weft_write(c, out, sizeof out, weft_after_s(20)), 0);
    kit_settle(); /* the server has filled the socket by then, and has stopped to read */
    CHECK_EQ(weft_read_full(c, in, sizeof in, weft_after_s(20)), 0);
    CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_wait(detach_group, weft_after_s(20)), 0);
    CHECK_EQ(heir_from + (size_t)heir_got, sizeof out);
    CHECK_EQ(heir_error, 0);
    CHECK_EQ(weft_group_close(&detach_group), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* Attached with bytes read ahead, and detached before any of them was delivered. */
static int detach_when_made(struct weft_stream *t, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_protocol_detach(detach_group, t, 1, heir, NULL), -EINVAL); /* of no piece */
    return weft_protocol_detach(detach_group, t, 0, heir, NULL);
}

static int what_was_read_ahead_goes_along(void *arg)
{
    static const struct weft_protocol p = {.made = detach_when_made, .data = fill_up};
    struct weft_factory f = {.protocol = &p};
    (void)arg;
    for (int ended = 0; ended < 2; ended++) { /* before it was attached, or later */
        struct weft_stream *a = NULL, *b = NULL;
        const void *ahead;
        uint8_t out[100];
        for (size_t i = 0; i < sizeof out; i++)
            out[i] = flood_at(i);
        detach_group = kit_group();
        heir_from = 0;
        CHECK_EQ(weft_socketpair(&a, &b), 0);
        CHECK_EQ(weft_write(a, out, sizeof out, weft_after_s(20)), 0);
        CHECK_EQ(weft_flush(a, weft_after_s(20)), 0);
        CHECK_EQ(weft_peek(b, &ahead, weft_after_s(20)), sizeof out);
        if (ended) {
            CHECK_EQ(weft_close(&a, weft_after_s(20)), 0);
            CHECK_EQ(weft_peek_min(b, &ahead, 1000, weft_after_s(20)), WEFT_EEOF);
        }
        CHECK_EQ(weft_protocol_attach(detach_group, &b, &f), 0);
        kit_settle();
        CHECK_EQ(weft_close(&a, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_wait(detach_group, weft_after_s(20)), 0);
        CHECK_EQ(heir_got, sizeof out);
        CHECK_EQ(heir_error, 0);
        CHECK_EQ(weft_group_close(&detach_group), 0);
    }
    return 0;
}

/* To a task and back again, with bytes that nobody has used yet: each connection gets its own. */
static int echo_back(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

static int attach_again(struct weft_stream *s, void *arg)
{
    static const struct weft_protocol p = {.data = echo_back};
    (void)arg;
    return weft_protocol_attach(detach_group, &s, &(struct weft_factory){.protocol = &p});
}

static int detach_whole(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)data, (void)conn;
    return weft_protocol_detach(detach_group, t, len, attach_again, NULL);
}

static int what_nobody_used_stays_with_its_connection(void *arg)
{
    static const struct weft_protocol p = {.data = detach_whole};
    struct weft_factory f = {.protocol = &p};
    struct served s = serve(&f);
    (void)arg;
    detach_group = kit_group();
    for (int round = 0; round < 10; round++) {
        static uint8_t out[60000], in[sizeof out];
        size_t size = round % 2 == 0 ? sizeof out : 10;
        struct weft_stream *c = dial(&s);
        for (size_t i = 0; i < size; i++)
            out[i] = flood_at(i + (size_t)round);
        CHECK_EQ(weft_write(c, out, size, weft_after_s(20)), 0);
        CHECK_EQ(weft_shutdown(c, weft_after_s(20)), 0);
        CHECK_EQ(weft_read_full(c, in, size, weft_after_s(20)), 0);
        CHECK(memcmp(in, out, size) == 0);
        CHECK_EQ(weft_read(c, in, 1, weft_after_s(20)), 0);
        CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
    }
    CHECK_EQ(weft_group_wait(detach_group, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&detach_group), 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(a_flood_that_is_paused_comes_whole),
    IN_TASK(a_task_gets_what_came_while_it_took_over),
    IN_TASK(what_came_while_writing_was_paused_goes_along),
    IN_TASK(what_was_read_ahead_goes_along),
    IN_TASK(what_nobody_used_stays_with_its_connection),
};
KIT_MAIN(cases)
