/* SPDX-License-Identifier: MIT */
/*
 * What a program calls inside a simulated host, and where that goes: to the simulated kernel and
 * the host's one loop, or nowhere.
 */
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "sim_host_kit.h"
#include "sys/call.h"

/* --- weft_run ----------------------------------------------------------------------------------
 */

struct inner {
    struct weft_loop *loop;
    int begun;
    bool sees_cancel;
};

static int inner_main(void *arg)
{
    struct inner *i = arg;
    i->begun++;
    i->sees_cancel = weft_canceled() == -ECANCELED;
    CHECK(weft_loop_current() == i->loop);
    CHECK(strcmp(weft_task_name(), "main") == 0);
    CHECK(strcmp(weft_driver_name(), "sim") == 0);
    int err = weft_sleep_ms(100);
    return err < 0 ? err : weft__fail(-ENOTUNIQ, "told by %s", "inner");
}

static int count_ticks(void *arg)
{
    for (int *n = arg;; (*n)++) {
        int err = weft_sleep_ms(10);
        if (err < 0)
            return err;
    }
}

static int nested(void *arg)
{
    int *n = arg;
    if (--*n == 0)
        return 7;
    struct weft_options o = {.driver = "no such driver", .visible = true, .watchdog_ms = 1};
    return weft_run(&o, nested, n);
}

