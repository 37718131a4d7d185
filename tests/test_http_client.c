/* SPDX-License-Identifier: MIT */
/*
 * The HTTP client against a server that says canned bytes: bodies, connections that are kept,
 * redirects, retries, time-outs, limits.
 */
#include <weft/http_client.h>
#include <weft/offload.h>

#include "http_client_kit.h"

/* --- Bodies ----------------------------------------------------------------------------------- */

static int bodies(void *arg)
{
    struct script k;
    struct weft_http_client_stats st;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("5\r\n\r\nhello")),
                SCRIPT_TEXT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "3\r\nfoo\r\n4;x=y\r\nbars\r\n0\r\nX-Sum: 7\r\n\r\n"),
                SCRIPT_TEXT("HTTP/1.1 204 No Content\r\n\r\n"), SCRIPT_TEXT(OK("0\r\n\r\n")),
                SCRIPT_TEXT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n"
                            "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"),
                {.reply = "HTTP/1.0 200 OK\r\n\r\nup to the end", .hang_up = true});
    struct weft_http_client *c = client_of(NULL);
    get(c, &k, "/a?b=c", 200, "hello");
    get(c, &k, "/", 200, "foobars");
    get(c, &k, "/", 204, "");
    get(c, &k, "/", 200, "");
    get(c, &k, "/", 404, "no");
    get(c, &k, "/", 200, "up to the end");
    CHECK_EQ(k.connections, 1); /* one connection for all of them */
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.requests, 6);
    CHECK_EQ(st.reused, 5);
    CHECK_EQ(st.open, 0);
    CHECK(begins(k.asked[0], "GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:"));
    CHECK(strstr(k.asked[0], "\r\nUser-Agent: weft/") != NULL);
    CHECK(strstr(k.asked[0], "\r\nAccept-Encoding: gzip, deflate, br\r\n") != NULL);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

static int fields_and_trailers(void *arg)
{
    struct script k;
    struct weft_http_reply *r = NULL;
    char buf[3];
    size_t n;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT("HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\n"
                                "x-two:  b c \r\nX-One: again\r\n\r\n"
                                "5\r\nabcde\r\n0\r\nX-Sum: 7\r\n\r\n"));
    struct weft_http_client *c = client_of(NULL);
    CHECK_EQ(weft_http_get(c, k.url, &r, soon()), 0);
    CHECK_EQ(weft_http_reply_version(r), 11);
    CHECK_EQ(weft_http_reply_length(r), -1);
    CHECK(strcmp(weft_http_reply_field(r, "x-one"), "1") == 0);
    CHECK(strcmp(weft_http_reply_field(r, "X-TWO"), "b c") == 0);
    CHECK(weft_http_reply_field(r, "X-Three") == NULL);
    const struct weft_http_field *f = weft_http_reply_fields(r, &n);
    CHECK_EQ(n, 4);
    CHECK(strcmp(f[3].name, "X-One") == 0 && strcmp(f[3].value, "again") == 0);
    CHECK_EQ(f[3].value_len, 5);
    CHECK(weft_http_reply_trailer(r, "X-Sum") == NULL); /* not yet */
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, soon()), 3);
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, soon()), 2);
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, soon()), 0);
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, soon()), 0);
    CHECK(strcmp(weft_http_reply_trailer(r, "x-sum"), "7") == 0);
    weft_http_reply_close(&r);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* What frames a message wrongly is refused, and its connection is not used again. */
static int not_http(void *arg)
{
    static const struct {
        const char *reply;
        int error;
    } cases[] = {
        {"SSH-2.0-OpenSSH\r\n\r\n", WEFT_EPROTOCOL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", WEFT_EPROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", WEFT_EPROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", WEFT_EPROTOCOL},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
         WEFT_EPROTOCOL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", WEFT_EEOF},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", WEFT_EEOF},
        {"HTTP/1.1 200 O", WEFT_EEOF},
    };
    (void)arg;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct script k;
        struct weft_http_client_stats st;
        struct script_step step = {.reply = cases[i].reply, .hang_up = true};
        script_open(&k, &step, 1);
        struct weft_http_client *c = client_of(NULL);
        CHECK_EQ(get_error(c, &k, "/"), cases[i].error);
        CHECK(weft_error_detail()[0] != '\0');
        weft_http_client_stats(c, &st);
        CHECK_EQ(st.open, 0);
        weft_http_client_close(&c);
        script_close(&k);
    }
    return 0;
}

