/* SPDX-License-Identifier: MIT */
/*
 * The lines of the HTTP server's access log are whole, whatever a client puts into them and however
 * full the pipe is that they go to.
 */
#include "http_kit.h"

#include <fcntl.h>

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "hello\n");
}

/* Behind a string with its quotes; NULL: it has no end, or an escape that is none. */
static const char *behind_string(const char *at, const char *end, bool json)
{
    if (at == end || *at++ != '"')
        return NULL;
    while (at < end && *at != '"') {
        size_t hex = 0;
        if (*at++ != '\\')
            continue;
        if (json && end - at >= 5 && memcmp(at, "u00", 3) == 0)
            hex = 3;
        else if (!json && end - at >= 3 && *at == 'x')
            hex = 1;
        if (hex == 0 || strspn(at + hex, "0123456789abcdef") < 2)
            return NULL;
        at += hex + 2;
    }
    return at < end ? at + 1 : NULL;
}

/* How many strings a whole line has; 0: it is none. */
static size_t strings(const char *line, size_t len, bool json)
{
    const char *at = line, *end = line + len;
    size_t n = 0;
    while (at != NULL && at < end) {
        if (*at == '"') {
            at = behind_string(at, end, json);
            n++;
        } else {
            at++;
        }
    }
    bool ends = len > 2 && line[len - 1] == (json ? '}' : '"');
    return at != NULL && ends && (!json || line[0] == '{') ? n : 0;
}

struct seen {
    size_t lines, strings;
    bool json;
};

static void see_line(void *arg, const char *line, size_t len)
{
    struct seen *s = arg;
    s->lines++;
    s->strings = strings(line, len, s->json);
}

/* A request with as much of one byte in each text as a head takes. */
static size_t make_request(char *buf, size_t cap, unsigned char byte, size_t len)
{
    static char many[8192];
    memset(many, byte, len);
    many[len] = '\0';
    size_t n = (size_t)snprintf(buf, cap,
                                "GET /%s HTTP/1.1\r\nHost: a\r\nReferer: %s\r\n"
                                "User-Agent: x%s\r\nX-Request-Id: %.64s\r\n\r\n",
                                byte == 'a' ? many : "", many, many, many);
    CHECK(n < cap);
    return n;
}

/* What a text may take is counted as it is written. */
static int whole_lines(void *arg)
{
    static const size_t lengths[] = {100, 170, 171, 255, 256, 700, 1023, 1024, 1025, 4000};
    static const unsigned char bytes[] = {'"', '\\', 0xff, 'a'};
    static char request[65536], answer[65536];
    (void)arg;
    for (int format = WEFT_HTTP_LOG_COMBINED; format <= WEFT_HTTP_LOG_JSON; format++) {
        struct seen seen = {.json = format == WEFT_HTTP_LOG_JSON};
        struct http_kit k;
        struct weft_http_app *app = http_kit_app();
        http_kit_route(app, "GET /*rest", hello);
        http_kit_open(&k, app,
                      &(struct weft_http_options){.log_format = (enum weft_http_log)format,
                                                  .log = see_line,
                                                  .log_arg = &seen});
        for (size_t i = 0; i < WEFT__ARRAY_LEN(lengths) * WEFT__ARRAY_LEN(bytes); i++) {
            size_t n = make_request(request, sizeof request, bytes[i % 4], lengths[i / 4]);
            struct weft_stream *s = http_kit_dial(&k);
            CHECK_EQ(weft_write(s, request, n, weft_after_s(20)), 0);
            CHECK_EQ(weft_shutdown(s, weft_after_s(20)), 0);
            (void)http_kit_read_all(s, answer, sizeof answer);
            CHECK_EQ(http_kit_status(answer), 200);
            (void)weft_close(&s, weft_after_s(20));
            CHECK_EQ(seen.lines, i + 1);
            CHECK_EQ(seen.strings, seen.json ? 18 : 3);
        }
        http_kit_close(&k);
    }
    return 0;
}

enum { ASKED = 400 };

/* Lines of more than 2 KB, and more of them than pipe and writer take. */
static void ask_much(struct http_kit *k)
{
    static char request[16384], answer[65536];
    size_t n = make_request(request, sizeof request, 'b', 1000);
    struct weft_stream *s = http_kit_dial(k);
    for (int i = 0; i < ASKED; i++) {
        CHECK_EQ(weft_write(s, request, n, weft_after_s(20)), 0);
        CHECK_EQ(weft_flush(s, weft_after_s(20)), 0);
        (void)http_kit_read_one(s, answer, sizeof answer);
    }
    (void)weft_close(&s, weft_after_s(20));
}

/* Takes what is in the pipe; every line has to be whole. Returns how many there were. */
static size_t take(int fd)
{
    static char buf[65536];
    static size_t len;
    size_t lines = 0;
    ssize_t n;
    while ((n = read(fd, buf + len, sizeof buf - len)) > 0) {
        char *line = buf, *end;
        len += (size_t)n;
        while ((end = memchr(line, '\n', len - (size_t)(line - buf))) != NULL) {
            CHECK_EQ(strings(line, (size_t)(end - line), true), 18);
            line = end + 1;
            lines++;
        }
        len -= (size_t)(line - buf);
        memmove(buf, line, len);
    }
    return lines;
}

/* A pipe that is full and says so, in place of having the writer wait. */
static int full_pipe(void *arg)
{
    struct http_kit k;
    struct weft_http_server_stats stats;
    int fds[2];
    (void)arg;
    CHECK_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /*rest", hello);
    http_kit_open(&k, app,
                  &(struct weft_http_options){.log_format = WEFT_HTTP_LOG_JSON, .log_fd = fds[1]});
    ask_much(&k);
    size_t lines = 0;
    weft_deadline until = weft_after_s(30);
    do {
        lines += take(fds[0]);
        weft_http_server_stats_mt(k.server, &stats);
        CHECK(weft_left_ns(until) > 0);
        CHECK_EQ(weft_sleep_ms(1), 0);
    } while (lines + stats.log_dropped < ASKED);
    CHECK_EQ(lines + stats.log_dropped, ASKED);
    CHECK(stats.log_dropped > 0 && lines > 10);
    /* The end does not wait for who never reads. */
    ask_much(&k);
    http_kit_close(&k);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(whole_lines), IN_TASK(full_pipe)};
KIT_MAIN(cases)
