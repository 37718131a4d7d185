/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 requests that come in one piece: their answers go out together, and none waits for one
 * that takes long, or for one that the client takes no bytes of; those of routes that never wait
 * are answered without a task. The client is bytes by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include <weft/http_server.h>

#include "http_kit.h"

#define SOON weft_after_s(60)
#define WINDOW 65535 /* of a stream when nothing else was said (RFC 9113, 6.9.2) */

struct site {
    struct weft_event go;
    bool held;
};

static int small(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "small");
}

static int hold(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct site *s = arg;
    (void)q;
    s->held = true;
    int err = weft_event_wait(&s->go, SOON);
    return err < 0 ? err : weft_http_text(r, 200, "held");
}

static int large(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char body[200000];
    (void)q, (void)arg;
    return weft_http_send(r, 200, "application/octet-stream", body, sizeof body);
}

/* Says what a call gives that would have to wait. */
static int waits(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    int slept = weft_sleep_ms(1);
    return weft_http_text(r, 200, slept == 0 ? "waited" : slept == -EDEADLK ? "refused" : "else");
}

static int in_pieces(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char piece[40000];
    (void)q, (void)arg;
    int err = weft_http_begin(r);
    for (int i = 0; i < 5 && err == 0; i++)
        err = weft_http_write(r, piece, sizeof piece, WEFT_NEVER);
    return err < 0 ? err : weft_http_set_trailer(r, "X-Sum", "42");
}

static int too_large(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char body[2 << 20];
    (void)q, (void)arg;
    return weft_http_send(r, 200, "application/octet-stream", body, sizeof body);
}

/* A request in one HEADERS frame: indexed fields, and a path and an authority not to be indexed
 * (RFC 7541, 6.2.2). */
static size_t request(uint8_t *to, uint8_t id, const char *path)
{
    size_t len = strlen(path), block = 2 + 2 + len + 2 + 1;
    const uint8_t head[] = {0, 0,  (uint8_t)block, 1,    5,    0,           0,
                            0, id, 0x82,           0x86, 0x04, (uint8_t)len};
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, path, len);
    memcpy(to + sizeof head + len, "\x01\x01h", 3);
    return 9 + block;
}

struct seen {
    size_t data;      /* bytes, of all streams */
    char body[32][8]; /* the first of each */
    size_t reset;     /* the stream that was; 0: none */
    bool ended[32];   /* by stream */
    size_t order[32]; /* when it ended */
    size_t ends;
};

static void next_frame(struct weft_stream *s, struct seen *seen)
{
    uint8_t head[9], rest[16384];
    CHECK_EQ(weft_read_full(s, head, sizeof head, SOON), 0);
    size_t len = (size_t)head[1] << 8 | head[2];
    CHECK(head[0] == 0 && len <= sizeof rest && head[8] < 32);
    if (len > 0)
        CHECK_EQ(weft_read_full(s, rest, len, SOON), 0);
    if (head[3] == 0) {
        seen->data += len;
        memcpy(seen->body[head[8]], rest, len < 7 ? len : 7);
    }
    CHECK(head[3] != 7); /* GOAWAY */
    if (head[3] == 3) {  /* RST_STREAM */
        CHECK_EQ(seen->reset, 0);
        seen->reset = head[8];
    }
    if (head[3] < 2 && (head[4] & 1) != 0) { /* DATA or HEADERS, END_STREAM */
        seen->ended[head[8]] = true;
        seen->order[head[8]] = ++seen->ends;
    }
}

