/* SPDX-License-Identifier: MIT */
/*
 * Servers: opening with their workers, counting, draining.
 *
 * Floor 3. What reads endpoint strings and certificates is in dial/serve.c. Sockets are bound by
 * the caller, before anything runs, so that errors are the call's result; workers then run by
 * themselves. Invariants as in net/server.h.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/server.h"
#include "sys/call.h"
#include "sys/sim/world.h"

#define WORKERS_MAX 256
#define CONNECTIONS_DEFAULT 10000
#define BACKLOG_DEFAULT 4096
#define WRITE_MS_DEFAULT 60000
#define PROLOGUE_MS_DEFAULT 10000

/* --- Peers ------------------------------------------------------------------------------------ */

static size_t bucket(const struct weft_address *a)
{
    const uint8_t *bytes = (const uint8_t *)&a->sa;
    size_t len = 0, at = 0;
    if (a->sa.ss_family == AF_INET) {
        at = offsetof(struct sockaddr_in, sin_addr);
        len = 4;
    } else if (a->sa.ss_family == AF_INET6) {
        at = offsetof(struct sockaddr_in6, sin6_addr);
        len = 16;
    }
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[at + i]) * 1099511628211u;
    return (size_t)(h % WEFT__PEER_BUCKETS);
}

static struct weft__peer *find_peer(struct weft_server *s, const struct weft_address *a)
{
    struct weft__list *list = &s->peers[bucket(a)];
    WEFT__LIST_EACH(list, n) {
        struct weft__peer *p = WEFT__CONTAINER_OF(n, struct weft__peer, link);
        if (weft_address_same_host(&p->address, a))
            return p;
    }
    struct weft__peer *p = weft__calloc(1, sizeof *p);
    if (p != NULL) {
        p->address = *a;
        weft__list_push_back(list, &p->link);
    }
    return p;
}

bool weft__server_admit(struct weft_server *s, int fd, struct weft__peer **peer)
{
    struct weft_address a;
    *peer = NULL;
    if (s->peers == NULL || (s->family != AF_INET && s->family != AF_INET6))
        return true;
    if (weft__socket_peer(fd, &a) < 0)
        return false; /* gone already */
    if (s->proxies != NULL && weft__proxies_trust(s->proxies, &a))
        return true;
    return weft__server_admit_told(s, &a, peer);
}

bool weft__server_admit_told(struct weft_server *s, const struct weft_address *a,
                             struct weft__peer **peer)
{
    if (s->peers == NULL || (a->sa.ss_family != AF_INET && a->sa.ss_family != AF_INET6))
        return true;
    pthread_mutex_lock(&s->lock);
    struct weft__peer *p = find_peer(s, a);
    bool admit = p != NULL && p->count < (size_t)s->options.max_per_peer;
    if (admit) {
        p->count++;
        *peer = p;
    }
    pthread_mutex_unlock(&s->lock);
    return admit;
}

