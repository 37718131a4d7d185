/* SPDX-License-Identifier: MIT */
/*
 * WebSocket between two ends of one program: over every kind of stream, in tasks on each driver, on
 * plain threads and in simulation.
 */
#include "stream_kit.h"
#include "ws_kit.h"

#define LARGE 150000u
#define PART 20000u

static const struct weft_ws_options plain;
static const struct weft_ws_options deflating = {.deflate = true, .deflate_min = 1};
static const struct weft_ws_options taking_over = {
    .deflate = true, .deflate_takeover = true, .deflate_min = 1, .deflate_bits = 10};

static struct ws_pair pair_of(const struct stream_kit *k, const struct weft_ws_options *client,
                              const struct weft_ws_options *server)
{
    struct stream_pair p = stream_kit_pair(k);
    return ws_kit_pair(p.a, p.b, client, server);
}

/* --- Echo ------------------------------------------------------------------------------------ */

static int echo(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_ws_message m;
    int r;
    while ((r = weft_ws_read(*ws, &m, WS_SOON)) > 0)
        CHECK_EQ(weft_ws_write(*ws, m.type, m.data, m.len, WS_SOON), 0);
    CHECK_EQ(r, 0);
    CHECK_EQ(weft_ws_close_code(*ws), 4321);
    CHECK(strcmp(weft_ws_close_reason(*ws), "enough") == 0);
    CHECK_EQ(weft_ws_close(ws, 0, NULL, WS_SOON), 0);
    return 0;
}

static int ask(void *arg)
{
    static const size_t sizes[] = {0,    1,     5,     125,   126,   1000,
                                   4000, 16000, 17000, 65535, 65536, LARGE};
    struct weft_ws **ws = arg;
    char *text = malloc(LARGE);
    CHECK(text != NULL);
    for (size_t i = 0; i < 2 * WEFT__ARRAY_LEN(sizes); i++) {
        size_t len = sizes[i % WEFT__ARRAY_LEN(sizes)];
        enum weft_ws_type type = i % 2 == 0 ? WEFT_WS_TEXT : WEFT_WS_BINARY;
        struct weft_ws_message m;
        stream_kit_fill(text, i * 1000, len);
        CHECK_EQ(weft_ws_write(*ws, type, text, len, WS_SOON), 0);
        CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 1);
        CHECK_EQ(m.type, type);
        CHECK_EQ(m.len, len);
        CHECK(m.last && memcmp(m.data, text, len) == 0);
    }
    free(text);
    CHECK_EQ(weft_ws_close(ws, 4321, "enough", WS_SOON), 0);
    return 0;
}

static void echo_with(const struct stream_kit *k, const struct weft_ws_options *o, bool deflates)
{
    struct ws_pair p = pair_of(k, o, o);
    CHECK_EQ(weft_ws_deflates(p.client), deflates);
    CHECK_EQ(weft_ws_deflates(p.server), deflates);
    ws_kit_both(ask, &p.client, echo, &p.server);
}

static void echoes(const struct stream_kit *k)
{
    echo_with(k, &plain, false);
}

static void echoes_deflated(const struct stream_kit *k)
{
    echo_with(k, &deflating, true);
}

static void echoes_with_takeover(const struct stream_kit *k)
{
    echo_with(k, &taking_over, true);
}

/* --- Pieces ---------------------------------------------------------------------------------- */

