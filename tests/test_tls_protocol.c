/* SPDX-License-Identifier: MIT */
/*
 * TLS in callback mode: the order of callbacks, ends of every kind, back-pressure, pausing, and
 * handshakes that fail.
 */
#include "tls_protocol_kit.h"

static void exchange(struct weft_stream *c, const char *text)
{
    char back[64];
    size_t len = strlen(text);
    CHECK_EQ(weft_write(c, text, len, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(c, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, len, weft_after_s(60)), 0);
    CHECK(memcmp(back, text, len) == 0);
}

/* --- Order ------------------------------------------------------------------------------------ */

static int callbacks_come_in_order(void *arg)
{
    struct held h = {0};
    char more;
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    exchange(h.c, "hello");
    CHECK(strcmp(h.seen.info.version, "TLSv1.3") == 0 && h.seen.info.server);
    CHECK(strcmp(h.seen.info.sni, "server.test") == 0);
    CHECK_EQ(weft_stream_bytes_in(h.seen.t), 5); /* of plain text */
    CHECK_EQ(weft_stream_bytes_out(h.seen.t), 5);
    CHECK_EQ(weft_stream_label(h.seen.t, "it"), 0);
    CHECK_EQ(weft_shutdown(h.c, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(h.c, &more, 1, weft_after_s(60)), 0); /* it vouches for its end, too */
    wait_lost(&h.seen);
    CHECK(strcmp(h.seen.order, "mdel") == 0);
    CHECK_EQ(h.seen.error, 0);
    CHECK_EQ(h.seen.bytes, 5);
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    held_close(&h);
    return 0;
}

static int serve_one(void *arg)
{
    struct held *h = arg;
    struct weft_tls *tls = tls_kit_server("server");
    char buf[16];
    ssize_t n;
    CHECK_EQ(weft_tls_accept(&h->c, tls, weft_after_s(60)), 0);
    while ((n = weft_read(h->c, buf, sizeof buf, weft_after_s(60))) > 0)
        CHECK_EQ(weft_write(h->c, buf, (size_t)n, WEFT_NEVER), 0);
    CHECK_EQ(n, 0);
    weft_tls_close(&tls);
    return weft_close(&h->c, WEFT_NEVER);
}

static void say(void *arg)
{
    struct seen *s = arg;
    struct iovec iov[3] = {
        {(void *)(uintptr_t) "he", 2}, {NULL, 0}, {(void *)(uintptr_t) "llo", 3}};
    CHECK_EQ(weft_transport_writev(s->t, iov, 3), 0);
}

static void finish(void *arg)
{
    weft_transport_close(((struct seen *)arg)->t);
}

static int as_the_client(void *arg)
{
    struct held h = {.seen = {.quiet = true}};
    struct weft_group *g = kit_group();
    (void)arg;
    held_open(&h, (struct weft_factory){0}, NULL, "server.test", 0);
    kit_go(g, "server", serve_one, &h);
    wait_made(&h.seen);
    CHECK(h.seen.info.verified && strcmp(h.seen.info.subject, "CN=server.test") == 0);
    kit_as_callback(say, &h.seen);
    while (h.seen.bytes < 5)
        CHECK_EQ(weft_yield(), 0);
    CHECK(memcmp(h.seen.last, "hello", 5) == 0);
    kit_as_callback(finish, &h.seen);
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, 0);
    CHECK(strcmp(h.seen.order, "mdl") == 0);
    CHECK_EQ(weft_group_close(&g), 0);
    held_close(&h);
    return 0;
}

/* --- The wire in crumbs ----------------------------------------------------------------------- */

struct relay {
    struct weft_stream *from, *to;
    size_t piece;
};

static int relay(void *arg)
{
    struct relay *r = arg;
    char buf[32];
    ssize_t n;
    while ((n = weft_read(r->from, buf, r->piece, weft_after_s(60))) > 0) {
        CHECK_EQ(weft_write(r->to, buf, (size_t)n, WEFT_NEVER), 0);
        CHECK_EQ(weft_flush(r->to, WEFT_NEVER), 0);
        if (weft_yield() < 0)
            break;
    }
    return 0;
}

static int in_crumbs(void *arg)
{
    (void)arg;
    for (size_t piece = 1; piece <= 7; piece += 3) {
        struct held h = {0};
        struct weft_stream *mine = NULL, *far = NULL;
        struct weft_group *g = kit_group();
        CHECK_EQ(weft_socketpair(&mine, &far), 0);
        held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
        struct relay there = {far, h.c, piece}, back = {h.c, far, piece};
        kit_go(g, "there", relay, &there);
        kit_go(g, "back", relay, &back);
        struct weft_stream *plain = h.c;
        h.c = mine;
        held_connect(&h);
        exchange(h.c, "one");
        exchange(h.c, "a second, longer one");
        CHECK_EQ(h.seen.bytes, 23);
        weft_group_cancel(g);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_abort(&plain);
        weft_abort(&far);
        wait_lost(&h.seen);
        held_close(&h);
    }
    return 0;
}

/* --- Ends ------------------------------------------------------------------------------------- */

static int a_truncated_stream(void *arg)
{
    struct held h = {0};
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    exchange(h.c, "half");
    weft_abort(&h.c); /* on a Unix socket: an end, and no reset */
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, WEFT_EEOF);
    CHECK(has(h.seen.detail, "without close_notify"));
    CHECK(strcmp(h.seen.order, "mdl") == 0);
    held_close(&h);
    return 0;
}

