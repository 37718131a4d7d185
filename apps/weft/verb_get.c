/* SPDX-License-Identifier: MIT */
/*
 * `weft get URL`: fetches a page or a file.
 *
 * Shows: the HTTP client on a plain thread, with no loop at all; a body that is streamed to where
 * it belongs; one time budget over everything.
 *
 * Floor 6. Invariants: a file is written from the reply's place on and nowhere else, and what is
 * there of an interrupted transfer is good for --resume, with the note of part.h; what was there
 * stays until something else has come; a status of 400 or more writes no file, and a reply that has
 * no content neither makes nor empties one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weft/error.h>
#include <weft/http_client.h>

#include "cli.h"
#include "part.h"
#include "progress.h"

#define HEADERS_MAX 32
#define PIECE 65536
#define ANEW (-2) /* beside cli_status: it is to be asked for again, from its beginning */

static struct {
    const char *output, *method, *data, *data_file, *ca, *proxy;
    struct cli_list headers;
    const char *header_texts[HEADERS_MAX];
    bool resume, unchecked, verbose, head, no_redirects, insecure, http1, quiet;
    double timeout_s;
} config = {.timeout_s = 300, .headers = {.texts = config.header_texts, .max = HEADERS_MAX}};

static const struct cli_option options[] = {
    {"output", "FILE", "write to FILE instead of standard output", CLI_TEXT, &config.output, 0, 0,
     NULL},
    {"resume", NULL,
     "go on with a FILE that is there in part, if FILE.weft-resume\n"
     "names its version and the server still has it; else anew",
     CLI_FLAG, &config.resume, 0, 0, NULL},
    {"resume-unchecked", NULL, "the same, and also where nothing names its version", CLI_FLAG,
     &config.unchecked, 0, 0, NULL},
    {"verbose", NULL, "show the exchange on standard error", CLI_FLAG, &config.verbose, 0, 0, "-v"},
    {"header", "'NAME: VALUE'", "a field of the request; may be given up to 32 times", CLI_LIST,
     &config.headers, 0, 0, NULL},
    {"method", "METHOD", "GET, or POST with a body", CLI_TEXT, &config.method, 0, 0, NULL},
    {"data", "TEXT", "send TEXT as the body", CLI_TEXT, &config.data, 0, 0, NULL},
    {"data-file", "FILE", "send what is in FILE as the body", CLI_TEXT, &config.data_file, 0, 0,
     NULL},
    {"head", NULL, "ask for the head alone and print it", CLI_FLAG, &config.head, 0, 0, NULL},
    {"no-redirects", NULL, "print a redirect instead of following it", CLI_FLAG,
     &config.no_redirects, 0, 0, NULL},
    {"ca", "FILE", "trust the certificates in FILE instead of the system's", CLI_TEXT, &config.ca,
     0, 0, NULL},
    {"insecure-no-verify", NULL, "believe any certificate", CLI_FLAG, &config.insecure, 0, 0, NULL},
    {"proxy", "URL", "http://HOST:PORT or socks5://HOST:PORT", CLI_TEXT, &config.proxy, 0, 0, NULL},
    {"http1", NULL, "do not offer HTTP/2", CLI_FLAG, &config.http1, 0, 0, NULL},
    {"quiet", NULL, "no progress bar", CLI_FLAG, &config.quiet, 0, 0, NULL},
    {"timeout", "S", "give up after S seconds in all (300)", CLI_SECONDS, &config.timeout_s, 0,
     86400 * 365, NULL},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "get",
    .synopsis = "URL [OPTION...]",
    .about = "Fetches what is at an http:// or https:// URL, redirects followed, and writes it to\n"
             "standard output or a file. Exit status 1 when it cannot be had whole, or the status\n"
             "is 400 or more.",
    .operand = "URL",
    .options = options,
};

/* --- The request ------------------------------------------------------------------------------ */

