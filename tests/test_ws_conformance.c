/* SPDX-License-Identifier: MIT */
/*
 * What suites of conformance tests check of a WebSocket endpoint, case by case: a client's frames
 * go in, and what the server sees and answers is compared. Each case is run in tasks and in
 * callbacks, and its bytes arrive whole, one at a time, and cut in two at every place.
 *
 * Frames are written as words: "t:hello" text, "b:" binary, "c:" continuation, "p:" ping, "o:"
 * pong, "x:1000:why" close, "r:8100" raw bytes in hexadecimal. A "-" before the colon leaves FIN
 * out, "z" sets RSV1 and takes the payload in hexadecimal, "%c3" is a byte, "*300" behind the
 * payload repeats its last byte.
 */
#include "ws_kit.h"

#include <weft/protocol.h>

#define BYTES_MAX (1 << 18)

/* --- Frames out of words --------------------------------------------------------------------- */

struct bytes {
    unsigned char *at;
    size_t len;
};

static unsigned hex(const char *s)
{
    char two[3] = {s[0], s[1], '\0'};
    return (unsigned)strtoul(two, NULL, 16);
}

static void add(struct bytes *b, const void *data, size_t len)
{
    CHECK(b->len + len <= BYTES_MAX);
    if (len > 0)
        memcpy(b->at + b->len, data, len);
    b->len += len;
}

static void add_frame(struct bytes *b, uint8_t opcode, bool fin, bool rsv1, const void *data,
                      size_t len)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char head[WEFT__WS_HEAD_MAX];
    add(b, head, weft__ws_build_head(head, opcode, fin, rsv1, len, mask));
    size_t from = b->len;
    add(b, data, len);
    weft__ws_mask(b->at + from, b->at + from, len, mask, 0);
}

/* "ab%c3*300" or, as hexadecimal, "f248". */
static size_t payload(const char *word, size_t n, bool as_hex, unsigned char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (as_hex) {
            out[len++] = (unsigned char)hex(word + i++);
        } else if (word[i] == '%') {
            out[len++] = (unsigned char)hex(word + i + 1);
            i += 2;
        } else if (word[i] == '*') {
            size_t times = strtoul(word + i + 1, NULL, 10);
            unsigned char last = out[len - 1];
            memset(out + len - 1, last, times);
            return len - 1 + times;
        } else {
            out[len++] = (unsigned char)word[i];
        }
    }
    return len;
}

static void add_word(struct bytes *b, const char *word, size_t n)
{
    static const char names[] = "ctb.....xpo";
    static unsigned char buf[BYTES_MAX];
    const char *colon = memchr(word, ':', n);
    if (word[0] == 'r') {
        add(b, buf, payload(word + 2, n - 2, true, buf));
        return;
    }
    size_t flags = colon != NULL ? (size_t)(colon - word) : n;
    bool fin = memchr(word, '-', flags) == NULL, z = memchr(word, 'z', flags) != NULL;
    const char *text = colon != NULL ? colon + 1 : word + n;
    size_t len = 0;
    if (word[0] == 'x' && colon != NULL) {
        unsigned code = (unsigned)strtoul(text, NULL, 10);
        buf[len++] = (unsigned char)(code >> 8);
        buf[len++] = (unsigned char)code;
        const char *why = memchr(text, ':', n - (size_t)(text - word));
        text = why != NULL ? why + 1 : word + n;
    }
    len += payload(text, n - (size_t)(text - word), z, buf + len);
    add_frame(b, (uint8_t)(strchr(names, word[0]) - names), fin, z, buf, len);
}

static struct bytes script(const char *words)
{
    struct bytes b = {.at = malloc(BYTES_MAX)};
    CHECK(b.at != NULL);
    while (*words != '\0') {
        size_t n = strcspn(words, " ");
        add_word(&b, words, n);
        words += n + (words[n] == ' ');
    }
    return b;
}

/* --- What is seen ---------------------------------------------------------------------------- */

struct seen {
    char text[2048];
    size_t len;
};

static void note(struct seen *s, const char *fmt, ...) WEFT_PRINTF(2, 3);
static void note(struct seen *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    s->len += (size_t)vsnprintf(s->text + s->len, sizeof s->text - s->len, fmt, ap);
    va_end(ap);
    CHECK(s->len < sizeof s->text);
}

