/* SPDX-License-Identifier: MIT */
/*
 * Clients of HTTP/2 that begin streams again which are over, take no bytes, send hardly any, or ask
 * often: what each of them comes to, and that one with an excuse is let be. In simulation, so that
 * a minute costs nothing. The client is bytes by hand.
 */
#include "http2_peer_kit.h"

/* --- The server ------------------------------------------------------------------------------- */

static int large(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char body[200000];
    (void)q, (void)arg;
    return weft_http_send(r, 200, "application/octet-stream", body, sizeof body);
}

static int hold(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct place *p = arg;
    (void)q;
    p->held++;
    int err = weft_event_wait(&p->go, WEFT_NEVER);
    return err < 0 ? err : weft_http_text(r, 200, "held");
}

static void routes(struct weft_http_app *app, struct place *p)
{
    http_kit_route(app, "GET /large", large);
    CHECK_EQ(weft_http_route(app, "GET /hold", hold, p), 0);
}

static void play(struct place *p)
{
    p->routes = routes;
    place_play(p);
}

/* --- Streams that are over -------------------------------------------------------------------- */

#define PROTOCOL_ERROR 1
#define STREAM_CLOSED 5

static void ask_well(struct client *c, uint32_t id)
{
    uint32_t code = 0;
    ask(c, id, "/small");
    CHECK_EQ(await(c, id, &code), 0);
}

static void ask_in_vain(struct client *c, uint32_t id, uint32_t why)
{
    uint32_t code = 0;
    ask(c, id, "/small");
    CHECK_EQ(await(c, id, &code), GOAWAY);
    CHECK_EQ(code, why);
}

static int asks_again(struct client *c)
{
    begin(c, 65535);
    ask_well(c, 1);
    ask_well(c, 3);
    ask_in_vain(c, 1, STREAM_CLOSED);
    return 0;
}

/* The largest number, and those that it passes over. */
static int asks_last(struct client *c)
{
    begin(c, 65535);
    ask_well(c, 1);
    ask_well(c, 0x7fffffff);
    ask_in_vain(c, 0x7ffffffd, PROTOCOL_ERROR);
    return 0;
}

static int asks_last_again(struct client *c)
{
    begin(c, 65535);
    ask_well(c, 0x7fffffff);
    ask_in_vain(c, 0x7fffffff, STREAM_CLOSED);
    return 0;
}

static int asks_what_it_reset(struct client *c)
{
    static const uint8_t cancel[] = {0, 0, 0, 8};
    uint8_t buf[128];
    begin(c, 65535);
    put(c, buf, head(buf, 4, 1, 2, "/hold"));
    put_frame(c, RST_STREAM, 0, 1, cancel, sizeof cancel);
    ask_well(c, 3);
    ask_in_vain(c, 1, STREAM_CLOSED);
    return 0;
}

static int asks_below(struct client *c)
{
    begin(c, 65535);
    ask_well(c, 7);
    ask_in_vain(c, 3, PROTOCOL_ERROR);
    return 0;
}

/* A target that HTTP/1 refuses is none here, either. */
static int asks_by_backslash(struct client *c)
{
    uint32_t code = 0;
    begin(c, 65535);
    ask(c, 1, "/small\\..");
    CHECK_EQ(await(c, 1, &code), 0);
    CHECK_EQ(c->status, 0x80 | 12); /* 400 */
    ask(c, 3, "/none?a\\b");
    CHECK_EQ(await(c, 3, &code), 0);
    CHECK_EQ(c->status, 0x80 | 13); /* 404 */
    ask(c, 5, "/now?a=%00");
    CHECK_EQ(await(c, 5, &code), 0);
    CHECK_EQ(c->status, 0x80 | 12);
    return 0;
}

/* What it sends for a stream that the server has refused may have been on its way. */
static int has_excuse(struct client *c)
{
    uint8_t buf[128];
    uint32_t code = 0;
    begin(c, 65535);
    ask(c, 1, "/hold");
    put(c, buf, head(buf, 4, 3, 3, "/whole"));
    CHECK_EQ(await(c, 3, &code), RST_STREAM);
    CHECK_EQ(code, 7); /* REFUSED_STREAM */
    put_frame(c, 0, 0, 3, "data", 4);
    put_frame(c, 1, 5, 3, "\x00\x01t\x01t", 5); /* trailers */
    weft_event_set(&c->place->go);
    CHECK_EQ(await(c, 1, &code), 0);
    ask_well(c, 5);
    return 0;
}