static void trace(void *arg, char kind, const char *text, size_t len)
{
    (void)arg;
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t line = end != NULL ? (size_t)(end - text) + 1 : len;
        size_t shown = line;
        while (shown > 0 && (text[shown - 1] == '\n' || text[shown - 1] == '\r'))
            shown--;
        fprintf(stderr, "%c %.*s\n", kind, (int)shown, text);
        text += line;
        len -= line;
    }
}

/* "Name: value" cut in two. */
static int split_header(const char *text, struct weft_http_field *f)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL || colon == text)
        return cli_usage_error(verb.name, "--header: '%s' is not of the form 'NAME: VALUE'", text);
    f->name = text;
    f->name_len = (size_t)(colon - text);
    f->value = colon + 1 + strspn(colon + 1, " \t");
    f->value_len = strlen(f->value);
    return CLI_GO_ON;
}

static ssize_t produce(void *arg, void *buf, size_t cap, weft_deadline d)
{
    (void)d;
    ssize_t n = read(*(int *)arg, buf, cap);
    return n < 0 ? -errno : n;
}

static int rewind_file(void *arg)
{
    return lseek(*(int *)arg, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int open_data_file(struct weft_http_call *call, int *fd)
{
    struct stat st;
    *fd = open(config.data_file, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &st) < 0)
        return cli_failed(verb.name, "cannot read '%s': %s", config.data_file, strerror(errno));
    call->produce = produce;
    call->produce_arg = fd;
    call->produce_len = S_ISREG(st.st_mode) ? st.st_size : -1;
    call->rewind = S_ISREG(st.st_mode) ? rewind_file : NULL;
    return CLI_GO_ON;
}

/* --- The file --------------------------------------------------------------------------------- */

struct sink {
    FILE *file;
    bool fresh;   /* what is in it goes as soon as something comes */
    int64_t from; /* so much was there, and is kept */
    int64_t last; /* of a part: its last byte, as the server says; -1: it is no part */
    int64_t size; /* and of how many; -1: not said */
};

/* The request's field of that name, in lower case, is the user's own. */
static bool is_given(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < config.headers.n; i++)
        if (strncasecmp(config.header_texts[i], name, len) == 0 &&
            config.header_texts[i][len] == ':')
            return true;
    return false;
}

/* Only what is got has parts. */
static bool gets(void)
{
    return !config.head && config.data == NULL && config.data_file == NULL &&
           (config.method == NULL || strcmp(config.method, "GET") == 0);
}

