/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the HTTP server share: a server on a port of its own, and clients that send
 * bytes as they are written in the test.
 */
#ifndef HTTP_KIT_H
#define HTTP_KIT_H

#include "rt_kit.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weft/http_server.h>

#include "base/alloc.h"

/* Without openat2(2) no directory is served; an emulator and valgrind do not know it. */
static inline bool http_kit_lacks_openat2(void)
{
    return syscall(SYS_openat2, -1, NULL, NULL, 0) < 0 && errno == ENOSYS;
}

struct http_kit {
    struct weft_group *g;
    struct weft_http_app *app;
    struct weft_http_server *server;
    char endpoint[WEFT_ENDPOINT_MAX];
};

static inline struct weft_http_app *http_kit_app(void)
{
    struct weft_http_app *app = NULL;
    CHECK_EQ(weft_http_app_open(&app), 0);
    return app;
}

static inline void http_kit_route(struct weft_http_app *app, const char *pattern,
                                  weft_http_handler fn)
{
    int err = weft_http_route(app, pattern, fn, NULL);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
}

/* The same for a handler that does not wait. */
static inline void http_kit_at_once(struct weft_http_app *app, const char *pattern,
                                    weft_http_handler fn)
{
    const struct weft_http_route_options o = {.at_once = true};
    CHECK_EQ(weft_http_route_with(app, pattern, &o, fn, NULL), 0);
}

/* Takes app. */
static inline void http_kit_open(struct http_kit *k, struct weft_http_app *app,
                                 const struct weft_http_options *o)
{
    k->app = app;
    k->g = kit_group();
    int err = weft_http_server_open(&k->server, k->g, "tcp://127.0.0.1:0", app, o);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK(weft_http_server_endpoint(k->server, k->endpoint, sizeof k->endpoint) > 0);
}

static inline void http_kit_close(struct http_kit *k)
{
    CHECK_EQ(weft_group_close(&k->g), 0);
    weft_http_app_close(&k->app);
}

static inline struct weft_stream *http_kit_dial(const struct http_kit *k)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, k->endpoint, NULL, weft_after_s(20)), 0);
    return s;
}

static inline void http_kit_send(struct weft_stream *s, const char *text)
{
    CHECK_EQ(weft_write(s, text, strlen(text), weft_after_s(20)), 0);
    CHECK_EQ(weft_flush(s, weft_after_s(20)), 0);
}

/* Reads until the server ends the connection; a NUL behind it. */
static inline size_t http_kit_read_all(struct weft_stream *s, char *buf, size_t cap)
{
    size_t got = 0;
    for (;;) {
        CHECK(got + 1 < cap);
        ssize_t n = weft_read(s, buf + got, cap - got - 1, weft_after_s(30));
        if (n == -ECONNRESET)
            break;
        CHECK(n >= 0);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    buf[got] = '\0';
    return got;
}

/* One response: its head, and as much body as Content-Length says (or none). */
static inline size_t http_kit_read_one(struct weft_stream *s, char *buf, size_t cap)
{
    size_t got = 0, want = 0;
    while (want == 0 || got < want) {
        CHECK(got + 1 < cap);
        ssize_t n = weft_read(s, buf + got, want > 0 ? want - got : 1, weft_after_s(30));
        if (n <= 0) {
            (void)fprintf(stderr, "after %.*s\n", (int)got, buf);
            CHECK_EQ(n, 1);
        }
        got += (size_t)n;
        buf[got] = '\0';
        if (want == 0 && got >= 4 && memcmp(buf + got - 4, "\r\n\r\n", 4) == 0) {
            const char *length = strcasestr(buf, "\r\ncontent-length:");
            want = got + (length != NULL ? strtoul(length + 17, NULL, 10) : 0);
        }
    }
    return got;
}

/* Sends bytes on a new connection and reads all that comes back until its end. */
static inline size_t http_kit_ask(const struct http_kit *k, const char *text, char *buf, size_t cap)
{
    struct weft_stream *s = http_kit_dial(k);
    http_kit_send(s, text);
    size_t n = http_kit_read_all(s, buf, cap);
    (void)weft_close(&s, weft_after_s(5));
    return n;
}

static inline int http_kit_status(const char *response)
{
    return strncmp(response, "HTTP/1.1 ", 9) == 0 ? (int)strtol(response + 9, NULL, 10) : -1;
}

/* Asks so, and shows question and answer when that has another status. */
static inline void http_kit_expect(const struct http_kit *k, const char *text, int status,
                                   char *buf, size_t cap)
{
    (void)http_kit_ask(k, text, buf, cap);
    if (http_kit_status(buf) != status)
        (void)fprintf(stderr, "%s---\n%s\n", text, buf);
    CHECK_EQ(http_kit_status(buf), status);
}

static inline bool http_kit_has(const char *text, const char *part)
{
    bool has = strstr(text, part) != NULL;
    if (!has)
        (void)fprintf(stderr, "'%s' is not in:\n%s\n", part, text);
    return has;
}

static inline size_t http_kit_count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        n++;
    return n;
}

/* --- Middleware ------------------------------------------------------------------------------ */

/* The next piece of memory that is asked for behind it is refused. */
static inline int http_kit_no_memory(struct weft_http_request *q, struct weft_http_response *r,
                                     void *arg)
{
    (void)arg;
    weft__alloc_fail_at(1);
    int result = weft_http_next(q, r);
    weft__alloc_fail_at(0);
    return result;
}

static inline int http_kit_no_entry(struct weft_http_request *q, struct weft_http_response *r,
                                    void *arg)
{
    (void)q, (void)arg;
    return weft_http_error(r, 403, "no");
}

/* --- A directory of files to serve ------------------------------------------------------------ */

static char http_kit_dir[64];

static inline void http_kit_dir_open(void)
{
    (void)snprintf(http_kit_dir, sizeof http_kit_dir, "/tmp/weft-http-XXXXXX");
    CHECK(mkdtemp(http_kit_dir) != NULL);
}

static inline void http_kit_dir_close(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", http_kit_dir);
    CHECK_EQ(system(command), 0);
}

static inline void http_kit_dir_below(const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", http_kit_dir, name);
    CHECK_EQ(mkdir(path, 0700), 0);
}

static inline void http_kit_file(const char *name, const char *text, size_t len)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", http_kit_dir, name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fwrite(text, 1, len, f) == len && fclose(f) == 0);
}

#define HTTP_KIT_GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

#endif
