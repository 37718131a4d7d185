/* SPDX-License-Identifier: MIT */
/*
 * Clients that connect again: what their callbacks may do to them, and what waits for a connection.
 */
#include <math.h>
#include <poll.h>

#include <weft/weft.h>

#include "echo_kit.h"

#define SOON weft_after_s(KIT_SLOW ? 60 : 20)

/* --- Calls from within the callbacks ---------------------------------------------------------- */

enum place { NOWHERE, UP, MADE, DATA, LOST, DOWN, LAST, PLACES };
enum what { STOP, CANCEL, SEND, WHATS };

/* A client that does one thing in one of its callbacks, the first time that it is called. */
struct acting {
    enum place place;
    enum what what;
    struct weft_reconnector *r; /* NULL: the client is not repeated */
    struct weft_group *group;
    int done, sent; /* how often, and what the send returned */
    int made, lost, downs;
    struct weft_event event;
};

static void act(struct acting *a, enum place here)
{
    weft_event_set(&a->event);
    if (a->place != here || a->done++ > 0)
        return;
    if (a->what == CANCEL)
        weft_group_cancel(a->group);
    else if (a->what == STOP)
        weft_reconnector_stop(a->r);
    else
        a->sent = weft_reconnector_send(a->r, "x", 1);
    if (a->what != SEND && a->r != NULL && here >= LOST) /* there will be no other connection */
        CHECK_EQ(weft_reconnector_send(a->r, "x", 1), WEFT_ECLOSED);
}

static int act_made(struct weft_stream *t, void *arg)
{
    struct acting *a = arg;
    weft_transport_set(t, a);
    a->made++;
    act(a, MADE);
    int err = weft_transport_write(t, "hello", 5);
    return err == WEFT_ECLOSED ? 0 : err;
}

static int act_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)data, (void)len;
    act(conn, DATA);
    weft_transport_close(t);
    return 0;
}

static void act_lost(struct weft_stream *t, int error, void *conn)
{
    struct acting *a = conn;
    (void)t, (void)error;
    a->lost++;
    act(a, LOST);
}

static void act_state(void *arg, bool connected, int error, int64_t delay_ms)
{
    struct acting *a = arg;
    (void)error;
    a->downs += !connected;
    act(a, connected ? UP : delay_ms < 0 ? LAST : DOWN);
}

static const struct weft_protocol acts = {.made = act_made, .data = act_data, .lost = act_lost};

static void open_acting(struct acting *a, const char *endpoint, int64_t first_ms, int max_retries)
{
    struct weft_factory f = {.protocol = &acts, .arg = a};
    struct weft_reconnect_options o = {.first_ms = first_ms,
                                       .max_ms = first_ms,
                                       .max_retries = max_retries,
                                       .state = act_state,
                                       .state_arg = a};
    a->group = kit_group();
    CHECK_EQ(weft_reconnector_open(&a->r, a->group, endpoint, &o, &f), 0);
}

static void act_once(const char *endpoint, enum place place, enum what what)
{
    struct acting a = {.place = place, .what = what};
    open_acting(&a, endpoint, 1, 0);
    while (a.done == 0 || a.lost == 0) {
        CHECK_EQ(weft_event_wait(&a.event, SOON), 0);
        weft_event_clear(&a.event);
    }
    if (what == SEND) {
        CHECK_EQ(a.sent, 0);
        weft_reconnector_stop(a.r);
    }
    CHECK(weft_group_wait(a.group, SOON) != -ETIMEDOUT);
    CHECK_EQ(a.made, a.lost);
    if (what != SEND)
        CHECK_EQ(a.made, 1);
    CHECK_EQ(a.downs > 0, what == SEND || place == DOWN);
    CHECK_EQ(weft_reconnector_send(a.r, "y", 1), WEFT_ECLOSED);
    CHECK_EQ(weft_group_close(&a.group), 0);
}

static int each_callback_may_end_it(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    (void)arg;
    for (enum what what = STOP; what < WHATS; what++)
        for (enum place place = UP; place <= DOWN; place++)
            act_once(endpoint, place, what);
    CHECK_EQ(weft_group_close(&server), 0);
    return 0;
}