/* Data for it is an error of the stream: the connection goes on. */
static void send_late(struct client *c, uint32_t id, size_t piece)
{
    uint8_t buf[64];
    uint32_t code = 0;
    size_t len = frame(buf, 0, 0, id, "late", 4);
    for (size_t at = 0; at < len; at += piece) {
        put(c, buf + at, weft__min_size(piece, len - at));
        CHECK_EQ(weft_flush(c->s, SOON), 0);
    }
    CHECK_EQ(await(c, id, &code), RST_STREAM);
    CHECK_EQ(code, STREAM_CLOSED);
}

static int sends_late(struct client *c)
{
    begin(c, 65535);
    ask_well(c, 1);
    ask_well(c, 5);
    send_late(c, 1, 13);
    send_late(c, 5, 1);
    send_late(c, 3, 5); /* which it has passed over */
    ask_well(c, 7);
    return 0;
}

/* The server has begun none, so what is sent for one of its is no late data (section 5.1). */
static int sends_for_none(struct client *c)
{
    uint32_t code = 0;
    begin(c, 65535);
    ask_well(c, 1);
    ask_well(c, 3);
    put_frame(c, 0, 0, 2, "data", 4);
    CHECK_EQ(await(c, 2, &code), GOAWAY);
    CHECK_EQ(code, PROTOCOL_ERROR);
    return 0;
}

/* All in one piece: what is in order for a stream, its reset, and data behind that. */
static int resets_and_sends(struct client *c)
{
    static const uint8_t cancel[] = {0, 0, 0, 8};
    uint8_t buf[256];
    uint32_t code = 0;
    begin(c, 65535);
    size_t len = head(buf, 4, 1, 3, "/hold");
    len += frame(buf + len, 0, 0, 1, "data", 4);
    len += frame(buf + len, RST_STREAM, 0, 1, cancel, sizeof cancel);
    put(c, buf, len);
    ask_well(c, 3); /* nothing of that is late */
    len = head(buf, 4, 5, 3, "/hold");
    len += frame(buf + len, RST_STREAM, 0, 5, cancel, sizeof cancel);
    len += frame(buf + len, 0, 1, 5, "data", 4);
    put(c, buf, len);
    CHECK_EQ(await(c, 5, &code), RST_STREAM);
    CHECK_EQ(code, STREAM_CLOSED);
    ask_well(c, 7);
    return 0;
}

static void over(const char *driver)
{
    int (*const clients[])(struct client *) = {asks_again,     asks_what_it_reset, asks_below,
                                               asks_last,      asks_last_again,    sends_late,
                                               sends_for_none, resets_and_sends};
    (void)driver;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(clients); i++)
        play(&(struct place){.client = clients[i]});
    play(&(struct place){.client = has_excuse, .o.streams_max = 1});
    play(&(struct place){.client = asks_by_backslash});
}

/* --- Who takes nothing ------------------------------------------------------------------------ */

/* Each head is answered with a reset, none of which it reads. */
static int causes_answers(struct client *c)
{
    static const uint8_t window[] = {0x7f, 0, 0, 0};
    static uint8_t buf[64 * 1000];
    uint32_t id = 3;
    int err = 0;
    begin(c, 0x7fffffff);
    put_frame(c, 8, 0, 0, window, sizeof window);
    for (uint32_t i = 0; i < 50; i++) /* so that somebody waits for it */
        ask(c, id += 2, "/large");
    for (int i = 0; i < 100 && err == 0; i++) {
        size_t len = 0;
        for (int k = 0; k < 1000; k++)
            len += head(buf + len, 5, id += 2, 2, "/small");
        err = weft_write(c->s, buf, len, weft_after_s(30));
    }
    CHECK(err < 0);
    return 0;
}

static void takes_nothing(const char *driver)
{
    (void)driver;
    play(&(struct place){.client = causes_answers, .o.streams_max = 50});
}

