/* SPDX-License-Identifier: MIT */
/*
 * A server's worker on a loop: accepts, starts a task or a protocol for each connection, looks
 * after limits and time-outs, drains.
 *
 * Floor 3. It has no task of its own: it is driven by its accept operation and its alarms.
 * Invariants: `stopping` never goes back; the worker leaves its group exactly when it has stopped
 * and its last connection has ended.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/park.h"
#include "net/server.h"
#include "sys/call.h"

#define BACKOFF_FIRST_NS INT64_C(10000000)
#define BACKOFF_MAX_NS INT64_C(1000000000)
#define SWEEP_MIN_MS 10
#define CLOSE_MS 5000

static void accept_more(struct weft__worker *w);

/* --- Connections ------------------------------------------------------------------------------ */

void weft__worker_ended(struct weft__worker *w, struct weft__peer *peer, int error, bool timed_out,
                        const struct weft_address *address)
{
    struct weft_server *s = w->server;
    bool failed = error < 0 && error != -ECANCELED;
    if (timed_out)
        atomic_fetch_add(&s->timed_out, 1);
    if (failed)
        atomic_fetch_add(&s->failed, 1);
    weft__server_count_ended(w);
    weft__server_dismiss(s, peer);
    if (failed) {
        if (s->options.failed != NULL)
            s->options.failed(s->options.failed_arg, address, error);
        if (s->options.errors == WEFT_ERRORS_STOP && w->error == 0)
            w->error = error;
    }
}

/* A flow's place in the line of handshakes. */
struct turn {
    struct weft__wait wait;
    struct weft__in_line line;
    struct weft__handshakes *of;
};

static void turn_told(struct weft__remote *r)
{
    struct turn *t = WEFT__CONTAINER_OF(r, struct turn, line.remote);
    weft__handshakes_told(t->of, &t->line);
    weft__wait_trigger(&t->wait, 0);
}

static void turn_abort(struct weft__wait *w, int why)
{
    struct turn *t = WEFT__CONTAINER_OF(w, struct turn, wait);
    if (weft__handshakes_mute(t->of, &t->line))
        weft__wait_trigger(w, why);
}

static int begin_handshake(struct weft_server *s, weft_deadline d)
{
    struct turn t = {.of = &s->handshakes, .line = {.loop = weft__flow_self()->loop}};
    int err = 0;
    t.line.remote.fn = turn_told;
    t.line.wait = &t.wait;
    while (err == 0) {
        err = weft__wait_check();
        if (err < 0)
            break;
        weft__wait_init(&t.wait, "handshake", -1, turn_abort);
        int64_t now = weft__clock_ns(), wait_ns = weft__handshakes_begin(t.of, &t.line, now);
        if (wait_ns == 0)
            return 0;
        int64_t until = wait_ns > 0 ? weft__min_i64(now + wait_ns, d.ns) : d.ns;
        err = weft__wait_block(&t.wait, (weft_deadline){until});
        if (err == -ETIMEDOUT && until < d.ns)
            err = 0; /* it may ask again */
    }
    bool left = weft__handshakes_leave(t.of, &t.line);
    WEFT__ASSERT(left); /* what is told ends the wait */
    if (err == -ETIMEDOUT)
        err = weft__fail(err, WEFT__TOO_MANY_HANDSHAKES);
    return err;
}

static int shake_hands(struct weft__conn *c, weft_deadline d)
{
    struct weft_server *s = c->worker->server;
    bool costly = false;
    int come = weft__secure_await(c->stream, s->tls, &costly, d); /* till then it takes nobody's
                                                                     place */
    int err = come > 0 ? 0 : come < 0 ? come : WEFT_EEOF;
    if (err == WEFT_EEOF)
        (void)weft__fail(err, "the peer hung up during the handshake%s",
                         come == 0 ? ", without a word" : "");
    else if (err == -ETIMEDOUT)
        (void)weft__fail(err, "the handshake has taken too long");
    if (err == 0)
        err = begin_handshake(s, d);
    if (err == 0) {
        err = weft__later_wait("handshake", costly, d);
        if (err == 0)
            err = weft__secure_of(s->tls)->accept(&c->stream, s->tls, d);
        else if (err == -ETIMEDOUT)
            (void)weft__fail(err, WEFT__TOO_MANY_HANDSHAKES);
        weft__handshakes_end(&s->handshakes);
    }
    atomic_fetch_add(err < 0 ? &s->unshaken : &s->shaken, 1);
    return err;
}

