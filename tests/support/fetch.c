/* SPDX-License-Identifier: MIT */
/*
 * An HTTP client with its pool, told by lines on stdin what to ask; for tests whose servers are not
 * ours.
 *
 * usage: fetch [prior] [http1] [ca=FILE] [decoded=N]   (decoded: at most, of a compressed body)
 *
 * A line is `stats`, or `METHOD URL` and any of
 *
 *     body=N        sends N bytes of the pattern below (fixed length)
 *     chunked       ... in pieces, of a length that is not told before
 *     expect        ... and asks first (100-continue)
 *     stop=N        closes the reply after N bytes
 *     times=N       N times at once, in tasks
 *     Name:Value    a field
 *
 * The pattern: byte i is i * 31 + i / 251, modulo 256. A request is answered by a line
 * `STATUS VERSION BYTES ADLER32 CODING TRAILER URL` (`-` for what is not there; CODING is its
 * Content-Encoding, TRAILER that of `x-sum`), or `error NAME DETAIL`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

#define FIELDS_MAX 16

struct asked {
    struct weft_http_client *client;
    struct weft_http_call call;
    struct weft_http_field fields[FIELDS_MAX];
    uint64_t body, stop;
    bool chunked;
};

struct source {
    uint64_t at, len;
};

static ssize_t produce(void *arg, void *buf, size_t cap, weft_deadline d)
{
    struct source *s = arg;
    unsigned char *to = buf;
    size_t n = 0;
    (void)d;
    for (; n < cap && n < 7777 && s->at < s->len; n++, s->at++)
        to[n] = (unsigned char)(s->at * 31 + s->at / 251);
    return (ssize_t)n;
}

static int rewind_source(void *arg)
{
    ((struct source *)arg)->at = 0;
    return 0;
}

static uint32_t adler(uint32_t sum, const unsigned char *data, size_t len)
{
    uint32_t a = sum & 0xffff, b = sum >> 16;
    for (size_t i = 0; i < len; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static void tell(const struct asked *q, struct weft_http_reply *r, uint64_t got, uint32_t sum)
{
    const char *coding = weft_http_reply_field(r, "Content-Encoding");
    const char *trailer = q->stop > 0 ? NULL : weft_http_reply_trailer(r, "x-sum");
    (void)printf("%d %d %llu %u %s %s %s\n", weft_http_reply_status(r), weft_http_reply_version(r),
                 (unsigned long long)got, sum, coding != NULL ? coding : "-",
                 trailer != NULL ? trailer : "-", weft_http_reply_url(r));
}

static int ask(void *arg)
{
    const struct asked *q = arg;
    static const size_t piece = 16384;
    struct weft_http_call call = q->call;
    struct source source = {.len = q->body};
    struct weft_http_reply *r = NULL;
    weft_deadline d = weft_after_s(60);
    uint64_t got = 0;
    uint32_t sum = 1;
    ssize_t n = 0;
    unsigned char *buf = malloc(piece);
    if (q->body > 0) {
        call.produce = produce;
        call.rewind = rewind_source;
        call.produce_arg = &source;
        call.produce_len = q->chunked ? -1 : (int64_t)q->body;
    }
    int err = weft_http_fetch(q->client, &call, &r, d);
    while (err == 0 && buf != NULL && (q->stop == 0 || got < q->stop) &&
           (n = weft_http_reply_read(r, buf, piece, d)) > 0) {
        sum = adler(sum, buf, (size_t)n);
        got += (uint64_t)n;
    }
    err = n < 0 ? (int)n : err;
    if (err < 0)
        (void)printf("error %s %s\n", weft_error_name(err), weft_error_detail());
    else
        tell(q, r, got, sum);
    weft_http_reply_close(&r);
    free(buf);
    return 0;
}

static void stats(const struct weft_http_client *c)
{
    struct weft_http_client_stats st;
    weft_http_client_stats(c, &st);
    (void)printf("requests=%llu connections=%llu reused=%llu retries=%llu redirects=%llu open=%zu "
                 "idle=%zu\n",
                 (unsigned long long)st.requests, (unsigned long long)st.connections,
                 (unsigned long long)st.reused, (unsigned long long)st.retries,
                 (unsigned long long)st.redirects, st.open, st.idle);
}

/* One word of a line. */
static void take(struct asked *q, char *word, int *times)
{
    char *colon = strchr(word, ':');
    if (strncmp(word, "body=", 5) == 0)
        q->body = strtoull(word + 5, NULL, 10);
    else if (strncmp(word, "stop=", 5) == 0)
        q->stop = strtoull(word + 5, NULL, 10);
    else if (strncmp(word, "times=", 6) == 0)
        *times = (int)strtol(word + 6, NULL, 10);
    else if (strcmp(word, "chunked") == 0)
        q->chunked = true;
    else if (strcmp(word, "expect") == 0)
        q->call.expect_continue = true;
    else if (colon != NULL && q->call.n_fields < FIELDS_MAX) {
        *colon = '\0';
        q->fields[q->call.n_fields++] = (struct weft_http_field){.name = word, .value = colon + 1};
    }
}

