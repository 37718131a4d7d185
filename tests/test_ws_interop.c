/* SPDX-License-Identifier: MIT */
/*
 * WebSocket with other people's programs on the loopback, each as client and as server: the ws
 * package of Node and Python's websockets. What is not installed is left out, and named.
 */
#include "ws_kit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/listener.h>
#include <weft/server.h>

#define OUTPUT_MAX 65536

static char node_path[300];

static const char *root(void)
{
    const char *r = getenv("WEFT_SOURCE_ROOT");
    return r != NULL ? r : ".";
}

/* The command before a peer's arguments; NULL when it is not to be had. */
static const char *peer_command(const char *peer)
{
    static char line[600];
    if (strcmp(peer, "node") == 0) {
        if (node_path[0] == '\0') {
            (void)snprintf(line, sizeof line, "%s/tools/node-modules.sh", root());
            FILE *f = popen(line, "r");
            assert_non_null(f);
            if (fgets(node_path, sizeof node_path, f) != NULL)
                node_path[strcspn(node_path, "\n")] = '\0';
            if (pclose(f) != 0)
                (void)strcpy(node_path, "none");
        }
        if (strcmp(node_path, "none") == 0)
            return NULL;
        (void)snprintf(line, sizeof line,
                       "NODE_PATH=%s exec timeout 60 node %s/tests/node/ws_peer.js", node_path,
                       root());
        return line;
    }
    if (system("/usr/bin/python3 -c 'import websockets' 2>/dev/null") != 0)
        return NULL;
    (void)snprintf(line, sizeof line, "exec timeout 60 /usr/bin/python3 %s/tests/python/ws_peer.py",
                   root());
    return line;
}

struct pairing {
    const char *peer, *mode; /* of the peer: "deflate", "plain" */
    const struct weft_ws_options *o;
    enum weft_model model;
    bool deflates;
};

/* --- Our server ------------------------------------------------------------------------------ */

struct served {
    const struct pairing *p;
    struct weft_event done;
    char output[OUTPUT_MAX];
    char url[WEFT_ENDPOINT_MAX + 8];
    unsigned code;
    int result;
    int status;
};

static int echo(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    (void)conn;
    return weft_ws_write(ws, m->type, m->data, m->len, WS_SOON);
}

static int made(struct weft_ws *ws, void *arg)
{
    struct served *v = arg;
    CHECK_EQ(weft_ws_deflates(ws), v->p->deflates);
    weft_ws_set(ws, v);
    return 0;
}

static void closed(struct weft_ws *ws, int error, void *conn)
{
    struct served *v = conn;
    v->code = weft_ws_close_code(ws);
    v->result = error;
}

static const struct weft_ws_protocol echo_protocol = {
    .made = made, .message = echo, .closed = closed};

static int handle(struct weft_stream *s, void *arg)
{
    struct served *v = arg;
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    v->result = weft_ws_accept(&ws, &s, v->p->o, WS_SOON);
    if (v->result < 0)
        return v->result;
    CHECK_EQ(weft_ws_deflates(ws), v->p->deflates);
    while ((v->result = weft_ws_read(ws, &m, WS_SOON)) > 0)
        CHECK_EQ(weft_ws_write(ws, m.type, m.data, m.len, WS_SOON), 0);
    v->code = weft_ws_close_code(ws);
    return weft_ws_close(&ws, 0, NULL, WS_SOON);
}

/* The peer runs in a thread of the work pool's making: it blocks. */
static void *run_peer(void *arg)
{
    struct served *v = arg;
    char line[1200];
    (void)snprintf(line, sizeof line, "{ %s client %s %s; } 2>&1", peer_command(v->p->peer), v->url,
                   v->p->mode);
    FILE *f = popen(line, "r");
    CHECK(f != NULL);
    v->output[fread(v->output, 1, sizeof v->output - 1, f)] = '\0';
    v->status = pclose(f);
    return NULL;
}