#define REFUSED 1 /* by max_per_peer, once the proxy has told whose connection it is */

/* What comes before the handler, on the connection's own time. */
WEFT__APART static int prologue(struct weft__conn *c)
{
    struct weft_server *s = c->worker->server;
    weft_deadline d = weft_after_ms(s->options.handshake_ms);
    int err = s->proxies != NULL ? weft__proxies_meet(s->proxies, c, d) : 0;
    if (err == 0 && c->told.len > 0 && !weft__server_admit_told(s, &c->told, &c->peer)) {
        atomic_fetch_add(&s->refused, 1);
        return REFUSED;
    }
    return err == 0 && s->tls != NULL ? shake_hands(c, d) : err;
}

/* A connection of WEFT_PROTOCOLS had a task for what comes before its callbacks. */
static int go_over_to_callbacks(struct weft__conn *c)
{
    struct weft__worker *w = c->worker;
    struct weft__transport *t = NULL;
    int err = weft__transport_attach(&t, &c->stream, &w->conns, w->factory, w, c->peer);
    if (err < 0)
        return err;
    c->parked = true;
    t->s.counters = &w->counters;
    weft__transport_later(t);
    return 0;
}

static int converse(struct weft__conn *c)
{
    struct weft_server *s = c->worker->server;
    if (s->options.model == WEFT_PROTOCOLS)
        return go_over_to_callbacks(c);
    return s->protocol ? weft__pull_run(c, &s->factory) : s->handler(c->stream, s->arg);
}

/* What comes behind it. begun: the handler was called, and came to err. */
WEFT__APART static void epilogue(struct weft__conn *c, bool begun, int err)
{
    struct weft_server *s = c->worker->server;
    struct weft_address address = {0};
    bool timed_out = !begun && err == -ETIMEDOUT;
    if (c->stream != NULL) {
        int64_t ms = s->options.write_ms > 0 ? s->options.write_ms : CLOSE_MS;
        bool waits = err < 0 || c->stream->out != NULL || c->stream->cls->finish != NULL;
        weft_deadline until = waits ? weft_after_ms(ms) : WEFT_NOW;
        timed_out = timed_out || c->stream->timed_out;
        if (err < 0 && s->options.failed != NULL)
            address = weft__stream_peer_or_none(c->stream);
        if (err == REFUSED) {
            weft__stream_end(&c->stream, true);
            err = 0;
        } else if (!begun && !timed_out) { /* no reset overtakes the alert of a handshake */
            weft__out_last_try(c->stream);
            weft__stream_end(&c->stream, false);
        } else if (err < 0) {
            weft__stream_give_up(&c->stream, until);
        } else {
            err = weft_close(&c->stream, until);
        }
    }
    weft__worker_ended(c->worker, c->peer, err, timed_out, &address);
}

void weft__conn_serve(struct weft__conn *c)
{
    struct weft_server *s = c->worker->server;
    bool due = c->split.stream == NULL && (s->tls != NULL || s->proxies != NULL);
    int err = WEFT__UNLIKELY(due) ? prologue(c) : 0;
    bool begun = err == 0;
    if (begun)
        err = converse(c);
    if (!c->parked)
        epilogue(c, begun, err);
}

void weft__worker_resume(struct weft__worker *w)
{
    if (w->error < 0 && !w->stopping) {
        weft__worker_class.cancel(&w->member, NULL);
        return;
    }
    if (!w->accepting && !w->stopping && w->fd >= 0)
        accept_more(w);
}

static int conn_main(void *arg)
{
    struct weft__conn *c = arg;
    struct weft__worker *w = c->worker;
    if (c->split.stream != NULL)
        weft__transport_take_over(&c->split);
    c->stream->conn = c;
    weft__conn_serve(c);
    weft__worker_resume(w); /* a descriptor and a place have become free */
    return 0;
}