/* The delay is an hour: whoever waited for it would be late. */
static int told_of_a_failure(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    (void)arg;
    nobody(endpoint);
    for (enum what what = STOP; what <= CANCEL; what++) {
        struct acting a = {.place = DOWN, .what = what};
        open_acting(&a, endpoint, 3600000, 0);
        CHECK_EQ(weft_group_wait(a.group, SOON), 0);
        CHECK_EQ(a.downs, 1);
        CHECK_EQ(a.made, 0);
        CHECK_EQ(weft_group_close(&a.group), 0);
    }
    return 0;
}

/* There is no further connection when that is said, so nothing may wait for one. */
static int told_of_the_last_failure(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    (void)arg;
    nobody(endpoint);
    for (enum what what = STOP; what < WHATS; what++) {
        struct acting a = {.place = LAST, .what = what};
        int want = what == CANCEL ? 0 : -ECONNREFUSED;
        open_acting(&a, endpoint, 1, 1);
        CHECK_EQ(weft_group_wait(a.group, SOON), want);
        CHECK_EQ(a.done, 1);
        CHECK_EQ(a.downs, 2);
        CHECK_EQ(a.sent, what == SEND ? WEFT_ECLOSED : 0);
        CHECK_EQ(weft_group_close(&a.group), want);
    }
    return 0;
}

/* Of a client that is not repeated: `lost` tells of all failures. */
static int cancelled_by_one_that_is_not_repeated(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX], refused[WEFT_ENDPOINT_MAX];
    (void)arg;
    nobody(refused);
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    for (enum place place = NOWHERE; place <= LOST; place++) {
        struct acting a = {.place = place, .what = CANCEL, .group = kit_group()};
        struct weft_factory f = {.protocol = &acts, .arg = &a};
        const char *at = place == NOWHERE ? refused : endpoint;
        a.place = place == NOWHERE ? LOST : place;
        CHECK_EQ(weft_protocol_dial(a.group, at, NULL, &f, 20000), 0);
        CHECK_EQ(weft_group_wait(a.group, SOON), 0);
        CHECK_EQ(a.lost, 1);
        CHECK_EQ(weft_group_close(&a.group), 0);
    }
    CHECK_EQ(weft_group_close(&server), 0);
    return 0;
}

static int readable(struct weft_loop *l, int timeout_ms)
{
    struct pollfd p = {.fd = weft_loop_fd(l), .events = POLLIN};
    return poll(&p, 1, timeout_ms);
}

/* Until it is above 0, and then until nothing is left to do. */
static void step_until(struct weft_loop *l, const int *n)
{
    while (*n == 0) {
        CHECK_EQ(readable(l, 20000), 1);
        CHECK_EQ(weft_loop_step(l, WEFT_NOW), 1);
    }
    while (readable(l, 0) > 0)
        CHECK_EQ(weft_loop_step(l, WEFT_NOW), 1);
}

/* Between two steps of a loop that another one drives: that is told of what is done there. */
static void from_outside_of_the_loop(const char *driver)
{
    struct acting a = {.place = NOWHERE};
    struct weft_factory f = {.protocol = &acts, .arg = &a};
    struct weft_reconnect_options o = {.first_ms = 3600000, .state = act_state, .state_arg = &a};
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_listener *listener = NULL;
    struct weft_stream *s = NULL;
    struct weft_loop *l = NULL;
    char buf[6];
    CHECK_EQ(weft_listen(&listener, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(listener, endpoint, sizeof endpoint) > 0);
    CHECK_EQ(weft_loop_open(&l, &(struct weft_options){.driver = driver}), 0);
    while (readable(l, 0) > 0)
        CHECK_EQ(weft_loop_step(l, WEFT_NOW), 0);
    CHECK_EQ(weft_reconnector_open(&a.r, weft_loop_group(l), endpoint, &o, &f), 0);
    step_until(l, &a.made);
    CHECK_EQ(weft_accept(listener, &s, SOON), 0);
    CHECK_EQ(weft_reconnector_send(a.r, "x", 1), 0);
    CHECK_EQ(readable(l, 20000), 1);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 1);
    CHECK_EQ(weft_read_full(s, buf, 6, SOON), 0);
    CHECK(memcmp(buf, "hellox", 6) == 0);
    weft_abort(&s);
    weft_listener_close(&listener); /* so nobody listens there any more */
    step_until(l, &a.downs);
    weft_reconnector_stop(a.r);
    CHECK_EQ(readable(l, 20000), 1);
    while (weft_loop_step(l, WEFT_NOW) > 0)
        ;
    CHECK_EQ(a.downs, 1);
    CHECK_EQ(a.lost, 1);
    weft_loop_close(&l);
}