static int serve(void *arg)
{
    struct served *v = arg;
    struct weft_ws_factory *f = NULL;
    struct weft_server *server = NULL;
    struct weft_group *g = kit_group();
    struct weft_server_options so = {.model = v->p->model};
    char at[WEFT_ENDPOINT_MAX];
    pthread_t thread;
    bool callbacks = v->p->model == WEFT_PROTOCOLS;
    CHECK_EQ(weft_ws_factory_open(&f, &echo_protocol, v->p->o, v, 0, 0), 0);
    CHECK_EQ(weft_server_open(&server, g, "tcp://127.0.0.1:0", &so, callbacks ? NULL : handle,
                              callbacks ? NULL : v, callbacks ? weft_ws_factory_of(f) : NULL),
             0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    (void)snprintf(v->url, sizeof v->url, "ws%s/", at + 3);
    CHECK_EQ(pthread_create(&thread, NULL, run_peer, v), 0);
    struct weft_server_stats stats = {0};
    while (stats.accepted == 0 || stats.live > 0) { /* the peer connects once */
        CHECK_EQ(weft_sleep_ms(5), 0);
        weft_server_stats_mt(server, &stats);
        if (stats.accepted == 0 && pthread_tryjoin_np(thread, NULL) == 0) {
            (void)fprintf(stderr, "%s\n", v->output);
            CHECK(!"the peer came and went");
        }
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_ws_factory_close(&f);
    return 0;
}

static void as_server(const struct pairing *p)
{
    static struct served v;
    v = (struct served){.p = p};
    assert_int_equal(weft_run(NULL, serve, &v), 0);
    if (v.status != 0 || strstr(v.output, "all is well") == NULL || v.result != 0)
        print_error("%s %s: %s, %s\n", p->peer, p->mode, weft_error_name(v.result), v.output);
    assert_int_equal(v.status, 0);
    assert_non_null(strstr(v.output, "all is well"));
    assert_int_equal(v.result, 0);
    assert_int_equal(v.code, 4001);
}

/* --- Our client ------------------------------------------------------------------------------ */

struct called {
    const struct pairing *p;
    char url[WEFT_ENDPOINT_MAX + 8];
};

static void echoes(struct weft_ws *ws, enum weft_ws_type type, const char *text, size_t len)
{
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_write(ws, type, text, len, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
    CHECK(m.type == type && m.len == len && memcmp(m.data, text, len) == 0);
}

static int call(void *arg)
{
    static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 200000};
    static char text[200000];
    const struct called *c = arg;
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    memset(text, 'x', sizeof text);
    int err = weft_ws_dial(&ws, c->url, c->p->o, NULL, WS_SOON);
    if (err < 0)
        (void)fprintf(stderr, "%s: %s\n", c->p->peer, weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK_EQ(weft_ws_deflates(ws), c->p->deflates);
    CHECK(strcmp(weft_ws_subprotocol(ws), "chat") == 0);
    for (size_t i = 0; i < 2 * WEFT__ARRAY_LEN(sizes); i++) {
        text[0] = (char)('a' + i);
        echoes(ws, WEFT_WS_TEXT, text, sizes[i % WEFT__ARRAY_LEN(sizes)]);
        echoes(ws, WEFT_WS_BINARY, text, sizes[i % WEFT__ARRAY_LEN(sizes)]);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_ws_write_part(ws, WEFT_WS_TEXT, "\xc3\xa9 part ", 8, i == 2, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
    CHECK_EQ(m.len, 24);
    CHECK_EQ(weft_ws_ping(ws, "?", 1, WS_SOON), 0);
    CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "ping me", 7, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1); /* by then our pong has gone */
    CHECK_EQ(m.len, 4);
    CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "close me", 8, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close_code(ws), 4002);
    CHECK(strcmp(weft_ws_close_reason(ws), "as asked") == 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_ws_dial(&ws, c->url, c->p->o, NULL, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(&ws, 1001, "away", WS_SOON), 0);
    return 0;
}

static void as_client(const struct pairing *p)
{
    struct called c = {.p = p};
    char line[1200], text[200] = "";
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)snprintf(line, sizeof line, "%s server %s", peer_command(p->peer), p->mode);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], 1);
        (void)execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    assert_non_null(f);
    if (fgets(text, sizeof text, f) == NULL || strncmp(text, "port ", 5) != 0)
        fail_msg("no port: %s", text);
    (void)snprintf(c.url, sizeof c.url, "ws://127.0.0.1:%d/chat", atoi(text + 5));
    int result = p->model == WEFT_THREADS ? call(&c) : weft_run(NULL, call, &c);
    (void)kill(pid, SIGTERM);
    (void)waitpid(pid, NULL, 0);
    (void)fclose(f);
    assert_int_equal(result, 0);
}

/* --- Pairings -------------------------------------------------------------------------------- */

static const struct weft_ws_options plain = {.protocols = "chat"};
static const struct weft_ws_options deflating = {
    .protocols = "chat", .deflate = true, .deflate_min = 1};
static const struct weft_ws_options small = {.protocols = "chat",
                                             .deflate = true,
                                             .deflate_takeover = true,
                                             .deflate_min = 1,
                                             .deflate_bits = 9,
                                             .deflate_peer_bits = 10};

static void all(const char *peer)
{
    static const enum weft_model models[] = {WEFT_TASKS, WEFT_THREADS, WEFT_PROTOCOLS};
    const struct weft_ws_options *const options[] = {&plain, &deflating, &small};
    if (peer_command(peer) == NULL) {
        print_message("the peer '%s' is not installed\n", peer);
        skip();
    }
    for (size_t i = 0; i < 3; i++) {
        struct pairing p = {.peer = peer,
                            .mode = i == 0 ? "plain" : "deflate",
                            .o = options[i],
                            .model = models[i],
                            .deflates = i > 0};
        as_server(&p);
        as_client(&p);
    }
    struct pairing one = {.peer = peer, .mode = "plain", .o = &deflating, .model = WEFT_TASKS};
    as_server(&one); /* which does not want what we offer */
    as_client(&one);
}

static void node(void **state)
{
    (void)state;
    all("node");
}

static void python(void **state)
{
    (void)state;
    all("python");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(node), cmocka_unit_test(python)};
    return cmocka_run_group_tests_name("ws with others", tests, NULL, NULL);
}