/* Short payloads as they are, long ones as their length. */
static void note_data(struct seen *s, const char *name, const void *data, size_t len)
{
    if (len <= 20)
        note(s, "%s(%.*s) ", name, (int)len, (const char *)data);
    else
        note(s, "%s(#%zu) ", name, len);
}

static void note_message(struct seen *s, const struct weft_ws_message *m)
{
    note_data(s, m->type == WEFT_WS_TEXT ? "t" : "b", m->data, m->len);
}

/* --- One run --------------------------------------------------------------------------------- */

struct run {
    const struct bytes *bytes;
    size_t cut, piece;
    const struct weft_ws_options *o;
    const struct weft__ws_deflate *deflate;
    struct weft_stream *client;
    struct weft_ws *server;
    struct weft_event done; /* the server is */
    struct seen seen, answers;
};

/* Sends the pieces, each when the one before it has been looked at. */
static int send_all(void *arg)
{
    struct run *r = arg;
    for (size_t at = 0, n = r->cut; at < r->bytes->len || n == r->cut;) {
        if (n > 0 && weft_write(r->client, r->bytes->at + at, n, WS_SOON) < 0)
            return 0; /* the server has hung up */
        if (weft_flush(r->client, WS_SOON) < 0)
            return 0;
        kit_settle();
        at += n;
        if (at == r->bytes->len)
            break;
        n = weft__min_size(r->piece, r->bytes->len - at);
    }
    CHECK(weft_shutdown(r->client, WS_SOON) <= 0);
    return 0;
}

/* The frames of the server's. */
static int receive_all(void *arg)
{
    struct run *r = arg;
    struct weft__ws_parser p;
    unsigned char buf[WEFT__WS_CONTROL_MAX];
    size_t len = 0;
    const void *data;
    ssize_t n;
    weft__ws_parser_init(&p, false, true, 0);
    while ((n = weft_peek(r->client, &data, WS_SOON)) > 0) {
        size_t used;
        if (!p.in_frame) {
            ssize_t head = weft__ws_parse_head(&p, data, (size_t)n);
            CHECK(head > 0);
            used = (size_t)head;
            len = 0;
        } else {
            used = weft__min_size((size_t)n, (size_t)p.left);
            CHECK(len + used <= sizeof buf);
            memcpy(buf + len, data, used);
            len += used;
            p.left -= used;
        }
        weft_consume(r->client, used);
        if (!p.in_frame || p.left > 0)
            continue;
        if (p.opcode == WEFT__WS_CLOSE && len >= 2)
            note(&r->answers, "close(%u) ", (unsigned)buf[0] << 8 | buf[1]);
        else
            note_data(&r->answers, p.opcode == WEFT__WS_PONG ? "pong" : "close", buf, len);
        weft__ws_frame_end(&p);
    }
    return 0;
}

static void note_end(struct run *r, struct weft_ws *ws, int err)
{
    if (err == 0)
        note(&r->seen, "closed %u%s%s ", weft_ws_close_code(ws),
             weft_ws_close_reason(ws)[0] != '\0' ? " " : "", weft_ws_close_reason(ws));
    else
        note(&r->seen, "%s ", weft_error_name(err));
}

static int serve(void *arg)
{
    struct run *r = arg;
    struct weft_ws_message m;
    int err;
    while ((err = weft_ws_read(r->server, &m, WS_SOON)) > 0)
        note_message(&r->seen, &m);
    note_end(r, r->server, err);
    (void)weft_ws_close(&r->server, 0, NULL, WS_SOON);
    return 0;
}

static int on_made(struct weft_ws *ws, void *arg)
{
    weft_ws_set(ws, arg);
    return 0;
}

static int on_message(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    struct run *r = conn;
    (void)ws;
    note_message(&r->seen, m);
    return 0;
}

static void on_closed(struct weft_ws *ws, int error, void *conn)
{
    struct run *r = conn;
    note_end(r, ws, error);
    weft_event_set(&r->done);
}

static const struct weft_ws_protocol protocol = {
    .made = on_made, .message = on_message, .closed = on_closed};

static int wait_done(void *arg)
{
    struct run *r = arg;
    return weft_event_wait(&r->done, WS_SOON);
}