static int limits(void *arg)
{
    struct script k;
    static char large[70000];
    (void)arg;
    (void)snprintf(large, sizeof large, "HTTP/1.1 200 OK\r\nX: %*d\r\n\r\n", 66000, 1);
    const struct script_step steps[] = {{.reply = large},
                                        SCRIPT_TEXT(OK("9\r\n\r\n123456789")),
                                        SCRIPT_TEXT(OK("8\r\n\r\n12345678"))};
    script_open(&k, steps, 3);
    struct weft_http_client *c =
        client_of(&(struct weft_http_client_options){.body_max = 8, .no_cookies = true});
    CHECK_EQ(get_error(c, &k, "/"), WEFT_ETOOLONG);
    CHECK_EQ(get_error(c, &k, "/"), WEFT_ELIMIT);
    get(c, &k, "/", 200, "12345678");
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* The head of a request has 64 KiB, and not a byte more. */
static int large_requests(void *arg)
{
    enum { HEAD_MAX = 65536, PATH_LEN = 40000 };
    struct script k;
    struct weft_http_reply *r = NULL;
    static char url[PATH_LEN + 200], value[HEAD_MAX + 1];
    struct weft_http_field field = {.name = "X", .value = value};
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("0\r\n\r\n")), SCRIPT_TEXT(OK("0\r\n\r\n")));
    struct weft_http_client *c = client_of(NULL);
    int at = snprintf(url, sizeof url, "%s/", k.url);
    memset(url + at, 'p', PATH_LEN);
    CHECK_EQ(weft_http_get(c, url, &r, soon()), 0);
    weft_http_reply_close(&r);
    size_t rest = HEAD_MAX - strlen(k.asked[0]) - strlen("X: \r\n");
    memset(value, '\0', sizeof value); /* of the driver before */
    memset(value, 'v', rest);
    struct weft_http_call call = {.url = url, .fields = &field, .n_fields = 1};
    CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), 0);
    weft_http_reply_close(&r);
    CHECK_EQ(strlen(k.asked[1]), HEAD_MAX);
    value[rest] = 'v';
    CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), -EINVAL);
    CHECK(strstr(weft_error_detail(), "more than 65536 bytes") != NULL);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* --- Requests --------------------------------------------------------------------------------- */