int weft__worker_spawn(struct weft__worker *w, struct weft__conn *c)
{
    return weft__task_spawn(&w->conns,
                            &(struct weft__spawn){.fn = conn_main,
                                                  .arg = c,
                                                  .copy = sizeof *c,
                                                  .name = "connection",
                                                  .site = w->server->endpoint,
                                                  .note = weft__tree_conn_note,
                                                  .keep_errors = true},
                            NULL);
}

static int start_task(struct weft__worker *w, int fd, struct weft__peer *peer)
{
    struct weft_server *s = w->server;
    struct weft__conn c = {.worker = w, .peer = peer};
    int err = weft__fd_stream_open(&c.stream, fd, s->family, s->options.write_buffer);
    if (err < 0)
        return err;
    c.stream->counters = &w->counters;
    c.stream->drained = !w->behind;
    err = weft__worker_spawn(w, &c);
    if (err < 0) {
        c.stream->fd = -1;
        weft__stream_free(c.stream, false);
    }
    return err;
}

/* In callback mode. */
static int start_secured(struct weft__worker *w, int fd, struct weft__peer *peer)
{
    struct weft_server *s = w->server;
    struct weft__transport_secure how = {
        .tls = s->tls, .server = true, .handshake_ms = s->options.handshake_ms};
    return weft__transport_open_secure(&w->conns, w->factory, fd, s->family, w, peer, true, &how);
}

/*
 * Takes fd in any case. A connection's first bytes are seldom there as soon as it is, and then it
 * is not tried to read them; but they are if it had to wait for its turn to be accepted.
 */
static int start_connection(struct weft__worker *w, int fd)
{
    struct weft_server *s = w->server;
    struct weft__peer *peer = NULL;
    if (!weft__server_admit(s, fd, &peer)) {
        weft__server_count_refused(s);
        weft__fd_close(w->loop, fd, true);
        return 0;
    }
    weft__server_count_live(w);
    w->behind = w->took_ns == w->loop->now_ns;
    w->took_ns = w->loop->now_ns;
    bool task = s->options.model != WEFT_PROTOCOLS || s->proxies != NULL;
    int err = task ? start_task(w, fd, peer)
              : s->tls != NULL
                  ? start_secured(w, fd, peer)
                  : weft__transport_open(&w->conns, w->factory, fd, s->family, w, peer, true);
    if (err < 0) {
        weft__server_count_ended(w);
        weft__server_dismiss(s, peer);
        weft__fd_close(w->loop, fd, true);
    }
    return err;
}

/* --- Handing over: an endpoint that cannot be listened on twice ------------------------------- */

struct handoff {
    struct weft__remote remote;
    struct weft__worker *to;
    int fd;
};

static void handed(struct weft__remote *r)
{
    struct handoff *h = WEFT__CONTAINER_OF(r, struct handoff, remote);
    struct weft__worker *w = h->to;
    atomic_fetch_sub(&w->live, 1); /* counted on the way, so that shares stay even */
    (void)start_connection(w, h->fd);
    weft__free(h);
    weft__worker_check(w);
}

/* The worker with the fewest connections; itself when that is as good. */
static int spread(struct weft__worker *w, int fd)
{
    struct weft_server *s = w->server;
    struct handoff *h = NULL;
    struct weft__worker *to = w;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->n_workers; i++) {
        struct weft__worker *other = &s->workers[i];
        if (other->running && atomic_load(&other->live) < atomic_load(&to->live))
            to = other;
    }
    if (to != w && (h = weft__alloc(sizeof *h)) != NULL) {
        *h = (struct handoff){.remote = {.fn = handed}, .to = to, .fd = fd};
        atomic_fetch_add(&to->live, 1);
        w->loop->sys->driver->forget(w->loop->sys, fd, false);
        weft__loop_remote(to->loop, &h->remote); /* under the lock: it runs, so its loop is there */
    }
    pthread_mutex_unlock(&s->lock);
    return h != NULL ? 0 : start_connection(w, fd);
}

/* --- Accepting -------------------------------------------------------------------------------- */

bool weft__accept_exhausted(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM ||
           err == -EAGAIN || err == WEFT_ELIMIT;
}

/* What ended in the queue, and what accept(2) reports of the network. */
bool weft__accept_passing(int err)
{
    return err == -ECONNABORTED || err == -EINTR || err == -EPROTO || err == -ENETDOWN ||
           err == -EPERM || err == -ETIMEDOUT || err == -EHOSTUNREACH || err == -ENETUNREACH ||
           err == -EHOSTDOWN || err == -ENONET;
}

