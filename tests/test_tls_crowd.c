/* SPDX-License-Identifier: MIT */
/*
 * Many handshakes at once on a loop: it begins them one after the other, behind all else of a turn,
 * and takes up no more of those that come than can begin, nor begins more than the pool can take.
 */
#include <netinet/in.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/protocol.h>
#include <weft/server.h>

#include "tls/tls.h"
#include "tls_kit.h"

enum { CROWD = 16 };

static struct weft_tls *client;

static uint64_t turns_now(void)
{
    struct weft_loop_stats st;
    CHECK_EQ(weft_loop_stats(weft_loop_current(), &st), 0);
    return st.turns;
}

static int begins(void *arg)
{
    (void)!weft_tls_connect(arg, client, "server.test", WEFT_NEVER);
    return 0;
}

/* What a client says first. */
static size_t whole_hello(char *buf, size_t cap)
{
    struct weft_stream *c = NULL, *end = NULL;
    struct weft_group *g = kit_group();
    const void *data;
    CHECK_EQ(weft_pipe_open(&c, &end, 0), 0);
    kit_go(g, "begins", begins, &c);
    ssize_t n = weft_peek_min(end, &data, 64, weft_after_s(60));
    CHECK(n >= 64 && (size_t)n <= cap);
    memcpy(buf, data, (size_t)n);
    weft_abort(&end);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_abort(&c);
    return (size_t)n;
}

static int in_both_models(void (*fn)(enum weft_model model, const char *hello, size_t len))
{
    char hello[4096];
    size_t len = whole_hello(hello, sizeof hello);
    fn(WEFT_TASKS, hello, len);
    fn(WEFT_PROTOCOLS, hello, len);
    return 0;
}

struct asks {
    struct weft_stream *s;
    uint64_t turn; /* of the loop, when the answer was there */
};

static int awaits_answer(void *arg)
{
    struct asks *a = arg;
    const void *data;
    CHECK(weft_peek(a->s, &data, weft_after_s(60)) > 0);
    a->turn = turns_now();
    return 0;
}

static int echo(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

/* --- The server, on the loop of the test ------------------------------------------------------ */

struct site {
    struct weft_group *g;
    struct weft_server *server;
    struct weft_tls *tls;
    char endpoint[WEFT_ENDPOINT_MAX];
};

/* Takes the context. */
static void site_open(struct site *k, enum weft_model model, struct weft_tls *tls)
{
    static const struct weft_protocol p = {.data = echo};
    struct weft_factory f = {.protocol = &p};
    struct weft_server_options o = {.model = model, .tls = tls, .handshake_ms = 60000};
    k->g = kit_group();
    k->tls = tls;
    CHECK_EQ(weft_server_open(&k->server, k->g, "tls://127.0.0.1:0", &o, NULL, NULL, &f), 0);
    CHECK(weft_server_endpoint(k->server, k->endpoint, sizeof k->endpoint) > 0);
    CHECK_EQ(weft_yield(), 0); /* it listens */
}

static void site_close(struct site *k)
{
    CHECK_EQ(weft_group_close(&k->g), 0);
    weft_tls_close(&k->tls);
}

static struct weft_server_stats stats_of(const struct site *k)
{
    struct weft_server_stats st;
    weft_server_stats_mt(k->server, &st);
    return st;
}

/* So many connect and say hello, without the loop's having a turn meanwhile. */
static void say_hello(const struct site *k, int *fds, int n, const char *hello, size_t len)
{
    struct weft_endpoint e;
    CHECK_EQ(weft_endpoint_parse(&e, k->endpoint), 0);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)e.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < n; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(connect(fds[i], (struct sockaddr *)&sa, sizeof sa), 0);
        CHECK_EQ(send(fds[i], hello, len, MSG_NOSIGNAL), len);
    }
}

static size_t length_of(const struct weft__list *l)
{
    size_t len = 0;
    WEFT__LIST_EACH(l, n)
        len++;
    return len;
}

/* --- One after the other ---------------------------------------------------------------------- */