static int uploads(void *arg)
{
    struct script k;
    struct source source = {.left = 7};
    (void)arg;
    SCRIPT_OPEN(
        &k, SCRIPT_TEXT(OK("0\r\n\r\n")), SCRIPT_TEXT(OK("0\r\n\r\n")),
        SCRIPT_TEXT(OK("0\r\n\r\n")), SCRIPT_TEXT(OK("0\r\n\r\n")),
        {.reply = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
                  "0\r\n\r\n",
         .early = true},
        {.reply = "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", .early = true, .hang_up = true});
    struct weft_http_client *c = client_of(NULL);
    fetch(c, &k, (struct weft_http_call){.url = "/", .body = "abc", .body_len = 3}, 200, "");
    CHECK(begins(k.asked[0], "POST / HTTP/1.1\r\n"));
    CHECK(strstr(k.asked[0], "\r\nContent-Length: 3\r\n\r\nabc") != NULL);
    fetch(c, &k,
          (struct weft_http_call){.url = "/",
                                  .method = "PUT",
                                  .produce = produce,
                                  .produce_arg = &source,
                                  .produce_len = 7},
          200, "");
    CHECK(strstr(k.asked[1], "\r\nContent-Length: 7\r\n\r\nppppppp") != NULL);
    source.left = 7;
    fetch(c, &k,
          (struct weft_http_call){
              .url = "/", .produce = produce, .produce_arg = &source, .produce_len = -1},
          200, "");
    CHECK(strstr(k.asked[2], "\r\n\r\n7\r\nppppppp\r\n0\r\n\r\n") != NULL);
    fetch(c, &k, (struct weft_http_call){.url = "/", .method = "POST"}, 200, "");
    CHECK(strstr(k.asked[3], "\r\nContent-Length: 0\r\n") != NULL);
    fetch(
        c, &k,
        (struct weft_http_call){.url = "/", .body = "abc", .body_len = 3, .expect_continue = true},
        200, "");
    CHECK(strstr(k.asked[4], "\r\nExpect: 100-continue\r\n") != NULL);
    weft_http_client_close(&c); /* the script's connection has an unread body */
    c = client_of(NULL);
    fetch(
        c, &k,
        (struct weft_http_call){.url = "/", .body = "abc", .body_len = 3, .expect_continue = true},
        417, "");
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

struct failing {
    struct source source;
    int error;
};

static ssize_t produce_and_fail(void *arg, void *buf, size_t cap, weft_deadline d)
{
    struct failing *f = arg;
    return f->source.left > 0 ? produce(&f->source, buf, cap, d) : f->error;
}

static int rewind_failing(void *arg)
{
    struct failing *f = arg;
    return rewind_source(&f->source);
}

/* An error of the producer's is told as it is, also where it reads like the server's end. */
static int producers_fail(void *arg)
{
    static const int errors[] = {-EPIPE, -ECONNRESET, WEFT_EEOF, -EIO};
    struct script k;
    char url[1024];
    struct weft_http_reply *r = NULL;
    struct weft_http_client_stats st;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("1\r\n\r\na")), SCRIPT_TEXT(OK("1\r\n\r\na")),
                SCRIPT_TEXT(OK("1\r\n\r\na")), SCRIPT_TEXT(OK("1\r\n\r\na")));
    struct weft_http_client *c = client_of(NULL);
    url_of(url, sizeof url, &k, "/");
    for (size_t i = 0; i < WEFT__ARRAY_LEN(errors); i++) {
        struct failing f = {.source = {.left = 7}, .error = errors[i]};
        struct weft_http_call call = {.url = url,
                                      .method = "PUT",
                                      .produce = produce_and_fail,
                                      .rewind = rewind_failing,
                                      .produce_arg = &f,
                                      .produce_len = -1};
        get(c, &k, "/", 200, "a"); /* and so there is a kept connection */
        CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), errors[i]);
        CHECK_EQ(f.source.rewound, 0);
    }
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.retries, 0);
    CHECK_EQ(st.open, 0);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

static int refused_calls(void *arg)
{
    static const struct weft_http_field evil[] = {
        {.name = "X\r\nY", .value = "1"},
        {.name = "X", .value = "1\r\nY: 2"},
        {.name = "Content-Length", .value = "5"},
        {.name = "transfer-encoding", .value = "chunked"},
        {.name = "", .value = "1"},
    };
    struct weft_http_reply *r = NULL;
    struct weft_http_client *c = client_of(NULL);
    (void)arg;
    for (size_t i = 0; i < sizeof evil / sizeof evil[0]; i++) {
        struct weft_http_call call = {
            .url = "http://127.0.0.1:1/", .fields = &evil[i], .n_fields = 1};
        CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), -EINVAL);
    }
    CHECK_EQ(
        weft_http_fetch(c, &(struct weft_http_call){.url = "http://127.0.0.1:1/", .method = "G T"},
                        &r, soon()),
        -EINVAL);
    CHECK_EQ(weft_http_get(c, "nothing", &r, soon()), WEFT_EURL);
    CHECK_EQ(weft_http_get(c, "ftp://127.0.0.1/", &r, soon()), WEFT_EURL);
    CHECK_EQ(weft_http_get(c, "http://127.0.0.1:1/", &r, soon()), -ECONNREFUSED);
    CHECK_EQ(weft_http_get(c, "http://*:1/", &r, soon()), WEFT_EURL); /* no name of this machine */
    CHECK_EQ(weft_http_get(c, "https://%2a:1/", &r, soon()), WEFT_EURL);
    CHECK(strstr(weft_error_detail(), "\"*\"") != NULL);
    CHECK(r == NULL);
    weft_http_client_close(&c);
    struct weft_http_client *none = NULL;
    CHECK_EQ(weft_http_client_open(&none, &(struct weft_http_client_options){.idle_ms = -1}),
             -EINVAL);
    CHECK(none == NULL);
    return 0;
}

