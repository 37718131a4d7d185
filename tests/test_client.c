/* SPDX-License-Identifier: MIT */
/*
 * Clients in callback mode, looping calls and receivers.
 */
#include <weft/weft.h>

#include "echo_kit.h"

/* --- Dialling once, and again ----------------------------------------------------------------- */

struct client {
    int made, lost, states, downs;
    int last_error;
    int64_t last_delay;
    size_t bytes;
    struct weft_stream *t;
    struct weft_event event; /* set at each change */
};

static int client_made(struct weft_stream *t, void *arg)
{
    struct client *c = arg;
    weft_transport_set(t, c);
    c->t = t;
    c->made++;
    weft_event_set(&c->event);
    return weft_transport_write(t, "hello", 5);
}

static int client_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct client *c = conn;
    (void)data;
    c->bytes += len;
    if (c->bytes % 5 == 0 && c->downs < 0)
        weft_transport_close(t);
    weft_event_set(&c->event);
    return 0;
}

static void client_lost(struct weft_stream *t, int error, void *conn)
{
    struct client *c = conn;
    CHECK(t == c->t);
    c->t = NULL;
    c->lost++;
    c->last_error = error;
    weft_event_set(&c->event);
}

static const struct weft_protocol client = {
    .made = client_made, .data = client_data, .lost = client_lost};

static void state(void *arg, bool connected, int error, int64_t delay_ms)
{
    struct client *c = arg;
    CHECK(connected || delay_ms != 0);
    c->states++;
    c->downs += !connected;
    if (!connected) {
        c->last_error = error;
        c->last_delay = delay_ms;
    }
    weft_event_set(&c->event);
}

#define AWAIT(c, cond)                                                                             \
    while (!(cond)) {                                                                              \
        CHECK_EQ(weft_event_wait(&(c)->event, weft_after_s(20)), 0);                               \
        weft_event_clear(&(c)->event);                                                             \
    }

static int dial_once(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint), *g = kit_group();
    struct client c = {.downs = -1}; /* closes after the answer */
    struct weft_factory f = {.protocol = &client, .arg = &c};
    (void)arg;
    CHECK_EQ(weft_protocol_dial(g, endpoint, NULL, &f, 20000), 0);
    AWAIT(&c, c.lost == 1);
    CHECK_EQ(c.made, 1);
    CHECK_EQ(c.bytes, 5);
    CHECK_EQ(c.last_error, 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&server), 0);
    /* Refused: lost, with no transport; the group is not harmed. */
    CHECK_EQ(weft_protocol_dial(g, endpoint, NULL, &f, 20000), 0);
    AWAIT(&c, c.lost == 2);
    CHECK_EQ(c.last_error, -ECONNREFUSED);
    CHECK_EQ(c.made, 1);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
    CHECK_EQ(weft_protocol_dial(g, "tcp://127.0.0.1:0", NULL, &f, 0), WEFT_EENDPOINT);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int comes_back(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint), *g = kit_group();
    struct client c = {0};
    struct weft_factory f = {.protocol = &client, .arg = &c};
    struct weft_reconnect_options o = {
        .first_ms = 1, .max_ms = 20, .jitter = -1, .state = state, .state_arg = &c};
    struct weft_reconnector *r = NULL;
    (void)arg;
    CHECK_EQ(weft_reconnector_open(&r, g, endpoint, &o, &f), 0);
    AWAIT(&c, c.bytes == 5);
    CHECK_EQ(weft_group_close(&server), 0); /* the server goes ... */
    AWAIT(&c, c.downs >= 4);
    CHECK_EQ(c.last_error, -ECONNREFUSED);
    CHECK(c.last_delay == 8);           /* 1, 2, 4, 8: doubled each time */
    server = serve(endpoint, endpoint); /* ... and is there again */
    AWAIT(&c, c.bytes == 10);
    CHECK_EQ(c.made, 2);
    CHECK_EQ(weft_group_count(g), 2);
    weft_reconnector_stop(r);
    CHECK_EQ(weft_group_close(&server), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0); /* lost, and not tried again */
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* Its own errors are none of the client's. */
static void failing_state(void *arg, bool connected, int error, int64_t delay_ms)
{
    state(arg, connected, error, delay_ms);
    CHECK_EQ(weft_sleep_ms(1), -EDEADLK);
}