static int together(void *arg)
{
    static const char *const paths[] = {"/small", "/hold", "/small", "/large", "/small", "/small"};
    struct site site = {.held = false};
    struct seen seen = {.data = 0};
    struct weft_http_app *app = NULL;
    struct weft_http_server *server = NULL;
    struct weft_stream *s = NULL;
    struct weft_group *g = kit_group();
    char at[WEFT_ENDPOINT_MAX];
    /* The preface, settings, and a window for the connection. */
    uint8_t bytes[512] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
                         "\0\0\x04\x08\0\0\0\0\0\0\x10\0\0";
    size_t len = 24 + 9 + 13;
    (void)arg;
    CHECK_EQ(weft_http_app_open(&app), 0);
    CHECK_EQ(weft_http_route(app, "GET /small", small, &site), 0);
    CHECK_EQ(weft_http_route(app, "GET /hold", hold, &site), 0);
    CHECK_EQ(weft_http_route(app, "GET /large", large, &site), 0);
    CHECK_EQ(weft_http_server_open(&server, g, "tcp://127.0.0.1:0", app, NULL), 0);
    CHECK(weft_http_server_endpoint(server, at, sizeof at) > 0);
    CHECK_EQ(weft_dial(&s, at, NULL, SOON), 0);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(paths); i++)
        len += request(bytes + len, (uint8_t)(1 + 2 * i), paths[i]);
    CHECK_EQ(weft_write(s, bytes, len, SOON), 0);

    /* The small ones, and as much of the large one as the window lets through. */
    while (seen.ends < 4 || seen.data < WINDOW + 20)
        next_frame(s, &seen);
    CHECK(seen.ended[1] && seen.ended[5] && seen.ended[9] && seen.ended[11]);
    CHECK(site.held && !seen.ended[3] && !seen.ended[7]);
    CHECK_EQ(seen.data, WINDOW + 20);

    /* A window for the rest. */
    static const uint8_t more[] = {0, 0, 4, 8, 0, 0, 0, 0, 7, 0, 4, 0, 0};
    CHECK_EQ(weft_write(s, more, sizeof more, SOON), 0);
    while (!seen.ended[7])
        next_frame(s, &seen);
    CHECK(!seen.ended[3]);
    weft_event_set(&site.go);
    while (!seen.ended[3])
        next_frame(s, &seen);
    CHECK_EQ(seen.data, 200000 + 4 * 5 + 4);
    CHECK_EQ(seen.reset, 0);
    weft_abort(&s);
    weft_group_cancel(g);
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    return 0;
}

/* --- Without a task --------------------------------------------------------------------------- */

struct direct {
    struct weft_group *g;
    struct weft_http_app *app;
    struct weft_http_server *server;
    struct weft_stream *s;
    uint8_t bytes[1024];
    size_t len;
    uint8_t next; /* stream */
    struct seen seen;
};

static int passes(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_next(q, r);
}