/* --- Delays ----------------------------------------------------------------------------------- */

struct delays {
    int n;
    int64_t of[4];
    struct weft_reconnector *r;
};

/* Stops it when there are as many as are wanted. */
static void note_delay(void *arg, bool connected, int error, int64_t delay_ms)
{
    struct delays *d = arg;
    (void)error;
    if (connected)
        return;
    d->of[d->n++] = delay_ms;
    if (d->n == 4 || delay_ms > 1000)
        weft_reconnector_stop(d->r);
}

static int close_made(struct weft_stream *t, void *arg)
{
    (void)arg;
    weft_transport_close(t);
    return 0;
}

static struct delays delays_of(const char *endpoint, struct weft_reconnect_options o)
{
    static const struct weft_protocol p = {.made = close_made, .data = echo_data};
    struct weft_factory f = {.protocol = &p};
    struct weft_group *g = kit_group();
    struct delays d = {.n = 0};
    o.state = note_delay;
    o.state_arg = &d;
    CHECK_EQ(weft_reconnector_open(&d.r, g, endpoint, &o, &f), 0);
    CHECK_EQ(weft_group_wait(g, SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return d;
}

/* Numbers that stand for `never`, and one that is none. */
static int delays_of_ages(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    struct delays d;
    (void)arg;
    d = delays_of(endpoint, (struct weft_reconnect_options){
                                .first_ms = 1, .jitter = -1, .steady_ms = INT64_MAX});
    CHECK_EQ(d.n, 4); /* no connection is steady */
    CHECK(d.of[0] == 1 && d.of[1] == 2 && d.of[2] == 4 && d.of[3] == 8);
    for (int i = 0; i < 20; i++) {
        d = delays_of(endpoint, (struct weft_reconnect_options){
                                    .first_ms = INT64_MAX, .max_ms = INT64_MAX, .jitter = 1});
        CHECK_EQ(d.n, 1);
        CHECK(d.of[0] > 1000);
    }
    d = delays_of(endpoint,
                  (struct weft_reconnect_options){.first_ms = 2000, .jitter = (double)NAN});
    CHECK_EQ(d.n, 1);
    CHECK_EQ(d.of[0], 2000);
    CHECK_EQ(weft_group_close(&server), 0);
    return 0;
}

/* --- Given away ------------------------------------------------------------------------------- */

/* A client that hands its connection to a task. */
struct giver {
    bool in_made;
    struct weft_group *tasks;
    struct weft_reconnector *r; /* NULL: the client is not repeated */
    int made, handled, states;
};

static int given(struct weft_stream *s, void *arg)
{
    struct giver *v = arg;
    char buf[10];
    CHECK_EQ(weft_write(s, "again", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(s, buf, v->in_made ? 5 : 10, SOON), 0);
    CHECK(memcmp(buf, v->in_made ? "again" : "helloagain", v->in_made ? 5 : 10) == 0);
    if (v->r != NULL)
        CHECK_EQ(weft_reconnector_send(v->r, "x", 1), WEFT_ECLOSED);
    v->handled++;
    return 0;
}

static int give(struct giver *v, struct weft_stream *t, size_t unread)
{
    CHECK_EQ(weft_protocol_detach(v->tasks, t, unread, given, v), 0);
    if (v->r != NULL)
        CHECK_EQ(weft_reconnector_send(v->r, "x", 1), WEFT_ECLOSED);
    return 0;
}

static int give_made(struct weft_stream *t, void *arg)
{
    struct giver *v = arg;
    v->made++;
    weft_transport_set(t, v);
    if (v->in_made)
        return give(v, t, 0);
    return weft_transport_write(t, "hello", 5);
}

static int give_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)data;
    return give(conn, t, len);
}

static void give_lost(struct weft_stream *t, int error, void *conn)
{
    (void)t, (void)error, (void)conn;
    CHECK(!"told of the end of what was given away");
}

static void give_state(void *arg, bool connected, int error, int64_t delay_ms)
{
    struct giver *v = arg;
    (void)error, (void)delay_ms;
    CHECK(connected);
    v->states++;
}

/* The client has done its work and leaves its group, once or repeated, with or without the task. */
static int gives_it_away(void *arg)
{
    static const struct weft_protocol p = {.made = give_made, .data = give_data, .lost = give_lost};
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    (void)arg;
    for (int i = 0; i < 8; i++) {
        bool repeated = i & 1, elsewhere = i & 4;
        struct weft_group *g = kit_group(), *tasks = kit_group();
        struct giver v = {.in_made = i & 2, .tasks = elsewhere ? tasks : g};
        struct weft_factory f = {.protocol = &p, .arg = &v};
        struct weft_reconnect_options o = {.first_ms = 1, .state = give_state, .state_arg = &v};
        if (repeated) {
            CHECK_EQ(weft_reconnector_open(&v.r, g, endpoint, &o, &f), 0);
            if (v.in_made)
                CHECK_EQ(weft_reconnector_send(v.r, "dropped", 7), 0);
        } else {
            CHECK_EQ(weft_protocol_dial(g, endpoint, NULL, &f, 20000), 0);
        }
        CHECK_EQ(weft_group_wait(g, SOON), 0);
        CHECK_EQ(weft_group_wait(tasks, SOON), 0);
        CHECK_EQ(v.made, 1);
        CHECK_EQ(v.handled, 1);
        CHECK_EQ(v.states, repeated);
        if (repeated)
            CHECK_EQ(weft_reconnector_send(v.r, "x", 1), WEFT_ECLOSED);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(weft_group_close(&tasks), 0);
    }
    CHECK_EQ(weft_group_close(&server), 0);
    return 0;
}

/* --- What waits for a connection -------------------------------------------------------------- */

#define PIECE 1000u
#define PIECES 40

struct sender {
    struct weft_reconnector *r;
    int made, lost, ups, pauses;
    int closes; /* so many connections are closed as soon as they are made */
    bool sends; /* in the call that tells of the connection */
    int error;
    char got[PIECES * PIECE + 100];
    size_t len, want; /* closes when it has so many */
    struct weft_event event;
};

static int send_made(struct weft_stream *t, void *arg)
{
    struct sender *c = arg;
    weft_transport_set(t, c);
    c->made++;
    int err = weft_transport_write(t, "made ", 5);
    if (err == 0 && c->made <= c->closes)
        weft_transport_close(t);
    return err;
}

static int send_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct sender *c = conn;
    CHECK(c->len + len <= sizeof c->got);
    memcpy(c->got + c->len, data, len);
    c->len += len;
    if (c->len >= c->want)
        weft_transport_close(t);
    weft_event_set(&c->event);
    return 0;
}

