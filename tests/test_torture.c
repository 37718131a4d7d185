/* SPDX-License-Identifier: MIT */
/*
 * Torture of the runtime and of streams: every allocation, system call and wait goes wrong in turn;
 * see torture_kit.h. Servers and protocols: test_protocol_torture.c.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/call.h"
#include "torture_kit.h"

#define FIRST(err, expr) ((err) = torture_first((err), (expr)))
/* Goes on only while all is well. */
#define THEN(err, expr)                                                                            \
    do {                                                                                           \
        if ((err) == 0)                                                                            \
            (err) = torture_first(0, (expr));                                                      \
    } while (0)

/* --- Tasks, channels, locks ------------------------------------------------------------------- */

struct shop {
    struct weft_channel *goods, *money;
    struct weft_mutex till;
    struct weft_event open;
    struct weft_semaphore hands;
    struct weft_barrier barrier;
    struct weft_once once;
    int sold;
    _Atomic int ended;
};

static void count_end(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1); /* threads may end at the same time */
}

static int open_shop(void *arg)
{
    (void)arg;
    return weft_sleep_ms(0);
}

static int seller(void *arg)
{
    struct shop *s = arg;
    int err = weft_defer(count_end, &s->ended);
    if (err == 0 && weft_task_alloc(100) == NULL)
        err = -ENOMEM;
    if (weft_loop_current() != NULL) {
        THEN(err, weft_event_wait(&s->open, TORTURE_SOON));
        THEN(err, weft_once(&s->once, open_shop, NULL, TORTURE_SOON));
    }
    for (int i = 0; i < 3 && err == 0; i++) {
        THEN(err, weft_channel_send(s->goods, &i, TORTURE_SOON));
        int coin;
        THEN(err, weft_channel_recv(s->money, &coin, TORTURE_SOON));
    }
    return err;
}

static int buyer(void *arg)
{
    struct shop *s = arg;
    int err = weft_defer(count_end, &s->ended);
    bool task = weft_loop_current() != NULL;
    if (task)
        THEN(err, weft_once(&s->once, open_shop, NULL, TORTURE_SOON));
    for (int i = 0; i < 3 && err == 0; i++) {
        int thing = 0, coin = i;
        struct weft_select arms[] = {{.channel = s->goods, .recv = &thing}};
        THEN(err, weft_select(arms, 1, TORTURE_SOON));
        if (task) {
            THEN(err, weft_mutex_lock(&s->till, TORTURE_SOON));
            if (err == 0) {
                FIRST(err, weft_sleep_ms(0));
                s->sold++;
                weft_mutex_unlock(&s->till);
            }
            THEN(err, weft_yield());
        }
        THEN(err, weft_channel_send(s->money, &coin, TORTURE_SOON));
    }
    return err;
}

static int sleeper(void *arg)
{
    (void)arg;
    int err = weft_sleep_ms(1);
    weft_shield(50);
    err = torture_first(err, weft_sleep_ms(0));
    weft_unshield();
    return err;
}

static int shop_body(void *arg)
{
    struct shop s = {.open = WEFT_EVENT_INIT};
    struct weft_group *g = NULL;
    struct weft_task *t = NULL;
    bool task = weft_loop_current() != NULL;
    (void)arg;
    int err = task ? weft_channel_open(&s.goods, sizeof(int), 0)
                   : weft_channel_open_mt(&s.goods, sizeof(int), 0);
    THEN(err, weft_channel_open_mt(&s.money, sizeof(int), 1));
    THEN(err, weft_group_open(&g));
    THEN(err, weft_group_go(g, "seller", seller, &s));
    THEN(err, weft_group_go(g, "buyer", buyer, &s));
    THEN(err,
         weft_group_spawn(g, &(struct weft_task_options){.name = "sleeper", .keep_errors = true},
                          sleeper, NULL, &t));
    if (task)
        weft_event_set(&s.open);
    THEN(err, weft_group_deadline(g, TORTURE_SOON));
    THEN(err, weft_task_join(&t, NULL, WEFT_NEVER));
    THEN(err, weft_group_wait(g, WEFT_NEVER));
    weft_task_release(&t);
    FIRST(err, weft_group_close(&g));
    weft_channel_close(&s.goods);
    weft_channel_close(&s.money);
    CHECK(err != 0 || s.ended == 2);
    return err;
}

static int shop(const char *driver)
{
    return torture_run(driver, shop_body, NULL);
}

/* Groups in groups, and a loop in a thread in a task of a loop. */
static int nested_inner(void *arg)
{
    struct weft_group *g = NULL;
    int err = weft_group_open(&g), deep = *(int *)arg - 1;
    if (deep > 0)
        THEN(err, weft_group_go(g, "inner", nested_inner, &deep));
    THEN(err, weft_group_go(g, "sleeper", sleeper, NULL));
    THEN(err, weft_group_wait(g, TORTURE_SOON));
    FIRST(err, weft_group_close(&g));
    return err;
}