void weft__server_dismiss(struct weft_server *s, struct weft__peer *peer)
{
    if (peer == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    if (--peer->count == 0) {
        weft__list_remove(&peer->link);
        weft__free(peer);
    }
    pthread_mutex_unlock(&s->lock);
}

/* --- Opening ---------------------------------------------------------------------------------- */

/* Of a worker that never began: the kernel would queue connections for nobody. */
static void close_listener(struct weft__worker *w)
{
    if (w->fd >= 0)
        weft__call_close(w->fd);
    w->fd = -1;
}

static void server_free(struct weft__attached *a)
{
    struct weft_server *s = WEFT__CONTAINER_OF(a, struct weft_server, attached);
    weft__unix_file_remove(&s->file, &s->at); /* a server that never ran */
    for (int i = 0; i < s->n_workers; i++)
        close_listener(&s->workers[i]);
    if (s->listen_fd >= 0)
        weft__call_close(s->listen_fd);
    weft_channel_close(&s->slots);
    weft__free(s->peers);
    weft__free(s->workers);
    pthread_mutex_destroy(&s->lock);
    weft__handshakes_fini(&s->handshakes);
    weft__secure_unref(s->tls);
    weft__free(s->proxies);
    weft__free(s);
}

static int check(const struct weft_server_options *o, weft_handler handler,
                 const struct weft_factory *f)
{
    if ((handler != NULL) == (f != NULL))
        return weft__fail(-EINVAL, "a server needs a handler or a factory, and not both");
    if (o->model == WEFT_PROTOCOLS && f == NULL)
        return weft__fail(-EINVAL, "WEFT_PROTOCOLS runs callbacks: use weft_serve_protocol");
    if (o->max_handshakes < 0 || o->handshake_rate < 0)
        return weft__fail(-EINVAL, "max_handshakes and handshake_rate are 0 or more");
    if (o->model > WEFT_PROTOCOLS)
        return weft__fail(-EINVAL, "unknown model %d", (int)o->model);
    if (f != NULL && (f->protocol == NULL || f->protocol->data == NULL))
        return weft__fail(-EINVAL, "a factory needs a protocol with a data callback");
    if (o->workers < 0 || o->workers > WORKERS_MAX)
        return weft__fail(-EINVAL, "%d workers; 0 to %d can be had", o->workers, WORKERS_MAX);
    if (o->max_connections < 0 || o->max_per_peer < 0 || o->backlog < 0)
        return weft__fail(-EINVAL, "a negative limit");
    return 0;
}

static void defaults(struct weft_server *s, const struct weft_server_options *o)
{
    s->options = *o;
    o = &s->options;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL)) { /* a simulated host has one loop and no threads */
        s->options.workers = 0;
        if (o->model == WEFT_THREADS)
            s->options.model = WEFT_TASKS;
    }
    if (o->max_connections == 0)
        s->options.max_connections = CONNECTIONS_DEFAULT;
    if (o->backlog == 0)
        s->options.backlog = BACKLOG_DEFAULT;
    if (o->write_ms == 0)
        s->options.write_ms = WRITE_MS_DEFAULT;
    if (o->handshake_ms <= 0)
        s->options.handshake_ms =
            s->tls != NULL ? weft__secure_of(s->tls)->handshake_ms(s->tls) : PROLOGUE_MS_DEFAULT;
    weft__handshakes_init(&s->handshakes, (size_t)o->max_handshakes, o->handshake_rate);
    s->options.cert = s->options.key = NULL; /* the caller's texts; read before */
    if (o->loop != NULL)
        s->loop_options = *o->loop;
    if (s->loop_options.driver == NULL && s->home != NULL)
        s->loop_options.driver = s->home->sys->driver->name;
    if (s->loop_options.log == NULL && s->home != NULL) {
        s->loop_options.log = s->home->log.fn;
        s->loop_options.log_arg = s->home->log.arg;
    }
}

static int make_workers(struct weft_server *s)
{
    int n = s->options.workers;
    bool here = s->options.model != WEFT_THREADS && n == 0 && s->home != NULL;
    if (n == 0 || s->options.model == WEFT_THREADS)
        n = 1;
    s->workers = weft__calloc((size_t)n, sizeof *s->workers);
    if (s->workers == NULL)
        return -ENOMEM;
    s->n_workers = n;
    s->workers_live = (size_t)n;
    for (int i = 0; i < n; i++) {
        struct weft__worker *w = &s->workers[i];
        w->server = s;
        w->index = i;
        w->fd = -1;
        w->here = here;
        w->max_connections = ((size_t)s->options.max_connections + (size_t)n - 1) / (size_t)n;
    }
    return 0;
}

static int listen_all(struct weft_server *s)
{
    bool tcp = weft__endpoint_is_tcp(&s->at);
    struct weft__listen o = {.backlog = s->options.backlog,
                             .reuse_port = tcp && (s->n_workers > 1 || s->options.reuse_port),
                             .v6_only = s->options.v6_only,
                             .unix_mode = s->options.unix_mode};
    s->spreads = s->n_workers > 1 && !tcp;
    for (int i = 0; i < (s->spreads ? 1 : s->n_workers); i++) {
        int fd = weft__listen_fd(&s->at, &o); /* the first bind fills in the port */
        if (fd < 0)
            return fd;
        s->workers[i].fd = fd;
    }
    if (s->at.kind != WEFT_ENDPOINT_FD)
        weft__unix_file_note(&s->file, &s->at);
    s->family = weft__socket_family(s->workers[0].fd);
    if (s->family < 0)
        return s->family;
    return weft__endpoint_plain(&s->at, s->endpoint, sizeof s->endpoint);
}

static int peers_open(struct weft_server *s)
{
    if (s->options.max_per_peer == 0)
        return 0;
    s->peers = weft__calloc(WEFT__PEER_BUCKETS, sizeof *s->peers);
    if (s->peers == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < WEFT__PEER_BUCKETS; i++)
        weft__list_init(&s->peers[i]);
    return 0;
}

/* --- Workers with a loop and thread of their own ---------------------------------------------- */

