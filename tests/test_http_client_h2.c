/* SPDX-License-Identifier: MIT */
/*
 * The HTTP client over HTTP/2 with servers that answer early, late, in one piece or with nothing:
 * trailers, bodies that fail, bodies that are asked for first, heads that are too long. In
 * simulation; the server is mostly bytes by hand.
 */
#include "http2_frame_kit.h"
#include "http_client_kit.h"

#include <weft/http_server.h>
#include <weft/listener.h>
#include <weft/sim.h>

struct scene {
    int (*connection)(struct weft_stream *s, struct scene *x); /* of the server */
    int (*client)(struct scene *x, struct weft_http_client *c);
    struct weft_group *group; /* of the connections */
    struct weft_event over;
    size_t connections;
    size_t produced; /* calls */
    int fails;       /* what the producer comes to, after the first piece */
    int64_t wait_ms; /* before the server says what it says */
    const char *says;
    size_t says_len;
    const char *then; /* behind the body */
    size_t then_len;
    int got;         /* the type of frame that came next */
    int64_t came_ms; /* after the head */
    bool expected;   /* the handler has seen the field */
};

/* --- The server ------------------------------------------------------------------------------- */

/* The preface and what comes until the first head, and settings. */
static void begin(struct weft_stream *s, struct h2_frame *f)
{
    char preface[24];
    CHECK_EQ(weft_read_full(s, preface, sizeof preface, soon()), 0);
    CHECK_EQ(weft_write(s, "\0\0\0\4\0\0\0\0\0", 9, soon()), 0);
    do
        CHECK_EQ(read_frame(s, f, soon()), 0);
    while (f->type != HEADERS);
}

/* Of the stream that the client opens first. */
#define OK_ALONE "\0\0\1\1\5\0\0\0\1\x88"
#define OK_HEAD "\0\0\1\1\4\0\0\0\1\x88"
#define CONTINUE                                                                                   \
    "\0\0\5\1\4\0\0\0\1\x08\x03"                                                                   \
    "100"
#define HINTS                                                                                      \
    "\0\0\5\1\4\0\0\0\1\x08\x03"                                                                   \
    "103"
#define TOO_MUCH                                                                                   \
    "\0\0\5\1\5\0\0\0\1\x08\x03"                                                                   \
    "413"

static void put(struct weft_stream *s, const char *data, size_t len)
{
    CHECK_EQ(weft_write(s, data, len, soon()), 0);
    CHECK_EQ(weft_flush(s, soon()), 0);
}
#define PUT(s, text) put(s, text, sizeof(text) - 1)

struct accepted {
    struct scene *x;
    struct weft_stream *s;
};

static int run_connection(void *arg)
{
    struct accepted *a = arg;
    struct h2_frame f;
    CHECK_EQ(a->x->connection(a->s, a->x), 0);
    while (read_frame(a->s, &f, soon()) == 0) /* until the client ends it */
        continue;
    weft_abort(&a->s);
    free(a);
    return 0;
}

static int accept_all(void *arg)
{
    struct scene *x = arg;
    struct weft_listener *l = NULL;
    CHECK_EQ(weft_listen(&l, "tcp://*:80", NULL), 0);
    for (;;) {
        struct accepted *a = calloc(1, sizeof *a);
        CHECK(a != NULL);
        a->x = x;
        if (weft_accept(l, &a->s, WEFT_NEVER) < 0) {
            free(a);
            break;
        }
        x->connections++;
        kit_go(x->group, "connection", run_connection, a);
    }
    weft_listener_close(&l);
    return 0;
}