static int a_damaged_record(void *arg)
{
    static const char record[] = "\x17\x03\x03\x00\x14twenty wrong bytes..";
    struct held h = {0};
    char buf[8];
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    exchange(h.c, "ok");
    CHECK_EQ(send(weft_stream_fd(h.c), record, 25, MSG_NOSIGNAL), 25);
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, WEFT_ETLS);
    CHECK(has(h.seen.detail, "bad record"));
    CHECK_EQ(weft_read(h.c, buf, sizeof buf, weft_after_s(60)), WEFT_ETLS); /* it was told */
    CHECK(has(weft_error_detail(), "bad record mac (alert 20)"));
    held_close(&h);
    return 0;
}

static void drop(void *arg)
{
    weft_transport_abort(((struct seen *)arg)->t, WEFT_EPROTOCOL);
}

static int an_abort_and_a_cancel(void *arg)
{
    struct held h = {0};
    char c;
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    exchange(h.c, "x");
    kit_as_callback(drop, &h.seen);
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, WEFT_EPROTOCOL);
    CHECK_EQ(weft_read(h.c, &c, 1, weft_after_s(60)), WEFT_EEOF); /* it did not vouch for that */
    held_close(&h);
    h = (struct held){0};
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    exchange(h.c, "x");
    CHECK_EQ(weft_group_close(&h.group), 0);
    CHECK_EQ(h.seen.error, -ECANCELED);
    h.group = kit_group();
    held_close(&h);
    return 0;
}

struct half {
    struct weft_stream *c;
    size_t size;
};

static int send_then_shut(void *arg)
{
    static char block[65536];
    struct half *h = arg;
    for (size_t sent = 0; sent < h->size; sent += sizeof block)
        CHECK_EQ(weft_write(h->c, block, sizeof block, weft_after_s(60)), 0);
    return weft_shutdown(h->c, weft_after_s(60));
}

static int half_close_brings_everything_back(void *arg)
{
    struct held h = {0};
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    struct half half = {.c = h.c, .size = (size_t)4 << 20};
    struct weft_group *g = kit_group();
    size_t got = 0;
    ssize_t n;
    const void *data;
    kit_go(g, "sender", send_then_shut, &half);
    while ((n = weft_peek(h.c, &data, weft_after_s(60))) > 0) {
        got += (size_t)n;
        weft_consume(h.c, (size_t)n);
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, half.size);
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    held_close(&h);
    return 0;
}

/* The peer has ended; our side goes on. */
static int a_side_stays_open(void *arg)
{
    struct held h = {.seen = {.eof_keeps = 1, .quiet = true}};
    char buf[8];
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    CHECK_EQ(weft_write(h.c, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_shutdown(h.c, WEFT_NEVER), 0);
    while (strcmp(h.seen.order, "mde") != 0)
        CHECK_EQ(weft_yield(), 0);
    kit_as_callback(say, &h.seen);
    CHECK_EQ(weft_read_full(h.c, buf, 5, weft_after_s(60)), 0);
    kit_as_callback(finish, &h.seen);
    CHECK_EQ(weft_read(h.c, buf, 1, weft_after_s(60)), 0);
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, 0);
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    held_close(&h);
    return 0;
}

/* --- Bounds ----------------------------------------------------------------------------------- */

