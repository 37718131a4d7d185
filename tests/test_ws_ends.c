/* SPDX-License-Identifier: MIT */
/*
 * What the results of callbacks come to, for the peer and for `closed`; and the code of connections
 * that end without a close frame.
 */
#include "ws_kit.h"

/* --- Callbacks with results ------------------------------------------------------------------ */

struct app {
    int made, message;   /* what the callbacks return */
    char got[40];        /* the messages, each with a space behind it */
    int error;           /* what `closed` was told */
    unsigned code;       /* and found */
    struct weft_ws *own; /* before it has ended */
    struct weft_event over;
};

static int result_of(int result)
{
    return result < 0 ? weft__fail(result, "not the peer's business, and no text: \xff") : result;
}

static int on_made(struct weft_ws *ws, void *arg)
{
    struct app *a = arg;
    weft_ws_set(ws, a);
    a->own = ws;
    return result_of(a->made);
}

static int on_message(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    struct app *a = conn;
    size_t len = strlen(a->got);
    CHECK(ws == a->own && m->len > 0 && len + m->len + 2 <= sizeof a->got);
    (void)snprintf(a->got + len, sizeof a->got - len, "%.*s ", (int)m->len, (const char *)m->data);
    return result_of(a->message);
}

static void on_closed(struct weft_ws *ws, int error, void *conn)
{
    struct app *a = conn;
    a->own = NULL;
    a->error = error;
    a->code = weft_ws_close_code(ws);
    weft_event_set(&a->over);
}

static const struct weft_ws_protocol protocol = {
    .made = on_made, .message = on_message, .closed = on_closed};

/* A server's connection is given to the callbacks; the client's is returned. */
static struct weft_ws *attach(struct app *a, struct weft_group *g, const struct weft_ws_options *o)
{
    struct weft_ws_factory *f = NULL;
    struct weft_stream *client = NULL, *server = NULL;
    CHECK_EQ(weft_socketpair(&client, &server), 0);
    struct ws_pair p = ws_kit_pair(client, server, NULL, o);
    CHECK_EQ(weft_ws_factory_open(&f, &protocol, NULL, a, 0, 0), 0);
    CHECK_EQ(weft_ws_attach(g, &p.server, f), 0);
    weft_ws_factory_close(&f);
    return p.client;
}

static void say(struct weft_ws *ws, const char *text, bool in_fragments)
{
    size_t len = strlen(text);
    if (!in_fragments) {
        CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, text, len, WS_SOON), 0);
        return;
    }
    CHECK_EQ(weft_ws_write_part(ws, WEFT_WS_TEXT, text, 1, false, WS_SOON), 0);
    CHECK_EQ(weft_ws_write_part(ws, WEFT_WS_TEXT, text + 1, len - 1, true, WS_SOON), 0);
}

