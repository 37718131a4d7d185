/* SPDX-License-Identifier: MIT */
/*
 * What the HTTP server sends and takes besides short texts: files with ranges and conditions,
 * compressed bodies, forms, multipart uploads, server-sent events.
 */
#include "http_kit.h"

#include <brotli/decode.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <zlib.h>

static void make_files(void)
{
    char path[256];
    static char big[300000];
    http_kit_dir_open();
    http_kit_dir_below("sub");
    http_kit_dir_below("empty");
    http_kit_file("a.txt", "0123456789", 10);
    http_kit_file("sub/index.html", "<p>index", 8);
    http_kit_file(".hidden", "secret", 6);
    http_kit_file("pre.js", "plain", 5);
    http_kit_file("pre.js.br", "brotli", 6);
    http_kit_file("pre.js.gz", "gzip", 4);
    http_kit_file("empty/a b<c", "x", 1);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)('a' + i % 26);
    http_kit_file("big.bin", big, sizeof big);
    (void)snprintf(path, sizeof path, "%s/out", http_kit_dir);
    CHECK_EQ(symlink("/etc/passwd", path), 0);
}

#define CLOSE "Host: a\r\nConnection: close\r\n\r\n"

struct row {
    const char *request;
    int status;
    const char *has, *has_too;
};
static const struct row rows[] = {
    {HTTP_KIT_GET("/f/a.txt"), 200, "\r\nContent-Length: 10\r\n", "\r\n\r\n0123456789"},
    {HTTP_KIT_GET("/f/a.txt"), 200, "Content-Type: text/plain; charset=utf-8", "ETag: \""},
    {"HEAD /f/a.txt HTTP/1.1\r\n" CLOSE, 200, "\r\nContent-Length: 10\r\n", "Last-Modified: "},
    {"GET /f/a.txt HTTP/1.1\r\nRange: bytes=2-4\r\n" CLOSE, 206,
     "\r\nContent-Range: bytes 2-4/10\r\n", "\r\n\r\n234"},
    {"GET /f/a.txt HTTP/1.1\r\nRange: bytes=-3\r\n" CLOSE, 206, "bytes 7-9/10", "\r\n\r\n789"},
    {"GET /f/a.txt HTTP/1.1\r\nRange: bytes=0-1,5-6\r\n" CLOSE, 206, "multipart/byteranges",
     "Content-Range: bytes 5-6/10\r\n\r\n56\r\n--"},
    {"GET /f/a.txt HTTP/1.1\r\nRange: bytes=10-\r\n" CLOSE, 416, "bytes */10", NULL},
    {"GET /f/a.txt HTTP/1.1\r\nRange: lines=1-2\r\n" CLOSE, 200, "0123456789", NULL},
    {"GET /f/a.txt HTTP/1.1\r\nRange: bytes=2-4\r\nIf-Range: \"other\"\r\n" CLOSE, 200,
     "0123456789", NULL},
    {"GET /f/a.txt HTTP/1.1\r\nIf-None-Match: *\r\n" CLOSE, 304, "ETag", NULL},
    {"GET /f/a.txt HTTP/1.1\r\nIf-Match: \"x\"\r\n" CLOSE, 412, "ETag", NULL},
    {"GET /f/a.txt HTTP/1.1\r\nIf-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT\r\n" CLOSE, 304,
     "ETag", NULL},
    {"GET /f/a.txt HTTP/1.1\r\nIf-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT\r\n" CLOSE, 412,
     "ETag", NULL},
    {HTTP_KIT_GET("/f/sub"), 301, "\r\nLocation: /f/sub/\r\n", NULL},
    {HTTP_KIT_GET("/f/sub?a=b"), 301, "\r\nLocation: /f/sub/?a=b\r\n", NULL},
    {HTTP_KIT_GET("/f/sub/"), 200, "text/html; charset=utf-8", "<p>index"},
    {HTTP_KIT_GET("/f/empty/"), 200, "<a href=\"a%20b%3Cc\">a b&lt;c</a>", "../"},
    {HTTP_KIT_GET("/f"), 301, "Location: /f/", NULL},
    {HTTP_KIT_GET("/f/"), 200, "a.txt", "big.bin"},
    {HTTP_KIT_GET("/f/nothing"), 404, "no such file", NULL},
    {HTTP_KIT_GET("/f/a.txt/"), 404, "no such file", NULL},
    {HTTP_KIT_GET("/f/.hidden"), 404, "no such file", NULL},
    {HTTP_KIT_GET("/f/out"), 404, "no such file", NULL},
    {HTTP_KIT_GET("/f/sub%2Findex.html"), 404, "no such file", NULL},
    {HTTP_KIT_GET("/f/../../etc/passwd"), 400, "400", NULL},
    {HTTP_KIT_GET("/f/%2e%2e/%2e%2e/etc/passwd"), 400, "400", NULL},
    {"POST /f/a.txt HTTP/1.1\r\n" CLOSE, 405, "Allow: GET, HEAD, OPTIONS", NULL},
    {"GET /f/pre.js HTTP/1.1\r\nAccept-Encoding: gzip, br\r\n" CLOSE, 200, "Content-Encoding: br",
     "\r\n\r\nbrotli"},
    {"GET /f/pre.js HTTP/1.1\r\nAccept-Encoding: gzip\r\n" CLOSE, 200, "Content-Encoding: gzip",
     "Vary: Accept-Encoding"},
    {"GET /f/pre.js HTTP/1.1\r\nAccept-Encoding: x\r\nAccept-Encoding: gzip\r\n" CLOSE, 200,
     "Content-Encoding: gzip", NULL},
    {"GET /f/pre.js HTTP/1.1\r\nAccept-Encoding: br\r\nRange: bytes=6-\r\n" CLOSE, 416, "bytes */6",
     "Vary: Accept-Encoding"},
    {"GET /f/pre.js HTTP/1.1\r\nAccept-Encoding: br\r\nIf-None-Match: *\r\n" CLOSE, 304, "-br\"",
     "Vary: Accept-Encoding"},
    {HTTP_KIT_GET("/f/pre.js"), 200, "\r\n\r\nplain", "Vary: Accept-Encoding"},
};

