/* SPDX-License-Identifier: MIT */
/*
 * Clients in callback mode over every endpoint: names, TLS; what waits for a connection.
 */
#include "tls_kit.h"

#include <weft/weft.h>

#define SOON weft_after_s(KIT_SLOW ? 60 : 20)

struct client {
    int made, lost, error, downs;
    char got[64], detail[200];
    size_t len;
    struct weft_stream *t;
    struct weft_group *group; /* for those that detach */
    struct weft_tls *tls;     /* for those that secure it themselves */
    struct weft_event event;
};

static int made(struct weft_stream *t, void *arg)
{
    struct client *c = arg;
    weft_transport_set(t, c);
    c->t = t;
    c->made++;
    weft_event_set(&c->event);
    return weft_transport_write(t, "first ", 6);
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    struct client *c = conn;
    (void)t;
    CHECK(c->len + len < sizeof c->got);
    memcpy(c->got + c->len, bytes, len);
    c->len += len;
    weft_event_set(&c->event);
    return 0;
}

static void lost(struct weft_stream *t, int error, void *conn)
{
    struct client *c = conn;
    CHECK(t == c->t);
    c->t = NULL;
    c->lost++;
    c->error = error;
    (void)snprintf(c->detail, sizeof c->detail, "%s", weft_error_detail());
    weft_event_set(&c->event);
}

static void state(void *arg, bool connected, int error, int64_t delay_ms)
{
    struct client *c = arg;
    (void)delay_ms;
    c->downs += !connected;
    if (!connected)
        c->error = error;
    weft_event_set(&c->event);
}

static const struct weft_protocol protocol = {.made = made, .data = data, .lost = lost};

#define AWAIT(c, cond)                                                                             \
    while (!(cond)) {                                                                              \
        CHECK_EQ(weft_event_wait(&(c)->event, SOON), 0);                                           \
        weft_event_clear(&(c)->event);                                                             \
    }

static int echo(struct weft_stream *s, void *arg)
{
    char buf[64];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, buf, sizeof buf, WEFT_NEVER)) > 0) {
        int err = weft_write(s, buf, (size_t)n, WEFT_NEVER);
        if (err < 0)
            return err;
    }
    return (int)n;
}

static int port_of(struct weft_server *s)
{
    char at[WEFT_ENDPOINT_MAX];
    struct weft_endpoint e;
    CHECK(weft_server_endpoint(s, at, sizeof at) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, at), 0);
    return e.port;
}

/* In that group; at: by the name in the certificate. */
static void serve_secured(struct weft_group *g, char at[WEFT_ENDPOINT_MAX])
{
    struct weft_server *server = NULL;
    const struct weft_server_options o = {.cert = tls_kit_file("server.pem"),
                                          .key = tls_kit_file("server.key")};
    CHECK_EQ(weft_server_open(&server, g, "tls://127.0.0.1:0", &o, echo, NULL, NULL), 0);
    (void)snprintf(at, WEFT_ENDPOINT_MAX, "tls://localhost:%d", port_of(server));
}

static int secured(void *arg)
{
    struct weft_group *g = kit_group(), *cg = kit_group();
    struct weft_tls *tls = tls_kit_client();
    struct client c = {.made = 0};
    struct weft_factory f = {.protocol = &protocol, .arg = &c};
    struct weft_dial_options o = {.tls = tls};
    char at[WEFT_ENDPOINT_MAX];
    (void)arg;
    serve_secured(g, at);
    CHECK_EQ(weft_protocol_dial(cg, at, &o, &f, 20000), 0);
    AWAIT(&c, c.len == 6);
    CHECK(memcmp(c.got, "first ", 6) == 0);
    weft_transport_close(c.t);
    AWAIT(&c, c.lost == 1);
    CHECK_EQ(c.error, 0);
    /* Nobody vouches for the certificate. */
    CHECK_EQ(weft_protocol_dial(cg, at, NULL, &f, 20000), 0);
    AWAIT(&c, c.lost == 2);
    CHECK_EQ(c.error, WEFT_ECERTIFICATE);
    CHECK(strncmp(c.detail, at, strlen(at)) == 0);
    CHECK_EQ(c.made, 1);
    CHECK_EQ(weft_protocol_dial(cg, "tcp://127.0.0.1:1", &o, &f, 1), -EINVAL);
    CHECK_EQ(weft_group_wait(cg, SOON), 0);
    CHECK_EQ(weft_group_close(&cg), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&tls);
    return 0;
}

static int go_on(struct weft_stream *s, void *arg)
{
    struct client *c = arg;
    char buf[6];
    CHECK_EQ(weft_read_full(s, buf, 6, SOON), 0);
    CHECK(memcmp(buf, "first ", 6) == 0);
    c->len = 6;
    return 0;
}

static int give_away(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    (void)bytes;
    struct client *c = conn;
    return weft_protocol_detach(c->group, t, len, go_on, c);
}

/* A secured connection that a task has taken is not the client's any more. */
static int secured_and_given_away(void *arg)
{
    static const struct weft_protocol gives = {.made = made, .data = give_away, .lost = lost};
    struct weft_group *g = kit_group(), *cg = kit_group();
    struct weft_tls *tls = tls_kit_client();
    struct client c = {.group = cg};
    struct weft_factory f = {.protocol = &gives, .arg = &c};
    struct weft_dial_options o = {.tls = tls};
    char at[WEFT_ENDPOINT_MAX];
    (void)arg;
    serve_secured(g, at);
    CHECK_EQ(weft_protocol_dial(cg, at, &o, &f, 20000), 0);
    CHECK_EQ(weft_group_wait(cg, SOON), 0);
    CHECK_EQ(c.made, 1);
    CHECK_EQ(c.len, 6);
    CHECK_EQ(c.lost, 0);
    CHECK_EQ(weft_group_close(&cg), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&tls);
    return 0;
}