static int obey(struct weft_http_client *client, char *line)
{
    struct asked q = {.client = client};
    struct weft_group *group = NULL;
    int times = 1;
    char *save, *word = strtok_r(line, " ", &save);
    if (word == NULL)
        return 0;
    if (strcmp(word, "stats") == 0) {
        stats(client);
        return 0;
    }
    q.call.method = word;
    q.call.url = strtok_r(NULL, " ", &save);
    q.call.fields = q.fields;
    while ((word = strtok_r(NULL, " ", &save)) != NULL)
        take(&q, word, &times);
    int err = weft_group_open(&group);
    for (int i = 0; err == 0 && i < times; i++)
        err = weft_group_go(group, "ask", ask, &q);
    if (err == 0)
        err = weft_group_wait(group, WEFT_NEVER);
    int closed = weft_group_close(&group);
    return err < 0 ? err : closed;
}

static int run(void *arg)
{
    char **argv = arg;
    struct weft_http_client_options o = {0};
    struct weft_tls_options to = {0};
    struct weft_tls *tls = NULL;
    struct weft_http_client *client = NULL;
    struct weft_stream *in = NULL;
    const struct weft_framing lines = {.kind = WEFT_FRAMING_LINE};
    char line[4096];
    const void *record;
    size_t len;
    for (int i = 1; argv[i] != NULL; i++) {
        o.http2_prior = o.http2_prior || strcmp(argv[i], "prior") == 0;
        o.no_http2 = o.no_http2 || strcmp(argv[i], "http1") == 0;
        if (strncmp(argv[i], "ca=", 3) == 0)
            to.ca = argv[i] + 3;
        if (strncmp(argv[i], "decoded=", 8) == 0)
            o.decoded_max = strtoll(argv[i] + 8, NULL, 10);
    }
    to.alpn = o.no_http2 ? "http/1.1" : "h2,http/1.1";
    int err = weft_tls_open(&tls, &to);
    o.tls = tls;
    if (err == 0)
        err = weft_http_client_open(&client, &o);
    if (err == 0)
        err = weft_stream_from_fd(&in, 0);
    while (err >= 0 && (err = weft_read_record(in, &lines, &record, &len, WEFT_NEVER)) == 1) {
        if (len >= sizeof line)
            break;
        memcpy(line, record, len);
        line[len] = '\0';
        err = obey(client, line);
        (void)fflush(stdout);
    }
    if (err < 0)
        (void)fprintf(stderr, "fetch: %s %s\n", weft_error_text(err), weft_error_detail());
    (void)weft_close(&in, WEFT_NOW);
    weft_http_client_close(&client);
    weft_tls_close(&tls);
    return err;
}

int main(int argc, char **argv)
{
    (void)argc;
    return weft_run(NULL, run, argv) < 0;
}
