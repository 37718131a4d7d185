/* SPDX-License-Identifier: MIT */
/*
 * How the HTTP client's connections end, as the server sees it: with the end of the stream where
 * all was said, by a reset where an exchange was given up.
 */
#include <sys/socket.h>

#include <weft/server.h>
#include <weft/tls.h>

#include "http_client_kit.h"

#define HEAD_LINE_MAX 1024

struct site {
    struct weft_group *g;
    char *pem; /* NULL: it speaks in the clear */
    struct weft_tls *trusting;
    const char *reply;
    char url[WEFT_ENDPOINT_MAX];
    size_t connections;
    struct weft_event ended;
    ssize_t end; /* what the server's last read came to */
};

/* Answers what it is asked with the reply, until the client ends. */
static int answers(struct weft_stream *s, void *arg)
{
    struct site *k = arg;
    char line[HEAD_LINE_MAX];
    ssize_t n;
    while ((n = weft_read_until(s, line, sizeof line, '\n', soon())) > 0) {
        if (n > 2) /* not the empty one */
            continue;
        CHECK_EQ(weft_write(s, k->reply, strlen(k->reply), soon()), 0);
        CHECK_EQ(weft_flush(s, soon()), 0);
    }
    k->end = n;
    weft_event_set(&k->ended);
    return 0;
}

/* The same, but the first connection ends when it is asked for the second time; over TLS without
 * close_notify. */
static int hangs_up_once(struct weft_stream *s, void *arg)
{
    struct site *k = arg;
    char line[HEAD_LINE_MAX];
    if (k->connections++ > 0)
        return answers(s, arg);
    for (int heads = 0; heads < 2;) {
        ssize_t n = weft_read_until(s, line, sizeof line, '\n', soon());
        CHECK(n > 0);
        heads += n == 2;
        if (heads == 1 && n == 2)
            CHECK_EQ(weft_write(s, k->reply, strlen(k->reply), soon()), 0);
    }
    CHECK_EQ(shutdown(weft_stream_fd(s), SHUT_WR), 0);
    CHECK(weft_read(s, line, sizeof line, soon()) <= 0); /* the client has seen it */
    return 0;
}

static void site_open(struct site *k, bool secure, weft_handler handler, const char *reply)
{
    struct weft_server *server = NULL;
    char at[WEFT_ENDPOINT_MAX];
    *k = (struct site){.g = kit_group(), .reply = reply, .end = 1};
    if (secure) {
        CHECK_EQ(weft_tls_self_signed(&k->pem, NULL, 0), 0);
        CHECK_EQ(weft_tls_open(&k->trusting,
                               &(struct weft_tls_options){.ca = k->pem, .alpn = "http/1.1"}),
                 0);
    }
    const struct weft_server_options o = {.cert = k->pem};
    CHECK_EQ(weft_server_open(&server, k->g, secure ? "tls://127.0.0.1:0" : "tcp://127.0.0.1:0", &o,
                              handler, k, NULL),
             0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    (void)snprintf(k->url, sizeof k->url, "%s://127.0.0.1%s/", secure ? "https" : "http",
                   strrchr(at, ':'));
}

/* What the server saw, once the client has ended. */
static ssize_t site_close(struct site *k)
{
    CHECK_EQ(weft_event_wait(&k->ended, soon()), 0);
    weft_group_cancel(k->g);
    (void)!weft_group_close(&k->g);
    weft_tls_close(&k->trusting);
    weft_tls_text_free(&k->pem);
    return k->end;
}

static void ask(struct weft_http_client *c, const struct site *k)
{
    struct weft_http_reply *r = NULL;
    const void *data;
    size_t len;
    CHECK_EQ(weft_http_get(c, k->url, &r, soon()), 0);
    CHECK_EQ(weft_http_reply_body(r, &data, &len, soon()), 0);
    CHECK_EQ(len, 2);
    weft_http_reply_close(&r);
}

static int with_the_client(void *arg)
{
    (void)arg;
    for (int secure = 0; secure < 2; secure++) {
        struct site k;
        site_open(&k, secure, answers, OK("2\r\n\r\nok"));
        struct weft_http_client *c =
            client_of(&(struct weft_http_client_options){.tls = k.trusting});
        ask(c, &k);
        ask(c, &k);
        weft_http_client_close(&c);
        CHECK_EQ(site_close(&k), 0); /* over TLS that is close_notify */
    }
    return 0;
}

/* When it has been idle for long enough; and when the server has said that it is the last. */
static int before_the_client(void *arg)
{
    static const char *const replies[] = {
        OK("2\r\n\r\nok"), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"};
    (void)arg;
    for (int i = 0; i < 4; i++) {
        struct site k;
        site_open(&k, i / 2, answers, replies[i % 2]);
        struct weft_http_client *c = client_of(&(struct weft_http_client_options){
            .tls = k.trusting, .idle_ms = i % 2 == 0 ? 10 : 60000});
        ask(c, &k);
        CHECK_EQ(site_close(&k), 0);
        weft_http_client_close(&c);
    }
    return 0;
}

/* A kept connection that ends before a byte of the reply has come, cleanly or not: once more. */
static int before_the_reply(void *arg)
{
    (void)arg;
    for (int secure = 0; secure < 2; secure++) {
        struct site k;
        struct weft_http_client_stats st;
        site_open(&k, secure, hangs_up_once, OK("2\r\n\r\nok"));
        struct weft_http_client *c =
            client_of(&(struct weft_http_client_options){.tls = k.trusting});
        ask(c, &k);
        ask(c, &k);
        weft_http_client_stats(c, &st);
        CHECK_EQ(st.retries, 1);
        CHECK_EQ(k.connections, 2);
        weft_http_client_close(&c);
        CHECK_EQ(site_close(&k), 0);
    }
    return 0;
}

static int given_up(void *arg)
{
    (void)arg;
    struct site k;
    struct weft_http_reply *r = NULL;
    struct weft_http_client *c = client_of(NULL);
    site_open(&k, false, answers, OK("100\r\n\r\nthe beginning"));
    CHECK_EQ(weft_http_get(c, k.url, &r, soon()), 0);
    weft_http_reply_close(&r);
    CHECK_EQ(site_close(&k), -ECONNRESET);
    weft_http_client_close(&c);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(with_the_client),
    IN_TASK(before_the_client),
    IN_TASK(before_the_reply),
    IN_TASK(given_up),
};
KIT_MAIN(cases)