static int send_parts(void *arg)
{
    struct weft_ws **ws = arg;
    uint64_t seed = 7;
    char *buf = malloc(PART);
    CHECK(buf != NULL);
    for (size_t at = 0; at < LARGE;) {
        size_t n = weft__min_size(stream_kit_size(&seed, PART), LARGE - at);
        stream_kit_fill(buf, at, n);
        at += n;
        CHECK_EQ(weft_ws_write_part(*ws, WEFT_WS_TEXT, buf, n, at == LARGE, WS_SOON), 0);
        if (n % 3 == 0)
            CHECK_EQ(weft_ws_ping(*ws, "in between", 10, WS_SOON), 0);
    }
    free(buf);
    CHECK_EQ(weft_ws_write_part(*ws, WEFT_WS_BINARY, "a", 1, false, WS_SOON), 0);
    CHECK_EQ(weft_ws_write_part(*ws, WEFT_WS_BINARY, NULL, 0, true, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(ws, 1000, NULL, WS_SOON), 0);
    return 0;
}

static int receive_pieces(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_ws_message m = {.last = false};
    for (size_t at = 0; !m.last; at += m.len) {
        CHECK_EQ(weft_ws_read_some(*ws, &m, WS_SOON), 1);
        CHECK_EQ(m.type, WEFT_WS_TEXT);
        CHECK(at + m.len <= LARGE && (!m.last || at + m.len == LARGE));
        stream_kit_expect(m.data, at, m.len);
        if (!m.last)
            CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), -EBUSY);
        m.last = m.last && at + m.len == LARGE;
    }
    CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 1);
    CHECK(m.type == WEFT_WS_BINARY && m.len == 1 && *(const char *)m.data == 'a');
    CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(ws, 0, NULL, WS_SOON), 0);
    return 0;
}

static int receive_whole(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 1);
    CHECK(m.type == WEFT_WS_TEXT && m.len == LARGE);
    stream_kit_expect(m.data, 0, LARGE);
    CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 1);
    CHECK(m.type == WEFT_WS_BINARY && m.len == 1);
    CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(ws, 0, NULL, WS_SOON), 0);
    return 0;
}

static void in_pieces(const struct stream_kit *k)
{
    const struct weft_ws_options *const options[] = {&plain, &deflating, &taking_over};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(options); i++) {
        struct ws_pair p = pair_of(k, options[i], options[i]);
        ws_kit_both(send_parts, &p.client, receive_pieces, &p.server);
        p = pair_of(k, options[i], options[i]);
        ws_kit_both(send_parts, &p.server, receive_whole, &p.client);
    }
}

/* --- The close handshake --------------------------------------------------------------------- */

static int just_close(void *arg)
{
    struct weft_ws **ws = arg;
    CHECK_EQ(weft_ws_close(ws, 1001, "going away", WS_SOON), 0);
    CHECK(*ws == NULL);
    return 0;
}

static void both_close(const struct stream_kit *k)
{
    struct ws_pair p = pair_of(k, NULL, NULL);
    ws_kit_both(just_close, &p.client, just_close, &p.server);
    p = pair_of(k, NULL, NULL);
    ws_kit_both(just_close, &p.server, just_close, &p.client);
}

static int send_and_close(void *arg)
{
    struct weft_ws **ws = arg;
    CHECK_EQ(weft_ws_write(*ws, WEFT_WS_TEXT, "last words", 10, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(ws, 1000, NULL, WS_SOON), 0);
    return 0;
}

static int read_and_see(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_close_code(*ws), 0);
    CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 1);
    CHECK_EQ(m.len, 10);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close_code(*ws), 1000);
    CHECK_EQ(weft_ws_write(*ws, WEFT_WS_TEXT, "x", 1, WS_SOON), WEFT_ECLOSED);
    CHECK_EQ(weft_ws_close(ws, 0, NULL, WS_SOON), 0);
    return 0;
}

static void one_closes(const struct stream_kit *k)
{
    struct ws_pair p = pair_of(k, NULL, NULL);
    ws_kit_both(send_and_close, &p.client, read_and_see, &p.server);
    p = pair_of(k, NULL, NULL);
    ws_kit_both(send_and_close, &p.server, read_and_see, &p.client);
}

static int vanish(void *arg)
{
    struct weft_ws **ws = arg;
    weft_ws_abort(ws);
    CHECK(*ws == NULL);
    return 0;
}

static int see_end(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_ws_message m;
    int r = weft_ws_read(*ws, &m, WS_SOON);
    CHECK(r == WEFT_EEOF || r == -ECONNRESET || r == -EPIPE);
    r = weft_ws_close(ws, 0, NULL, WS_SOON);
    CHECK(r < 0);
    return 0;
}