/* Also where the error is one that the peer could have caused. */
static int errors(void *arg)
{
    static const int all[] = {-EIO, WEFT_EPROTOCOL, -EILSEQ, WEFT_ETOOLONG};
    (void)arg;
    for (size_t i = 0; i < 3 * WEFT__ARRAY_LEN(all); i++) {
        int err = all[i / 3];
        struct app a = {.made = i % 3 == 0 ? err : 0, .message = err};
        struct weft_group *g = kit_group();
        struct weft_ws *ws = attach(&a, g, NULL);
        struct weft_ws_message m;
        if (i % 3 > 0) {
            say(ws, "one", i % 3 == 2);
            say(ws, "two", i % 3 == 2); /* which is not delivered any more */
        }
        CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 0);
        CHECK_EQ(weft_ws_close_code(ws), 1011);
        CHECK(strcmp(weft_ws_close_reason(ws), "") == 0);
        CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
        CHECK_EQ(weft_event_wait(&a.over, WS_SOON), 0);
        CHECK_EQ(a.error, err);
        CHECK(strcmp(a.got, i % 3 == 0 ? "" : "one ") == 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

/* What is not negative is no error, and changes nothing for what comes behind it. */
static int positive(void *arg)
{
    (void)arg;
    for (int fragments = 0; fragments < 2; fragments++) {
        struct app a = {.made = 1, .message = 1};
        struct weft_group *g = kit_group();
        struct weft_ws *ws = attach(&a, g, NULL);
        for (int i = 0; i < 3; i++) /* in one piece */
            say(ws, "abc", fragments != 0);
        CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
        CHECK_EQ(weft_event_wait(&a.over, WS_SOON), 0);
        CHECK_EQ(a.error, 0);
        CHECK_EQ(a.code, 1000);
        CHECK(strcmp(a.got, "abc abc abc ") == 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

/* --- Connections that end without a close frame ---------------------------------------------- */

static int read_to_end(struct weft_ws *ws)
{
    struct weft_ws_message m;
    int r;
    CHECK_EQ(weft_ws_close_code(ws), 0);
    while ((r = weft_ws_read(ws, &m, WS_SOON)) > 0)
        continue;
    return r;
}

/* What the client's end of a stream says before it ends, and what reading comes to. Unread bytes
 * make the end a reset. */
static const struct {
    const char *bytes;
    size_t len;
    bool unread;
    int result;
} silent_ends[] = {
    {"", 0, false, WEFT_EEOF},
    {"\x81", 1, false, WEFT_EEOF},
    {"\x81\x85\0\0\0\0ab", 8, false, WEFT_EEOF},
    {"\x01\x82\0\0\0\0ab\x80\x82\0\0\0\0c", 15, false, WEFT_EEOF},
    {"\x88\x82\0\0\0\0\x03", 7, false, WEFT_EEOF},
    {"", 0, true, -ECONNRESET},
};

static void end_silently(size_t i, struct weft_stream **client)
{
    CHECK_EQ(weft_write(*client, silent_ends[i].bytes, silent_ends[i].len, WS_SOON), 0);
    CHECK_EQ(weft_close(client, WS_SOON), 0);
}

static int ends_of_tasks(void *arg)
{
    static const struct weft_ws_options eager = {.ping_ms = 5, .pong_ms = 5};
    static const struct weft_ws_options mute = {.ping_ms = -1};
    struct weft_stream *a = NULL, *b = NULL;
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(silent_ends); i++) {
        CHECK_EQ(weft_socketpair(&a, &b), 0);
        struct weft_ws *ws = ws_kit_open(b, true, NULL, &mute);
        if (silent_ends[i].unread)
            CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "x", 1, WS_SOON), 0);
        CHECK_EQ(weft_ws_flush(ws, WS_SOON), 0);
        end_silently(i, &a);
        CHECK_EQ(read_to_end(ws), silent_ends[i].result);
        CHECK_EQ(weft_ws_close_code(ws), 1006);
        weft_ws_abort(&ws);
    }
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    struct weft_ws *ws = ws_kit_open(b, true, NULL, &eager);
    CHECK_EQ(read_to_end(ws), -EHOSTDOWN);
    CHECK_EQ(weft_ws_close_code(ws), 1006);
    weft_ws_abort(&ws);
    CHECK_EQ(weft_close(&a, WS_SOON), 0);

    CHECK_EQ(weft_socketpair(&a, &b), 0); /* and where only a call has ended */
    ws = ws_kit_open(b, true, NULL, &mute);
    struct weft_ws_message m;
    CHECK_EQ(weft_write(a, "\x81\x85\0\0\0\0ab", 8, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, weft_after_ms(5)), -ETIMEDOUT);
    CHECK_EQ(weft_ws_close_code(ws), 0);
    weft_ws_abort(&ws);
    CHECK_EQ(weft_close(&a, WS_SOON), 0);
    return 0;
}

static int ends_of_callbacks(void *arg)
{
    static const struct weft_ws_options mute = {.ping_ms = -1};
    static const struct weft_ws_options eager = {.ping_ms = 5, .pong_ms = 5};
    size_t n = WEFT__ARRAY_LEN(silent_ends);
    (void)arg;
    for (size_t i = 0; i < n + 2; i++) {
        struct app a = {.made = 0};
        struct weft_ws_factory *f = NULL;
        struct weft_group *g = kit_group();
        struct weft_stream *client = NULL, *s = NULL;
        CHECK_EQ(weft_socketpair(&client, &s), 0);
        struct weft_ws *ws = ws_kit_open(s, true, NULL, i == n ? &eager : &mute);
        CHECK_EQ(weft_ws_factory_open(&f, &protocol, NULL, &a, 0, 0), 0);
        if (i < n && silent_ends[i].unread)
            CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "x", 1, WS_SOON), 0);
        CHECK_EQ(weft_ws_flush(ws, WS_SOON), 0);
        CHECK_EQ(weft_ws_attach(g, &ws, f), 0);
        weft_ws_factory_close(&f);
        while (a.own == NULL)
            CHECK_EQ(weft_yield(), 0);
        if (i < n)
            end_silently(i, &client);
        else if (i > n) /* we do */
            weft_ws_abort(&(struct weft_ws *){a.own});
        CHECK_EQ(weft_event_wait(&a.over, WS_SOON), 0);
        CHECK_EQ(a.error, i < n ? silent_ends[i].result : i == n ? -EHOSTDOWN : -ECONNABORTED);
        CHECK_EQ(a.code, 1006);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(weft_close(&client, WS_SOON), 0);
    }
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(errors),
    IN_TASK(positive),
    IN_TASK(ends_of_tasks),
    IN_TASK(ends_of_callbacks),
};
KIT_MAIN(cases)