static int a_peer_that_never_reads_is_bounded(void *arg)
{
    static char flood[65536];
    struct held h = {0};
    size_t sent = 0;
    int err = 0;
    (void)arg;
    held_open(&h, (struct weft_factory){.write_mark = 32768}, "server", NULL, 0);
    held_connect(&h);
    while (err == 0 && sent < ((size_t)64 << 20)) {
        err = weft_write(h.c, flood, sizeof flood, weft_after_ms(200));
        sent += err == 0 ? sizeof flood : 0;
    }
    CHECK_EQ(err, -ETIMEDOUT); /* it stopped reading us */
    CHECK(strstr(h.seen.order, "p") != NULL);
    CHECK(h.seen.t != NULL && weft_transport_queued(h.seen.t) <= 32768 + 2 * 17000);
    size_t got = 0; /* ... and goes on when we read */
    while (got < sent) {
        const void *data;
        ssize_t n = weft_peek(h.c, &data, weft_after_s(60));
        CHECK(n > 0);
        weft_consume(h.c, (size_t)n);
        got += (size_t)n;
    }
    CHECK(strstr(h.seen.order, "r") != NULL);
    weft_abort(&h.c);
    wait_lost(&h.seen);
    held_close(&h);
    return 0;
}

static void write_too_much(void *arg)
{
    struct seen *s = arg;
    static char big[70000];
    CHECK_EQ(weft_transport_write(s->t, big, 60000), 0);
    size_t queued = weft_transport_queued(s->t);
    CHECK(queued >= 60000 && queued < 62000); /* as it goes over the wire */
    CHECK_EQ(weft_transport_write(s->t, big, 60000), -ENOBUFS);
    CHECK(strstr(weft_error_detail(), "60000") != NULL);
    CHECK_EQ(weft_transport_queued(s->t), queued);
    weft_transport_close(s->t);
    CHECK_EQ(weft_transport_write(s->t, big, 1), WEFT_ECLOSED);
}

static int a_write_beyond_the_maximum_is_refused(void *arg)
{
    struct held h = {0};
    size_t got = 0;
    ssize_t n;
    const void *data;
    (void)arg;
    held_open(&h, (struct weft_factory){.write_mark = 16384, .write_max = 65536}, "server", NULL,
              0);
    held_connect(&h);
    wait_made(&h.seen);
    kit_as_callback(write_too_much, &h.seen);
    while ((n = weft_peek(h.c, &data, weft_after_s(60))) > 0) {
        weft_consume(h.c, (size_t)n);
        got += (size_t)n;
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, 60000); /* a graceful close sends what is queued */
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, 0);
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    held_close(&h);
    return 0;
}

static void hold(void *arg)
{
    weft_transport_pause_reading(((struct seen *)arg)->t);
}

static void go_on(void *arg)
{
    weft_transport_resume_reading(((struct seen *)arg)->t);
}

static int no_data_comes_while_reading_is_paused(void *arg)
{
    struct held h = {0};
    char back[4];
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    held_connect(&h);
    wait_made(&h.seen);
    for (int i = 0; i < 3; i++) {
        kit_as_callback(hold, &h.seen);
        size_t before = h.seen.bytes;
        CHECK_EQ(weft_write(h.c, "ping", 4, WEFT_NEVER), 0);
        CHECK_EQ(weft_read(h.c, back, 4, weft_after_ms(20)), -ETIMEDOUT);
        CHECK_EQ(h.seen.bytes, before);
        kit_as_callback(go_on, &h.seen);
        CHECK_EQ(weft_read_full(h.c, back, 4, weft_after_s(60)), 0);
    }
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    wait_lost(&h.seen);
    CHECK_EQ(h.seen.error, 0);
    held_close(&h);
    return 0;
}

static int produce(struct weft_stream *t, void *arg)
{
    int *left = arg;
    char block[1000];
    memset(block, 'a' + *left % 26, sizeof block);
    CHECK_EQ(weft_transport_write(t, block, sizeof block), 0);
    if (--*left > 0)
        return 1;
    weft_transport_close(t);
    return 0;
}

static int blocks_left;

static int produce_on_made(struct weft_stream *t, void *arg)
{
    CHECK_EQ(on_made(t, arg), 0);
    return weft_transport_produce(t, produce, &blocks_left);
}

static int a_producer_fills_as_it_drains(void *arg)
{
    static const struct weft_protocol p = {
        .made = produce_on_made, .data = on_data, .lost = on_lost};
    struct held h = {0};
    size_t got = 0;
    ssize_t n;
    const void *data;
    (void)arg;
    blocks_left = 5000;
    held_open(&h, (struct weft_factory){.protocol = &p, .write_mark = 20000}, "server", NULL, 0);
    held_connect(&h);
    while ((n = weft_peek(h.c, &data, weft_after_s(60))) > 0) {
        got += (size_t)n;
        weft_consume(h.c, (size_t)n);
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, 5000000);
    wait_lost(&h.seen);
    CHECK_EQ(weft_close(&h.c, WEFT_NEVER), 0);
    held_close(&h);
    return 0;
}