static int be_server(void *arg)
{
    struct scene *x = arg;
    x->group = kit_group();
    struct weft_group *g = kit_group();
    kit_go(g, "accepts", accept_all, x);
    CHECK_EQ(weft_event_wait(&x->over, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_wait(x->group, soon()), 0); /* the client has closed them all */
    CHECK_EQ(weft_group_close(&x->group), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int be_client(void *arg)
{
    struct scene *x = arg;
    struct weft_http_client *c = client_of(&(struct weft_http_client_options){.http2_prior = true});
    int err = x->client(x, c);
    weft_http_client_close(&c);
    weft_event_set(&x->over);
    return err;
}

static void play_with(struct scene *x, weft_fn server)
{
    struct weft_sim *sim = NULL;
    CHECK_EQ(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 1}), 0);
    CHECK_EQ(weft_sim_host(sim, "server", server, x), 0);
    CHECK_EQ(weft_sim_host(sim, "client", be_client, x), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(600)), 0);
    CHECK_EQ(weft_sim_close(&sim), 0);
}

static void play(struct scene *x)
{
    play_with(x, be_server);
}

/* --- Trailers --------------------------------------------------------------------------------- */

#define TRAILERS                                                                                   \
    "\0\0\x0f\1\5\0\0\0\1\0\x0b"                                                                   \
    "grpc-status"                                                                                  \
    "\1"                                                                                           \
    "5"

static int both_at_once(struct weft_stream *s, struct scene *x)
{
    struct h2_frame f;
    (void)x;
    begin(s, &f);
    PUT(s, OK_HEAD TRAILERS);
    return 0;
}

static int one_by_one(struct weft_stream *s, struct scene *x)
{
    struct h2_frame f;
    (void)x;
    begin(s, &f);
    PUT(s, OK_HEAD);
    CHECK_EQ(weft_sleep_ms(100), 0);
    PUT(s, TRAILERS);
    return 0;
}

static int wants_trailers(struct scene *x, struct weft_http_client *c)
{
    struct weft_http_reply *r = NULL;
    const void *data;
    size_t len;
    (void)x;
    CHECK_EQ(weft_http_get(c, "http://server/", &r, soon()), 0);
    CHECK_EQ(weft_http_reply_status(r), 200);
    CHECK_EQ(weft_http_reply_body(r, &data, &len, soon()), 0);
    CHECK_EQ(len, 0);
    CHECK(weft_http_reply_trailer(r, "grpc-status") != NULL);
    CHECK_EQ(strcmp(weft_http_reply_trailer(r, "grpc-status"), "5"), 0);
    weft_http_reply_close(&r);
    return 0;
}

/* Behind a body of nothing, too, in whatever pieces they come. */
static void trailers(void)
{
    play(&(struct scene){.connection = one_by_one, .client = wants_trailers});
    play(&(struct scene){.connection = both_at_once, .client = wants_trailers});
}

/* --- Bodies that fail ------------------------------------------------------------------------- */

static ssize_t produce_and_fail(void *arg, void *buf, size_t cap, weft_deadline d)
{
    struct scene *x = arg;
    (void)d;
    if (x->produced++ > 0)
        return x->fails;
    memset(buf, 'p', cap);
    return (ssize_t)cap;
}

static int rewind_it(void *arg)
{
    (void)arg;
    return 0;
}

/* Says nothing of the second request. */
static int waits_for_more(struct weft_stream *s, struct scene *x)
{
    struct h2_frame f;
    begin(s, &f);
    PUT(s, OK_ALONE);
    do
        CHECK_EQ(read_frame(s, &f, soon()), 0);
    while (f.id != 3 || (f.type != RST_STREAM && (f.flags & END_STREAM) == 0));
    x->got = f.type;
    return 0;
}

static int fails_half_way(struct scene *x, struct weft_http_client *c)
{
    struct weft_http_reply *r = NULL;
    struct weft_http_client_stats st;
    const struct weft_http_call call = {.url = "http://server/",
                                        .method = "PUT",
                                        .produce = produce_and_fail,
                                        .rewind = rewind_it,
                                        .produce_arg = x,
                                        .produce_len = -1};
    CHECK_EQ(weft_http_get(c, "http://server/", &r, soon()), 0);
    weft_http_reply_close(&r);
    int64_t began = weft_now_ns();
    CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), x->fails);
    CHECK(weft_now_ns() - began < weft_s(1));
    CHECK_EQ(x->produced, 2); /* it is not sent again */
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.retries, 0);
    return 0;
}

