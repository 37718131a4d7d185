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

static const struct kit_case cases[] = {
    IN_TASK(positive),
    IN_TASK(errors),
};
KIT_MAIN(cases)