/* Anew, with all streams. */
static void direct_connect(struct direct *t)
{
    static const char begin[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
                                "\0\0\x04\x08\0\0\0\0\0\0\x10\0\0";
    char at[WEFT_ENDPOINT_MAX];
    weft_abort(&t->s);
    CHECK(weft_http_server_endpoint(t->server, at, sizeof at) > 0);
    CHECK_EQ(weft_dial(&t->s, at, NULL, SOON), 0);
    memcpy(t->bytes, begin, sizeof begin);
    t->len = sizeof begin - 1;
    t->next = 1;
    t->seen = (struct seen){.data = 0};
}

static void direct_open_with(struct direct *t, const char *dir)
{
    static const struct weft_http_route_options at_once = {.at_once = true};
    *t = (struct direct){.g = kit_group()};
    CHECK_EQ(weft_http_app_open(&t->app), 0);
    CHECK_EQ(weft_http_route_with(t->app, "GET /small", &at_once, small, NULL), 0);
    CHECK_EQ(weft_http_route_with(t->app, "GET /waits", &at_once, waits, NULL), 0);
    CHECK_EQ(weft_http_route_with(t->app, "GET /behind/waits", &at_once, waits, NULL), 0);
    CHECK_EQ(weft_http_route_with(t->app, "GET /large", &at_once, large, NULL), 0);
    CHECK_EQ(weft_http_route_with(t->app, "GET /pieces", &at_once, in_pieces, NULL), 0);
    CHECK_EQ(weft_http_route_with(t->app, "GET /too-large", &at_once, too_large, NULL), 0);
    CHECK_EQ(weft_http_route(t->app, "GET /task", waits, NULL), 0);
    CHECK_EQ(weft_http_use(t->app, "/behind", passes, NULL), 0);
    if (dir != NULL) /* for so long that no slow machine looks again */
        CHECK_EQ(weft_http_static(t->app, "/kept",
                                  &(struct weft_http_static_options){
                                      .dir = dir, .keep_open = 200, .keep_ms = 3600000}),
                 0);
    CHECK_EQ(weft_http_server_open(&t->server, t->g, "tcp://127.0.0.1:0", t->app, NULL), 0);
    direct_connect(t);
}

static void direct_open(struct direct *t)
{
    direct_open_with(t, NULL);
}

static uint8_t ask(struct direct *t, const char *path)
{
    uint8_t id = t->next;
    t->next = (uint8_t)(t->next + 2);
    t->len += request(t->bytes + t->len, id, path);
    return id;
}

static void send_asked(struct direct *t)
{
    CHECK_EQ(weft_write(t->s, t->bytes, t->len, SOON), 0);
    t->len = 0;
}

static void await_end(struct direct *t, uint8_t id)
{
    while (!t->seen.ended[id])
        next_frame(t->s, &t->seen);
}

static uint64_t at_once_of(const struct direct *t)
{
    struct weft_http_server_stats st;
    weft_http_server_stats_mt(t->server, &st);
    return st.at_once;
}

static void direct_close(struct direct *t)
{
    weft_abort(&t->s);
    weft_group_cancel(t->g);
    (void)weft_group_close(&t->g);
    weft_http_app_close(&t->app);
}

static int directly(void *arg)
{
    struct direct t;
    (void)arg;
    direct_open(&t);
    uint8_t first = ask(&t, "/waits"), behind = ask(&t, "/behind/waits");
    uint8_t task = ask(&t, "/task"), last = ask(&t, "/small"), pieces = ask(&t, "/pieces");
    send_asked(&t);
    await_end(&t, first);
    await_end(&t, behind);
    await_end(&t, task);
    await_end(&t, last);
    while (t.seen.data < WINDOW + 7 + 6 + 6 + 5)
        next_frame(t.s, &t.seen);
    CHECK(strcmp(t.seen.body[first], "refused") == 0);
    CHECK(strcmp(t.seen.body[behind], "waited") == 0);
    CHECK(strcmp(t.seen.body[task], "waited") == 0);
    CHECK(strcmp(t.seen.body[last], "small") == 0);
    CHECK_EQ(at_once_of(&t), 3);
    /* The window of a stream holds up what does not fit, and nothing else. */
    CHECK(!t.seen.ended[pieces]);
    const uint8_t more[] = {0, 0, 4, 8, 0, 0, 0, 0, pieces, 0, 4, 0, 0};
    CHECK_EQ(weft_write(t.s, more, sizeof more, SOON), 0);
    await_end(&t, pieces);
    CHECK_EQ(t.seen.data, 7 + 6 + 6 + 5 + 200000);
    CHECK_EQ(t.seen.reset, 0);
    direct_close(&t);
    return 0;
}

/* What a client takes no bytes of is kept up to a bound; behind it, requests are a task's. */
static int directly_held(void *arg)
{
    struct direct t;
    (void)arg;
    direct_open(&t);
    uint8_t over = ask(&t, "/too-large"), held = ask(&t, "/large"), next = ask(&t, "/waits");
    send_asked(&t);
    await_end(&t, next);
    while (t.seen.reset == 0 || t.seen.data < WINDOW + 6)
        next_frame(t.s, &t.seen);
    CHECK_EQ(t.seen.reset, over);
    CHECK(!t.seen.ended[held]);
    CHECK(strcmp(t.seen.body[next], "waited") == 0);
    CHECK_EQ(at_once_of(&t), 2);
    const uint8_t more[] = {0, 0, 4, 8, 0, 0, 0, 0, held, 0, 4, 0, 0};
    CHECK_EQ(weft_write(t.s, more, sizeof more, SOON), 0);
    await_end(&t, held);
    next = ask(&t, "/waits");
    send_asked(&t);
    await_end(&t, next);
    CHECK(strcmp(t.seen.body[next], "refused") == 0);
    CHECK_EQ(t.seen.data, 200000 + 6 + 7);
    direct_close(&t);
    return 0;
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fputs(text, f) >= 0);
    CHECK_EQ(fclose(f), 0);
}

static const char *get(struct direct *t, const char *path)
{
    uint8_t id = ask(t, path);
    send_asked(t);
    await_end(t, id);
    return t->seen.body[id];
}