static void retry(struct weft__alarm *a)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(a, struct weft__worker, retry);
    weft__worker_resume(w);
}

static void back_off(struct weft__worker *w, int err)
{
    struct weft_server *s = w->server;
    if (atomic_fetch_add(&s->backoffs, 1) == 0)
        weft__log_printf(&w->loop->log, WEFT_LOG_WARNING, "%s: accepting pauses: %s", s->endpoint,
                         weft_error_text(err));
    w->backoff_ns =
        weft__min_i64(weft__max_i64(2 * w->backoff_ns, BACKOFF_FIRST_NS), BACKOFF_MAX_NS);
    weft__loop_alarm_del(w->loop, &w->retry);
    weft__loop_alarm(w->loop, &w->retry, w->loop->now_ns + w->backoff_ns);
}

/* How many more may be taken now. */
static size_t room(const struct weft__worker *w)
{
    size_t live = atomic_load_explicit(&w->live, memory_order_relaxed);
    return live < w->max_connections ? w->max_connections - live : 0;
}

/* The same, for the driver: of those whose number others change, one at a time. */
static size_t welcome(const struct weft__worker *w)
{
    return w->server->spreads ? 1 : room(w);
}

/* While handshakes wait, one connection a turn is taken up: more would hold up the live ones, only
 * to wait behind those handshakes. */
static uint8_t pace(const struct weft__worker *w)
{
    bool behind = w->server->tls != NULL && weft__loop_later_any(w->loop);
    return behind ? WEFT__OP_MULTI | WEFT__OP_SLOWLY : WEFT__OP_MULTI;
}

static int accepted(struct weft__worker *w, int res)
{
    if (res >= 0) {
        w->backoff_ns = 0;
        return w->server->spreads ? spread(w, res) : start_connection(w, res);
    }
    return weft__accept_passing(res) ? 0 : res;
}

static void accept_done(struct weft__op *op)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(op, struct weft__worker, accept);
    bool more = op->more;
    int err = op->res == -ECANCELED ? 0 : accepted(w, op->res);
    if (err < 0) {
        if (!weft__accept_exhausted(err))
            weft__log_printf(&w->loop->log, WEFT_LOG_ERROR, "%s: accept failed: %s",
                             w->server->endpoint, weft_error_text(err));
        back_off(w, err);
    }
    op->u.accept.room = welcome(w);
    op->flags = pace(w);
    if (more && (err < 0 || room(w) == 0) && !w->pausing) {
        w->pausing = true;
        weft__sys_cancel(w->loop->sys, op);
    }
    if (more)
        return;
    w->accepting = false;
    w->pausing = false;
    if (w->stopping)
        weft__worker_stopped(w);
    else if (err == 0)
        accept_more(w);
}

/* Accepts as long as there is room, WEFT__ACCEPT_ROUND connections a turn. */
static void accept_more(struct weft__worker *w)
{
    if (w->accepting || w->stopping || room(w) == 0 || weft__timer_linked(&w->retry.timer))
        return;
    w->accept = (struct weft__op){
        .kind = WEFT__OP_ACCEPT, .flags = pace(w), .done = accept_done, .fd = w->fd};
    w->accept.u.accept.room = welcome(w);
    w->accepting = !weft__sys_submit(w->loop->sys, &w->accept);
    if (!w->accepting) /* what it could not begin with; connections come from the wait */
        back_off(w, w->accept.res);
}

/* --- Time limits
 * -----------------------------------------------------------------------------------------------
 */

static bool over(uint32_t now, uint32_t since, int64_t limit_ms)
{
    /* The loop's milliseconds are 2^20 ns; the difference is right also when the counter wraps. */
    return limit_ms > 0 && (int64_t)(uint32_t)(now - since) * 1048576 >= limit_ms * 1000000;
}

static void sweep(struct weft__alarm *a);

/* What has the queue of joined writes: of a task's secured stream, the one at the bottom. */
static const struct weft_stream *bottom(const struct weft_stream *s)
{
    while (s->proto == NULL && s->cls->filter != NULL)
        s = s->cls->filter->lower((struct weft_stream *)(uintptr_t)s);
    return s;
}