static int gives_up(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct client c = {0};
    struct weft_factory f = {.protocol = &client, .arg = &c};
    struct weft_reconnect_options o = {
        .first_ms = 1, .max_ms = 2, .max_retries = 3, .state = failing_state, .state_arg = &c};
    (void)arg;
    nobody(endpoint);
    struct weft_group *g = kit_group();
    CHECK_EQ(weft_reconnector_open(NULL, g, endpoint, &o, &f), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), -ECONNREFUSED);
    CHECK(strstr(weft_error_detail(), endpoint) != NULL);
    CHECK_EQ(c.downs, 4);
    CHECK_EQ(weft_group_close(&g), -ECONNREFUSED);
    return 0;
}

static int cancel_ends_it_in_every_state(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    (void)arg;
    nobody(endpoint);
    struct weft_group *server, *g;
    struct client c = {0};
    struct weft_factory f = {.protocol = &client, .arg = &c};
    struct weft_reconnect_options o = {.first_ms = 100000, .state = state, .state_arg = &c};
    g = kit_group(); /* before its first attempt */
    CHECK_EQ(weft_reconnector_open(NULL, g, endpoint, &o, &f), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    g = kit_group(); /* while it waits to try again */
    CHECK_EQ(weft_reconnector_open(NULL, g, endpoint, &o, &f), 0);
    AWAIT(&c, c.downs > 0);
    CHECK_EQ(weft_group_close(&g), 0);
    server = serve("tcp://127.0.0.1:0", endpoint);
    g = kit_group(); /* while it is connected */
    c = (struct client){0};
    CHECK_EQ(weft_reconnector_open(NULL, g, endpoint, &o, &f), 0);
    AWAIT(&c, c.bytes == 5);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(c.lost, 1);
    CHECK_EQ(weft_group_close(&server), 0);
    return 0;
}

/* Nobody is called on by a client that was stopped before its first attempt. */
static int stopped_before_it_begins(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_listener *listener = NULL;
    struct weft_reconnector *r = NULL;
    struct weft_stream *s = NULL;
    struct client c = {0};
    struct weft_factory f = {.protocol = &client, .arg = &c};
    struct weft_reconnect_options o = {.state = state, .state_arg = &c};
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_listen(&listener, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(listener, endpoint, sizeof endpoint) > 0);
    CHECK_EQ(weft_reconnector_open(&r, g, endpoint, &o, &f), 0);
    weft_reconnector_stop(r);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
    CHECK_EQ(weft_accept(listener, &s, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(c.states, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_listener_close(&listener);
    return 0;
}

static void only_lost(struct weft_stream *t, int error, void *conn)
{
    struct client *c = conn;
    (void)t;
    c->lost++;
    c->last_error = error;
}

struct canceler {
    struct weft__alarm alarm;
    struct weft_group *group;
};

static void cancel_now(struct weft__alarm *a)
{
    weft_group_cancel(WEFT__CONTAINER_OF(a, struct canceler, alarm)->group);
}

/* A turn later each time, behind the client's own alarm: also between the connection and its first
 * callback. */
static int cancel_at_every_turn_of_a_dial(void *arg)
{
    static const struct weft_protocol p = {
        .made = client_made, .data = client_data, .lost = only_lost};
    char endpoint[WEFT_ENDPOINT_MAX];
    (void)arg;
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    for (int turns = 0; turns < 40; turns++) {
        for (int again = 0; again < 2; again++) {
            struct client c = {0};
            struct weft_factory f = {.protocol = &p, .arg = &c};
            struct weft_group *g = kit_group();
            if (again)
                CHECK_EQ(weft_reconnector_open(NULL, g, endpoint, NULL, &f), 0);
            else
                CHECK_EQ(weft_protocol_dial(g, endpoint, NULL, &f, 20000), 0);
            for (int i = 0; i < turns; i++)
                CHECK_EQ(weft_yield(), 0);
            struct canceler k = {.alarm = {.fn = cancel_now}, .group = g};
            weft__loop_alarm(weft_loop_current(), &k.alarm, 1);
            CHECK(weft_group_wait(g, weft_after_s(20)) != -ETIMEDOUT);
            weft__loop_alarm_del(weft_loop_current(), &k.alarm);
            CHECK_EQ(weft_group_close(&g), 0);
            CHECK_EQ(c.lost, again ? c.made : 1); /* one that is not repeated is told of its end */
        }
    }
    CHECK_EQ(weft_group_close(&server), 0);
    return 0;
}

/* --- Looping calls ---------------------------------------------------------------------------- */

struct loop_count {
    int n, stop_at, result;
    struct weft_looping_call *close;
};

static int count_up(void *arg)
{
    struct loop_count *c = arg;
    CHECK_EQ(weft_sleep_ms(1), -EDEADLK); /* a callback */
    if (++c->n < c->stop_at)
        return 0;
    weft_looping_call_close(&c->close);
    return c->result;
}

static int looping_calls(void *arg)
{
    struct weft_looping_call *call = NULL;
    struct loop_count c = {.stop_at = 5, .result = 1};
    struct weft_group *g = kit_group();
    (void)arg;
    int64_t start = weft_now_ns();
    CHECK_EQ(weft_looping_call_open(&call, g, 3, count_up, &c), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0); /* ends by itself */
    CHECK_EQ(c.n, 5);
    CHECK(weft_now_ns() - start >= 15000000);
    weft_looping_call_close(&call);

    c = (struct loop_count){.stop_at = 2, .result = -EIO};
    CHECK_EQ(weft_looping_call_open(&call, g, 1, count_up, &c), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), -EIO);
    CHECK_EQ(weft_group_close(&g), -EIO); /* nobody closed the call: it goes with the group */

    g = kit_group();
    c = (struct loop_count){.stop_at = 3};
    CHECK_EQ(weft_looping_call_open(&c.close, g, 1, count_up, &c), 0); /* closes itself */
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
    CHECK_EQ(c.n, 3);
    CHECK(c.close == NULL);
    c = (struct loop_count){.stop_at = 1000};
    CHECK_EQ(weft_looping_call_open(NULL, g, 100000, count_up, &c), 0);
    CHECK_EQ(weft_group_close(&g), 0); /* cancelled */
    CHECK_EQ(c.n, 0);

    g = kit_group();
    CHECK_EQ(weft_looping_call_open(&call, g, 0, count_up, &c), -EINVAL);
    CHECK_EQ(weft_looping_call_open(&call, g, 1, NULL, &c), -EINVAL);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

struct self_ended {
    struct weft_group *group;
    struct weft_looping_call *call; /* to be closed within; NULL: it is not */
    int n, result;
};

static int end_itself(void *arg)
{
    struct self_ended *c = arg;
    c->n++;
    weft_group_cancel(c->group);
    weft_looping_call_close(&c->call);
    return c->result;
}

/* Called every hour, and cancelled by the first call: nobody waits for the second. */
static int by_itself(void *arg)
{
    static const int64_t hour_ms = 3600000;
    (void)arg;
    for (int i = 0; i < 6; i++) {
        struct self_ended c = {.group = kit_group(), .result = i % 3 - 1};
        struct weft_looping_call *call = NULL;
        int64_t start = weft_now_ns();
        CHECK_EQ(weft_looping_call_open(&call, c.group, hour_ms, end_itself, &c), 0);
        if (i >= 3)
            c.call = call;
        CHECK_EQ(weft_group_wait(c.group, WEFT_NEVER), 0);
        CHECK_EQ(c.n, 1);
        CHECK(weft_now_ns() - start < weft_ms(hour_ms) + weft_s(1));
        if (i < 3)
            weft_looping_call_close(&call);
        CHECK_EQ(weft_group_close(&c.group), 0);
    }
    return 0;
}

static void looping_calls_end_by_themselves(const char *driver)
{
    struct weft_sim *sim = NULL;
    (void)driver;
    CHECK_EQ(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 1}), 0);
    CHECK_EQ(weft_sim_host(sim, "host", by_itself, NULL), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(24 * 3600)), 0);
    CHECK_EQ(weft_sim_close(&sim), 0);
}

/* --- Receivers -------------------------------------------------------------------------------- */

struct records {
    size_t n;
    uint64_t hash;
    size_t largest;
};

static int on_record(struct weft_stream *t, const void *record, size_t len, void *conn)
{
    struct records *r = conn;
    const unsigned char *at = record;
    (void)t;
    r->n++;
    r->largest = len > r->largest ? len : r->largest;
    r->hash = (r->hash ^ len) * 1099511628211u;
    for (size_t i = 0; i < len; i++)
        r->hash = (r->hash ^ at[i]) * 1099511628211u;
    return len == 3 && memcmp(at, "end", 3) == 0 ? -ECANCELED : 0;
}

static struct records feed(const struct weft_framing *f, const char *data, size_t len, size_t piece)
{
    struct weft_receiver r;
    struct records got = {0};
    weft_receiver_init(&r, f, on_record);
    for (size_t at = 0; at < len; at += piece) {
        size_t n = piece < len - at ? piece : len - at;
        CHECK_EQ(weft_receiver_feed(&r, NULL, data + at, n, &got), 0);
    }
    weft_receiver_fini(&r);
    return got;
}

static size_t build(const struct weft_framing *f, char *out, size_t cap, unsigned seed)
{
    size_t used = 0;
    for (int i = 0; i < 60; i++) {
        char record[300], head[WEFT_FRAMING_OVERHEAD], tail[WEFT_FRAMING_OVERHEAD];
        size_t len = (size_t)rand_r(&seed) % 200, head_len, tail_len;
        for (size_t k = 0; k < len; k++)
            record[k] = (char)('a' + rand_r(&seed) % 26);
        CHECK_EQ(weft_framing_encode(f, len, head, &head_len, tail, &tail_len), 0);
        CHECK(used + head_len + len + tail_len <= cap);
        memcpy(out + used, head, head_len);
        memcpy(out + used + head_len, record, len);
        memcpy(out + used + head_len + len, tail, tail_len);
        used += head_len + len + tail_len;
    }
    return used;
}

static int receivers_see_the_same_however_it_is_cut(void *arg)
{
    static char data[60 * 400];
    const struct weft_framing framings[] = {
        {.kind = WEFT_FRAMING_LINE},
        {.kind = WEFT_FRAMING_NETSTRING},
        {.kind = WEFT_FRAMING_INT8},
        {.kind = WEFT_FRAMING_INT16},
        {.kind = WEFT_FRAMING_INT32},
        {.kind = WEFT_FRAMING_DELIMITER, .delimiter = "--cut--", .delimiter_len = 7}};
    (void)arg;
    for (size_t k = 0; k < sizeof framings / sizeof framings[0]; k++) {
        size_t len = build(&framings[k], data, sizeof data, 7 + (unsigned)k);
        struct records whole = feed(&framings[k], data, len, len);
        CHECK_EQ(whole.n, 60);
        for (size_t piece = 1; piece < 400; piece += piece < 30 ? 1 : 37) {
            struct records cut = feed(&framings[k], data, len, piece);
            CHECK(memcmp(&cut, &whole, sizeof cut) == 0);
        }
    }
    return 0;
}

static int fussy_record(struct weft_stream *t, const void *record, size_t len, void *conn)
{
    (void)t, (void)record, (void)len;
    return *(int *)conn;
}

static int receivers_hand_on_what_record_returned(void *arg)
{
    const struct weft_framing f = {.kind = WEFT_FRAMING_LINE};
    int results[] = {7, -7};
    (void)arg;
    for (size_t k = 0; k < 2; k++)
        for (size_t first = 0; first < 5; first++) { /* "word\n" whole, and in two pieces */
            struct weft_receiver r;
            weft_receiver_init(&r, &f, fussy_record);
            CHECK_EQ(weft_receiver_feed(&r, NULL, "word\n", first, &results[k]), 0);
            CHECK_EQ(weft_receiver_feed(&r, NULL, &"word\n"[first], 5 - first, &results[k]),
                     results[k]);
            weft_receiver_fini(&r);
        }
    return 0;
}

static int receivers_keep_to_their_maximum(void *arg)
{
    struct weft_framing f = {.kind = WEFT_FRAMING_LINE, .max = 10};
    struct weft_receiver r;
    struct records got = {0};
    (void)arg;
    weft_receiver_init(&r, &f, on_record);
    CHECK_EQ(weft_receiver_feed(&r, NULL, "0123456789\n", 11, &got), 0);
    CHECK_EQ(weft_receiver_feed(&r, NULL, "0123456", 7, &got), 0);
    CHECK_EQ(weft_receiver_feed(&r, NULL, "89012", 5, &got), WEFT_ETOOLONG);
    weft_receiver_fini(&r);
    weft_receiver_init(&r, &f, on_record);
    CHECK_EQ(weft_receiver_feed(&r, NULL, "a\nend\nb\n", 8, &got), -ECANCELED); /* record stops it
                                                                                 */
    CHECK_EQ(got.n, 3);
    weft_receiver_fini(&r);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(dial_once),
    IN_TASK(comes_back),
    IN_TASK(gives_up),
    IN_TASK(cancel_ends_it_in_every_state),
    IN_TASK(stopped_before_it_begins),
    IN_TASK(cancel_at_every_turn_of_a_dial),
    IN_TASK(looping_calls),
    ON_THREAD(looping_calls_end_by_themselves),
    IN_TASK(receivers_see_the_same_however_it_is_cut),
    IN_TASK(receivers_hand_on_what_record_returned),
    IN_TASK(receivers_keep_to_their_maximum),
};
KIT_MAIN(cases)