/* Whether the file system can be asked for what is in memory alone. */
static bool reads_now(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t n = preadv2(fd, &(struct iovec){&byte, 1}, 1, 0, RWF_NOWAIT);
    close(fd);
    return n == 1;
}

/* A small file that is kept open and lies in memory needs no task, either. */
static int directly_kept(void *arg)
{
    char dir[] = "/tmp/weft-test-XXXXXX", path[64];
    struct direct t;
    (void)arg;
    CHECK(mkdtemp(dir) != NULL);
    (void)snprintf(path, sizeof path, "%s/f", dir);
    put_file(path, "first");
    uint64_t one = reads_now(path) ? 1 : 0;
    direct_open_with(&t, dir);
    CHECK(strcmp(get(&t, "/kept/f"), "first") == 0);
    CHECK_EQ(at_once_of(&t), 0);
    CHECK(strcmp(get(&t, "/kept/f"), "first") == 0);
    CHECK_EQ(at_once_of(&t), one);
    put_file(path, "later");
    CHECK_EQ(truncate(path, 4), 0);
    CHECK(strcmp(get(&t, "/kept/f"), "late") == 0);
    CHECK_EQ(at_once_of(&t), one);
    CHECK(strcmp(get(&t, "/kept/f"), "late") == 0);
    CHECK_EQ(at_once_of(&t), 2 * one);
    direct_close(&t);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(rmdir(dir), 0);
    return 0;
}

/* Asks for files n to n + count - 1 in one piece; each has its number in it, or that and `more`. */
static void get_together(struct direct *t, int n, int count, const char *more)
{
    char path[64], is[16];
    uint8_t id[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof path, "/kept/%d", n + i);
        id[i] = ask(t, path);
    }
    send_asked(t);
    for (int i = 0; i < count; i++) {
        await_end(t, id[i]);
        (void)snprintf(is, sizeof is, "%d%s", n + i, more);
        if (strcmp(t->seen.body[id[i]], is) != 0)
            (void)fprintf(stderr, "file %d: '%s', not '%s'\n", n + i, t->seen.body[id[i]], is);
        CHECK(strcmp(t->seen.body[id[i]], is) == 0);
    }
}

/* Files whose bytes are at hand for all who ask at the same time: more than there is room for, and
 * also when they change. */
static int kept_together(void *arg)
{
    enum { FILES = 150, AT_ONCE = 15 };
    char dir[] = "/tmp/weft-test-XXXXXX", path[64], text[16];
    struct direct t;
    (void)arg;
    CHECK(mkdtemp(dir) != NULL);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < FILES; i++) {
            (void)snprintf(path, sizeof path, "%s/%d", dir, i);
            (void)snprintf(text, sizeof text, "%d%s", i, round < 2 ? "" : round == 2 ? "x" : "yy");
            if (round != 1)
                put_file(path, text);
        }
        if (round == 0)
            direct_open_with(&t, dir);
        for (int n = 0; n < FILES; n += AT_ONCE) {
            direct_connect(&t);
            get_together(&t, n, AT_ONCE, round < 2 ? "" : round == 2 ? "x" : "yy");
        }
    }
    /* One file for all of them, which changes in between. */
    for (int round = 0; round < 10; round++) {
        (void)snprintf(path, sizeof path, "%s/7", dir);
        (void)snprintf(text, sizeof text, "%05d", round);
        put_file(path, text);
        direct_connect(&t);
        uint8_t id[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++)
            id[i] = ask(&t, "/kept/7");
        send_asked(&t);
        for (int i = 0; i < AT_ONCE; i++) {
            await_end(&t, id[i]);
            CHECK(strcmp(t.seen.body[id[i]], text) == 0);
        }
    }
    direct_close(&t);
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(path, sizeof path, "%s/%d", dir, i);
        CHECK_EQ(unlink(path), 0);
    }
    CHECK_EQ(rmdir(dir), 0);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(together), IN_TASK(directly),
                                        IN_TASK(directly_held), IN_TASK(directly_kept),
                                        IN_TASK(kept_together)};

int main(void)
{
    size_t n = WEFT__ARRAY_LEN(cases);
    return kit_main(cases, http_kit_lacks_openat2() ? n - 2 : n); /* the last ones serve files */
}