/* How workers have begun: the opener waits for all of them, so that it can say what went wrong. */
struct weft__start {
    pthread_cond_t told;
    int left; /* of whom nothing is known yet */
    int err;
    struct weft__detail detail;
};

static void tell(struct weft__worker *w, int err)
{
    struct weft_server *s = w->server;
    w->told = true;
    pthread_mutex_lock(&s->lock);
    struct weft__start *start = s->start;
    if (err < 0 && start->err == 0) {
        start->err = err;
        (void)snprintf(start->detail.text, sizeof start->detail.text, "%s", weft_error_detail());
    }
    start->left--;
    pthread_cond_signal(&start->told);
    pthread_mutex_unlock(&s->lock);
}

static void never_began(struct weft__worker *w, int err)
{
    close_listener(w);
    tell(w, err);
    weft__server_worker_gone(w);
}

static int worker_main(void *arg)
{
    struct weft__worker *w = arg;
    struct weft_group *g = NULL;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft__worker_start(w, g);
    if (err < 0) {
        (void)weft_group_close(&g);
        never_began(w, err);
        return 0;
    }
    tell(w, 0);
    err = weft_group_wait(g, WEFT_NEVER);
    int closing = weft_group_close(&g); /* joins: a cancelled worker drains first */
    return err == -ECANCELED ? closing : err;
}

static int worker_thread(void *arg)
{
    struct weft__worker *w = arg;
    int err = weft_run(&w->server->loop_options, worker_main, w);
    if (w->told)
        return err;
    never_began(w, err);
    return 0; /* the opener says it */
}

/* Waits for those that were started; when one or the start of more has failed, the others end. */
static int await_workers(struct weft_server *s, int started, int err)
{
    struct weft__start *start = s->start;
    pthread_mutex_lock(&s->lock);
    start->left -= s->n_workers - started;
    while (start->left > 0)
        pthread_cond_wait(&start->told, &s->lock);
    s->start = NULL;
    if (err == 0 && start->err < 0)
        err = weft__fail(start->err, "%s", start->detail.text);
    if (err < 0) {
        atomic_store(&s->drain_until_ns, 0);
        atomic_store(&s->draining, true);
        for (int i = 0; i < started; i++)
            weft__worker_post_drain(&s->workers[i]);
        for (int i = started; i < s->n_workers; i++)
            close_listener(&s->workers[i]);
    }
    s->workers_live -= (size_t)(s->n_workers - started);
    pthread_mutex_unlock(&s->lock);
    return err;
}

static int start_workers(struct weft_server *s)
{
    struct weft__start start = {.told = PTHREAD_COND_INITIALIZER, .left = s->n_workers};
    int err = 0, started = 0;
    if (s->options.model == WEFT_THREADS)
        return weft__server_threads_start(s);
    if (s->workers[0].here)
        return weft__worker_start(&s->workers[0], s->group);
    s->start = &start;
    while (err == 0 && started < s->n_workers) {
        err = weft__thread_spawn(s->group,
                                 &(struct weft__spawn){.fn = worker_thread,
                                                       .arg = &s->workers[started],
                                                       .name = "worker",
                                                       .site = s->endpoint},
                                 NULL);
        started += err == 0;
    }
    return await_workers(s, started, err);
}

