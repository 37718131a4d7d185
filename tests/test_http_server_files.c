/* SPDX-License-Identifier: MIT */
/*
 * Files of the HTTP server where something stands beside them: middleware over a part of them,
 * fields that were set before, a thread without a loop, another program that cuts them short.
 */
#include "http_kit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "http/static.h"

static void make_files(void)
{
    http_kit_dir_open();
    http_kit_file("a.txt", "0123456789", 10);
    http_kit_file("a.txt.gz", "gzip", 4);
    http_kit_dir_below("private");
    http_kit_dir_below("private/docs");
    http_kit_file("private/docs/secret.txt", "secret", 6);
    http_kit_file("private/docs/index.html", "secret", 6);
}

/* There is one way to write the path of a file, so middleware over a part of them sees all that
 * lies there. */
static int one_name(void *arg)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {HTTP_KIT_GET("/a.txt"), 200},
        {HTTP_KIT_GET("//a.txt"), 404},
        {HTTP_KIT_GET("/private/docs/secret.txt"), 403},
        {HTTP_KIT_GET("/private//docs/secret.txt"), 404},
        {HTTP_KIT_GET("//private/docs/secret.txt"), 404},
        {HTTP_KIT_GET("/private///docs/"), 404},
        {HTTP_KIT_GET("/private//docs"), 404},
        {HTTP_KIT_GET("/private/docs//"), 403},
        {HTTP_KIT_GET("/private/%64ocs/secret.txt"), 403},
        {HTTP_KIT_GET("/private/./docs/secret.txt"), 400},
        {HTTP_KIT_GET("/private/%2e/docs/secret.txt"), 400},
        {HTTP_KIT_GET("/a/../private/docs/secret.txt"), 400},
        {HTTP_KIT_GET("/private%2Fdocs/secret.txt"), 404},
        {HTTP_KIT_GET("/private/%2Fdocs/secret.txt"), 404},
        {HTTP_KIT_GET("/private/%2F/docs/secret.txt"), 404},
    };
    struct http_kit k;
    char buf[4096];
    (void)arg;
    make_files();
    for (int keep = 0; keep < 2; keep++) {
        struct weft_http_app *app = http_kit_app();
        CHECK_EQ(weft_http_use(app, "/private/docs", http_kit_no_entry, NULL), 0);
        CHECK_EQ(weft_http_static(
                     app, "/",
                     &(struct weft_http_static_options){.dir = http_kit_dir, .keep_open = keep}),
                 0);
        http_kit_open(&k, app, NULL);
        for (size_t i = 0; i < WEFT__ARRAY_LEN(rows); i++) {
            http_kit_expect(&k, rows[i].request, rows[i].status, buf, sizeof buf);
            CHECK(strstr(buf, "secret") == NULL);
        }
        http_kit_close(&k);
    }
    http_kit_dir_close();
    return 0;
}

static int by_origin(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    int err = weft_http_set(r, "Vary", "Origin");
    return err < 0 ? err : weft_http_next(q, r);
}

/* What middleware says to caches stays, beside what precompressed files have to say. */
static int vary(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    make_files();
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(weft_http_use(app, "/", by_origin, NULL), 0);
    CHECK_EQ(weft_http_static(
                 app, "/f",
                 &(struct weft_http_static_options){.dir = http_kit_dir, .precompressed = true}),
             0);
    http_kit_open(&k, app, NULL);
    (void)http_kit_ask(&k,
                       "GET /f/a.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n"
                       "Connection: close\r\n\r\n",
                       buf, sizeof buf);
    CHECK(http_kit_has(buf, "\r\n\r\ngzip"));
    CHECK(http_kit_has(buf, "Vary: Origin") && http_kit_has(buf, "Vary: Accept-Encoding"));
    http_kit_close(&k);
    http_kit_dir_close();
    return 0;
}

static int lend(struct weft_stream *s, void *arg)
{
    return weft_http_serve_stream(&s, arg, NULL);
}

/* A thread has no loop whose turns say for how long a kept file is known to be the same. */
static int on_a_thread(void *arg)
{
    const struct weft_server_options o = {.model = WEFT_THREADS};
    struct weft_http_app *app = http_kit_app();
    struct weft_group *g = kit_group();
    struct weft_server *server = NULL;
    struct http_kit k;
    char buf[4096];
    (void)arg;
    make_files();
    CHECK_EQ(
        weft_http_static(app, "/f",
                         &(struct weft_http_static_options){.dir = http_kit_dir, .keep_open = 10}),
        0);
    CHECK_EQ(weft_server_open(&server, g, "tcp://127.0.0.1:0", &o, lend, app, NULL), 0);
    CHECK(weft_server_endpoint(server, k.endpoint, sizeof k.endpoint) > 0);
    (void)http_kit_ask(&k, "GET /f/a.txt HTTP/1.1\r\nHost: a\r\n\r\n" HTTP_KIT_GET("/f/a.txt"), buf,
                       sizeof buf);
    CHECK_EQ(http_kit_count(buf, "\r\n\r\n0123456789"), 2);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_http_app_close(&app);
    http_kit_dir_close();
    return 0;
}