/* An error of the producer's ends the request, whatever a connection could mean by it. */
static void producers_fail(void)
{
    static const int errors[] = {-EPIPE, -ECONNRESET, WEFT_EEOF, -EIO};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(errors); i++) {
        struct scene x = {
            .connection = waits_for_more, .client = fails_half_way, .fails = errors[i]};
        play(&x);
        CHECK_EQ(x.got, RST_STREAM);
        CHECK_EQ(x.connections, 1);
    }
}

/* --- Bodies that are asked for first ---------------------------------------------------------- */

/* Says what it is to say some time after the head, and sees what comes then, and when. */
static int answers_later(struct weft_stream *s, struct scene *x)
{
    struct h2_frame f;
    begin(s, &f);
    int64_t began = weft_now_ns();
    CHECK_EQ(weft_sleep_ms(x->wait_ms), 0);
    CHECK_EQ(x->produced, 0);
    put(s, x->says, x->says_len);
    do
        CHECK_EQ(read_frame(s, &f, soon()), 0);
    while (f.type != DATA && f.type != RST_STREAM);
    x->got = f.type;
    x->came_ms = (weft_now_ns() - began) / 1000000;
    while (f.type == DATA && (f.flags & END_STREAM) == 0)
        CHECK_EQ(read_frame(s, &f, soon()), 0);
    if (f.type == DATA)
        put(s, x->then, x->then_len);
    return 0;
}

static ssize_t produce_once(void *arg, void *buf, size_t cap, weft_deadline d)
{
    struct scene *x = arg;
    (void)cap, (void)d;
    memset(buf, 'p', 100);
    return x->produced++ == 0 ? 100 : 0;
}

static int post_and_expect(struct scene *x, struct weft_http_client *c, const char *url)
{
    struct weft_http_reply *r = NULL;
    const struct weft_http_call call = {.url = url,
                                        .produce = produce_once,
                                        .produce_arg = x,
                                        .produce_len = -1,
                                        .expect_continue = true};
    CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), 0);
    int status = weft_http_reply_status(r);
    weft_http_reply_close(&r);
    return status;
}

static int is_let(struct scene *x, struct weft_http_client *c)
{
    CHECK_EQ(post_and_expect(x, c, "http://server/"), 200);
    CHECK_EQ(x->produced, 2);
    return 0;
}

static int is_not_let(struct scene *x, struct weft_http_client *c)
{
    CHECK_EQ(post_and_expect(x, c, "http://server/"), 413);
    CHECK_EQ(x->produced, 0);
    return 0;
}

static void let(const char *says, size_t says_len, const char *then, size_t then_len,
                int64_t wait_ms, int64_t came_ms)
{
    struct scene x = {.connection = answers_later,
                      .client = is_let,
                      .wait_ms = wait_ms,
                      .says = says,
                      .says_len = says_len,
                      .then = then,
                      .then_len = then_len};
    play(&x);
    CHECK_EQ(x.got, DATA);
    CHECK(x.came_ms >= came_ms && x.came_ms < came_ms + 500);
}

static void asks_first(void)
{
    static const char hints[] = HINTS, both[] = HINTS CONTINUE, refusal[] = TOO_MUCH,
                      ok[] = OK_ALONE, ok_head[] = OK_HEAD, end[] = "\0\0\0\0\1\0\0\0\1";
    let(both, sizeof both - 1, ok, sizeof ok - 1, 300, 300);
    let(ok_head, sizeof ok_head - 1, end, sizeof end - 1, 300, 300);
    let(hints, sizeof hints - 1, ok, sizeof ok - 1, 0, 1000); /* it does not know of it */
    struct scene no = {.connection = answers_later,
                       .client = is_not_let,
                       .wait_ms = 300,
                       .says = refusal,
                       .says_len = sizeof refusal - 1};
    play(&no);
    CHECK_EQ(no.got, RST_STREAM);
}