static int names(void *arg)
{
    struct weft_group *g = kit_group();
    struct client c = {.made = 0};
    struct weft_factory f = {.protocol = &protocol, .arg = &c};
    (void)arg;
    CHECK_EQ(weft_dns_configure(&(struct weft_dns_options){.servers = "127.0.0.1:9"}), 0);
    CHECK_EQ(weft_protocol_dial(g, "tcp://nowhere.invalid:80", NULL, &f, 20000), 0);
    AWAIT(&c, c.lost == 1);
    CHECK_EQ(c.error, WEFT_ENAME);
    CHECK(strstr(c.detail, "nowhere.invalid") != NULL);
    CHECK_EQ(c.made, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* What is sent while nobody listens arrives when somebody does; a bound keeps it small. */
static int waits_for_it(void *arg)
{
    struct weft_group *g = kit_group(), *cg = kit_group();
    struct weft_server *server = NULL;
    struct weft_listener *l = NULL;
    struct weft_reconnector *r = NULL;
    struct client c = {.made = 0};
    struct weft_factory f = {.protocol = &protocol, .arg = &c};
    struct weft_reconnect_options o = {
        .first_ms = 1, .max_ms = 10, .state = state, .state_arg = &c, .queue_max = 10};
    char at[WEFT_ENDPOINT_MAX], name[WEFT_ENDPOINT_MAX];
    struct weft_endpoint e;
    (void)arg;
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(l, at, sizeof at) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, at), 0);
    weft_listener_close(&l);
    (void)snprintf(name, sizeof name, "tcp://localhost:%d?family=4", e.port);
    CHECK_EQ(weft_reconnector_open(&r, cg, name, &o, &f), 0);
    CHECK_EQ(weft_reconnector_send(r, "second ", 7), 0);
    CHECK_EQ(weft_reconnector_send(r, "too much", 8), -ENOBUFS);
    CHECK(strstr(weft_error_detail(), "7 bytes wait") != NULL);
    AWAIT(&c, c.downs >= 2);
    CHECK_EQ(c.error, -ECONNREFUSED);
    CHECK_EQ(weft_reconnector_send(r, "3. ", 3), 0);
    CHECK_EQ(weft_server_open(&server, g, at, NULL, echo, NULL, NULL), 0);
    AWAIT(&c, c.len == 16);
    CHECK(memcmp(c.got, "first second 3. ", 16) == 0);
    CHECK_EQ(weft_reconnector_send(r, "at once", 7), 0);
    AWAIT(&c, c.len == 23);
    weft_reconnector_stop(r);
    CHECK_EQ(weft_reconnector_send(r, "last", 4), 0);
    AWAIT(&c, c.len == 27);
    weft_transport_close(c.t);
    AWAIT(&c, c.lost == 1);
    CHECK_EQ(weft_reconnector_send(r, "x", 1), WEFT_ECLOSED);
    CHECK_EQ(weft_group_wait(cg, SOON), 0);
    CHECK_EQ(weft_group_close(&cg), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int secure_echo(struct weft_stream *s, void *arg)
{
    int err = weft_tls_accept(&s, arg, SOON);
    if (err == 0)
        err = echo(s, NULL);
    weft_abort(&s);
    return err;
}

static int greet(struct weft_stream *t, void *conn)
{
    (void)conn;
    return weft_transport_write(t, "first ", 6);
}

static int secure_made(struct weft_stream *t, void *arg)
{
    struct client *c = arg;
    weft_transport_set(t, c);
    c->t = t;
    c->made++;
    return weft_tls_connect_nowait(t, c->tls, "server.test", 0, greet);
}

/* What waits for a connection that is secured when it is made waits for its handshake, too. */
static int waits_for_a_handshake(void *arg)
{
    static const struct weft_protocol p = {.made = secure_made, .data = data, .lost = lost};
    struct weft_group *g = kit_group(), *cg = kit_group();
    struct weft_server *server = NULL;
    struct weft_reconnector *r = NULL;
    struct weft_tls *tls = tls_kit_server("server");
    struct client c = {.tls = tls_kit_client()};
    struct weft_factory f = {.protocol = &p, .arg = &c};
    char at[WEFT_ENDPOINT_MAX];
    (void)arg;
    CHECK_EQ(weft_server_open(&server, g, "tcp://127.0.0.1:0", NULL, secure_echo, tls, NULL), 0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    CHECK_EQ(weft_reconnector_open(&r, cg, at, NULL, &f), 0);
    CHECK_EQ(weft_reconnector_send(r, "second", 6), 0);
    AWAIT(&c, c.len == 12 || c.lost > 0);
    CHECK_EQ(c.lost, 0);
    CHECK(memcmp(c.got, "first second", 12) == 0);
    weft_reconnector_stop(r);
    weft_transport_close(c.t);
    CHECK_EQ(weft_group_wait(cg, SOON), 0);
    CHECK_EQ(weft_group_close(&cg), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&c.tls);
    weft_tls_close(&tls);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(secured), IN_TASK(secured_and_given_away),
                                        IN_TASK(names), IN_TASK(waits_for_it),
                                        IN_TASK(waits_for_a_handshake)};

int main(void)
{
    struct weft_tls *tls = tls_kit_client(); /* what OpenSSL opens once is not a leak */
    weft_tls_close(&tls);
    return kit_main(cases, sizeof cases / sizeof cases[0]);
}