static bool expired(const struct weft_server_options *o, const struct weft_stream *s, uint32_t now)
{
    const struct weft_stream *queue = bottom(s);
    if (!s->first_byte && over(now, s->active_ms, o->first_byte_ms))
        return true;
    if (over(now, s->active_ms, o->idle_ms) && over(now, queue->active_ms, o->idle_ms))
        return true;
    if (queue->out != NULL)
        return over(now, queue->sent_ms, o->write_ms);
    return s->proto == NULL && s->writer != NULL && over(now, s->sent_ms, o->write_ms);
}

static void expire(struct weft_stream *s)
{
    s->timed_out = true;
    if (s->proto != NULL) {
        weft_transport_abort(s, -ETIMEDOUT);
        return;
    }
    struct weft__flow *inside[2] = {s->reader, s->writer};
    for (int i = 0; i < 2; i++)
        if (inside[i] != NULL && inside[i]->wait != NULL)
            weft__wait_abort(inside[i]->wait, -ECANCELED);
}

static struct weft_stream *stream_of(struct weft__member *m)
{
    if (m->cls == &weft__transport_class)
        return &WEFT__CONTAINER_OF(m, struct weft__transport, member)->s;
    struct weft__flow *f = WEFT__CONTAINER_OF(m, struct weft__flow, member);
    struct weft__conn *c = f->arg;
    return f->fn == conn_main && c->stream != NULL && c->stream->conn == c ? c->stream : NULL;
}

static void arm_sweep(struct weft__worker *w)
{
    const struct weft_server_options *o = &w->server->options;
    int64_t shortest = INT64_MAX;
    const int64_t limits[] = {o->first_byte_ms, o->idle_ms, o->write_ms,
                              w->parking != NULL ? w->parking->idle_ms : 0};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(limits); i++)
        if (limits[i] > 0)
            shortest = weft__min_i64(shortest, limits[i]);
    if (shortest == INT64_MAX)
        return;
    w->sweep.fn = sweep;
    weft__loop_alarm(w->loop, &w->sweep,
                     w->loop->now_ns + weft__max_i64(shortest / 8, SWEEP_MIN_MS) * 1000000);
}

#define PARK_LOOK_NS INT64_C(50000000)

/* Parked connections, in a drain: what has just been busy is looked at again. */
static bool drain_parked(struct weft__worker *w)
{
    if (weft__park_drain(w))
        return false;
    weft__loop_alarm_del(w->loop, &w->sweep);
    weft__loop_alarm(w->loop, &w->sweep, w->loop->now_ns + PARK_LOOK_NS);
    return true;
}

void weft__worker_sweep_again(struct weft__worker *w)
{
    w->sweep.fn = sweep;
    if (w->stopping && drain_parked(w))
        return;
    weft__loop_alarm_del(w->loop, &w->sweep);
    arm_sweep(w);
}

static void sweep(struct weft__alarm *a)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(a, struct weft__worker, sweep);
    const struct weft_server_options *o = &w->server->options;
    uint32_t now = weft__loop_ms(w->loop);
    WEFT__LIST_EACH(&w->conns.members, n) {
        struct weft_stream *s = stream_of(WEFT__CONTAINER_OF(n, struct weft__member, link));
        if (s == NULL || s->timed_out)
            continue;
        if (expired(o, s, now))
            expire(s);
        else if (weft__is_parked(w, s) && s->out == NULL &&
                 over(now, s->active_ms, w->parking->idle_ms))
            weft_transport_close(s);
    }
    if (!w->stopping || !drain_parked(w))
        arm_sweep(w);
}

/* --- Begin and end of accepting --------------------------------------------------------------- */

void weft__worker_begin(struct weft__worker *w)
{
    w->retry.fn = retry;
    arm_sweep(w);
    if (w->fd >= 0)
        accept_more(w);
}

void weft__worker_take_rest(struct weft__worker *w)
{
    int fd, left = w->server->options.backlog; /* see take_rest in server_threads.c */
    while (left-- > 0 && room(w) > 0 && (fd = weft__call_accept_now(w->fd)) >= 0)
        if (accepted(w, fd) < 0)
            return;
}