static void aborts(const struct stream_kit *k)
{
    struct ws_pair p = pair_of(k, NULL, NULL);
    ws_kit_both(vanish, &p.client, see_end, &p.server);
}

/* --- One message to many --------------------------------------------------------------------- */

static void encoded(const struct stream_kit *k)
{
    const struct weft_ws_options *const options[] = {&plain, &deflating, &taking_over};
    struct weft_ws_encoded *e[2];
    char text[3000];
    stream_kit_fill(text, 0, sizeof text);
    CHECK_EQ(weft_ws_encode(&e[0], WEFT_WS_TEXT, text, sizeof text, NULL), 0);
    CHECK_EQ(weft_ws_encode(&e[1], WEFT_WS_BINARY, text, sizeof text, &deflating), 0);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(options); i++) {
        struct ws_pair p = pair_of(k, options[i], options[i]);
        for (size_t n = 0; n < 6; n++) { /* compressed by itself in between, too */
            struct weft_ws_message m;
            struct weft_ws *from = n < 4 ? p.server : p.client;
            struct weft_ws *to = n < 4 ? p.client : p.server;
            if (n % 2 == 0)
                CHECK_EQ(weft_ws_write(from, WEFT_WS_TEXT, text, sizeof text, WS_SOON), 0);
            else
                CHECK_EQ(weft_ws_send_encoded(from, e[n / 2 % 2], WS_SOON), 0);
            CHECK_EQ(weft_ws_flush(from, WS_SOON), 0);
            CHECK_EQ(weft_ws_read(to, &m, WS_SOON), 1);
            CHECK(m.len == sizeof text && memcmp(m.data, text, m.len) == 0);
        }
        ws_kit_close(&p);
    }
    weft_ws_encoded_unref(weft_ws_encoded_ref(e[0]));
    weft_ws_encoded_unref(e[0]);
    weft_ws_encoded_unref(e[1]);
    weft_ws_encoded_unref(NULL);
}

/* --- Waiting --------------------------------------------------------------------------------- */

/* A reading call that is cut off anywhere goes on as if nothing had been. */
static int dribble(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_stream *s = weft_ws_stream(*ws);
    static const unsigned char frames[] = "\x01\x83\1\2\3\4\x60\x60\x60\x89\x81\0\0\0\0p"
                                          "\x80\x82\0\0\0\0de\x82\x84\0\0\0\0wxyz";
    for (size_t i = 0; i < sizeof frames - 1; i++) {
        CHECK_EQ(weft_write(s, frames + i, 1, WS_SOON), 0);
        CHECK_EQ(weft_flush(s, WS_SOON), 0);
        CHECK_EQ(weft_sleep_ms(3), 0);
    }
    return 0;
}

static int read_impatiently(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_ws_message m;
    int r, tries = 0;
    while ((r = weft_ws_read(*ws, &m, weft_after_ms(1))) == -ETIMEDOUT)
        tries++;
    CHECK_EQ(r, 1);
    CHECK(m.type == WEFT_WS_TEXT && m.len == 5 && memcmp(m.data, "abcde", 5) == 0);
    while ((r = weft_ws_read_some(*ws, &m, weft_after_ms(1))) == -ETIMEDOUT)
        tries++;
    CHECK_EQ(r, 1);
    CHECK(m.type == WEFT_WS_BINARY && m.len > 0 && memcmp(m.data, "wxyz", m.len) == 0);
    while (!m.last) {
        r = weft_ws_read_some(*ws, &m, weft_after_ms(1));
        CHECK(r == 1 || r == -ETIMEDOUT);
    }
    CHECK(tries > 3);
    return 0;
}

static void cut_off(const struct stream_kit *k)
{
    struct ws_pair p = pair_of(k, NULL, NULL);
    ws_kit_both(dribble, &p.client, read_impatiently, &p.server);
    weft_ws_abort(&p.client);
    weft_ws_abort(&p.server);
}

/* --- From pieces to whole messages ----------------------------------------------------------- */

#define SMALL 100u