/* What is sent here finds bytes that wait, or none, and goes behind them in any case. */
static void send_paused(struct weft_stream *t, void *conn)
{
    struct sender *c = conn;
    (void)t;
    if (c->pauses++ == 0)
        CHECK_EQ(weft_reconnector_send(c->r, "paused", 6), 0);
}

static void send_lost(struct weft_stream *t, int error, void *conn)
{
    struct sender *c = conn;
    (void)t;
    c->lost++;
    c->error = error;
    weft_event_set(&c->event);
}

static void send_state(void *arg, bool connected, int error, int64_t delay_ms)
{
    struct sender *c = arg;
    (void)error, (void)delay_ms;
    c->ups += connected;
    if (connected && c->sends)
        CHECK_EQ(weft_reconnector_send(c->r, "up", 2), 0);
}

static const struct weft_protocol sends = {
    .made = send_made, .data = send_data, .paused = send_paused, .lost = send_lost};

static struct weft_group *open_sender(struct sender *c, const char *endpoint, struct weft_factory f)
{
    struct weft_group *g = kit_group();
    struct weft_reconnect_options o = {
        .first_ms = 1, .max_ms = 1, .queue_max = 65536, .state = send_state, .state_arg = c};
    f.protocol = &sends;
    f.arg = c;
    CHECK_EQ(weft_reconnector_open(&c->r, g, endpoint, &o, &f), 0);
    return g;
}