static void run_one(struct run *r, bool callbacks)
{
    struct weft_stream *b = NULL;
    struct weft_ws_factory *f = NULL;
    struct weft_group *g = kit_group();
    CHECK_EQ(callbacks ? weft_socketpair(&r->client, &b) : weft_pipe_open(&r->client, &b, 0), 0);
    r->server = ws_kit_open(b, true, r->deflate, r->o);
    if (callbacks) {
        CHECK_EQ(weft_ws_factory_open(&f, &protocol, r->o, r, 0, 0), 0);
        CHECK_EQ(weft_ws_attach(g, &r->server, f), 0);
    }
    kit_go(g, "send", send_all, r);
    kit_go(g, "receive", receive_all, r);
    kit_go(g, "serve", callbacks ? wait_done : serve, r);
    CHECK_EQ(weft_group_wait(g, weft_after_s(100)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    (void)weft_close(&r->client, WS_SOON);
    weft_ws_factory_close(&f);
}

static const struct weft_ws_options small = {.message_max = 1000, .ping_ms = -1};
static const struct weft_ws_options usual = {.ping_ms = -1, .close_ms = 5000};
static const struct weft__ws_deflate no_takeover = {.on = true,
                                                    .server_no_takeover = true,
                                                    .client_no_takeover = true,
                                                    .server_bits = 15,
                                                    .client_bits = 15};
static const struct weft__ws_deflate takeover = {.on = true, .server_bits = 15, .client_bits = 15};

static void expect(const char *words, const char *want, const struct weft_ws_options *o,
                   const struct weft__ws_deflate *deflate)
{
    struct bytes b = script(words);
    size_t step = b.len > 400 ? b.len / 7 : b.len > 60 ? 7 : 1;
    for (size_t way = 0; way <= b.len + 1; way += way < 2 ? 1 : step) {
        if (way == 1 && b.len > 2000)
            continue;
        for (int callbacks = 0; callbacks < 2; callbacks++) {
            struct run r = {.bytes = &b, .o = o, .deflate = deflate, .piece = way == 1 ? 1 : b.len};
            char got[5000];
            r.cut = way == 0 ? b.len : way == 1 ? 0 : way - 1;
            if (r.cut == b.len && way > 1)
                continue;
            run_one(&r, callbacks != 0);
            (void)snprintf(got, sizeof got, "%s| %s", r.seen.text, r.answers.text);
            if (strcmp(got, want) != 0) {
                (void)fprintf(stderr, "%s in %s, cut at %zu by %zu:\n  got:  '%s'\n  want: '%s'\n",
                              words, callbacks ? "callbacks" : "a task", r.cut, r.piece, got, want);
                CHECK(false);
            }
        }
    }
    free(b.at);
}

struct conformance {
    const char *words, *want;
};

static void expect_all(const struct conformance *c, size_t n, const struct weft_ws_options *o,
                       const struct weft__ws_deflate *deflate)
{
    for (size_t i = 0; i < n; i++)
        expect(c[i].words, c[i].want, o, deflate);
}
#define EXPECT_ALL(cases, o, deflate) expect_all(cases, WEFT__ARRAY_LEN(cases), o, deflate)

/* --- Cases ----------------------------------------------------------------------------------- */

#define BYE "x:1000"
#define CLOSED "closed 1000 | "
#define SAID "close(1000) "

static int messages(void *arg)
{
    static const struct conformance c[] = {
        {"t: " BYE, "t() " CLOSED SAID},
        {"b: " BYE, "b() " CLOSED SAID},
        {"t:a*125 " BYE, "t(#125) " CLOSED SAID},
        {"t:a*126 " BYE, "t(#126) " CLOSED SAID},
        {"t:a*127 " BYE, "t(#127) " CLOSED SAID},
        {"b:a*128 " BYE, "b(#128) " CLOSED SAID},
        {"t:a*16384 " BYE, "t(#16384) " CLOSED SAID},
        {"b:a*65535 " BYE, "b(#65535) " CLOSED SAID},
        {"b:a*65536 " BYE, "b(#65536) " CLOSED SAID},
        {"t:a*200000 " BYE, "t(#200000) " CLOSED SAID},
        {"t:one b:two t:three " BYE, "t(one) b(two) t(three) " CLOSED SAID},
    };
    (void)arg;
    EXPECT_ALL(c, &usual, NULL);
    return 0;
}

static int pings(void *arg)
{
    static const struct conformance c[] = {
        {"p: " BYE, CLOSED "pong() " SAID},
        {"p:hello " BYE, CLOSED "pong(hello) " SAID},
        {"p:%00%ff%fe " BYE, CLOSED "pong() " SAID}, /* as text it ends at its zero */
        {"p:a*125 " BYE, CLOSED "pong(#125) " SAID},
        {"r:89fe007e", "WEFT_EPROTOCOL | close(1002) "},
        {"o:unasked " BYE, CLOSED SAID},
        {"o:unasked p:x " BYE, CLOSED "pong(x) " SAID},
    };
    (void)arg;
    EXPECT_ALL(c, &usual, NULL);
    return 0;
}

static int reserved_and_opcodes(void *arg)
{
    static const char *const raw[] = {"r:c180",
                                      "r:a180",
                                      "r:9180",
                                      "r:f180",
                                      "r:8380",
                                      "r:8480",
                                      "r:8580",
                                      "r:8680",
                                      "r:8780",
                                      "r:8b80",
                                      "r:8c80",
                                      "r:8d80",
                                      "r:8e80",
                                      "r:8f80",
                                      "r:8100",
                                      "r:c980",
                                      "r:0980",
                                      "r:0880",
                                      "r:827e",
                                      "r:82fe0001",
                                      "r:82ff0000000000000001",
                                      "r:82ff8000000000000000"};
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(raw); i++) {
        char words[100];
        expect(raw[i], "WEFT_EPROTOCOL | close(1002) ", &usual, NULL);
        (void)snprintf(words, sizeof words, "t:hello %s", raw[i]);
        expect(words, "t(hello) WEFT_EPROTOCOL | close(1002) ", &usual, NULL);
    }
    return 0;
}

static int fragments(void *arg)
{
    static const struct conformance c[] = {
        {"t-:hel c:lo " BYE, "t(hello) " CLOSED SAID},
        {"t-: c-: c: " BYE, "t() " CLOSED SAID},
        {"t-:a c-:b c-:c c:d b:e " BYE, "t(abcd) b(e) " CLOSED SAID},
        {"t-:hel p:1 c-:l p:2 c:o " BYE, "t(hello) " CLOSED "pong(1) pong(2) " SAID},
        {"b-:%80 o: c:%81 t:ok " BYE, "b(\x80\x81) t(ok) " CLOSED SAID},
        {"p-:x", "WEFT_EPROTOCOL | close(1002) "},
        {"o-:x c:y", "WEFT_EPROTOCOL | close(1002) "},
        {"c:x", "WEFT_EPROTOCOL | close(1002) "},
        {"c-:x c:y", "WEFT_EPROTOCOL | close(1002) "},
        {"t:x c:y", "t(x) WEFT_EPROTOCOL | close(1002) "},
        {"t-:x t:y", "WEFT_EPROTOCOL | close(1002) "},
        {"t-:x b:y", "WEFT_EPROTOCOL | close(1002) "},
        {"t-:x c-:y x:1000", CLOSED SAID}, /* a message without its end is no message */
        {"t-:x r:80850000000061", "WEFT_EEOF | "},
    };
    (void)arg;
    EXPECT_ALL(c, &usual, NULL);
    return 0;
}

static int text(void *arg)
{
    static const struct conformance c[] = {
        {"t:%ce%ba%e1%bd%b9%cf%83 " BYE, "t(\xce\xba\xe1\xbd\xb9\xcf\x83) " CLOSED SAID},
        {"t-:%ce c:%ba " BYE, "t(\xce\xba) " CLOSED SAID},
        {"t-:%f0%9f c-:%98 c:%80 " BYE, "t(\xf0\x9f\x98\x80) " CLOSED SAID},
        {"t:%f4%8f%bf%bf " BYE, "t(\xf4\x8f\xbf\xbf) " CLOSED SAID},
        {"t:%ef%bf%bf " BYE, "t(\xef\xbf\xbf) " CLOSED SAID},
        {"t:a*70 t:%c2%80 " BYE, "t(#70) t(\xc2\x80) " CLOSED SAID},
        {"b:%ff%fe " BYE, "b(\xff\xfe) " CLOSED SAID},
        {"t:%ce", "EILSEQ | close(1007) "},
        {"t-:ok c:%ce", "EILSEQ | close(1007) "},
        {"t:%ce%ba%ff", "EILSEQ | close(1007) "},
        {"t:%ed%a0%80", "EILSEQ | close(1007) "},
        {"t:%f4%90%80%80", "EILSEQ | close(1007) "},
        {"t:%c0%af", "EILSEQ | close(1007) "},
        {"t:%e0%80%af", "EILSEQ | close(1007) "},
        {"t:%f0%80%80%af", "EILSEQ | close(1007) "},
        {"t:%80", "EILSEQ | close(1007) "},
        {"t-:%ce c:%ce", "EILSEQ | close(1007) "},
        /* At once, though neither frame nor message has ended. */
        {"t-:%ce%ff c-:x", "EILSEQ | close(1007) "},
        {"r:818a00000000ff", "EILSEQ | close(1007) "},
        {"r:81fe400000000000616263ed a0 r:80", "EILSEQ | close(1007) "},
    };
    (void)arg;
    EXPECT_ALL(c, &usual, NULL);
    expect("r:81fe400000000000616263eda0", "EILSEQ | close(1007) ", &usual, NULL);
    return 0;
}

static int closes(void *arg)
{
    static const unsigned good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
                                    1010, 1011, 1014, 3000, 3999, 4000, 4999};
    static const unsigned bad[] = {0,    999,  1004, 1005, 1006, 1015,
                                   1016, 1100, 2000, 2999, 5000, 65535};
    static const struct conformance c[] = {
        {"x", "closed 1005 | close() "},
        {"x:1000:bye", "closed 1000 bye | close(1000) "},
        {"x:1000:%c3%a9", "closed 1000 \xc3\xa9 | close(1000) "},
        {"x:1000:%ce%ba%ff", "EILSEQ | close(1007) "},
        {"r:88810000000003", "WEFT_EPROTOCOL | close(1002) "},
        {"x:1000 t:late", CLOSED SAID},
        {"x:1000 p:late", CLOSED SAID},
        {"x:1000 x:1001", CLOSED SAID},
        {"t:a x:1000 r:ffff", "t(a) " CLOSED SAID},
        {"x:1000:a*124", "WEFT_EPROTOCOL | close(1002) "},
        {"t:a", "t(a) WEFT_EEOF | "},
        {"r:81", "WEFT_EEOF | "},
        {"r:818500000000", "WEFT_EEOF | "},
    };
    char words[40], want[60];
    (void)arg;
    EXPECT_ALL(c, &usual, NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(good); i++) {
        (void)snprintf(words, sizeof words, "x:%u", good[i]);
        (void)snprintf(want, sizeof want, "closed %u | close(%u) ", good[i], good[i]);
        expect(words, want, &usual, NULL);
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        (void)snprintf(words, sizeof words, "x:%u", bad[i]);
        expect(words, "WEFT_EPROTOCOL | close(1002) ", &usual, NULL);
    }
    char reason[170];
    (void)snprintf(reason, sizeof reason, "closed 1000 %0123d | close(1000) ", 0);
    expect("x:1000:0*123", reason, &usual, NULL);
    return 0;
}

