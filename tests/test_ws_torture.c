/* SPDX-License-Identifier: MIT */
/*
 * WebSocket under failures: every allocation, every call and every wait of a handshake, an exchange
 * and its end fails in turn; in tasks, on threads, and in callbacks.
 */
#include "torture_kit.h"

#include "base/alloc.h"

#define LARGE 40000u

static const struct weft_ws_options plain = {.protocols = "a, b", .fields = "X-More: yes\r\n"};
static const struct weft_ws_options deflating = {
    .protocols = "a", .deflate = true, .deflate_takeover = true, .deflate_memory = 1};

struct end {
    struct weft_stream *s;
    const struct weft_ws_options *o;
    bool server;
};

static char *text;

static int send_some(struct weft_ws *ws)
{
    int err = weft_ws_write(ws, WEFT_WS_TEXT, text, LARGE, TORTURE_SOON);
    if (err == 0)
        err = weft_ws_ping(ws, "x", 1, TORTURE_SOON);
    if (err == 0)
        err = weft_ws_write_part(ws, WEFT_WS_BINARY, text, 3000, false, TORTURE_SOON);
    if (err == 0)
        err = weft_ws_write_part(ws, WEFT_WS_BINARY, text, 10, true, TORTURE_SOON);
    return err;
}

static int receive_some(struct weft_ws *ws)
{
    struct weft_ws_message m = {.last = false};
    int err = weft_ws_read(ws, &m, TORTURE_SOON);
    CHECK(err != 1 || (m.len == LARGE && memcmp(m.data, text, LARGE) == 0));
    if (err == 1)
        m.last = false;
    for (size_t at = 0; err == 1 && !m.last; at += m.len) {
        err = weft_ws_read_some(ws, &m, TORTURE_SOON);
        CHECK(err != 1 || at + m.len <= 3010);
    }
    return err == 1 ? 0 : err == 0 ? WEFT_EEOF : err;
}

static int converse(void *arg)
{
    struct end *e = arg;
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    int err = e->server ? weft_ws_accept(&ws, &e->s, e->o, TORTURE_SOON)
                        : weft_ws_connect(&ws, &e->s, "h", "/", e->o, TORTURE_SOON);
    if (err == 0)
        err = e->server ? receive_some(ws) : send_some(ws);
    if (err == 0)
        err = e->server ? send_some(ws) : receive_some(ws);
    if (err == 0 && e->server)
        err = torture_first(0, weft_ws_read(ws, &m, TORTURE_SOON));
    err = torture_first(err, weft_ws_close(&ws, 0, "done", TORTURE_SOON));
    weft_ws_abort(&ws);
    weft_abort(&e->s);
    return err;
}

static int both_ends(void *arg)
{
    const struct weft_ws_options *o = arg;
    struct end a = {.o = o}, b = {.server = true, .o = o};
    struct weft_group *g = NULL;
    int err = weft_socketpair(&a.s, &b.s);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "server", converse, &b);
    if (err == 0)
        err = weft_group_go(g, "client", converse, &a);
    if (err == 0)
        err = weft_group_wait(g, weft_after_s(30));
    err = torture_first(err, weft_group_close(&g));
    weft_abort(&a.s);
    weft_abort(&b.s);
    return err;
}

static int exchange(const char *driver)
{
    return torture_run(driver, both_ends, (void *)(uintptr_t)&plain);
}

static int compressed(const char *driver)
{
    return torture_run(driver, both_ends, (void *)(uintptr_t)&deflating);
}

/* --- Callbacks ------------------------------------------------------------------------------- */

static int echo(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    struct weft_ws_encoded *e = NULL;
    (void)conn;
    int err = weft_ws_encode(&e, m->type, m->data, m->len, &deflating);
    if (err == 0)
        err = weft_ws_send_encoded(ws, e, WEFT_NOW);
    weft_ws_encoded_unref(e);
    return err == 0 ? weft_ws_write(ws, m->type, m->data, m->len, WEFT_NOW) : err;
}
static const struct weft_ws_protocol echo_protocol = {.message = echo};

static int visit(const char *url)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    int err = weft_ws_dial(&ws, url, &deflating, NULL, TORTURE_SOON);
    if (err == 0)
        err = weft_ws_write(ws, WEFT_WS_TEXT, text, LARGE, TORTURE_SOON);
    for (int i = 0; err == 0 && i < 2; i++) {
        err = weft_ws_read(ws, &m, TORTURE_SOON);
        CHECK(err != 1 || m.len == LARGE);
        err = err == 1 ? 0 : err == 0 ? WEFT_EEOF : err;
    }
    return torture_first(err, weft_ws_close(&ws, 0, NULL, TORTURE_SOON));
}

static int serve(void *arg)
{
    struct weft_server_options so = {.model = WEFT_PROTOCOLS};
    struct weft_ws_factory *f = NULL;
    struct weft_server *server = NULL;
    struct weft_group *g = NULL;
    char at[WEFT_ENDPOINT_MAX], url[WEFT_ENDPOINT_MAX + 8];
    (void)arg;
    int err = weft_ws_factory_open(&f, &echo_protocol, &deflating, NULL, 0, 0);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_server_open(&server, g, "tcp://127.0.0.1:0", &so, NULL, NULL,
                               weft_ws_factory_of(f));
    if (err == 0)
        err = torture_first(0, weft_server_endpoint(server, at, sizeof at));
    if (err == 0) {
        (void)snprintf(url, sizeof url, "ws%s", at + 3);
        err = visit(url);
    }
    err = torture_first(err, weft_group_close(&g));
    weft_ws_factory_close(&f);
    return err;
}

static int callbacks(const char *driver)
{
    return torture_run(driver, serve, NULL);
}

int main(void)
{
    static const struct torture_scene scenes[] = {
        {"exchange", exchange}, {"compressed", compressed}, {"callbacks", callbacks}};
    text = malloc(LARGE);
    CHECK(text != NULL);
    for (size_t i = 0; i < LARGE; i++)
        text[i] = (char)('a' + i * i % 23);
    int failed = torture_main(scenes, 3, scenes, 2, 35);
    free(text);
    return failed;
}
