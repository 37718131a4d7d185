/* SPDX-License-Identifier: MIT */
/*
 * Which connection a request of the HTTP client goes by where there is no place for a new one, and
 * the server, by HTTP/2, takes several on one. The server is bytes by hand.
 */
#include <weft/offload.h>

#include "http_client_kit.h"

#define HEADERS 1

struct site {
    struct weft_group *group;
    char url[WEFT_ENDPOINT_MAX + 8];
    _Atomic size_t connections, requests; /* of both threads */
};

/* All of it; false: the connection has ended, or the test has, which may be within a frame. */
static bool read_all(struct weft_stream *s, void *buf, size_t len)
{
    int err = weft_read_full(s, buf, len, soon());
    CHECK(err == 0 || err == WEFT_EEOF || err == -ECONNRESET || err == -ECANCELED);
    return err == 0;
}

/* The first request gets a head whose body does not come, the second is refused, and all others are
 * answered. */
static int refuses_the_second(struct weft_stream *s, void *arg)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0";
    static const char begun[] = "\0\0\1\1\4\0\0\0\0\x88";       /* END_HEADERS; :status 200 */
    static const char refused[] = "\0\0\4\3\0\0\0\0\0\0\0\0\7"; /* REFUSED_STREAM */
    static const char whole[] = "\0\0\1\1\5\0\0\0\0\x88";       /* END_STREAM, too */
    struct site *k = arg;
    uint8_t head[9], rest[16384];
    char reply[16];
    k->connections++;
    CHECK_EQ(weft_read_full(s, rest, 24, soon()), 0); /* the preface */
    CHECK_EQ(weft_write(s, settings, sizeof settings - 1, soon()), 0);
    while (read_all(s, head, sizeof head)) {
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        CHECK(len <= sizeof rest);
        if (len > 0 && !read_all(s, rest, len))
            break;
        if (head[3] != HEADERS)
            continue;
        size_t n = ++k->requests;
        len = n == 2 ? sizeof refused - 1 : sizeof whole - 1;
        memcpy(reply, n == 1 ? begun : n == 2 ? refused : whole, len);
        memcpy(reply + 5, head + 5, 4); /* its stream */
        CHECK_EQ(weft_write(s, reply, len, soon()), 0);
    }
    return 0;
}

/* A stream that was refused may be asked for again on the same connection (RFC 9113 section 8.7),
 * and has to where there is no place for another. */
static void ask_again(const struct site *k)
{
    const struct weft_http_client_options o[] = {{.http2_prior = true, .max_per_host = 1},
                                                 {.http2_prior = true, .max_connections = 1}};
    struct weft_http_client *c = client_of(&o[k->connections]);
    struct weft_http_client_stats st;
    struct weft_http_reply *held = NULL, *r = NULL;
    size_t before = k->connections;
    CHECK_EQ(weft_http_get(c, k->url, &held, soon()), 0);
    CHECK_EQ(weft_http_get(c, k->url, &r, soon()), 0);
    CHECK_EQ(weft_http_reply_status(r), 200);
    weft_http_client_stats(c, &st);
    CHECK_EQ(st.retries, 1);
    CHECK_EQ(k->connections, before + 1);
    weft_http_reply_close(&r);
    weft_http_reply_close(&held);
    weft_http_client_close(&c);
}

static int on_thread(struct weft_job *job, void *arg)
{
    (void)job;
    ask_again(arg);
    return 0;
}

static int refused(void *arg)
{
    struct site k = {.group = kit_group()};
    struct weft_server *server = NULL;
    char at[WEFT_ENDPOINT_MAX];
    (void)arg;
    CHECK_EQ(
        weft_server_open(&server, k.group, "tcp://127.0.0.1:0", NULL, refuses_the_second, &k, NULL),
        0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    (void)snprintf(k.url, sizeof k.url, "http%s/", strchr(at, ':'));
    ask_again(&k);
    CHECK_EQ(k.requests, 3);
    k.requests = 0;
    CHECK_EQ(weft_offload(on_thread, &k, weft_after_s(60)), 0);
    CHECK_EQ(k.requests, 3);
    weft_group_cancel(k.group);
    (void)weft_group_close(&k.group);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(refused)};
KIT_MAIN(cases)