/* How much of it is there already. */
static int64_t size_there(void)
{
    struct stat st;
    if (!config.resume || !gets() || stat(config.output, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return st.st_size;
}

/* "bytes 5-9/10", or "bytes *" and "/10": -1 for what is not said. */
struct content_range {
    int64_t first, last, size;
};

/* -1: there is none, or one so large that it has no next. */
static int64_t number(const char *text, const char **end)
{
    char *behind;
    if (*text < '0' || *text > '9')
        return -1;
    int64_t n = strtoll(text, &behind, 10); /* INT64_MAX for what is larger */
    *end = behind;
    return n < INT64_MAX ? n : -1;
}

static struct content_range content_range_of(const struct weft_http_reply *r)
{
    struct content_range c = {-1, -1, -1};
    const char *at = weft_http_reply_field(r, "Content-Range");
    if (at == NULL || strncasecmp(at, "bytes ", 6) != 0)
        return c;
    at += 6;
    c.first = number(at, &at);
    if (c.first >= 0 && *at == '-')
        c.last = number(at + 1, &at);
    at = strchr(at, '/');
    if (at != NULL)
        c.size = number(at + 1, &at);
    return c;
}

static int open_sink(struct sink *sink, const struct weft_http_reply *r)
{
    bool part = weft_http_reply_status(r) == 206 && !is_given("range");
    struct content_range range = content_range_of(r);
    sink->last = sink->size = -1;
    if (part && (range.first < 0 || range.last < range.first)) {
        const char *said = weft_http_reply_field(r, "Content-Range");
        return cli_failed(verb.name, "the server sends a part, and says of what: '%.80s'",
                          said != NULL ? said : "");
    }
    if (part && range.first != sink->from)
        return cli_failed(verb.name, "asked for bytes from %lld on, and the server sends from %lld",
                          (long long)sink->from, (long long)range.first);
    if (part) {
        sink->last = range.last;
        sink->size = range.size;
    } else {
        sink->from = 0;
    }
    if (config.output == NULL) {
        sink->file = stdout;
        return CLI_GO_ON;
    }
    struct stat st;
    int on = sink->from > 0 ? O_APPEND : 0;
    int fd = open(config.output, O_WRONLY | O_CREAT | O_CLOEXEC | on, 0666);
    sink->fresh = fd >= 0 && on == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    sink->file = fd >= 0 ? fdopen(fd, on != 0 ? "ab" : "wb") : NULL;
    if (sink->file == NULL)
        return cli_failed(verb.name, "cannot write '%s': %s", config.output, strerror(errno));
    return CLI_GO_ON;
}

/* The first byte has come, or the end. The order is that of part.h's invariant. */
static int make_room(struct sink *sink, struct part *part, const struct weft_http_reply *r)
{
    if (!sink->fresh)
        return CLI_OK;
    sink->fresh = false;
    part_forget(part);
    if (ftruncate(fileno(sink->file), 0) < 0)
        return cli_failed(verb.name, "cannot write '%s': %s", config.output, strerror(errno));
    if (gets() && !is_given("range"))
        part_note(part, r);
    return CLI_OK;
}

/* A part has to be as long as it was said to be, and to come to the end of the whole. */
static int check_part(const struct sink *sink, int64_t got)
{
    if (sink->last < 0)
        return CLI_OK;
    if (sink->from + got != sink->last + 1)
        return cli_failed(verb.name, "the server said bytes %lld to %lld, and sent %lld of them",
                          (long long)sink->from, (long long)sink->last, (long long)got);
    if (sink->size >= 0 && sink->last + 1 != sink->size)
        return cli_failed(verb.name, "the server sent no more than %lld of %lld bytes",
                          (long long)(sink->last + 1), (long long)sink->size);
    return CLI_OK;
}

static int copy(struct weft_http_reply *r, struct sink *sink, struct part *part,
                struct progress *bar, weft_deadline d)
{
    static char buf[PIECE];
    int64_t got = 0;
    ssize_t n;
    while ((n = weft_http_reply_read(r, buf, sizeof buf, d)) > 0) {
        int64_t room = sink->last < 0 ? n : sink->last + 1 - sink->from - got;
        size_t kept = (size_t)(room < 0 ? 0 : room < n ? room : n); /* no more than it says */
        if (make_room(sink, part, r) != CLI_OK)
            return CLI_FAILED;
        if (fwrite(buf, 1, kept, sink->file) != kept)
            return cli_failed(verb.name, "cannot write '%s': %s",
                              config.output != NULL ? config.output : "standard output",
                              strerror(errno));
        progress_add(bar, (uint64_t)n);
        got += n;
    }
    if (n < 0)
        return cli_failed_code(verb.name, (int)n, "the transfer broke off");
    int res = make_room(sink, part, r);
    return res == CLI_OK ? check_part(sink, got) : res;
}

static int close_sink(struct sink *sink)
{
    if (sink->file == NULL || sink->file == stdout)
        return CLI_OK;
    if (fclose(sink->file) != 0)
        return cli_failed(verb.name, "cannot write '%s': %s", config.output, strerror(errno));
    return CLI_OK;
}

/* --- The reply -------------------------------------------------------------------------------- */

static void print_head(const struct weft_http_reply *r)
{
    size_t n;
    int version = weft_http_reply_version(r);
    const struct weft_http_field *f = weft_http_reply_fields(r, &n);
    printf("HTTP/%d%s%.0d %d %s\n", version / 10, version >= 20 ? "" : ".",
           version >= 20 ? 0 : version % 10, weft_http_reply_status(r),
           weft_http_reason(weft_http_reply_status(r)));
    for (size_t i = 0; i < n; i++)
        printf("%s: %s\n", f[i].name, f[i].value);
}

/* What is there is all there is: the server's answer to a range behind the end. */
static bool is_complete(const struct weft_http_reply *r, int64_t there)
{
    return weft_http_reply_status(r) == 416 && there > 0 && content_range_of(r).size == there;
}

/*
 * The reply has no content by its kind, which is not the same as an empty one: what is stored stays
 * (RFC 9110 sections 9.3.2, 15.3.5, 15.3.6, 15.4.5). Says of what kind; NULL: it has content.
 */
static const char *without_content(const struct weft_http_reply *r)
{
    switch (weft_http_reply_status(r)) {
    case 204:
        return "204 No Content";
    case 205:
        return "205 Reset Content";
    case 304:
        return "304 Not Modified";
    default:
        return config.method != NULL && strcmp(config.method, "HEAD") == 0
                   ? "the reply to HEAD has no body"
                   : NULL;
    }
}

static int leave(const char *why)
{
    if (!config.quiet && config.output != NULL)
        fprintf(stderr, "weft get: '%s' is left as it is: %s\n", config.output, why);
    return CLI_OK;
}

/* What is there is not gone on with. */
static void tell(const char *why)
{
    if (!config.quiet)
        fprintf(stderr, "weft get: '%s' is fetched anew: %s\n", config.output, why);
}

/* Whether that reply to a request for the rest is of what is there. */
static int check_version(const struct weft_http_reply *r, int64_t there, const struct part *part)
{
    int status = weft_http_reply_status(r);
    bool named = part->validator[0] != '\0' || is_given("if-range");
    if (status == 200)
        tell(named ? "the server has another version, or no parts" : "the server sends all of it");
    if (status != 206 && status != 416)
        return CLI_GO_ON;
    if (part_is_other(part, r)) {
        tell("the server has another version");
        return ANEW;
    }
    if (status == 416 && !is_complete(r, there)) {
        tell("the server has no such part");
        return ANEW;
    }
    if (status == 206 && !named && !config.unchecked) {
        tell("nothing names the version that is there in part");
        return ANEW;
    }
    if (status == 206 && weft_http_reply_field(r, "Content-Encoding") != NULL) {
        tell("the server sends parts of a compressed body");
        return ANEW;
    }
    return CLI_GO_ON;
}

static int take(struct weft_http_reply *r, int64_t there, struct part *part, weft_deadline d)
{
    int status = weft_http_reply_status(r);
    struct sink sink = {.from = there};
    struct progress bar;
    if (config.head) {
        print_head(r);
        return status >= 400 ? CLI_FAILED : CLI_OK;
    }
    int res = there > 0 ? check_version(r, there, part) : CLI_GO_ON;
    if (res != CLI_GO_ON)
        return res;
    if (is_complete(r, there)) {
        part_forget(part);
        return CLI_OK;
    }
    if (status >= 400 && config.output != NULL)
        return cli_failed(verb.name, "%s: %d %s", weft_http_reply_url(r), status,
                          weft_http_reason(status));
    const char *why = without_content(r);
    if (why != NULL && status < 400)
        return leave(why);
    res = open_sink(&sink, r);
    if (res != CLI_GO_ON)
        return res;
    bool encoded = weft_http_reply_field(r, "Content-Encoding") != NULL;
    progress_open(&bar, !config.quiet && !config.verbose && config.output != NULL,
                  (uint64_t)sink.from, encoded ? -1 : weft_http_reply_length(r));
    res = copy(r, &sink, part, &bar, d);
    progress_close(&bar);
    int closed = close_sink(&sink);
    if (res == CLI_OK && closed == CLI_OK)
        part_forget(part);
    if (res == CLI_OK && status >= 400)
        res = cli_failed(verb.name, "%s: %d %s", weft_http_reply_url(r), status,
                         weft_http_reason(status));
    return res != CLI_OK ? res : closed;
}

static void add(struct weft_http_call *call, struct weft_http_field *fields, const char *name,
                const char *value)
{
    fields[call->n_fields++] = (struct weft_http_field){.name = name, .value = value};
}

/* Asks for what is not there yet. */
static int ask_from(struct weft_http_client *c, struct weft_http_call *call, int64_t there,
                    struct part *part, weft_deadline d)
{
    struct weft_http_field fields[HEADERS_MAX + 3];
    struct weft_http_reply *r;
    char range[40];
    call->fields = fields;
    for (size_t i = 0; i < config.headers.n; i++) {
        int res = split_header(config.header_texts[i], &fields[i]);
        if (res != CLI_GO_ON)
            return res;
    }
    call->n_fields = config.headers.n;
    if (there > 0) {
        snprintf(range, sizeof range, "bytes=%lld-", (long long)there);
        add(call, fields, "Range", range);
        if (part->validator[0] != '\0')
            add(call, fields, "If-Range", part->validator);
    }
    if (config.resume && !is_given("accept-encoding"))
        add(call, fields, "Accept-Encoding", "identity"); /* a part of another is of no use */
    int err = weft_http_fetch(c, call, &r, d);
    if (err == WEFT_EURL)
        return cli_usage_error(verb.name, "%s: %s", call->url, weft_error_detail());
    if (err < 0)
        return cli_failed_code(verb.name, err, "%s", call->url);
    int res = take(r, there, part, d);
    weft_http_reply_close(&r);
    return res;
}

static int ask(struct weft_http_client *c, struct weft_http_call *call, weft_deadline d)
{
    struct part part;
    part_open(&part, config.output, call->url);
    if (is_given("if-range"))
        part.validator[0] = '\0'; /* the user knows */
    int res = ask_from(c, call, size_there(), &part, d);
    return res == ANEW ? ask_from(c, call, 0, &part, d) : res;
}

static int check_options(void)
{
    if (config.data != NULL && config.data_file != NULL)
        return cli_usage_error(verb.name, "--data and --data-file exclude each other");
    config.resume = config.resume || config.unchecked;
    if (config.resume && config.output == NULL)
        return cli_usage_error(verb.name, "--resume needs --output");
    if (config.resume && is_given("range"))
        return cli_usage_error(verb.name, "--resume and a Range exclude each other");
    if (config.head && (config.data != NULL || config.data_file != NULL))
        return cli_usage_error(verb.name, "--head sends no body");
    return CLI_GO_ON;
}

static int run(const char *url, weft_deadline d)
{
    struct weft_http_client *c = NULL;
    struct weft_tls *tls = NULL;
    int fd = -1;
    struct weft_http_call call = {.url = url,
                                  .method = config.head ? "HEAD" : config.method,
                                  .no_redirects = config.no_redirects,
                                  .trace = config.verbose ? trace : NULL};
    int res = CLI_GO_ON;
    if (config.data_file != NULL)
        res = open_data_file(&call, &fd);
    if (config.data != NULL) {
        call.body = config.data;
        call.body_len = strlen(config.data);
    }
    struct weft_tls_options to = {.ca = config.ca,
                                  .insecure_no_verify = config.insecure,
                                  .alpn = config.http1 ? "http/1.1" : "h2,http/1.1"};
    int err = res != CLI_GO_ON ? 0 : weft_tls_open(&tls, &to);
    struct weft_http_client_options co = {
        .tls = tls, .proxy = config.proxy, .no_http2 = config.http1};
    if (res == CLI_GO_ON && err == 0)
        err = weft_http_client_open(&c, &co);
    if (err < 0)
        res = cli_failed_code(verb.name, err, "cannot begin");
    else if (res == CLI_GO_ON)
        res = ask(c, &call, d);
    weft_http_client_close(&c);
    weft_tls_close(&tls);
    if (fd >= 0)
        close(fd);
    return res;
}

int get_main(int argc, char **argv)
{
    const char *url;
    int res = cli_parse(&verb, argc, argv, &url);
    if (res == CLI_GO_ON)
        res = check_options();
    return res == CLI_GO_ON ? run(url, weft_after_ms((int64_t)(config.timeout_s * 1000))) : res;
}
