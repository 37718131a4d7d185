/* SPDX-License-Identifier: MIT */
/*
 * Torture of servers, protocols and reconnecting clients: every allocation, system call and wait
 * goes wrong in turn; see torture_kit.h.
 */
#include <unistd.h>

#include "torture_kit.h"

#define FIRST(err, expr) ((err) = torture_first((err), (expr)))
#define THEN(err, expr)                                                                            \
    do {                                                                                           \
        if ((err) == 0)                                                                            \
            (err) = torture_first(0, (expr));                                                      \
    } while (0)

/* Every connection that was made is lost, once. */
static _Atomic int made_count, lost_count;

static int made(struct weft_stream *t, void *arg)
{
    (void)arg;
    made_count++;
    weft_transport_set(t, &made_count);
    return 0;
}

static int echo_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    CHECK(conn == &made_count);
    return weft_transport_write(t, data, len);
}

static void lost(struct weft_stream *t, int error, void *conn)
{
    (void)error;
    if (t != NULL) {
        CHECK(conn == &made_count);
        lost_count++;
    }
}

static const struct weft_protocol echo_protocol = {.made = made, .data = echo_data, .lost = lost};
static const struct weft_factory echo_factory = {.protocol = &echo_protocol};

static int echo(struct weft_stream *s, void *arg)
{
    char buf[64];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, buf, sizeof buf, TORTURE_SOON)) > 0) {
        int err = weft_write(s, buf, (size_t)n, TORTURE_SOON);
        if (err < 0)
            return err;
    }
    return (int)n;
}

static int ask(const char *endpoint)
{
    struct weft_stream *s = NULL;
    char back[5];
    int err = weft_dial(&s, endpoint, NULL, TORTURE_SOON);
    THEN(err, weft_write(s, "hello", 5, TORTURE_SOON));
    THEN(err, weft_read_full(s, back, 5, TORTURE_SOON));
    CHECK(err != 0 || memcmp(back, "hello", 5) == 0);
    FIRST(err, weft_close(&s, TORTURE_SOON));
    return err;
}

/* --- Servers of every model ------------------------------------------------------------------- */

struct service {
    const char *driver, *endpoint;
    struct weft_server_options options;
    bool protocol;
};

static int served(void *arg)
{
    const struct service *v = arg;
    struct weft_server *s = NULL;
    struct weft_group *g = NULL;
    struct weft_options workers = {.driver = v->driver};
    struct weft_server_options o = v->options;
    char at[WEFT_ENDPOINT_MAX];
    o.loop = &workers;
    int err = weft_group_open(&g);
    THEN(err, weft_server_open(&s, g, v->endpoint, &o, v->protocol ? NULL : echo, NULL,
                               v->protocol ? &echo_factory : NULL));
    THEN(err, weft_server_endpoint(s, at, sizeof at));
    THEN(err, ask(at));
    THEN(err, ask(at));
    THEN(err, weft_server_drain(s, TORTURE_SOON));
    FIRST(err, weft_group_close(&g));
    return err;
}

static int serve(const char *driver, bool protocol, struct weft_server_options o)
{
    struct service v = {driver, "tcp://127.0.0.1:0", o, protocol};
    made_count = lost_count = 0;
    int err = torture_run(driver, served, &v);
    CHECK_EQ(made_count, lost_count);
    CHECK(err != 0 || !protocol || made_count == 2);
    return err;
}

static int tasks(const char *driver)
{
    return serve(driver, false, (struct weft_server_options){.model = WEFT_TASKS, .idle_ms = 5000});
}

static int task_workers(const char *driver)
{
    return serve(driver, false, (struct weft_server_options){.model = WEFT_TASKS, .workers = 2});
}

static int threads(const char *driver)
{
    return serve(driver, false,
                 (struct weft_server_options){.model = WEFT_THREADS, .max_per_peer = 9});
}

static int protocols(const char *driver)
{
    return serve(driver, true,
                 (struct weft_server_options){.model = WEFT_PROTOCOLS, .first_byte_ms = 5000});
}

static int protocol_workers(const char *driver)
{
    return serve(driver, true, (struct weft_server_options){.model = WEFT_PROTOCOLS, .workers = 2});
}

static int protocol_tasks(const char *driver)
{
    return serve(driver, true, (struct weft_server_options){.model = WEFT_TASKS});
}

static int protocol_threads(const char *driver)
{
    return serve(driver, true, (struct weft_server_options){.model = WEFT_THREADS});
}

/* A Unix endpoint with two workers: one accepts and hands over. */
static int handing_over(const char *driver)
{
    char at[64];
    (void)snprintf(at, sizeof at, "unix:@weft-torture-%d", (int)getpid());
    struct service v = {driver, at, {.model = WEFT_TASKS, .workers = 2}, false};
    return torture_run(driver, served, &v);
}

/* --- Clients as protocols --------------------------------------------------------------------- */

struct client {
    struct weft_event answered;
    struct weft_receiver receiver;
    int pieces;
};

static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE, .max = 100};

static int client_record(struct weft_stream *t, const void *record, size_t len, void *conn)
{
    struct client *c = conn;
    CHECK(len == 4 && memcmp(record, "ping", 4) == 0);
    weft_event_set(&c->answered);
    weft_transport_close(t);
    return 0;
}

static int client_produce(struct weft_stream *t, void *arg)
{
    struct client *c = arg;
    int err = weft_transport_write(t, &"pi\0ng"[3 * c->pieces], 2);
    if (err == 0 && ++c->pieces == 2)
        return weft_transport_write(t, "\n", 1);
    return err < 0 ? err : 1;
}