static void await_lost(struct sender *c, int n)
{
    while (c->lost < n) {
        CHECK_EQ(weft_event_wait(&c->event, SOON), 0);
        weft_event_clear(&c->event);
    }
}

/* Much more than a connection takes at once, which it gets as it drains. */
static int more_than_a_write_may_be(void *arg)
{
    static char want[PIECES * PIECE + 11], piece[2049];
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    struct sender *c = calloc(1, sizeof *c);
    (void)arg;
    CHECK(c != NULL);
    struct weft_group *g =
        open_sender(c, endpoint, (struct weft_factory){.write_mark = 1024, .write_max = 2048});
    memcpy(want, "made ", 5);
    for (size_t i = 0; i < PIECES; i++) {
        memset(want + 5 + i * PIECE, 'a' + (int)i % 26, PIECE);
        CHECK_EQ(weft_reconnector_send(c->r, want + 5 + i * PIECE, PIECE), 0);
    }
    memcpy(want + 5 + PIECES * PIECE, "paused", 6);
    c->want = sizeof want;
    CHECK_EQ(weft_reconnector_send(c->r, piece, sizeof piece), -ENOBUFS); /* never fits */
    await_lost(c, 1);
    weft_reconnector_stop(c->r);
    CHECK_EQ(weft_group_wait(g, SOON), 0);
    CHECK_EQ(c->error, 0);
    CHECK_EQ(c->made, 1);
    CHECK(c->pauses > 0);
    CHECK_EQ(c->len, sizeof want);
    CHECK(memcmp(c->got, want, sizeof want) == 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_group_close(&server), 0);
    free(c);
    return 0;
}

/* A connection that `made` closes is closed and not reset, and the bytes wait for the next one. */
static int closed_when_made(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    struct sender *c = calloc(1, sizeof *c);
    (void)arg;
    CHECK(c != NULL);
    c->closes = 2;
    c->want = 12;
    struct weft_group *g = open_sender(c, endpoint, (struct weft_factory){.write_mark = 0});
    CHECK_EQ(weft_reconnector_send(c->r, "waiting", 7), 0);
    await_lost(c, 1);
    CHECK_EQ(c->error, 0);
    await_lost(c, 3);
    CHECK_EQ(c->error, 0);
    CHECK_EQ(c->len, 12);
    CHECK(memcmp(c->got, "made waiting", 12) == 0);
    weft_reconnector_stop(c->r);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_group_close(&server), 0);
    free(c);
    return 0;
}

/* `made` speaks first, also before what is sent by the call that comes before it. */
static int sent_before_it_is_made(void *arg)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_group *server = serve("tcp://127.0.0.1:0", endpoint);
    struct sender *c = calloc(1, sizeof *c);
    (void)arg;
    CHECK(c != NULL);
    c->sends = true;
    c->want = 7;
    struct weft_group *g = open_sender(c, endpoint, (struct weft_factory){.write_mark = 0});
    await_lost(c, 1);
    CHECK_EQ(c->len, 7);
    CHECK(memcmp(c->got, "made up", 7) == 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_group_close(&server), 0);
    free(c);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(each_callback_may_end_it),
    IN_TASK(told_of_a_failure),
    IN_TASK(told_of_the_last_failure),
    IN_TASK(cancelled_by_one_that_is_not_repeated),
    ON_THREAD(from_outside_of_the_loop),
    IN_TASK(delays_of_ages),
    IN_TASK(gives_it_away),
    IN_TASK(more_than_a_write_may_be),
    IN_TASK(closed_when_made),
    IN_TASK(sent_before_it_is_made),
};
KIT_MAIN(cases)
