/* SPDX-License-Identifier: MIT */
/*
 * One message to many: it is encoded once and sent from where it lies, to fast and slow receivers,
 * in tasks and in callbacks, on each driver.
 */
#include "ws_kit.h"

#include "base/alloc.h"
#include "net/out.h"
#include "ws/encoded.h"

#define MANY 8
#define LONGEST 40000

/* Connections of which the servers' sides are written to, and the clients' read. */
struct fan {
    struct weft_ws *from[MANY], *to[MANY];
    struct weft_ws_factory *factory; /* NULL: tasks */
    struct weft_group *g;
    int open;
};

static int ignore(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    (void)ws, (void)m, (void)conn;
    return 0;
}

static int on_made(struct weft_ws *ws, void *arg)
{
    struct fan *f = arg;
    weft_ws_set(ws, f);
    f->open++;
    return 0;
}

static void on_closed(struct weft_ws *ws, int error, void *conn)
{
    struct fan *f = conn;
    (void)error;
    f->open--;
    for (int i = 0; i < MANY; i++)
        if (f->from[i] == ws)
            f->from[i] = NULL;
}

static const struct weft_ws_protocol protocol = {
    .made = on_made, .message = ignore, .closed = on_closed};

static void fan_open(struct fan *f, bool callbacks)
{
    memset(f, 0, sizeof *f);
    f->g = kit_group();
    if (callbacks)
        CHECK_EQ(weft_ws_factory_open(&f->factory, &protocol, NULL, f, 0, 0), 0);
    for (int i = 0; i < MANY; i++) {
        struct weft_stream *a = NULL, *b = NULL;
        CHECK_EQ(weft_socketpair(&a, &b), 0);
        struct ws_pair p = ws_kit_pair(a, b, NULL, NULL);
        f->to[i] = p.client;
        f->from[i] = p.server;
        if (callbacks)
            CHECK_EQ(weft_ws_attach(f->g, &p.server, f->factory), 0);
    }
    while (callbacks && f->open < MANY)
        CHECK_EQ(weft_sleep_ms(0), 0);
}

static void fan_close(struct fan *f)
{
    for (int i = 0; i < MANY; i++) {
        weft_ws_abort(&f->to[i]);
        if (f->factory == NULL)
            weft_ws_abort(&f->from[i]);
    }
    while (f->open > 0)
        CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(weft_group_close(&f->g), 0);
    weft_ws_factory_close(&f->factory);
}

static uint8_t text[LONGEST];

static struct weft_ws_encoded *encode(size_t len, int number)
{
    struct weft_ws_encoded *e = NULL;
    for (size_t i = 0; i < len; i++)
        text[i] = (uint8_t)((size_t)number * 31 + i * 7);
    CHECK_EQ(weft_ws_encode(&e, WEFT_WS_BINARY, text, len, NULL), 0);
    return e;
}

static void expect(struct weft_ws *ws, size_t len, int number)
{
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
    CHECK_EQ(m.len, len);
    for (size_t i = 0; i < len; i++)
        CHECK_EQ(((const uint8_t *)m.data)[i], (uint8_t)((size_t)number * 31 + i * 7));
}

/* What holds it beside the caller. */
static size_t held(const struct weft_ws_encoded *e)
{
    return atomic_load(&e->shared.refs) - 1;
}

/* --- Cases ----------------------------------------------------------------------------------- */

/* Short and long ones, between messages of one connection alone, to readers that are there at once
 * and one that reads when all is sent. */
static void contents_of(bool callbacks)
{
    static const size_t sizes[] = {0, 10, 511, 600, 70, 4000, 8200, LONGEST, 1, 600, 600};
    struct fan f;
    fan_open(&f, callbacks);
    for (int number = 0; number < (int)WEFT__ARRAY_LEN(sizes); number++) {
        size_t len = sizes[number];
        struct weft_ws_encoded *e = encode(len, number);
        for (int i = 0; i < MANY; i++) {
            CHECK_EQ(weft_ws_send_encoded(f.from[i], e, WS_SOON), 0);
            if (i % 2 == 0)
                CHECK_EQ(weft_ws_write(f.from[i], WEFT_WS_TEXT, "and you", 7, WS_SOON), 0);
        }
        weft_ws_encoded_unref(e);
        for (int i = 1; i < MANY; i++) {
            struct weft_ws_message m;
            expect(f.to[i], len, number);
            if (i % 2 == 0)
                CHECK(weft_ws_read(f.to[i], &m, WS_SOON) == 1 && m.len == 7);
        }
    }
    for (int number = 0; number < (int)WEFT__ARRAY_LEN(sizes); number++) { /* the slow one */
        struct weft_ws_message m;
        expect(f.to[0], sizes[number], number);
        CHECK(weft_ws_read(f.to[0], &m, WS_SOON) == 1 && m.len == 7);
    }
    fan_close(&f);
}

static int contents(void *arg)
{
    (void)arg;
    contents_of(false);
    contents_of(true);
    return 0;
}

/* All receivers' queues refer to the one frame, and the steady state asks for no memory but the
 * message's own. */
