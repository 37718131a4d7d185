/* SPDX-License-Identifier: MIT */
/*
 * Secured streams between the models: a task's becomes a protocol's and the other way round, a
 * plain connection becomes a secured one in its callbacks, records instead of bytes.
 */
#include "tls_protocol_kit.h"

/* --- From a task to callbacks ------------------------------------------------------------------
 */

/* With plain text read ahead, a record shown, and more under way. */
static int a_task_hands_its_stream_to_a_protocol(void *arg)
{
    static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE, .max = 100};
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct meeting m = meet(client, server, "server.test");
    struct seen seen = {0};
    struct weft_factory f = {.protocol = &watch, .arg = &seen};
    struct weft_group *g = kit_group();
    const void *record;
    char back[16];
    size_t len;
    (void)arg;
    CHECK_EQ(weft_stream_label(m.server.s, "mine"), 0);
    CHECK_EQ(weft_write(m.client.s, "first\nahead", 11, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_record(m.server.s, &line, &record, &len, weft_after_s(60)), 1);
    CHECK(len == 5 && memcmp(record, "first", 5) == 0);
    CHECK_EQ(weft_protocol_attach(g, &m.server.s, &f), 0);
    CHECK(m.server.s == NULL);
    CHECK_EQ(weft_read_full(m.client.s, back, 5, weft_after_s(60)), 0);
    CHECK(memcmp(back, "ahead", 5) == 0);
    CHECK(seen.t != NULL && strcmp(seen.t->label, "mine") == 0);
    CHECK(strcmp(seen.info.version, "TLSv1.3") == 0);
    CHECK_EQ(weft_write(m.client.s, "later", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(m.client.s, back, 5, weft_after_s(60)), 0);
    CHECK_EQ(weft_stream_bytes_in(seen.t), 16);
    CHECK_EQ(weft_shutdown(m.client.s, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(m.client.s, back, 1, weft_after_s(60)), 0);
    wait_lost(&seen);
    CHECK_EQ(seen.error, 0);
    CHECK(strcmp(seen.order, "mdel") == 0);
    CHECK_EQ(weft_group_close(&g), 0);
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* What was read ahead, and the good-bye behind it, came to the task in one piece. */
static int an_end_that_was_seen_is_told_again(void *arg)
{
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    (void)arg;
    for (size_t left = 0; left <= 5; left += 5) {
        struct meeting m = meet(client, server, "server.test");
        struct seen seen = {0};
        struct weft_factory f = {.protocol = &watch, .arg = &seen};
        struct weft_group *g = kit_group();
        const void *ahead;
        char back[5];
        CHECK_EQ(weft_write(m.client.s, "hello", left, WEFT_NEVER), 0);
        CHECK_EQ(weft_shutdown(m.client.s, weft_after_s(60)), 0);
        CHECK_EQ(weft_peek(m.server.s, &ahead, weft_after_s(60)), left);
        CHECK_EQ(weft_protocol_attach(g, &m.server.s, &f), 0);
        wait_lost(&seen);
        CHECK(strcmp(seen.order, left > 0 ? "mdel" : "mel") == 0);
        CHECK_EQ(seen.bytes, left);
        CHECK_EQ(seen.error, 0);
        CHECK_EQ(weft_read_full(m.client.s, back, left, weft_after_s(60)), 0);
        CHECK_EQ(weft_read(m.client.s, back, 1, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        part(&m);
    }
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* A stream that has ended already, and ones that cannot be handed over. */
static int what_cannot_be_handed_over(void *arg)
{
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct weft_factory f = {.protocol = &watch};
    struct weft_group *g = kit_group();
    struct tls_kit_side c = {.tls = client, .host = "server.test"}, s = {.tls = server};
    (void)arg;
    CHECK_EQ(weft_pipe_open(&c.s, &s.s, 0), 0);
    tls_kit_shake(&c, &s);
    CHECK_EQ(c.result, 0);
    CHECK_EQ(weft_protocol_attach(g, &s.s, &f), -EOPNOTSUPP); /* over a pipe in memory */
    CHECK(s.s != NULL);
    CHECK_EQ(weft_close(&c.s, weft_after_s(60)), 0);
    CHECK_EQ(weft_close(&s.s, weft_after_s(60)), 0);
    struct meeting m = meet(client, server, "server.test");
    struct seen seen = {.quiet = true};
    char byte;
    f.arg = &seen;
    CHECK_EQ(weft_shutdown(m.client.s, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(m.server.s, &byte, 1, weft_after_s(60)), 0);
    CHECK_EQ(weft_protocol_attach(g, &m.server.s, &f), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* --- From callbacks to a task ------------------------------------------------------------------
 */

struct leaver {
    struct weft_group *g;
    struct weft_event done;
};

static struct leaver leaver;

static int goes_on(struct weft_stream *s, void *arg)
{
    char text[32];
    ssize_t n = weft_read_until(s, text, sizeof text, '\n', weft_after_s(60));
    CHECK(n > 0);
    CHECK(info_of(s).server);
    CHECK_EQ(weft_write(s, text, (size_t)n, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(s, weft_after_s(60)), 0);
    n = weft_read_until(s, text, sizeof text, '\n', weft_after_s(60));
    CHECK(n == 4 && memcmp(text, "two\n", 4) == 0);
    CHECK_EQ(weft_stream_bytes_in(s), 5 + 4 + 4);
    weft_event_set(&((struct leaver *)arg)->done);
    return 0;
}

/* "leave" stays here, what is behind it goes along. */
static int leave_on_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    CHECK(len >= 5 && memcmp(data, "leave", 5) == 0);
    CHECK_EQ(weft_protocol_detach(leaver.g, t, len - 5, goes_on, &leaver), 0);
    return 0;
}

static int a_protocol_hands_its_stream_to_a_task(void *arg)
{
    static const struct weft_protocol p = {.made = on_made, .data = leave_on_data, .lost = on_lost};
    static const char *const texts[] = {"leave", "leaveone\n"};
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct held h = {0};
        char back[4];
        leaver = (struct leaver){.g = kit_group()};
        held_open(&h, (struct weft_factory){.protocol = &p}, "server", NULL, 0);
        held_connect(&h);
        CHECK_EQ(weft_write(h.c, texts[i], strlen(texts[i]), WEFT_NEVER), 0);
        if (i == 0)
            CHECK_EQ(weft_write(h.c, "one\n", 4, WEFT_NEVER), 0);
        CHECK_EQ(weft_flush(h.c, WEFT_NEVER), 0);
        CHECK_EQ(weft_read_full(h.c, back, 4, weft_after_s(60)), 0);
        CHECK(memcmp(back, "one\n", 4) == 0);
        CHECK_EQ(weft_write(h.c, "two\n", 4, WEFT_NEVER), 0);
        CHECK_EQ(weft_event_wait(&leaver.done, weft_after_s(60)), 0);
        CHECK_EQ(weft_read(h.c, back, 1, weft_after_s(60)), 0); /* the task has closed it */
        CHECK_EQ(weft_close(&h.c, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_close(&leaver.g), 0);
        CHECK(strcmp(h.seen.order, "m") == 0); /* and lost was not called */
        held_close(&h);
    }
    return 0;
}

static int leave_on_made(struct weft_stream *t, void *arg)
{
    CHECK_EQ(on_made(t, arg), 0);
    CHECK_EQ(weft_protocol_detach(leaver.g, t, 0, goes_on, &leaver), 0);
    return 0;
}

/* In made, with the first bytes of the peer there already. */
static int at_once(void *arg)
{
    static const struct weft_protocol p = {
        .made = leave_on_made, .data = leave_on_data, .lost = on_lost};
    struct held h = {0};
    char back[9];
    (void)arg;
    leaver = (struct leaver){.g = kit_group()};
    held_open(&h, (struct weft_factory){.protocol = &p}, "server", NULL, 0);
    held_connect(&h);
    CHECK_EQ(weft_write(h.c, "number1!\n", 9, WEFT_NEVER), 0);
    CHECK_EQ(weft_write(h.c, "two\n", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(h.c, back, 9, weft_after_s(60)), 0);
    CHECK_EQ(weft_event_wait(&leaver.done, weft_after_s(60)), 0);
    CHECK_EQ(weft_close(&h.c, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&leaver.g), 0);
    held_close(&h);
    return 0;
}

/* --- STARTTLS ----------------------------------------------------------------------------------
 */

/* A little mail server: plain lines first, then a secured echo. */
struct mail {
    struct seen seen; /* first: what the callbacks take for theirs */
    struct weft_tls *tls;
    bool secured;
};

static int mail_secured(struct weft_stream *t, void *conn)
{
    struct mail *m = conn;
    note(&m->seen, 's');
    m->secured = true;
    struct weft_tls_info i = info_of(t);
    CHECK(i.server && strcmp(i.version, "TLSv1.3") == 0);
    return 0;
}

static int mail_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct mail *m = conn;
    if (m->secured)
        return on_data(t, data, len, conn);
    CHECK(len >= 9 && memcmp(data, "STARTTLS\n", 9) == 0);
    struct weft_tls *plain = tls_kit_client();
    CHECK_EQ(weft_tls_accept_nowait(t, plain, 0, NULL), -EINVAL);
    weft_tls_close(&plain);
    CHECK_EQ(weft_tls_accept_nowait(t, m->tls, len + 1, NULL), -EINVAL);
    CHECK_EQ(weft_transport_write(t, "220\n", 4), 0);
    CHECK_EQ(weft_tls_accept_nowait(t, m->tls, len - 9, mail_secured), 0);
    CHECK_EQ(weft_tls_accept_nowait(t, m->tls, 0, NULL), -EBUSY);
    CHECK_EQ(weft_transport_write(t, "x", 1), -EBUSY);
    return 0;
}

static const struct weft_protocol mail_protocol = {
    .made = on_made, .data = mail_data, .eof = on_eof, .lost = on_lost};

/* A plain protocol's connection on one end of a socket pair; the other end. */
static struct weft_stream *plain_open(struct weft_group *g, const struct weft_protocol *p,
                                      void *arg)
{
    struct weft_stream *a = NULL, *b = NULL;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    CHECK_EQ(weft_protocol_attach(g, &b, &(struct weft_factory){.protocol = p, .arg = arg}), 0);
    return a;
}

static int starttls_as_the_server(void *arg)
{
    struct mail m = {.tls = tls_kit_server("server")};
    struct weft_tls *client = tls_kit_client();
    struct weft_group *g = kit_group();
    struct weft_stream *c = plain_open(g, &mail_protocol, &m);
    char buf[16];
    (void)arg;
    CHECK_EQ(weft_write(c, "STARTTLS\n", 9, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_until(c, buf, sizeof buf, '\n', weft_after_s(60)), 4);
    CHECK_EQ(weft_tls_connect(&c, client, "server.test", weft_after_s(60)), 0);
    CHECK_EQ(weft_write(c, "secret", 6, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, buf, 6, weft_after_s(60)), 0);
    CHECK(memcmp(buf, "secret", 6) == 0);
    CHECK_EQ(weft_shutdown(c, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(c, buf, 1, weft_after_s(60)), 0);
    wait_lost(&m.seen);
    CHECK_EQ(m.seen.error, 0);
    CHECK(strcmp(m.seen.order, "msdel") == 0);
    CHECK_EQ(weft_close(&c, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&client);
    weft_tls_close(&m.tls);
    return 0;
}

/*
 * Bytes that somebody puts behind the STARTTLS, in plain text, are taken for TLS and never for
 * commands of the secured connection (CVE-2011-0411 of several servers).
 */
static int injected_commands(void *arg)
{
    struct mail m = {.tls = tls_kit_server("server")};
    struct weft_group *g = kit_group();
    struct weft_stream *c = plain_open(g, &mail_protocol, &m);
    char buf[16];
    (void)arg;
    CHECK_EQ(weft_write(c, "STARTTLS\nRCPT TO:<evil>\n", 24, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(c, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_until(c, buf, sizeof buf, '\n', weft_after_s(60)), 4);
    wait_lost(&m.seen);
    CHECK_EQ(m.seen.error, WEFT_ETLS);
    CHECK(has(m.seen.detail, "does not speak TLS: it began with \"RCPT \""));
    CHECK(strcmp(m.seen.order, "ml") == 0);
    weft_abort(&c);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&m.tls);
    return 0;
}

static int client_secured(struct weft_stream *t, void *conn)
{
    struct mail *m = conn;
    m->secured = true;
    CHECK(info_of(t).verified);
    return weft_transport_write(t, "secret\n", 7);
}

static int client_made(struct weft_stream *t, void *arg)
{
    CHECK_EQ(on_made(t, arg), 0);
    return weft_transport_write(t, "STARTTLS\n", 9);
}

static int client_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct mail *m = conn;
    if (m->secured) {
        note(&m->seen, 'd');
        weft_transport_close(t);
        return 0;
    }
    CHECK(len == 4 && memcmp(data, "220\n", 4) == 0);
    CHECK_EQ(weft_tls_connect_nowait(t, m->tls, NULL, 0, client_secured), -EINVAL);
    return weft_tls_connect_nowait(t, m->tls, "server.test", 0, client_secured);
}

static int starttls_as_the_client(void *arg)
{
    static const struct weft_protocol p = {
        .made = client_made, .data = client_data, .eof = on_eof, .lost = on_lost};
    struct weft_tls *server = tls_kit_server("server");
    (void)arg;
    for (int trusted = 1; trusted >= 0; trusted--) {
        struct mail m = {.tls = trusted ? tls_kit_client() : NULL};
        struct weft_group *g = kit_group();
        struct weft_stream *s = NULL;
        char buf[16];
        if (!trusted)
            CHECK_EQ(weft_tls_open(&m.tls, NULL), 0); /* the system's trust store */
        s = plain_open(g, &p, &m);
        CHECK_EQ(weft_read_until(s, buf, sizeof buf, '\n', weft_after_s(60)), 9);
        CHECK_EQ(weft_write(s, "220\n", 4, WEFT_NEVER), 0);
        int err = weft_tls_accept(&s, server, weft_after_s(60));
        CHECK_EQ(err, trusted ? 0 : WEFT_ECERTIFICATE);
        if (trusted) {
            CHECK_EQ(weft_read_until(s, buf, sizeof buf, '\n', weft_after_s(60)), 7);
            CHECK_EQ(weft_write(s, buf, 7, WEFT_NEVER), 0);
            CHECK_EQ(weft_read(s, buf, 1, weft_after_s(60)), 0);
        }
        wait_lost(&m.seen);
        CHECK_EQ(m.seen.error, err);
        CHECK(strcmp(m.seen.order, trusted ? "mdl" : "ml") == 0);
        if (!trusted)
            CHECK(has(m.seen.detail, "unknown issuer"));
        weft_abort(&s);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_tls_close(&m.tls);
    }
    weft_tls_close(&server);
    return 0;
}

/* --- Records -----------------------------------------------------------------------------------
 */

struct lines {
    struct seen seen;
    struct weft_receiver receiver;
    int n;
};

static int one_line(struct weft_stream *t, const void *record, size_t len, void *conn)
{
    struct lines *l = conn;
    l->n++;
    return weft_transport_write_record(t, &l->receiver.framing, record, len);
}

static int lines_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct lines *l = conn;
    return weft_receiver_feed(&l->receiver, t, data, len, conn);
}

static int receivers(void *arg)
{
    static const struct weft_protocol p = {.made = on_made, .data = lines_data, .lost = on_lost};
    static const struct weft_framing framing = {.kind = WEFT_FRAMING_LINE, .max = 1000};
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct meeting m = meet(client, server, "server.test");
    struct lines l = {.n = 0};
    struct weft_group *g = kit_group();
    struct weft_factory f = {.protocol = &p, .arg = &l};
    char back[16];
    (void)arg;
    weft_receiver_init(&l.receiver, &framing, one_line);
    CHECK_EQ(weft_protocol_attach(g, &m.server.s, &f), 0);
    for (size_t i = 0; i < 10; i++) { /* in two records of TLS each, cut anywhere */
        CHECK_EQ(weft_write(m.client.s, "012345678\n", i, WEFT_NEVER), 0);
        CHECK_EQ(weft_flush(m.client.s, WEFT_NEVER), 0);
        CHECK_EQ(weft_write(m.client.s, &"012345678\n"[i], 10 - i, WEFT_NEVER), 0);
        CHECK_EQ(weft_read_until(m.client.s, back, sizeof back, '\n', weft_after_s(60)), 10);
    }
    CHECK_EQ(l.n, 10);
    part(&m);
    CHECK_EQ(weft_event_wait(&l.seen.lost, weft_after_s(60)), 0);
    weft_receiver_fini(&l.receiver);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(a_task_hands_its_stream_to_a_protocol),
    IN_TASK(an_end_that_was_seen_is_told_again),
    IN_TASK(what_cannot_be_handed_over),
    IN_TASK(a_protocol_hands_its_stream_to_a_task),
    IN_TASK(at_once),
    IN_TASK(starttls_as_the_server),
    IN_TASK(injected_commands),
    IN_TASK(starttls_as_the_client),
    IN_TASK(receivers),
};
KIT_MAIN(cases)