static int opens_no_window(struct client *c, const char *path)
{
    uint32_t code = 0;
    int64_t began = weft_now_ns();
    begin(c, 0);
    ask(c, 1, path);
    CHECK_EQ(await(c, 1, &code), RST_STREAM);
    int64_t s = (weft_now_ns() - began) / weft_s(1);
    CHECK(s >= 60 && s <= 63);
    open_window(c, 0, 5);
    ask(c, 3, "/small");
    open_window(c, 3, 5);
    CHECK_EQ(await(c, 3, &code), 0); /* the connection goes on */
    return 0;
}

static int no_window_of_task(struct client *c)
{
    return opens_no_window(c, "/small");
}

static int no_window_at_once(struct client *c)
{
    return opens_no_window(c, "/now");
}

/* As slow as it is, it takes some. */
static int opens_slowly(struct client *c)
{
    uint32_t code = 0;
    begin(c, 0);
    ask(c, 1, "/small");
    ask(c, 3, "/now");
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(weft_sleep_ms(50000), 0);
        open_window(c, 1, 1);
        open_window(c, 3, 1);
    }
    CHECK_EQ(await(c, 1, &code), 0);
    CHECK_EQ(await(c, 3, &code), 0);
    return 0;
}

static void windows(const char *driver)
{
    (void)driver;
    play(&(struct place){.client = no_window_of_task, .o.idle_ms = 600000});
    play(&(struct place){.client = no_window_at_once, .o.idle_ms = 600000});
    play(&(struct place){.client = opens_slowly, .o.idle_ms = 600000});
}

/* --- Who asks for nothing --------------------------------------------------------------------- */

/* Not that it would have to be a bad one. */
static int asks_enough(struct client *c)
{
    uint32_t code = 1;
    begin(c, 65535);
    ask(c, 1, "/small");
    CHECK_EQ(await(c, 1, &code), 0);
    ask(c, 3, "/now");
    CHECK_EQ(await(c, 99, &code), GOAWAY); /* what is on its way is still taken, and */
    CHECK_EQ(code, 0);
    ask(c, 5, "/small");
    CHECK_EQ(await(c, 5, &code), 0);
    CHECK_EQ(await(c, 99, &code), GOAWAY);
    CHECK_EQ(await(c, 99, &code), WEFT_EEOF);
    return 0;
}

/* Makes the server reset what it has asked for, while that is still worked on. */
static int has_it_reset(struct client *c)
{
    static const uint8_t most[] = {0x7f, 0xff, 0xff, 0xff};
    uint32_t code = 0, id = 1;
    begin(c, 65535);
    for (int i = 0; i < 30; i++, id += 2) {
        ask(c, id, "/hold");
        put_frame(c, 8, 0, id, most, sizeof most); /* too wide a window: RFC 9113 section 6.9.1 */
        CHECK_EQ(await(c, id, &code), RST_STREAM);
        CHECK_EQ(code, i < 10 ? 3 : 7); /* FLOW_CONTROL_ERROR, REFUSED_STREAM */
    }
    CHECK_EQ(c->place->held, 10);
    weft_event_set(&c->place->go);
    CHECK_EQ(weft_sleep_ms(100), 0);
    ask(c, id, "/small");
    CHECK_EQ(await(c, id, &code), 0);
    return 0;
}

/* A byte a second, where 100 are wanted from the sixth on. */
static int sends_slowly(struct client *c)
{
    static const uint8_t cancel[] = {0, 0, 0, 8};
    uint8_t buf[128];
    begin(c, 65535);
    put(c, buf, head(buf, 4, 1, 3, "/whole"));
    for (int i = 0; i < 20 && c->place->body == 0; i++) {
        put_frame(c, 0, 0, 1, "a", 1);
        CHECK_EQ(weft_sleep_ms(1000), 0);
    }
    CHECK_EQ(c->place->body, -ETIMEDOUT);
    put_frame(c, RST_STREAM, 0, 1, cancel, sizeof cancel);
    return 0;
}

static void slow(const char *driver)
{
    (void)driver;
    play(&(struct place){.client = sends_slowly});
    play(&(struct place){.client = asks_enough, .o.requests_max = 2});
    play(&(struct place){.client = has_it_reset, .o.streams_max = 5});
}

static const struct kit_case cases[] = {ON_THREAD(over), ON_THREAD(takes_nothing),
                                        ON_THREAD(windows), ON_THREAD(slow)};
KIT_MAIN(cases)