static int nested_loop(void *arg)
{
    return weft_run(NULL, nested_inner, arg);
}

static int nested_body(void *arg)
{
    int deep = 3;
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    THEN(err, weft_group_go(g, "nested", nested_inner, &deep));
    THEN(err, weft_group_go(g, "loop", nested_loop, &deep));
    THEN(err, weft_group_wait(g, TORTURE_SOON));
    FIRST(err, weft_group_close(&g));
    return err;
}

static int nested(const char *driver)
{
    return torture_run(driver, nested_body, NULL);
}

/* A loop driven in steps. */
static int steps(const char *driver)
{
    struct weft_options o = {.driver = driver};
    struct weft_loop *l = NULL;
    int deep = 2, more = 1;
    int err = weft_loop_open(&l, &o);
    THEN(err, weft_loop_fd(l));
    THEN(err, weft_group_go(weft_loop_group(l), "inner", nested_inner, &deep));
    weft_deadline end = TORTURE_SOON;
    while (err == 0 && more > 0 && weft_left_ns(end) > 0) {
        struct pollfd p = {.fd = weft_loop_fd(l), .events = POLLIN};
        (void)poll(&p, 1, 20);
        more = weft_loop_step(l, WEFT_NOW);
        FIRST(err, more);
    }
    weft_loop_close(&l);
    return err;
}

/* --- Streams ---------------------------------------------------------------------------------- */

#define LONG_TEXT 30000

struct ends {
    struct weft_stream *a, *b;
    char *text;
    int file;
};

static const struct weft_framing netstring = {.kind = WEFT_FRAMING_NETSTRING, .max = 1000};

static int talk(void *arg)
{
    struct ends *e = arg;
    off_t at = 0;
    int err = 0;
    THEN(err, weft_write(e->a, "hello\n", 6, TORTURE_SOON));
    THEN(err, weft_printf(e->a, TORTURE_SOON, "%s %d\n", "line", 2));
    THEN(err, weft_write_record(e->a, &netstring, "record", 6, TORTURE_SOON));
    THEN(err, weft_write(e->a, e->text, LONG_TEXT, TORTURE_SOON));
    THEN(err, weft_writev(e->a, (struct iovec[]){{e->text, 3}, {e->text, 4}}, 2, TORTURE_SOON));
    THEN(err, weft_flush(e->a, TORTURE_SOON));
    THEN(err, weft_sendfile(e->a, e->file, &at, 5000, TORTURE_SOON));
    THEN(err, weft_shutdown(e->a, TORTURE_SOON));
    char c;
    THEN(err, weft_read(e->a, &c, 1, TORTURE_SOON));
    return err;
}

static int listen_to(void *arg)
{
    struct ends *e = arg;
    char buf[100], *all = NULL;
    const void *data;
    size_t len = 0;
    int err = 0;
    THEN(err, weft_read_until(e->b, buf, sizeof buf, '\n', TORTURE_SOON));
    THEN(err, weft_read_full(e->b, buf, 3, TORTURE_SOON));
    ssize_t n = err < 0 ? err : weft_peek_min(e->b, &data, 4, TORTURE_SOON);
    FIRST(err, n);
    if (err == 0)
        weft_consume(e->b, 4);
    THEN(err, weft_read_record(e->b, &netstring, &data, &len, TORTURE_SOON));
    CHECK(err != 0 || len == 6);
    if (err == 0 && (all = malloc(LONG_TEXT)) == NULL)
        err = -ENOMEM;
    THEN(err, weft_read_full(e->b, all, LONG_TEXT, TORTURE_SOON));
    CHECK(err != 0 || memcmp(all, e->text, LONG_TEXT) == 0);
    free(all);
    size_t rest = 0;
    while (err == 0 && (n = weft_peek(e->b, &data, TORTURE_SOON)) > 0) {
        rest += (size_t)n;
        weft_consume(e->b, (size_t)n);
    }
    FIRST(err, n);
    CHECK(err != 0 || rest == 5007);
    FIRST(err, weft_close(&e->b, TORTURE_SOON));
    return err;
}

static int converse(struct ends *e, int err)
{
    static char text[LONG_TEXT];
    struct weft_group *g = NULL;
    memset(text, 'x', sizeof text);
    e->text = text;
    e->file = memfd_create("torture", MFD_CLOEXEC);
    CHECK(e->file >= 0);
    CHECK_EQ(write(e->file, text, 5000), 5000);
    THEN(err, weft_group_open(&g));
    THEN(err, weft_group_go(g, "listen", listen_to, e));
    THEN(err, weft_group_go(g, "talk", talk, e));
    THEN(err, weft_group_wait(g, WEFT_NEVER));
    FIRST(err, weft_group_close(&g));
    FIRST(err, weft_close(&e->a, TORTURE_SOON));
    weft_abort(&e->b);
    close(e->file);
    return err;
}