/* Hellos that are all there in one turn are answered in many, so that others have theirs. */
static void crowd(enum weft_model model, const char *hello, size_t len)
{
    struct site k;
    struct weft_group *waiting = kit_group();
    struct asks all[CROWD];
    char plain[WEFT_ENDPOINT_MAX];
    int turns = 0;
    site_open(&k, model, tls_kit_server("server"));
    (void)snprintf(plain, sizeof plain, "tcp%.90s", k.endpoint + 3);
    for (int i = 0; i < CROWD; i++) {
        all[i] = (struct asks){.s = NULL};
        CHECK_EQ(weft_dial(&all[i].s, plain, NULL, weft_after_s(60)), 0);
    }
    while (stats_of(&k).live < CROWD)
        CHECK_EQ(weft_sleep_ms(1), 0);
    for (int i = 0; i < CROWD; i++) /* without the loop's having a turn between */
        CHECK_EQ(send(weft_stream_fd(all[i].s), hello, len, MSG_NOSIGNAL), len);
    for (int i = 0; i < CROWD; i++)
        kit_go(waiting, "awaits", awaits_answer, &all[i]);
    CHECK_EQ(weft_group_wait(waiting, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&waiting), 0);
    for (int i = 0; i < CROWD; i++) {
        bool again = false;
        for (int j = 0; j < i; j++)
            again |= all[j].turn == all[i].turn;
        turns += !again;
        weft_abort(&all[i].s);
    }
    CHECK(turns >= CROWD / 2);
    site_close(&k);
}

static int one_after_the_other(void *arg)
{
    (void)arg;
    return in_both_models(crowd);
}

/* While handshakes wait, no more of those at the door are taken up than can begin. */
static void at_the_door(enum weft_model model, const char *hello, size_t len)
{
    enum { MANY = 100, MOST = 2 * WEFT__ACCEPT_ROUND + 8 };
    struct site k;
    int fds[MANY];
    site_open(&k, model, tls_kit_server("server"));
    say_hello(&k, fds, MANY, hello, len);
    size_t longest = 0;
    while (stats_of(&k).accepted < MANY) {
        longest = weft__max_size(longest, length_of(&weft_loop_current()->later));
        CHECK_EQ(weft_yield(), 0);
    }
    CHECK(longest > 0);
    CHECK(longest <= MOST);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    site_close(&k);
}

static int taken_up_slowly(void *arg)
{
    (void)arg;
    return in_both_models(at_the_door);
}

/* --- Before the pool -------------------------------------------------------------------------- */

static sem_t let_go;

static void gate(void)
{
    while (sem_wait(&let_go) < 0)
        CHECK_EQ(errno, EINTR);
}

/* Of hellos that offer no session, so many begin as the pool is to have; the others rest. */
static void before_the_pool(enum weft_model model, const char *hello, size_t len)
{
    enum { MANY = 40 };
    struct weft_tls_certificate c = tls_kit_cert("server.pem", "server.key");
    const struct weft_loop *l = weft_loop_current();
    struct site k;
    int fds[MANY];
    site_open(&k, model,
              tls_kit_open(&(struct weft_tls_options){.certificates = &c,
                                                      .n_certificates = 1,
                                                      .ca = tls_kit_file("ca.pem"),
                                                      .handshake_offload = true}));
    CHECK_EQ(sem_init(&let_go, 0, 0), 0);
    say_hello(&k, fds, MANY, hello, len);
    while (l->works + length_of(&l->later_pooled) < MANY)
        CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(l->works, l->works_max);
    CHECK(l->works < MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(sem_post(&let_go), 0);
    for (int i = 0; i < MANY; i++) {
        char byte;
        while (recv(fds[i], &byte, 1, MSG_DONTWAIT) != 1)
            CHECK_EQ(weft_sleep_ms(1), 0);
        close(fds[i]);
    }
    CHECK_EQ(l->works, 0);
    site_close(&k);
}

static int rest_before_the_pool(void *arg)
{
    (void)arg;
    return in_both_models(before_the_pool);
}

int main(void)
{
    static const struct kit_case cases[] = {
        IN_TASK(one_after_the_other),
        IN_TASK(taken_up_slowly),
        IN_TASK(rest_before_the_pool),
    };
    weft__tls_away_hook = gate; /* only those that use the pool come to it */
    client = tls_kit_client();
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    weft_tls_close(&client);
    return failed;
}