static const struct weft_ws_options small = {.message_max = SMALL, .ping_ms = -1};
static const struct weft_ws_options small_deflating = {
    .message_max = SMALL, .ping_ms = -1, .deflate = true};

/* A frame of so many zeros, or what they deflate to. Returns its length, *head: of its head. */
static size_t make_frame(unsigned char out[600], size_t len, bool deflated, size_t *head)
{
    static const unsigned char mask[4], zeros[500];
    struct weft__ws_deflater *x = NULL;
    unsigned char payload[600] = "";
    size_t n = len;
    if (deflated) {
        CHECK_EQ(weft__ws_deflater_get(&x, NULL, 15, 9, 8), 0);
        n = weft__ws_deflate(x, zeros, len, true, payload, sizeof payload);
        weft__ws_deflater_put(x);
    }
    *head = weft__ws_build_head(out, WEFT__WS_BINARY, true, deflated, n, mask);
    memcpy(out + *head, payload, n);
    return *head + n;
}

/* A frame that weft_ws_read_some has begun, and shown nothing of, weft_ws_read takes over: then the
 * maximum counts. */
static void taken_over(const struct stream_kit *k)
{
    for (int way = 0; way < 4; way++) {
        bool deflated = way / 2 == 1, fits = way % 2 == 0;
        const struct weft_ws_options *o = deflated ? &small_deflating : &small;
        struct ws_pair p = pair_of(k, o, o);
        struct weft_stream *s = weft_ws_stream(p.client);
        struct weft_ws_message m;
        unsigned char frame[600];
        size_t head, len = make_frame(frame, fits ? SMALL : 5 * SMALL, deflated, &head);
        CHECK_EQ(weft_write(s, frame, head, WS_SOON), 0);
        CHECK_EQ(weft_flush(s, WS_SOON), 0);
        CHECK_EQ(weft_ws_read_some(p.server, &m, weft_after_ms(20)), -ETIMEDOUT);
        CHECK(p.server->in.in_frame);
        CHECK_EQ(weft_write(s, frame + head, len - head, WS_SOON), 0);
        CHECK_EQ(weft_flush(s, WS_SOON), 0);
        CHECK_EQ(weft_ws_read(p.server, &m, WS_SOON), fits ? 1 : WEFT_ETOOLONG);
        CHECK(!fits || m.len == SMALL);
        weft_ws_abort(&p.client);
        weft_ws_abort(&p.server);
    }
}

/* What has held a piece is not room for a message that is longer than may be. */
static void whole_after_pieces(const struct stream_kit *k)
{
    struct ws_pair p = pair_of(k, &small_deflating, &small_deflating);
    struct weft_stream *s = weft_ws_stream(p.client);
    struct weft_ws_message m = {.last = false};
    unsigned char frames[1200];
    size_t head, len = make_frame(frames, 5 * SMALL, true, &head);
    memcpy(frames + len, frames, len);
    CHECK_EQ(weft_write(s, frames, 2 * len, WS_SOON), 0);
    CHECK_EQ(weft_flush(s, WS_SOON), 0);
    while (!m.last)
        CHECK_EQ(weft_ws_read_some(p.server, &m, WS_SOON), 1);
    CHECK_EQ(weft_ws_read(p.server, &m, WS_SOON), WEFT_ETOOLONG);
    weft_ws_abort(&p.client);
    weft_ws_abort(&p.server);
}

static const struct stream_case cases[] = {
    STREAM_CASE(echoes, 0),
    STREAM_CASE(echoes_deflated, 0),
    STREAM_CASE(in_pieces, 0),
    STREAM_CASE(echoes_with_takeover, STREAM_KIT_ONCE),
    STREAM_CASE(both_close, 0),
    STREAM_CASE(one_closes, 0),
    STREAM_CASE(aborts, 0),
    STREAM_CASE(encoded, STREAM_KIT_ONCE),
    STREAM_CASE(cut_off, 0),
    STREAM_CASE(taken_over, 0),
    STREAM_CASE(whole_after_pieces, STREAM_KIT_ONCE),
};
STREAM_KIT_MAIN(cases)