static int memory_body(void *arg)
{
    struct ends e = {NULL, NULL, NULL, -1};
    (void)arg;
    return converse(&e, weft_pipe_open(&e.a, &e.b, 0));
}

static int memory(const char *driver)
{
    return torture_run(driver, memory_body, NULL);
}

static int pair_body(void *arg)
{
    struct ends e = {NULL, NULL, NULL, -1};
    (void)arg;
    return converse(&e, weft_socketpair(&e.a, &e.b));
}

static int pair(const char *driver)
{
    return torture_run(driver, pair_body, NULL);
}

static int tcp_dialer(void *arg)
{
    void **a = arg;
    return weft_dial(a[0], a[1], &(struct weft_dial_options){.keepalive_s = 9}, TORTURE_SOON);
}

static int tcp_body(void *arg)
{
    struct weft_listener *l = NULL;
    struct ends e = {NULL, NULL, NULL, -1};
    struct weft_group *g = NULL;
    char at[WEFT_ENDPOINT_MAX], unread[8];
    void *dial[] = {&e.a, at};
    size_t n_unread = 0;
    int err = weft_listen(&l, arg, NULL);
    THEN(err, weft_listener_endpoint(l, at, sizeof at));
    THEN(err, weft_group_open(&g));
    THEN(err, weft_group_go(g, "dial", tcp_dialer, dial));
    THEN(err, weft_accept(l, &e.b, TORTURE_SOON));
    THEN(err, weft_group_wait(g, WEFT_NEVER));
    FIRST(err, weft_group_close(&g));
    if (err == 0 && e.a == NULL)
        err = -ECANCELED; /* a member's, which is no error of the group */
    int fd =
        err < 0 ? err : weft_stream_detach(&e.b, unread, sizeof unread, &n_unread, TORTURE_SOON);
    FIRST(err, fd);
    THEN(err, weft_stream_from_fd(&e.b, fd));
    if (err < 0 && fd >= 0)
        close(fd);
    THEN(err, weft_poll(weft_stream_fd(e.b), POLLOUT, TORTURE_SOON));
    weft_listener_close(&l);
    return converse(&e, err);
}

static int tcp(const char *driver)
{
    return torture_run(driver, tcp_body, "tcp://127.0.0.1:0");
}

static int unix_path(const char *driver)
{
    char at[64];
    (void)snprintf(at, sizeof at, "unix:/tmp/weft-torture-%d", (int)getpid());
    int err = torture_run(driver, tcp_body, at);
    CHECK(access(at + 5, F_OK) != 0);
    return err;
}

/* Descriptors over a Unix socket; what did not arrive is closed. */
static int passing_body(void *arg)
{
    struct weft_stream *a = NULL, *b = NULL;
    int fds[2], got[2];
    size_t n = 0;
    (void)arg;
    CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    int err = weft_socketpair(&a, &b);
    THEN(err, weft_send_fds(a, fds, 2, TORTURE_SOON));
    if (err == 0) {
        n = 2;
        err = weft_recv_fds(b, got, &n, TORTURE_SOON);
        CHECK(err < 0 || n == 2);
        n = err < 0 ? 0 : n;
        FIRST(err, err < 0 ? err : 0);
    }
    for (size_t i = 0; i < n; i++)
        close(got[i]);
    close(fds[0]);
    close(fds[1]);
    weft_abort(&a);
    weft_abort(&b);
    return err < 0 ? err : 0;
}

static int passing(const char *driver)
{
    return torture_run(driver, passing_body, NULL);
}

/* --- Datagrams -------------------------------------------------------------------------------- */

static int udp_body(void *arg)
{
    struct weft_udp *a = NULL, *b = NULL;
    struct weft_address from;
    char at[WEFT_ENDPOINT_MAX], room[4][64] = {{0}};
    struct weft_datagram dg[4];
    (void)arg;
    int err = weft_udp_open(&a, "udp://127.0.0.1:0", &(struct weft_udp_options){.segment = true});
    THEN(err, weft_udp_endpoint(a, at, sizeof at));
    THEN(err, weft_udp_dial(&b, at, NULL));
    THEN(err, weft_udp_send(b, "hello", 5, NULL, TORTURE_SOON));
    THEN(err, weft_udp_recv(a, room[0], 64, &from, TORTURE_SOON));
    THEN(err, weft_udp_send(a, "world", 5, &from, TORTURE_SOON));
    THEN(err, weft_udp_recv(b, room[0], 64, NULL, TORTURE_SOON));
    memset(dg, 0, sizeof dg);
    for (int i = 0; i < 4; i++)
        dg[i] = (struct weft_datagram){.data = room[i], .cap = 64, .len = 9};
    THEN(err, weft_udp_send_batch(b, dg, 4, TORTURE_SOON));
    THEN(err, weft_udp_recv_batch(a, dg, 4, TORTURE_SOON));
    weft_udp_close(&a);
    weft_udp_close(&b);
    return err;
}