/* --- Kept connections ------------------------------------------------------------------------- */

/* The server ends a kept connection just as the next request comes: a GET goes again by itself, a
 * POST is told. */
static int retried(void *arg)
{
    struct script k;
    struct weft_http_client_stats st;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("1\r\n\r\na")), {.reply = NULL}, SCRIPT_TEXT(OK("1\r\n\r\nb")),
                {.reply = NULL});
    struct weft_http_client *c = client_of(NULL);
    get(c, &k, "/", 200, "a");
    get(c, &k, "/", 200, "b");
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.retries, 1);
    CHECK_EQ(k.connections, 2);
    char url[1024];
    struct weft_http_reply *r = NULL;
    url_of(url, sizeof url, &k, "/");
    CHECK_EQ(weft_http_post(c, url, "text/plain", "x", 1, &r, soon()), WEFT_EEOF);
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.retries, 1);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

static int not_kept(void *arg)
{
    struct script k;
    (void)arg;
    SCRIPT_OPEN(&k,
                SCRIPT_TEXT("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"),
                {.reply = OK("1\r\n\r\nb"), .hang_up = true}, SCRIPT_TEXT(OK("1\r\n\r\nc")),
                SCRIPT_TEXT(OK("1\r\n\r\ndX")), SCRIPT_TEXT(OK("1\r\n\r\ne")));
    struct weft_http_client *c = client_of(NULL);
    get(c, &k, "/", 200, "a"); /* it says close */
    get(c, &k, "/", 200, "b"); /* it has ended before it is used again */
    kit_settle();
    get(c, &k, "/", 200, "c");
    get(c, &k, "/", 200, "d"); /* bytes nobody asked for */
    get(c, &k, "/", 200, "e");
    CHECK(k.connections >= 4);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

struct asker {
    struct weft_http_client *c;
    const struct script *k;
};

static int ask_once(void *arg)
{
    struct asker *a = arg;
    get(a->c, a->k, "/", 200, "x");
    return 0;
}

/* Twenty at once through two connections. */
static int places(void *arg)
{
    struct script k;
    struct script_step steps[20];
    struct weft_http_client_stats st;
    (void)arg;
    for (size_t i = 0; i < 20; i++)
        steps[i] = (struct script_step)SCRIPT_TEXT(OK("1\r\n\r\nx"));
    script_open(&k, steps, 20);
    struct weft_http_client *c = client_of(&(struct weft_http_client_options){.max_per_host = 2});
    struct asker a = {.c = c, .k = &k};
    struct weft_group *g = kit_group();
    for (size_t i = 0; i < 20; i++)
        kit_go(g, "asks", ask_once, &a);
    CHECK_EQ(weft_group_wait(g, weft_after_s(30)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(k.connections, 2);
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.open, 2);
    CHECK_EQ(st.idle, 2);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* A place is waited for no longer than the deadline; another host's idle connection gives its own.
 */
static int places_run_out(void *arg)
{
    struct script k, other;
    static const struct script_step more[] = {SCRIPT_TEXT(OK("1\r\n\r\no"))};
    struct weft_http_reply *r = NULL, *r2 = NULL;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("9\r\n\r\npart")));
    script_open(&other, more, 1);
    struct weft_http_client *c =
        client_of(&(struct weft_http_client_options){.max_connections = 1});
    CHECK_EQ(weft_http_get(c, k.url, &r, soon()), 0);
    CHECK_EQ(weft_http_get(c, other.url, &r2, weft_after_ms(20)), -ETIMEDOUT);
    weft_http_reply_close(&r); /* half read: the connection goes, and its place is free */
    get(c, &other, "/", 200, "o");
    weft_http_client_close(&c);
    script_close(&k);
    script_close(&other);
    return 0;
}

static int idle_ends(void *arg)
{
    struct script k;
    struct weft_http_client_stats st;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("1\r\n\r\nx")));
    struct weft_http_client *c = client_of(&(struct weft_http_client_options){.idle_ms = 5});
    get(c, &k, "/", 200, "x");
    do {
        CHECK_EQ(weft_sleep_ms(1), 0);
        weft_http_client_stats(c, &st);
    } while (st.open > 0); /* the loop's own timer ends it */
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* --- Time-outs and cancels -------------------------------------------------------------------- */