static int runs_on_the_hosts_loop(void *arg)
{
    struct inner i = {.loop = weft_loop_current()};
    struct weft_group *g = kit_group();
    int ticks = 0, depth = 5;
    (void)arg;
    kit_go(g, "ticks", count_ticks, &ticks);
    CHECK_EQ(weft_run(NULL, inner_main, &i), -ENOTUNIQ);
    CHECK(strcmp(weft_error_detail(), "told by inner") == 0);
    CHECK(i.begun == 1 && !i.sees_cancel);
    CHECK(ticks >= 8 && ticks <= 11); /* the others went on */
    CHECK_EQ(weft_run(NULL, nested, &depth), 7);
    CHECK_EQ(weft_run(NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int run_it(void *arg)
{
    return weft_run(NULL, inner_main, arg);
}

static int cancel_reaches_what_runs(void *arg)
{
    struct inner i = {.loop = weft_loop_current()};
    struct weft_group *g = kit_group();
    int result = 0;
    (void)arg;
    /* While it runs: fn's sleep is cut, and weft_run returns what fn does. */
    struct weft_task *t = kit_spawn(g, "outer", run_it, &i);
    CHECK_EQ(weft_sleep_ms(50), 0);
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, &result, weft_after_ms(10)), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK(i.begun == 1 && !i.sees_cancel);
    /* Before: fn begins all the same. */
    t = kit_spawn(g, "outer", run_it, &i);
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, &result, weft_after_ms(10)), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK(i.begun == 2 && i.sees_cancel);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static void add(void *arg)
{
    ++*(int *)arg;
}

static int posts_to_itself(void *arg)
{
    int n = 0;
    (void)arg;
    CHECK_EQ(weft_post_mt(weft_loop_current(), add, &n), 0);
    CHECK_EQ(n, 0);
    CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(n, 1);
    return 0;
}

static int waits_for_an_item(void *arg)
{
    struct weft_channel *c = arg;
    int item = 0;
    int64_t from = weft_now_ns();
    CHECK_EQ(weft_channel_recv(c, &item, WEFT_NEVER), 0);
    CHECK_EQ(item, 5);
    CHECK_EQ(weft_now_ns() - from, weft_s(1));
    return 0;
}

static void send_item(struct weft_sim *sim, void *arg)
{
    int item = 5;
    (void)sim;
    CHECK_EQ(weft_channel_send_nowait(arg, &item), 0);
}

/* What becomes ready outside a host's turn gives it one. */
static void woken_from_outside(void)
{
    struct weft_channel *c = NULL;
    struct weft_sim *sim = sim_open(1, false);
    CHECK_EQ(weft_channel_open_mt(&c, sizeof(int), 1), 0);
    CHECK_EQ(weft_sim_host(sim, "here", waits_for_an_item, c), 0);
    CHECK_EQ(weft_sim_at(sim, weft_s(1), send_item, c), 0);
    sim_end(sim);
    weft_channel_close(&c);
}

static void run_callback(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_run(NULL, kit_nothing, NULL), -EDEADLK);
}

static int no_run_in_callbacks(void *arg)
{
    (void)arg;
    kit_as_callback(run_callback, NULL);
    return 0;
}

static void test_run(void **state)
{
    (void)state;
    alone(runs_on_the_hosts_loop);
    alone(cancel_reaches_what_runs);
    alone(no_run_in_callbacks);
    alone(posts_to_itself);
    woken_from_outside();
}

/* --- What would leave the simulation -----------------------------------------------------------
 */

static void outside(int err, const char *call)
{
    CHECK_EQ(err, WEFT_EOUTSIDE);
    if (strstr(weft_error_detail(), call) == NULL)
        (void)fprintf(stderr, "'%s' is not in '%s'\n", call, weft_error_detail());
    CHECK(strstr(weft_error_detail(), call) != NULL);
}

static int refuses_what_is_outside(void *arg)
{
    static const char *const argv[] = {"true", NULL};
    struct weft_process_options po = {.argv = argv};
    struct weft_process *p = NULL;
    struct weft_stream *s = NULL;
    struct weft_listener *l = NULL;
    struct weft_loop *loop = NULL;
    char pid[20];
    (void)arg;
    outside(weft_loop_open(&loop, NULL), "weft_loop_open");
    outside(weft_loop_fd(weft_loop_current()), "weft_loop_fd");
    outside(weft_process_open(&p, &po), "weft_process_open");
    outside(weft_poll(STDOUT_FILENO, POLLOUT, WEFT_NOW), "weft_poll");
    outside(weft_stream_from_fd(&s, STDIN_FILENO), "weft_stream_from_fd");
    outside(weft_listen(&l, "fd:0", NULL), "fd:N");
    CHECK(loop == NULL && p == NULL && s == NULL && l == NULL);
    CHECK_EQ(weft_poll(-1, POLLIN, WEFT_NOW), -EBADF);
    CHECK_EQ(weft_inherited_fds(), 0);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    outside(weft_inherited_fds(), "weft_inherited_fds");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    outside(weft__call_eventfd(), "eventfd");
    outside(weft__call_pidfd_open(getpid()), "pidfd_open");
    outside(weft__poll_set_open(0, 1), "weft_loop_fd");
    return 0;
}

static void test_outside(void **state)
{
    size_t fds = kit_count_fds();
    (void)state;
    alone(refuses_what_is_outside);
    assert_int_equal(kit_count_fds(), fds);
}

/* --- Names -------------------------------------------------------------------------------------
 */

static void prints(const char *text, const char *print)
{
    struct weft_endpoint e;
    char buf[WEFT_ENDPOINT_MAX];
    CHECK_EQ(weft_endpoint_parse(&e, text), 0);
    CHECK(weft_endpoint_print(&e, buf, sizeof buf) > 0);
    if (strcmp(buf, print) != 0)
        (void)fprintf(stderr, "%s prints as %s\n", text, buf);
    CHECK(strcmp(buf, print) == 0);
}

static void refuses(const char *text, int err, const char *detail)
{
    struct weft_endpoint e;
    CHECK_EQ(weft_endpoint_parse(&e, text), err);
    if (strcmp(weft_error_detail(), detail) != 0)
        (void)fprintf(stderr, "%s: %s\n", text, weft_error_detail());
    CHECK(strcmp(weft_error_detail(), detail) == 0);
}

static int looks_names_up(void *arg)
{
    struct weft_address a = {0};
    (void)arg;
    prints("sim://other:80", "tcp://other:80");
    prints("udp://here:5", "udp://here:5");
    prints("sim://:80", "tcp://*:80");
    prints("sim://localhost:80", "tcp://localhost:80");
    prints("sim://[fd00::2]:80", "tcp://[fd00::2]:80");
    refuses("sim://other", WEFT_EENDPOINT, "port, character 12: :PORT is missing");
    refuses("nix://other:1", WEFT_EENDPOINT,
            "scheme, character 1: it begins with none of tcp://, tls://, udp://, unix:, fd:");
    /* Interfaces are the real machine's, so only numbers are known. */
    prints("tcp://[fe80::1%1]:80", "tcp://[fe80::1%1]:80");
    CHECK_EQ(weft_address_ip(&a, "fe80::1%lo", 1), WEFT_EENDPOINT);
    return 0;
}

static void test_names(void **state)
{
    struct weft_endpoint e;
    (void)state;
    alone(looks_names_up);
    assert_int_equal(weft_endpoint_parse(&e, "sim://other:80"), WEFT_EENDPOINT);
}

/* --- Servers -----------------------------------------------------------------------------------
 */

#define CLIENTS 5

struct service {
    struct weft_loop *loop;
    const char *endpoint;
    int served;
};

static int echo(struct weft_stream *s, void *arg)
{
    struct service *v = arg;
    char buf[64];
    ssize_t n;
    CHECK(weft_loop_current() == v->loop); /* no thread, no other loop */
    while ((n = weft_read(s, buf, sizeof buf, WEFT_NEVER)) > 0)
        CHECK_EQ(weft_write(s, buf, (size_t)n, WEFT_NEVER), 0);
    v->served++;
    return (int)n;
}

static int serve_in_threads(void *arg)
{
    struct service *v = arg;
    struct weft_server *s = NULL;
    struct weft_group *g = kit_group();
    struct weft_options lo = {.driver = "epoll"};
    struct weft_server_options o = {.model = WEFT_THREADS, .workers = 4, .loop = &lo};
    v->loop = weft_loop_current();
    CHECK_EQ(weft_server_open(&s, g, v->endpoint, &o, echo, v, NULL), 0);
    while (v->served < CLIENTS)
        CHECK_EQ(weft_sleep_ms(10), 0);
    CHECK_EQ(weft_server_drain(s, weft_after_s(1)), 0);
    return weft_group_close(&g);
}

/* Tries until the server is there. */
static int talk(void *arg)
{
    const char *endpoint = arg;
    struct weft_stream *s = NULL;
    char buf[8] = "";
    int err;
    while ((err = weft_dial(&s, endpoint, NULL, weft_after_s(5))) < 0) {
        CHECK_EQ(err, -ECONNREFUSED);
        CHECK_EQ(weft_sleep_ms(1), 0);
    }
    CHECK_EQ(weft_write(s, "hello", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_shutdown(s, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(s, buf, 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(s, buf + 5, 1, WEFT_NEVER), 0);
    CHECK(memcmp(buf, "hello", 5) == 0);
    return weft_close(&s, WEFT_NEVER);
}

static void test_server(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct service v = {.endpoint = "tcp://:7"};
        struct weft_sim *sim = sim_open(seed, seed % 4 == 0);
        char name[20], to[] = "sim://server:7";
        CHECK_EQ(weft_sim_host(sim, "server", serve_in_threads, &v), 0);
        for (int i = 0; i < CLIENTS; i++) {
            (void)snprintf(name, sizeof name, "client-%d", i);
            CHECK_EQ(weft_sim_host(sim, name, talk, to), 0);
        }
        struct weft_sim_faults f = {.short_io = 0.3, .again = 0.3};
        if (seed % 2 == 0)
            CHECK_EQ(weft_sim_faults(sim, "*", &f), 0);
        sim_end(sim);
        assert_int_equal(v.served, CLIENTS);
    }
}

/* --- Signals -----------------------------------------------------------------------------------
 */

static void send_both(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_signal(sim, "here", SIGUSR1), 0);
    CHECK_EQ(weft_sim_signal(sim, "here", SIGTERM), 0);
}

static int hears_signals(void *arg)
{
    static const int both[] = {SIGTERM, SIGUSR1, SIGTERM, 0}, none[] = {0}, kill[] = {SIGKILL, 0};
    struct weft_signals *s = NULL, *other = NULL;
    struct sigaction now;
    (void)arg;
    CHECK_EQ(weft_signals_open(&s, none), -EINVAL);
    CHECK_EQ(weft_signals_open(&s, kill), -EINVAL);
    CHECK_EQ(weft_signals_open(&s, both), 0);
    CHECK_EQ(weft_signals_open(&other, both + 2), 0);
    CHECK(sigaction(SIGTERM, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    CHECK_EQ(weft_signals_wait(s, weft_after_ms(10)), -ETIMEDOUT);
    CHECK_EQ(weft_signals_wait(s, WEFT_NEVER), SIGUSR1);
    CHECK_EQ(weft_signals_wait(s, WEFT_NEVER), SIGTERM);
    CHECK_EQ(weft_signals_wait(other, WEFT_NEVER), SIGTERM);
    CHECK_EQ(weft_signals_wait(s, weft_after_ms(10)), -ETIMEDOUT);
    weft_signals_close(&s);
    weft_signals_close(&other);
    return 0;
}

static void test_signals(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "here", hears_signals, NULL), 0);
        CHECK_EQ(weft_sim_at(sim, weft_s(1), send_both, NULL), 0);
        struct weft_sim_faults f = {.short_io = 0.5, .again = 0.3};
        if (seed % 2 == 0)
            CHECK_EQ(weft_sim_faults(sim, "*", &f), 0);
        sim_end(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),    cmocka_unit_test(test_outside), cmocka_unit_test(test_names),
        cmocka_unit_test(test_server), cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