static int limits(void *arg)
{
    static const struct conformance c[] = {
        {"b:a*1000 " BYE, "b(#1000) " CLOSED SAID},
        {"b:a*1001", "WEFT_ETOOLONG | close(1009) "},
        {"b-:a*999 c:b " BYE, "b(#1000) " CLOSED SAID},
        {"b-:a*999 c:bc", "WEFT_ETOOLONG | close(1009) "},
        {"b-:a*1000 c-: c: " BYE, "b(#1000) " CLOSED SAID},
        {"b-:a*1000 p:x c:b", "WEFT_ETOOLONG | pong(x) close(1009) "},
        {"r:82ff7fffffffffffffff00000000", "WEFT_ETOOLONG | close(1009) "},
    };
    (void)arg;
    EXPECT_ALL(c, &small, NULL);
    return 0;
}

/* RFC 7692, 7.2.3, and what may be wrong with it. */
static int deflated(void *arg)
{
    static const struct conformance c[] = {
        {"tz:f248cdc9c90700 " BYE, "t(Hello) " CLOSED SAID},
        {"tz-:f248cd c:%c9%c9%07%00 " BYE, "t(Hello) " CLOSED SAID},
        {"tz:000500faff48656c6c6f00 " BYE, "t(Hello) " CLOSED SAID},
        {"tz:f348cdc9c9070000 " BYE, "t(Hello) " CLOSED SAID},
        {"tz:f24805000000ffffcac9c90700 " BYE, "t(Hello) " CLOSED SAID},
        {"tz:00 " BYE, "t() " CLOSED SAID},
        {"tz: " BYE, "t() " CLOSED SAID},
        /* Not as it should be, and clear all the same: nothing at all, the tail left on, a final
         * block and no other behind it. The next message does not suffer. */
        {"tz: tz:f248cdc9c90700 " BYE, "t() t(Hello) " CLOSED SAID},
        {"tz:f248cdc9c907000000ffff tz:f248cdc9c90700 " BYE, "t(Hello) t(Hello) " CLOSED SAID},
        {"tz:f348cdc9c90700 tz:f248cdc9c90700 " BYE, "t(Hello) t(Hello) " CLOSED SAID},
        /* Cut off in a block, in one that is stored, in its length. */
        {"tz:f248cdc9", "WEFT_EPROTOCOL | close(1002) "},
        {"tz:000500faff4865", "WEFT_EPROTOCOL | close(1002) "},
        {"tz:0005", "WEFT_EPROTOCOL | close(1002) "},
        {"t:plain tz:f248cdc9c90700 " BYE, "t(plain) t(Hello) " CLOSED SAID},
        {"tz-:f248cd p:x c:%c9%c9%07%00 " BYE, "t(Hello) " CLOSED "pong(x) " SAID},
        {"tz-:f248cd tz:00", "WEFT_EPROTOCOL | close(1002) "},
        {"tz:ffffff", "WEFT_EPROTOCOL | close(1002) "},
        {"tz:f20000000011111111", "WEFT_EPROTOCOL | close(1002) "},
        {"r:c980", "WEFT_EPROTOCOL | close(1002) "},
        {"t-:a r:c080", "WEFT_EPROTOCOL | close(1002) "},
    };
    static const struct conformance kept[] = {
        {"tz:f248cdc9c90700 tz:f200110000 " BYE, "t(Hello) t(Hello) " CLOSED SAID},
        {"tz:f348cdc9c9070000 tz:f200110000 " BYE, "t(Hello) t(Hello) " CLOSED SAID},
    };
    (void)arg;
    EXPECT_ALL(c, &usual, &no_takeover);
    EXPECT_ALL(c, &usual, &takeover);
    EXPECT_ALL(kept, &usual, &takeover);
    expect("tz:f248cdc9c90700 tz:f200110000", "t(Hello) WEFT_EPROTOCOL | close(1002) ", &usual,
           &no_takeover);
    return 0;
}