static int time_outs(void *arg)
{
    struct script k;
    struct weft_http_client_stats st;
    struct weft_http_reply *r = NULL;
    char buf[16];
    (void)arg;
    SCRIPT_OPEN(&k, {.hang = true}, SCRIPT_TEXT(OK("9\r\n\r\npart")));
    struct weft_http_client *c = client_of(NULL);
    CHECK_EQ(weft_http_get(c, k.url, &r, weft_after_ms(20)), -ETIMEDOUT);
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.open, 0);
    CHECK_EQ(weft_http_get(c, k.url, &r, soon()), 0);
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, soon()), 4);
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, weft_after_ms(20)), -ETIMEDOUT);
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, WEFT_NOW), -ETIMEDOUT); /* nothing is lost */
    weft_http_reply_close(&r);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

static int ask_forever(void *arg)
{
    struct asker *a = arg;
    struct weft_http_reply *r = NULL;
    CHECK_EQ(weft_http_get(a->c, a->k->url, &r, WEFT_NEVER), -ECANCELED);
    return 0;
}

static int canceled(void *arg)
{
    struct script k;
    struct weft_http_client_stats st;
    (void)arg;
    SCRIPT_OPEN(&k, {.hang = true});
    struct weft_http_client *c = client_of(&(struct weft_http_client_options){.max_per_host = 1});
    struct asker a = {.c = c, .k = &k};
    struct weft_group *g = kit_group();
    kit_go(g, "waits for a reply", ask_forever, &a);
    kit_go(g, "waits for a place", ask_forever, &a);
    while (k.next == 0)
        CHECK_EQ(weft_yield(), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.open, 0);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* --- Plain threads ---------------------------------------------------------------------------- */

static int on_thread(struct weft_job *job, void *arg)
{
    (void)job;
    const struct script *k = arg;
    struct weft_http_reply *r = NULL, *r2 = NULL;
    struct weft_http_client *c = client_of(&(struct weft_http_client_options){.max_per_host = 1});
    get(c, k, "/", 200, "a");
    get(c, k, "/", 200, "b");
    CHECK_EQ(weft_http_get(c, k->url, &r, soon()), 0);
    CHECK_EQ(weft_http_get(c, k->url, &r2, soon()), WEFT_ELIMIT);
    weft_http_reply_close(&r);
    weft_http_client_close(&c);
    return 0;
}

static int threads(void *arg)
{
    struct script k;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("1\r\n\r\na")), SCRIPT_TEXT(OK("1\r\n\r\nb")),
                SCRIPT_TEXT(OK("1\r\n\r\nc")));
    CHECK_EQ(weft_offload(on_thread, &k, weft_after_s(30)), 0);
    script_close(&k);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(bodies),         IN_TASK(fields_and_trailers),
    IN_TASK(not_http),       IN_TASK(limits),
    IN_TASK(uploads),        IN_TASK(refused_calls),
    IN_TASK(large_requests), IN_TASK(producers_fail),
    IN_TASK(retried),        IN_TASK(not_kept),
    IN_TASK(places),         IN_TASK(places_run_out),
    IN_TASK(idle_ends),      IN_TASK(time_outs),
    IN_TASK(canceled),       IN_TASK(threads),
};
KIT_MAIN(cases)