/* --- Handshakes that fail --------------------------------------------------------------------- */

static int a_client_that_distrusts(void *arg)
{
    struct held h = {0};
    struct weft_tls *tls = tls_kit_client();
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "stranger", NULL, 0);
    CHECK_EQ(weft_tls_connect(&h.c, tls, "server.test", weft_after_s(60)), WEFT_ECERTIFICATE);
    CHECK_EQ(weft_group_wait(h.group, weft_after_s(60)), 0);
    CHECK_EQ(h.seen.n, 0); /* neither made nor lost */
    weft_tls_close(&tls);
    held_close(&h);
    return 0;
}

static void never_made(struct weft_stream *t, int error, void *conn)
{
    struct seen *s = conn;
    CHECK(t == NULL);
    note(s, 'l');
    s->error = error;
    (void)snprintf(s->detail, sizeof s->detail, "%s", weft_error_detail());
    weft_event_set(&s->lost);
}

static int a_server_that_is_not_trusted(void *arg)
{
    static const struct weft_protocol p = {.made = on_made, .data = on_data, .lost = never_made};
    struct held h = {0};
    struct weft_tls *tls = tls_kit_server("stranger");
    (void)arg;
    held_open(&h, (struct weft_factory){.protocol = &p}, NULL, "server.test", 0);
    CHECK_EQ(weft_tls_accept(&h.c, tls, weft_after_s(60)), WEFT_ECERTIFICATE);
    CHECK(has(weft_error_detail(), "the peer refused our certificate")); /* the alert came */
    wait_lost(&h.seen);
    CHECK(strcmp(h.seen.order, "l") == 0);
    CHECK_EQ(h.seen.error, WEFT_ECERTIFICATE);
    CHECK(has(h.seen.detail, "unknown issuer: CN=Another root issued"));
    weft_tls_close(&tls);
    held_close(&h);
    return 0;
}

static int a_peer_that_is_silent(void *arg)
{
    static const struct weft_protocol p = {.made = on_made, .data = on_data, .lost = never_made};
    char c;
    (void)arg;
    for (int i = 0; i < 4; i++) {
        struct held h = {0};
        bool client = i % 2 == 1;
        held_open(&h, (struct weft_factory){.protocol = &p}, "server",
                  client ? "server.test" : NULL, i < 2 ? 30 : 60000);
        if (i < 2) {
            ssize_t n;
            do
                n = weft_read(h.c, &c, 1, weft_after_s(60));
            while (n > 0);
        } else {
            weft_abort(&h.c);
        }
        CHECK_EQ(weft_group_wait(h.group, weft_after_s(60)), 0);
        CHECK_EQ(h.seen.n, client ? 1 : 0);
        if (client)
            CHECK_EQ(h.seen.error, i < 2 ? -ETIMEDOUT : h.seen.error);
        if (client && i < 2)
            CHECK(has(h.seen.detail, "taken too long"));
        held_close(&h);
    }
    return 0;
}

static int one_that_speaks_no_tls(void *arg)
{
    struct held h = {0};
    char buf[64];
    (void)arg;
    held_open(&h, (struct weft_factory){0}, "server", NULL, 0);
    CHECK_EQ(weft_write(h.c, "GET / HTTP/1.1\r\n\r\n", 18, WEFT_NEVER), 0);
    CHECK(weft_read(h.c, buf, sizeof buf, weft_after_s(60)) <= 0);
    CHECK_EQ(weft_group_wait(h.group, weft_after_s(60)), 0);
    CHECK_EQ(h.seen.n, 0);
    held_close(&h);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(callbacks_come_in_order),
    IN_TASK(as_the_client),
    IN_TASK(in_crumbs),
    IN_TASK(a_truncated_stream),
    IN_TASK(a_damaged_record),
    IN_TASK(an_abort_and_a_cancel),
    IN_TASK(half_close_brings_everything_back),
    IN_TASK(a_side_stays_open),
    IN_TASK(a_peer_that_never_reads_is_bounded),
    IN_TASK(a_write_beyond_the_maximum_is_refused),
    IN_TASK(no_data_comes_while_reading_is_paused),
    IN_TASK(a_producer_fills_as_it_drains),
    IN_TASK(a_client_that_distrusts),
    IN_TASK(a_server_that_is_not_trusted),
    IN_TASK(a_peer_that_is_silent),
    IN_TASK(one_that_speaks_no_tls),
};
KIT_MAIN(cases)