/* Sends a file that was longer when it was asked how long it is. */
static int cut_short(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    char path[128];
    (void)q, (void)arg;
    (void)snprintf(path, sizeof path, "%s/a.txt", http_kit_dir);
    struct weft__http_file f = {
        .fd = open(path, O_RDONLY | O_CLOEXEC), .name = "a.txt", .cache_control = "max-age=99"};
    CHECK(f.fd >= 0 && fstat(f.fd, &f.st) == 0);
    f.st.st_size += 5;
    int err = weft__http_send_file(weft__http_of_r(r), &f);
    CHECK_EQ(close(f.fd), 0);
    return err;
}

static int failing(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    CHECK_EQ(weft_http_set(r, "ETag", "\"v\""), 0);
    CHECK_EQ(weft_http_set(r, "Cache-Control", "max-age=99"), 0);
    CHECK_EQ(weft_http_set(r, "X-More", "1"), 0);
    return -EIO;
}

/* What a handler had set before it tried to send a file is there when it answers with another. */
static int tries_first(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    CHECK_EQ(weft_http_set(r, "ETag", "\"mine\""), 0);
    CHECK_EQ(weft_http_set(r, "Cache-Control", "no-store"), 0);
    weft_http_status(r, 202);
    CHECK(cut_short(q, r, arg) < 0);
    return weft_http_send(r, weft_http_status_of(r), NULL, "other", 5);
}

/* That it cannot be sent is not the client's fault, and what tells of it is of no use to caches. */
static int shorter_than_told(void *arg)
{
    static const char *const requests[] = {
        HTTP_KIT_GET("/"),
        "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=8-12\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=90-\r\nConnection: close\r\n\r\n",
    };
    static const char *const of_file[] = {"ETag", "Last-Modified", "Cache-Control"};
    struct http_kit k;
    char buf[4096];
    (void)arg;
    make_files();
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /", cut_short);
    http_kit_route(app, "GET /failing", failing);
    http_kit_route(app, "GET /tries", tries_first);
    http_kit_open(&k, app, NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(requests); i++) {
        (void)http_kit_ask(&k, requests[i], buf, sizeof buf);
        CHECK_EQ(http_kit_status(buf), i == 2 ? 416 : 500);
        for (size_t n = 0; n < WEFT__ARRAY_LEN(of_file); n++)
            CHECK(strstr(buf, of_file[n]) == NULL);
        CHECK_EQ(strstr(buf, "Content-Range") != NULL, i == 2);
    }
    for (size_t i = 0; i < 2; i++) {
        char request[128];
        (void)snprintf(request, sizeof request, "GET /tries%s", requests[i] + strlen("GET /"));
        (void)http_kit_ask(&k, request, buf, sizeof buf);
        CHECK_EQ(http_kit_status(buf), 202);
        CHECK(http_kit_has(buf, "ETag: \"mine\"") && http_kit_has(buf, "Cache-Control: no-store"));
        CHECK(strstr(buf, "Last-Modified") == NULL && strstr(buf, "Accept-Ranges") == NULL);
        CHECK(strstr(buf, "Content-Range") == NULL && strstr(buf, "\r\n\r\nother") != NULL);
    }
    /* Nor does the page have what a handler had said of something else. */
    (void)http_kit_ask(&k, HTTP_KIT_GET("/failing"), buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 500);
    CHECK(http_kit_has(buf, "X-More: 1"));
    CHECK(strstr(buf, "ETag") == NULL && strstr(buf, "Cache-Control") == NULL);
    http_kit_close(&k);
    http_kit_dir_close();
    return 0;
}

/* A path for which there is no memory is none, not that of the directory. */
static int path_without_memory(void *arg)
{
    struct http_kit k;
    static char request[4096], buf[8192];
    (void)arg;
    make_files();
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(weft_http_use(app, "/", http_kit_no_memory, NULL), 0);
    CHECK_EQ(weft_http_static(
                 app, "/f", &(struct weft_http_static_options){.dir = http_kit_dir, .list = true}),
             0);
    http_kit_open(&k, app, NULL);
    (void)snprintf(request, sizeof request,
                   "GET /f/%03000d/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1);
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK(strstr(buf, "a.txt") == NULL);
    CHECK_EQ(http_kit_status(buf), 500);
    http_kit_close(&k);
    http_kit_dir_close();
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(one_name), IN_TASK(vary), IN_TASK(on_a_thread),
                                        IN_TASK(path_without_memory), IN_TASK(shorter_than_told)};

/* The last one alone serves no directory. */
int main(void)
{
    size_t first = http_kit_lacks_openat2() ? WEFT__ARRAY_LEN(cases) - 1 : 0;
    return kit_main(cases + first, WEFT__ARRAY_LEN(cases) - first);
}