static bool forbid_openat2(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = WEFT__ARRAY_LEN(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

/* Where the kernel has no openat2(2), the app says so; it would answer 404 to every request. */
static int no_openat2(void *arg)
{
    (void)arg;
    int status;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (!http_kit_lacks_openat2() && !forbid_openat2())
            _exit(0); /* no filters here */
        struct weft_http_app *app = http_kit_app();
        int err = weft_http_static(app, "/f", &(struct weft_http_static_options){.dir = "/"});
        weft_http_app_close(&app);
        _exit(err == -ENOSYS && strstr(weft_error_detail(), "openat2") != NULL ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    return 0;
}

static void all_files(int keep_open)
{
    struct http_kit k;
    static char buf[400000];
    make_files();
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(weft_http_static(app, "/f",
                              &(struct weft_http_static_options){.dir = http_kit_dir,
                                                                 .list = true,
                                                                 .precompressed = true,
                                                                 .keep_open = keep_open}),
             0);
    CHECK_EQ(weft_http_static(app, "/g", &(struct weft_http_static_options){.dir = "/nowhere"}),
             -ENOENT);
    http_kit_open(&k, app, NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(rows); i++) {
        http_kit_expect(&k, rows[i].request, rows[i].status, buf, sizeof buf);
        CHECK(rows[i].has == NULL || http_kit_has(buf, rows[i].has));
        CHECK(rows[i].has_too == NULL || http_kit_has(buf, rows[i].has_too));
        CHECK(rows[i].status < 300 || !http_kit_has(buf, "Content-Encoding"));
        CHECK(rows[i].status != 304 || !http_kit_has(buf, "Content-Type"));
        CHECK(strstr(buf, "root:") == NULL && strstr(buf, "secret") == NULL);
    }
    size_t n = http_kit_ask(&k, HTTP_KIT_GET("/f/big.bin"), buf, sizeof buf);
    const char *body = strstr(buf, "\r\n\r\n") + 4;
    CHECK_EQ((size_t)(buf + n - body), 300000);
    for (size_t i = 0; i < 300000; i++)
        CHECK(body[i] == (char)('a' + i % 26));
    n = http_kit_ask(&k, "GET /f/big.bin HTTP/1.1\r\nRange: bytes=1-99999,200000-\r\n" CLOSE, buf,
                     sizeof buf);
    size_t announced = strtoul(strstr(buf, "Content-Length: ") + 16, NULL, 10);
    CHECK_EQ((size_t)(buf + n - (strstr(buf, "\r\n\r\n") + 4)), announced);
    http_kit_close(&k);
    http_kit_dir_close();
}

static int files(void *arg)
{
    (void)arg;
    all_files(0);
    return 0;
}

/* The same with files that are kept open, fewer than there are. */
static int kept_files(void *arg)
{
    (void)arg;
    all_files(2);
    return 0;
}

static void check_file(struct http_kit *k, const char *name, int status, const char *has)
{
    char request[128], buf[4096];
    (void)snprintf(request, sizeof request, "GET /f/%s HTTP/1.1\r\n" CLOSE, name);
    (void)http_kit_ask(k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), status);
    CHECK(http_kit_has(buf, has));
}

static int change(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    http_kit_file("a.txt", "changed", 7);
    return weft_http_text(r, 200, "done");
}

/* A file that is kept open is never shown for another one. */
static int changed_files(void *arg)
{
    struct http_kit k;
    char from[128], to[128];
    (void)arg;
    make_files();
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(
        weft_http_static(app, "/f",
                         &(struct weft_http_static_options){.dir = http_kit_dir, .keep_open = -1}),
        -EINVAL);
    CHECK_EQ(weft_http_static(app, "/f",
                              &(struct weft_http_static_options){
                                  .dir = http_kit_dir, .keep_open = 10, .keep_ms = 3600000}),
             0);
    http_kit_route(app, "PUT /change", change);
    http_kit_open(&k, app, NULL);
    (void)snprintf(from, sizeof from, "%s/new", http_kit_dir);
    (void)snprintf(to, sizeof to, "%s/a.txt", http_kit_dir);
    for (int i = 0; i < 3; i++)
        check_file(&k, "a.txt", 200, "\r\n\r\n0123456789");
    http_kit_file("a.txt", "shorter", 7); /* written to */
    check_file(&k, "a.txt", 200, "\r\n\r\nshorter");
    check_file(&k, "a.txt", 200, "Content-Length: 7\r\n");
    http_kit_file("new", "renamed", 7); /* replaced */
    CHECK_EQ(rename(from, to), 0);
    check_file(&k, "a.txt", 200, "\r\n\r\nrenamed");
    CHECK_EQ(unlink(to), 0); /* deleted */
    check_file(&k, "a.txt", 404, "no such file");
    http_kit_file("a.txt", "again", 5);
    check_file(&k, "a.txt", 200, "\r\n\r\nagain");
    /* Also by a request of the same piece, between two that ask for it. */
    static const char piece[] = "GET /f/a.txt HTTP/1.1\r\nHost: a\r\n\r\n"
                                "PUT /change HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    char all[200 + sizeof piece], answers[4096] = "";
    (void)snprintf(all, sizeof all, "%s%s", piece, HTTP_KIT_GET("/f/a.txt"));
    http_kit_ask(&k, all, answers, sizeof answers);
    CHECK(strstr(answers, "\r\n\r\nagain") != NULL);
    CHECK(strstr(answers, "\r\n\r\nchanged") != NULL);
    http_kit_close(&k);
    http_kit_dir_close();
    return 0;
}

/* What the page cache does not hold comes from the disk, by the work pool, and is the same. */
static int cold_files(void *arg)
{
    struct http_kit k;
    static char buf[400000];
    char path[256];
    (void)arg;
    make_files();
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(weft_http_static(app, "/f", &(struct weft_http_static_options){.dir = http_kit_dir}),
             0);
    http_kit_open(&k, app, NULL);
    for (int i = 0; i < 6; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", http_kit_dir, i % 2 == 0 ? "a.txt" : "big.bin");
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0 && fdatasync(fd) == 0);
        CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        CHECK_EQ(close(fd), 0);
        size_t n =
            http_kit_ask(&k, i % 2 == 0 ? HTTP_KIT_GET("/f/a.txt") : HTTP_KIT_GET("/f/big.bin"),
                         buf, sizeof buf);
        const char *body = strstr(buf, "\r\n\r\n") + 4;
        size_t len = (size_t)(buf + n - body);
        CHECK_EQ(http_kit_status(buf), 200);
        CHECK_EQ(len, i % 2 == 0 ? 10 : 300000);
        for (size_t at = 0; at < len; at++)
            CHECK(body[at] == (char)(i % 2 == 0 ? '0' + at : 'a' + at % 26));
    }
    http_kit_close(&k);
    http_kit_dir_close();
    return 0;
}

/* A file on which somebody has a lease is told as busy; nobody spins until it is given back. */
static int leased_file(void *arg)
{
    struct http_kit k;
    char path[256];
    (void)arg;
    make_files();
    (void)snprintf(path, sizeof path, "%s/a.txt", http_kit_dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    void (*before)(int) = signal(SIGIO, SIG_IGN); /* by which its holder is asked to give it back */
    if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {    /* not every file system has them */
        struct weft_http_app *app = http_kit_app();
        CHECK_EQ(
            weft_http_static(app, "/f", &(struct weft_http_static_options){.dir = http_kit_dir}),
            0);
        http_kit_open(&k, app, NULL);
        check_file(&k, "a.txt", 503, "another program holds the file");
        CHECK_EQ(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
        check_file(&k, "a.txt", 200, "\r\n\r\n0123456789");
        http_kit_close(&k);
    }
    CHECK_EQ(close(fd), 0);
    CHECK(signal(SIGIO, before) != SIG_ERR);
    http_kit_dir_close();
    return 0;
}

/* --- Compression ----------------------------------------------------------------------------- */

static char text[200000];

static int whole(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    CHECK_EQ(weft_http_set(r, "ETag", "\"v\""), 0);
    return weft_http_send(r, 200, "application/json", text, sizeof text);
}

static int pieces(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    CHECK_EQ(weft_http_set(r, "Content-Type", "text/plain"), 0);
    int err = 0;
    for (size_t at = 0; at < sizeof text && err == 0; at += 1000) {
        err = weft_http_write(r, text + at, 1000, WEFT_NEVER);
        if (err == 0 && at == 50000)
            err = weft_http_flush(r, WEFT_NEVER);
    }
    return err;
}

static int small(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_send(r, 200, "text/plain", text, 100);
}

static int picture(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_send(r, 200, "image/png", text, sizeof text);
}

/* Takes the chunks of a body together; returns its length. */
static size_t dechunk(char *body)
{
    char *in = body, *out = body;
    for (;;) {
        size_t n = strtoul(in, &in, 16);
        in += 2;
        if (n == 0)
            return (size_t)(out - body);
        memmove(out, in, n);
        out += n;
        in += n + 2;
    }
}

static void check_body(char *buf, size_t n, bool brotli)
{
    static uint8_t plain[sizeof text + 1];
    char *body = strstr(buf, "\r\n\r\n") + 4;
    size_t len = (size_t)(buf + n - body), out = sizeof plain;
    if (strstr(buf, "Transfer-Encoding: chunked") != NULL)
        len = dechunk(body);
    if (brotli) {
        CHECK(BrotliDecoderDecompress(len, (uint8_t *)body, &out, plain) ==
              BROTLI_DECODER_RESULT_SUCCESS);
    } else {
        z_stream z = {.next_in = (Bytef *)body,
                      .avail_in = (uInt)len,
                      .next_out = plain,
                      .avail_out = sizeof plain};
        CHECK_EQ(inflateInit2(&z, 15 + 16), Z_OK);
        CHECK_EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
        out = z.total_out;
        (void)inflateEnd(&z);
    }
    CHECK_EQ(out, sizeof text);
    CHECK(memcmp(plain, text, out) == 0 && len < sizeof text / 2);
}

static int compression(void *arg)
{
    struct http_kit k;
    static char buf[400000];
    (void)arg;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + (i * i / 7) % 26);
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /whole", whole);
    http_kit_route(app, "GET /pieces", pieces);
    http_kit_route(app, "GET /small", small);
    http_kit_route(app, "GET /picture", picture);
    http_kit_open(&k, app, NULL);
    static const char *const paths[] = {"/whole", "/pieces"};
    static const char *const codings[] = {"br", "gzip"};
    char request[256], want[64];
    for (int p = 0; p < 2; p++) {
        for (int c = 0; c < 2; c++) {
            (void)snprintf(request, sizeof request,
                           "GET %s HTTP/1.1\r\nAccept-Encoding: %s\r\n" CLOSE, paths[p],
                           codings[c]);
            (void)snprintf(want, sizeof want, "Content-Encoding: %s", codings[c]);
            size_t n = http_kit_ask(&k, request, buf, sizeof buf);
            CHECK(http_kit_has(buf, want) && http_kit_has(buf, "Vary: Accept-Encoding"));
            if (p == 0)
                CHECK(http_kit_has(buf, "ETag: W/\"v\""));
            check_body(buf, n, c == 0);
        }
    }
    static const char *const plain[] = {
        "GET /whole HTTP/1.1\r\n" CLOSE,
        "GET /whole HTTP/1.1\r\nAccept-Encoding: br;q=0, gzip;q=0\r\n" CLOSE,
        "GET /small HTTP/1.1\r\nAccept-Encoding: br\r\n" CLOSE,
        "GET /picture HTTP/1.1\r\nAccept-Encoding: br\r\n" CLOSE,
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(plain); i++) {
        (void)http_kit_ask(&k, plain[i], buf, sizeof buf);
        CHECK(strstr(buf, "Content-Encoding") == NULL);
    }
    /* What answers in place of it says the same to caches (RFC 9110 section 15.4.5). */
    (void)http_kit_ask(
        &k, "GET /whole HTTP/1.1\r\nAccept-Encoding: br\r\nIf-None-Match: \"v\"\r\n" CLOSE, buf,
        sizeof buf);
    CHECK_EQ(http_kit_status(buf), 304);
    CHECK(http_kit_has(buf, "Vary: Accept-Encoding") && http_kit_has(buf, "ETag: W/\"v\""));
    CHECK(strstr(buf, "\r\nContent-") == NULL);
    http_kit_close(&k);
    return 0;
}

/* --- Forms, uploads, events ------------------------------------------------------------------ */

static int form(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    int err = weft_http_form(q, weft_after_s(20));
    if (err < 0)
        return err == -EINVAL ? 415 : err;
    const char *a = weft_http_form_value(q, "a b"), *c = weft_http_form_value(q, "c");
    return weft_http_text(r, 200, "%s|%s", a != NULL ? a : "-", c != NULL ? c : "-");
}

/* None is cut where it would end as a text. */
static void forms_with_nul(const struct http_kit *k)
{
    static const struct {
        const char *body;
        size_t len;
        int status;
    } forms[] = {{"c=x%00y", 7, 400},     {"c=xy&d=%00", 10, 400}, {"c=xy&%00=", 9, 400},
                 {"c=x\0y&a", 7, 400},    {"c=x%2500y", 9, 200},   {"c=%0", 4, 200},
                 {"a+b=%00&a+b", 11, 400}};
    static const char type[] = "application/x-www-form-urlencoded";
    char buf[1000];
    for (size_t i = 0; i < WEFT__ARRAY_LEN(forms); i++) {
        struct weft_stream *s = http_kit_dial(k);
        int n = snprintf(buf, sizeof buf,
                         "POST /form HTTP/1.1\r\nContent-Type: %s\r\nContent-Length: %zu\r\n" CLOSE,
                         type, forms[i].len);
        memcpy(buf + n, forms[i].body, forms[i].len);
        CHECK_EQ(weft_write(s, buf, (size_t)n + forms[i].len, weft_after_s(20)), 0);
        (void)http_kit_read_all(s, buf, sizeof buf);
        CHECK_EQ(http_kit_status(buf), forms[i].status);
        CHECK_EQ(weft_close(&s, weft_after_s(20)), 0);
    }
}

static int upload(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct weft_http_part part;
    char buf[7], path[128], all[512] = "";
    (void)arg;
    int err = weft_http_multipart(q, NULL);
    if (err < 0)
        return err == -EINVAL ? 415 : err;
    while ((err = weft_http_part_next(q, &part, weft_after_s(20))) > 0) {
        size_t at = strlen(all);
        at += (size_t)snprintf(all + at, sizeof all - at, "[%s %s %s ", part.name,
                               part.filename != NULL ? part.filename : "-", part.type);
        if (strcmp(part.name, "file") == 0) {
            (void)snprintf(path, sizeof path, "/tmp/weft-upload-%d", (int)getpid());
            int64_t n = weft_http_part_save(q, path, weft_after_s(20));
            CHECK_EQ(weft_http_part_save(q, path, weft_after_s(20)), -EEXIST);
            (void)unlink(path);
            if (n < 0)
                return (int)n;
            at += (size_t)snprintf(all + at, sizeof all - at, "%lld bytes", (long long)n);
        } else if (strcmp(part.name, "skip") != 0) {
            ssize_t n;
            while ((n = weft_http_part_read(q, buf, sizeof buf, weft_after_s(20))) > 0)
                at += (size_t)snprintf(all + at, sizeof all - at, "%.*s", (int)n, buf);
            if (n < 0)
                return (int)n;
        }
        (void)snprintf(all + at, sizeof all - at, "]");
    }
    return err < 0 ? err : weft_http_text(r, 200, "%s", all);
}

static int events(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    int err = weft_http_sse_begin(r);
    if (err == 0)
        err = weft_http_sse_send(r, "tick", "1", "one\ntwo\r\nthree", WEFT_NEVER);
    CHECK_EQ(weft_http_sse_send(r, "a\nb", NULL, "", WEFT_NEVER), -EINVAL);
    return err < 0 ? err : weft_http_sse_send(r, NULL, NULL, "", WEFT_NEVER);
}

#define PART "--XX\r\nContent-Disposition: form-data; name="

static int bodies(void *arg)
{
    struct http_kit k;
    static char buf[65536], request[8192];
    static const char body[] = PART
        "\"a\"\r\n\r\nalpha beta gamma\r\n" PART "\"skip\"\r\n\r\nnot looked at\r\n" PART
        "\"file\"; filename=\"C:\\\\x\\\\y.bin\"\r\n"
        "Content-Type: application/x\r\n\r\n0123\r\n--X\r\n" PART "\"z\"\r\n\r\n\r\n--XX--\r\n";
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "POST /form", form);
    http_kit_route(app, "POST /upload", upload);
    http_kit_route(app, "GET /events", events);
    http_kit_open(&k, app, NULL);
    (void)http_kit_ask(&k,
                       "POST /form HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                       "Content-Length: 17\r\n" CLOSE "a+b=1%262&c=&d=e+",
                       buf, sizeof buf);
    CHECK(http_kit_has(buf, "\r\n\r\n1&2|"));
    (void)http_kit_ask(&k, "POST /form HTTP/1.1\r\nContent-Length: 0\r\n" CLOSE, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 415);
    forms_with_nul(&k);
    for (int chunked = 0; chunked < 2; chunked++) {
        size_t len = (size_t)snprintf(request, sizeof request,
                                      "POST /upload HTTP/1.1\r\nContent-Type: multipart/form-data; "
                                      "boundary=XX\r\n");
        if (chunked == 0) {
            (void)snprintf(request + len, sizeof request - len,
                           "Content-Length: %zu\r\n" CLOSE "%s", strlen(body), body);
        } else { /* a byte at a time */
            len += (size_t)snprintf(request + len, sizeof request - len,
                                    "Transfer-Encoding: chunked\r\n" CLOSE);
            for (size_t i = 0; body[i] != '\0'; i++)
                len +=
                    (size_t)snprintf(request + len, sizeof request - len, "1\r\n%c\r\n", body[i]);
            (void)snprintf(request + len, sizeof request - len, "0\r\n\r\n");
        }
        (void)http_kit_ask(&k, request, buf, sizeof buf);
        CHECK_EQ(http_kit_status(buf), 200);
        CHECK(http_kit_has(buf, "[a - text/plain alpha beta gamma][skip - text/plain ]"));
        CHECK(http_kit_has(buf, "application/x 9 bytes]") && http_kit_has(buf, "y.bin"));
        CHECK(http_kit_has(buf, "[z - text/plain ]"));
    }
    (void)http_kit_ask(&k,
                       "POST /upload HTTP/1.1\r\nContent-Type: multipart/form-data; "
                       "boundary=XX\r\nContent-Length: 10\r\n" CLOSE "--XX\r\nCont",
                       buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 400);
    (void)http_kit_ask(&k, HTTP_KIT_GET("/events"), buf, sizeof buf);
    CHECK(http_kit_has(buf, "Content-Type: text/event-stream"));
    CHECK(http_kit_has(buf, "event: tick\nid: 1\ndata: one\ndata: two\ndata: three\n\n"));
    CHECK(http_kit_has(buf, "data: \n\n"));
    http_kit_close(&k);
    return 0;
}

/* Files first. */
enum { FILE_CASES = 5 };
static const struct kit_case cases[] = {
    IN_TASK(files),       IN_TASK(kept_files), IN_TASK(changed_files), IN_TASK(cold_files),
    IN_TASK(leased_file), IN_TASK(no_openat2), IN_TASK(compression),   IN_TASK(bodies)};

int main(void)
{
    size_t first = http_kit_lacks_openat2() ? FILE_CASES : 0;
    return kit_main(cases + first, WEFT__ARRAY_LEN(cases) - first);
}