/* Our own server asks for the body when the handler does. */
static int reads_it(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct scene *x = arg;
    const void *data;
    size_t len;
    CHECK_EQ(weft_sleep_ms(300), 0);
    CHECK_EQ(x->produced, 0);
    x->expected = weft_http_field(q, "Expect") != NULL;
    int64_t began = weft_now_ns();
    int err = weft_http_body(q, &data, &len, soon());
    x->came_ms = (weft_now_ns() - began) / 1000000;
    return err < 0 ? err : weft_http_text(r, 200, "%zu", len);
}

static int refuses_it(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 403, "no");
}

static int be_our_server(void *arg)
{
    struct scene *x = arg;
    struct weft_group *g = kit_group();
    struct weft_http_app *app = NULL;
    struct weft_http_server *server = NULL;
    CHECK_EQ(weft_http_app_open(&app), 0);
    CHECK_EQ(weft_http_route(app, "POST /read", reads_it, x), 0);
    CHECK_EQ(weft_http_route(app, "POST /refuse", refuses_it, x), 0);
    CHECK_EQ(weft_http_server_open(&server, g, "tcp://*:80", app, NULL), 0);
    CHECK_EQ(weft_event_wait(&x->over, WEFT_NEVER), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_http_app_close(&app);
    return 0;
}

static int asks_ours(struct scene *x, struct weft_http_client *c)
{
    CHECK_EQ(post_and_expect(x, c, "http://server/refuse"), 403);
    CHECK_EQ(x->produced, 0);
    CHECK_EQ(post_and_expect(x, c, "http://server/read"), 200);
    CHECK_EQ(x->produced, 2);
    CHECK(x->expected);
    CHECK(x->came_ms < 500); /* which is long before the client's patience ends */
    return 0;
}

static void asks_first_of_ours(void)
{
    play_with(&(struct scene){.client = asks_ours}, be_our_server);
}

/* --- Heads that are too long ------------------------------------------------------------------ */

static int answers_twice(struct weft_stream *s, struct scene *x)
{
    struct h2_frame f;
    (void)x;
    begin(s, &f);
    PUT(s, OK_ALONE);
    do
        CHECK_EQ(read_frame(s, &f, soon()), 0);
    while (f.type != HEADERS);
    CHECK_EQ(f.id, 3); /* nothing was asked in between */
    PUT(s, "\0\0\1\1\5\0\0\0\3\x88");
    return 0;
}

static int ask_long(struct weft_http_client *c, size_t path, size_t value)
{
    static char url[65536], text[65536];
    struct weft_http_reply *r = NULL;
    int n = snprintf(url, sizeof url, "http://server/");
    memset(url + n, 'a', path);
    url[(size_t)n + path] = '\0';
    memset(text, 'v', value);
    text[value] = '\0';
    const struct weft_http_field field = {.name = "X-Long", .value = text};
    const struct weft_http_call call = {.url = url, .fields = &field, .n_fields = 1};
    int err = weft_http_fetch(c, &call, &r, soon());
    if (err < 0)
        CHECK(strstr(weft_error_detail(), "head of the request") != NULL);
    weft_http_reply_close(&r);
    return err;
}

static int asks_too_long(struct scene *x, struct weft_http_client *c)
{
    struct weft_http_client_stats st;
    (void)x;
    CHECK_EQ(ask_long(c, 10, 10), 0);
    CHECK_EQ(ask_long(c, 40000, 40000), -EINVAL);
    CHECK_EQ(ask_long(c, 10, 65300), -EINVAL);
    CHECK_EQ(ask_long(c, 30000, 35000), 0);
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.connections, 1);
    return 0;
}

/* The target counts as the fields do; and that it does not go is no fault of the connection. */
static void too_long(void)
{
    struct scene x = {.connection = answers_twice, .client = asks_too_long};
    play(&x);
    CHECK_EQ(x.connections, 1);
}

static const struct kit_case cases[] = {
    ONCE(too_long),   ONCE(trailers),           ONCE(producers_fail),
    ONCE(asks_first), ONCE(asks_first_of_ours),
};
KIT_MAIN(cases)