static void copies_nothing_of(bool callbacks)
{
    struct fan f;
    uint64_t before = 0;
    fan_open(&f, callbacks);
    for (int number = 0; number < 20; number++) {
        if (number == 10) {
            weft__alloc_hooks = true;
            before = weft__alloc_count();
        }
        struct weft_ws_encoded *e = encode(5000, number);
        for (int i = 0; i < MANY; i++) {
            CHECK_EQ(weft_ws_send_encoded(f.from[i], e, WEFT_NOW), 0);
            const struct weft__out *o = weft_ws_stream(f.from[i])->out;
            CHECK(o != NULL && o->first == o->last && o->first->kind == WEFT__CHUNK_SHARED);
            CHECK(o->first->data == e->frame);
            CHECK_EQ(o->queued, e->frame_len);
        }
        CHECK_EQ(held(e), MANY);
        for (int i = 0; i < MANY; i++)
            expect(f.to[i], 5000, number);
        CHECK_EQ(held(e), 0); /* and let it go when it was sent */
        weft_ws_encoded_unref(e);
    }
    CHECK_EQ(weft__alloc_count() - before, 10 * 2);
    weft__alloc_hooks = false;
    fan_close(&f);
}

static int copies_nothing(void *arg)
{
    (void)arg;
    copies_nothing_of(false);
    copies_nothing_of(true);
    return 0;
}

/* One that never reads: its bytes count, whoever's they are, up to its own maximum; another one is
 * served all the while. */
static void limits_of(bool callbacks)
{
    struct fan f;
    struct weft_ws_encoded *e = encode(LONGEST, 1);
    int err = 0;
    fan_open(&f, callbacks);
    size_t max = callbacks ? weft_ws_factory_of(f.factory)->write_max : 65536;
    for (int i = 0; err == 0; i++) {
        CHECK(i < 1000);
        err = weft_ws_send_encoded(f.from[0], e, WEFT_NOW);
        CHECK_EQ(weft_ws_send_encoded(f.from[1], e, WEFT_NOW), 0);
        size_t queued = weft_transport_queued(weft_ws_stream(f.from[0]));
        CHECK(queued <= max);
        CHECK(err == 0 || queued > max - e->frame_len);
        expect(f.to[1], LONGEST, 1);
    }
    CHECK_EQ(err, callbacks ? -ENOBUFS : -ETIMEDOUT);
    CHECK(held(e) > 0);
    /* It dies, with what it had not got. */
    weft_ws_abort(&f.to[0]);
    if (callbacks) {
        while (f.open == MANY)
            CHECK_EQ(weft_sleep_ms(1), 0);
    } else {
        weft_ws_abort(&f.from[0]);
    }
    while (held(e) > 0) /* an operation that was under way has to end first */
        CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(weft_ws_send_encoded(f.from[1], e, WEFT_NOW), 0);
    weft_ws_encoded_unref(e); /* what is queued is enough for it to live on */
    expect(f.to[1], LONGEST, 1);
    fan_close(&f);
}

static int limits(void *arg)
{
    (void)arg;
    limits_of(false);
    limits_of(true);
    return 0;
}

/* Without memory a message is refused as a whole, and what came before it is sent. */
static int no_memory(void *arg)
{
    struct fan f;
    (void)arg;
    for (uint64_t at = 1; at < 6; at++) {
        fan_open(&f, true);
        struct weft_ws_encoded *a = encode(2000, 1), *b = encode(20, 2);
        int err[4];
        weft__alloc_fail_at(at);
        err[0] = weft_ws_send_encoded(f.from[0], a, WEFT_NOW);
        err[1] = weft_ws_send_encoded(f.from[0], a, WEFT_NOW);
        err[2] = weft_ws_write(f.from[0], WEFT_WS_BINARY, text, 20, WEFT_NOW);
        err[3] = weft_ws_send_encoded(f.from[0], b, WEFT_NOW);
        weft__alloc_fail_at(0);
        for (int i = 0; i < 4; i++) {
            CHECK(err[i] == 0 || err[i] == -ENOMEM);
            if (err[i] == 0)
                expect(f.to[0], i < 2 ? 2000 : 20, i < 2 ? 1 : 2);
        }
        CHECK_EQ(held(a), 0);
        weft_ws_encoded_unref(a);
        weft_ws_encoded_unref(b);
        fan_close(&f);
    }
    return 0;
}

/* Who has begun a message in fragments has to end it first. */
static int within_fragments(void *arg)
{
    struct weft_ws_encoded *e = NULL;
    struct weft_ws_message m;
    struct fan f;
    (void)arg;
    fan_open(&f, false);
    CHECK_EQ(weft_ws_encode(&e, WEFT_WS_BINARY, "e", 1, NULL), 0);
    for (int side = 0; side < 2; side++) {
        struct weft_ws *from = side == 0 ? f.from[0] : f.to[0];
        struct weft_ws *to = side == 0 ? f.to[0] : f.from[0];
        CHECK_EQ(weft_ws_write_part(from, WEFT_WS_BINARY, "a", 1, false, WS_SOON), 0);
        CHECK_EQ(weft_ws_send_encoded(from, e, weft_after_ms(5)), -EBUSY);
        CHECK_EQ(weft_ws_write(from, WEFT_WS_BINARY, "w", 1, weft_after_ms(5)), -EBUSY);
        CHECK_EQ(weft_ws_write_part(from, WEFT_WS_BINARY, "b", 1, true, WS_SOON), 0);
        CHECK_EQ(weft_ws_send_encoded(from, e, WS_SOON), 0);
        CHECK_EQ(weft_ws_read(to, &m, WS_SOON), 1);
        CHECK(m.len == 2 && memcmp(m.data, "ab", 2) == 0);
        CHECK_EQ(weft_ws_read(to, &m, WS_SOON), 1);
        CHECK(m.len == 1 && *(const char *)m.data == 'e');
    }
    weft_ws_encoded_unref(e);
    fan_close(&f);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(contents),  IN_TASK(copies_nothing),   IN_TASK(limits),
    IN_TASK(no_memory), IN_TASK(within_fragments),
};
KIT_MAIN(cases)