static int udp(const char *driver)
{
    return torture_run(driver, udp_body, NULL);
}

/* --- Work pool, posts, signals, processes ----------------------------------------------------- */

static int job(struct weft_job *j, void *arg)
{
    (void)j;
    (*(int *)arg)++;
    return 0;
}

static void posted(void *arg)
{
    weft_event_set(arg);
}

static int post_job(struct weft_job *j, void *arg)
{
    void **a = arg;
    (void)j;
    return weft_post_mt(a[0], posted, a[1]);
}

static int offload_body(void *arg)
{
    struct weft_event came = WEFT_EVENT_INIT;
    int n = 0;
    (void)arg;
    int err = weft_offload(job, &n, TORTURE_SOON);
    THEN(err, weft_offload_copy(job, &n, sizeof n, NULL, TORTURE_SOON));
    CHECK(err != 0 || n == 2);
    if (weft_loop_current() == NULL)
        return err;
    THEN(err, weft_offload(post_job, ((void *[]){weft_loop_current(), &came}), WEFT_NEVER));
    if (err == 0) { /* it is on its way, and must not come to a dead stack */
        weft_shield(0);
        FIRST(err, weft_event_wait(&came, WEFT_NEVER));
        weft_unshield();
    }
    return err;
}

static int offload(const char *driver)
{
    return torture_run(driver, offload_body, NULL);
}

static int signals_body(void *arg)
{
    struct weft_signals *a = NULL, *b = NULL;
    (void)arg;
    int err = weft_signals_open(&a, (int[]){SIGUSR1, SIGUSR2, 0});
    THEN(err, weft_signals_open(&b, (int[]){SIGUSR1, 0}));
    if (err == 0) {
        /* To this thread, since another could get to it after the close; a group's blocks it. */
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
        CHECK_EQ(raise(SIGUSR1), 0);
        FIRST(err, weft_signals_wait(a, TORTURE_SOON));
        THEN(err, weft_signals_wait(b, TORTURE_SOON));
    }
    weft_signals_close(&a);
    weft_signals_close(&b);
    return err;
}

static int signals(const char *driver)
{
    int err = torture_run(driver, signals_body, NULL);
    struct sigaction sa;
    sigaction(SIGUSR1, NULL, &sa);
    CHECK(sa.sa_handler == SIG_DFL);
    return err;
}

static bool has_pidfd; /* older valgrinds do not know the call */

static int process_body(void *arg)
{
    struct weft_process_options o = {.argv = (const char *const[]){"cat", NULL},
                                     .in = WEFT_PIPE_STREAM,
                                     .out = WEFT_PIPE_STREAM,
                                     .err = WEFT_PIPE_NULL,
                                     .kill_after_ms = 100};
    struct weft_process *p = NULL;
    char buf[8];
    (void)arg;
    if (!has_pidfd)
        return 0;
    int err = weft_process_open(&p, &o);
    THEN(err, weft_write(weft_process_in(p), "meow", 4, TORTURE_SOON));
    THEN(err, weft_flush(weft_process_in(p), TORTURE_SOON));
    if (err == 0)
        weft_process_close_in(p);
    THEN(err, weft_read_full(weft_process_out(p), buf, 4, TORTURE_SOON));
    THEN(err, weft_process_wait(p, NULL, TORTURE_SOON));
    weft_process_close(&p);
    return err;
}

static int process(const char *driver)
{
    return torture_run(driver, process_body, NULL);
}

static const struct torture_scene on_loops[] = {
    {"shop", shop}, {"nested", nested},   {"steps", steps},     {"memory", memory},
    {"pair", pair}, {"tcp", tcp},         {"unix", unix_path},  {"passing", passing},
    {"udp", udp},   {"offload", offload}, {"signals", signals}, {"process", process},
};
static const struct torture_scene on_threads[] = {
    {"shop", shop},       {"nested", nested},   {"pair", pair}, {"tcp", tcp},
    {"unix", unix_path},  {"passing", passing}, {"udp", udp},   {"offload", offload},
    {"signals", signals}, {"process", process},
};

int main(void)
{
    int fd = weft__call_pidfd_open(getpid());
    has_pidfd = fd >= 0;
    if (fd >= 0)
        close(fd);
    return torture_main(on_loops, WEFT__ARRAY_LEN(on_loops), on_threads,
                        WEFT__ARRAY_LEN(on_threads), 22);
}