/* What a message inflates to counts. */
static int bombs(void *arg)
{
    struct weft__ws_deflater *x = NULL;
    static char zeros[100000], words[4000];
    unsigned char out[1500];
    (void)arg;
    for (size_t len = 999; len < 100000; len = len < 1002 ? len + 1 : 100000 - 1) {
        CHECK_EQ(weft__ws_deflater_get(&x, NULL, 15, 9, 8), 0);
        size_t n = weft__ws_deflate(x, zeros, len, true, out, sizeof out);
        weft__ws_deflater_put(x);
        strcpy(words, "bz:");
        for (size_t i = 0; i < n; i++)
            (void)sprintf(words + 3 + 2 * i, "%02x", out[i]);
        strcat(words, " x:1000");
        char want[100];
        (void)snprintf(want, sizeof want, "b(#%zu) closed 1000 | close(1000) ", len);
        expect(words, len <= 1000 ? want : "WEFT_ETOOLONG | close(1009) ", &small, &no_takeover);
        if (len == 100000 - 1)
            break;
    }
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(messages),  IN_TASK(pings),    IN_TASK(reserved_and_opcodes),
    IN_TASK(fragments), IN_TASK(text),     IN_TASK(closes),
    IN_TASK(limits),    IN_TASK(deflated), IN_TASK(bombs),

};
KIT_MAIN(cases)