static int client_made(struct weft_stream *t, void *arg)
{
    struct client *c = arg;
    c->pieces = 0;
    made_count++;
    weft_transport_set(t, c);
    weft_receiver_init(&c->receiver, &line, client_record);
    return weft_transport_produce(t, client_produce, c);
}

static int client_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct client *c = conn;
    int err = 0;
    /* In two pieces, so that the receiver has to keep the first. */
    if (len > 2) {
        err = weft_receiver_feed(&c->receiver, t, data, 2, c);
        data = (const char *)data + 2;
        len -= 2;
    }
    return err != 0 ? err : weft_receiver_feed(&c->receiver, t, data, len, c);
}

static void client_lost(struct weft_stream *t, int error, void *conn)
{
    struct client *c = conn;
    (void)error;
    if (t == NULL) {
        weft_event_set(&c->answered); /* never came to be */
        return;
    }
    if (c != NULL)
        weft_receiver_fini(&c->receiver);
    if (c != NULL && error < 0)
        weft_event_set(&c->answered);
    lost_count++;
}

static const struct weft_protocol client_protocol = {
    .made = client_made, .data = client_data, .lost = client_lost};

static void state(void *arg, bool connected, int error, int64_t delay_ms)
{
    (void)delay_ms;
    CHECK(connected == (error == 0) || error == 0);
    ++*(int *)arg;
}

static int tick(void *arg)
{
    return ++*(int *)arg == 3;
}

static int clients_body(void *arg)
{
    struct client c = {.answered = WEFT_EVENT_INIT}, once = {.answered = WEFT_EVENT_INIT};
    struct weft_factory f = {.protocol = &client_protocol, .arg = &c};
    struct weft_factory fo = {.protocol = &client_protocol, .arg = &once};
    struct weft_reconnector *r = NULL;
    struct weft_looping_call *calls = NULL;
    struct weft_group *g = NULL;
    struct weft_server *s = NULL;
    char at[WEFT_ENDPOINT_MAX];
    int states = 0, ticks = 0;
    struct weft_reconnect_options ro = {
        .first_ms = 1, .max_ms = 5, .connect_ms = 200, .state = state, .state_arg = &states};
    (void)arg;
    int err = weft_group_open(&g);
    THEN(err, weft_server_open(&s, g, "tcp://127.0.0.1:0",
                               &(struct weft_server_options){.model = WEFT_PROTOCOLS}, NULL, NULL,
                               &echo_factory));
    THEN(err, weft_server_endpoint(s, at, sizeof at));
    THEN(err, weft_looping_call_open(&calls, g, 1, tick, &ticks));
    THEN(err, weft_reconnector_open(&r, g, at, &ro, &f));
    THEN(err, weft_event_wait(&c.answered, TORTURE_SOON));
    if (r != NULL)
        weft_reconnector_stop(r);
    THEN(err, weft_protocol_dial(g, at, NULL, &fo, 200));
    THEN(err, weft_event_wait(&once.answered, TORTURE_SOON));
    if (err == 0)
        weft_looping_call_close(&calls);
    FIRST(err, weft_group_close(&g));
    return err;
}

static int clients(const char *driver)
{
    made_count = lost_count = 0;
    int err = torture_run(driver, clients_body, NULL);
    CHECK_EQ(made_count, lost_count);
    return err;
}

/* --- From task to protocol and back ----------------------------------------------------------- */

static struct weft_group *detach_to;

static int last_words(struct weft_stream *s, void *arg)
{
    char word[3];
    (void)arg;
    int err = weft_read_full(s, word, 3, TORTURE_SOON);
    CHECK(err != 0 || memcmp(word, "bye", 3) == 0);
    THEN(err, weft_write(s, word, 3, TORTURE_SOON));
    return err;
}

static int detach_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)data;
    (void)conn;
    int err = weft_protocol_detach(detach_to, t, len, last_words, NULL);
    if (err == 0)
        lost_count++; /* in its stead */
    return err;
}

static const struct weft_protocol detach_protocol = {
    .made = made, .data = detach_data, .lost = lost};

static int changing_body(void *arg)
{
    struct weft_factory f = {.protocol = &detach_protocol};
    struct weft_group *g = NULL;
    struct weft_stream *a = NULL, *b = NULL;
    char word[3];
    (void)arg;
    int err = weft_group_open(&g);
    detach_to = g;
    THEN(err, weft_socketpair(&a, &b));
    THEN(err, weft_write(a, "bye", 3, TORTURE_SOON));
    THEN(err, weft_protocol_attach(g, &b, &f));
    THEN(err, weft_read_full(a, word, 3, TORTURE_SOON));
    weft_abort(&b);
    FIRST(err, weft_close(&a, TORTURE_SOON));
    FIRST(err, weft_group_close(&g));
    return err;
}

static int changing(const char *driver)
{
    made_count = lost_count = 0;
    int err = torture_run(driver, changing_body, NULL);
    CHECK_EQ(made_count, lost_count);
    return err;
}

static const struct torture_scene on_loops[] = {
    {"tasks", tasks},
    {"task_workers", task_workers},
    {"threads", threads},
    {"protocols", protocols},
    {"protocol_workers", protocol_workers},
    {"protocol_tasks", protocol_tasks},
    {"protocol_threads", protocol_threads},
    {"handing_over", handing_over},
    {"clients", clients},
    {"changing", changing},
};
static const struct torture_scene on_threads[] = {
    {"tasks", tasks},
    {"threads", threads},
    {"protocols", protocols},
    {"protocol_threads", protocol_threads},
};

int main(void)
{
    return torture_main(on_loops, WEFT__ARRAY_LEN(on_loops), on_threads,
                        WEFT__ARRAY_LEN(on_threads), 20);
}