int weft__server_open(struct weft_server **ret, struct weft_group *g, const struct weft__serving *w,
                      const struct weft_server_options *o)
{
    int err = check(o, w->handler, w->factory);
    if (err < 0)
        return err;
    if (g->loop != NULL && !pthread_equal(g->loop->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the group belongs to another thread's loop");
    struct weft_server *s = weft__calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->attached.free = server_free;
    s->at = w->at;
    s->listen_fd = -1;
    s->handler = w->handler;
    s->arg = w->arg;
    s->group = g;
    s->home = g->loop;
    s->protocol = w->factory != NULL;
    if (w->factory != NULL)
        s->factory = *w->factory;
    if (w->tls != NULL)
        s->tls = weft__secure_of(w->tls)->ref(w->tls);
    pthread_mutex_init(&s->lock, NULL);
    defaults(s, o);
    err = o->proxy_from != NULL ? weft__proxies_open(&s->proxies, o->proxy_from) : 0;
    s->options.proxy_from = NULL; /* the caller's text; read */
    if (err == 0)
        err = make_workers(s);
    if (err == 0)
        err = peers_open(s);
    if (err == 0)
        err = listen_all(s);
    if (err < 0) {
        server_free(&s->attached);
        return err;
    }
    weft__group_attach(g, &s->attached);
    err = start_workers(s);
    if (err < 0)
        return err; /* freed with the group */
    if (ret != NULL)
        *ret = s;
    return 0;
}

/* --- Facts
 * ------------------------------------------------------------------------------------------------
 */

int weft_server_endpoint(const struct weft_server *s, char *buf, size_t cap)
{
    size_t len = strlen(s->endpoint);
    if (len >= cap)
        return -ENOSPC;
    memcpy(buf, s->endpoint, len + 1);
    return (int)len;
}

void weft_server_stats_mt(const struct weft_server *s, struct weft_server_stats *ret)
{
    struct weft_server_stats st = {.accepted = atomic_load(&s->accepted)};
    st.live = atomic_load(&s->live); /* in this order: see weft__server_count_live */
    st.refused = atomic_load(&s->refused);
    st.failed = atomic_load(&s->failed);
    st.timed_out = atomic_load(&s->timed_out);
    st.backoffs = atomic_load(&s->backoffs);
    st.handshakes = atomic_load(&s->shaken);
    st.handshakes_failed = atomic_load(&s->unshaken);
    for (int i = 0; i < s->n_workers; i++) {
        const struct weft__counters *c = &s->workers[i].counters;
        st.bytes_in += atomic_load_explicit(&c->bytes_in, memory_order_relaxed);
        st.bytes_out += atomic_load_explicit(&c->bytes_out, memory_order_relaxed);
        st.reads += atomic_load_explicit(&c->reads, memory_order_relaxed);
    }
    *ret = st;
}

bool weft_stream_draining(const struct weft_stream *s)
{
    const struct weft__worker *w = NULL;
    if (s->proto != NULL)
        w = s->worker;
    else if (s->conn != NULL)
        w = s->conn->worker;
    return w != NULL && atomic_load_explicit(&w->server->draining, memory_order_relaxed);
}

/* --- Draining
 * -----------------------------------------------------------------------------------------------
 */

static void waiter_wake(struct weft__remote *r)
{
    struct weft_server *s = WEFT__CONTAINER_OF(r, struct weft_server, wake);
    pthread_mutex_lock(&s->lock);
    struct weft__wait *w = s->waiter;
    s->waiter = NULL;
    pthread_mutex_unlock(&s->lock);
    if (w != NULL)
        weft__wait_trigger(w, 0);
}

void weft__server_worker_gone(struct weft__worker *w)
{
    struct weft_server *s = w->server;
    pthread_mutex_lock(&s->lock);
    w->running = false;
    if (--s->workers_live == 0 && s->waiter != NULL) {
        struct weft__wait *waiter = s->waiter;
        if (waiter->flow->loop != NULL) {
            s->wake.fn = waiter_wake;
            weft__loop_remote(waiter->flow->loop, &s->wake);
        } else {
            s->waiter = NULL;
            weft__wait_trigger(waiter, 0);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

struct drain_wait {
    struct weft__wait wait;
    struct weft_server *server;
};

static void drain_abort(struct weft__wait *w, int why)
{
    struct weft_server *s = WEFT__CONTAINER_OF(w, struct drain_wait, wait)->server;
    pthread_mutex_lock(&s->lock);
    bool ours = s->waiter == w;
    if (ours)
        s->waiter = NULL; /* a wake-up under way finds nobody */
    pthread_mutex_unlock(&s->lock);
    if (ours)
        weft__wait_trigger(w, why);
}

int weft_server_drain(struct weft_server *s, weft_deadline d)
{
    struct drain_wait dw = {.server = s};
    int err = weft__wait_check();
    if (err < 0)
        return err;
    weft__wait_init(&dw.wait, "drain", -1, drain_abort);
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->drain_until_ns, d.ns);
    atomic_store(&s->draining, true);
    for (int i = 0; i < s->n_workers; i++)
        weft__worker_post_drain(&s->workers[i]);
    if (s->acceptors != NULL)
        weft_group_cancel(s->acceptors);
    bool live = s->workers_live > 0;
    if (live && s->waiter != NULL)
        err = -EBUSY;
    else if (live)
        s->waiter = &dw.wait;
    pthread_mutex_unlock(&s->lock);
    if (live && err == 0)
        err = weft__wait_block(&dw.wait, WEFT_NEVER); /* the workers keep to d themselves */
    if (err < 0)
        return err;
    pthread_mutex_lock(&s->lock);
    bool cut_off = s->cut_off;
    pthread_mutex_unlock(&s->lock);
    return cut_off ? -ETIMEDOUT : 0;
}
