/* SPDX-License-Identifier: MIT */
/*
 * The life of a worker on a loop: start, drain, cut-off, end.
 *
 * Floor 3. The order at the end: no more accepting (what the kernel has taken is served first),
 * then the drain's time, then a cancel of what is left, then the worker leaves its group.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/server.h"
#include "sys/call.h"

static void conns_emptied(struct weft_group *g)
{
    weft__worker_check(WEFT__CONTAINER_OF(g, struct weft__worker, conns));
}

static void leave(struct weft__run *r)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(r, struct weft__worker, leaving);
    struct weft__member m = w->member;
    int error = w->error;
    pthread_mutex_lock(&w->server->lock);
    bool busy = w->conns.live > 0 || !w->stopped || atomic_load(&w->live) > 0;
    if (!busy)
        w->running = false; /* from now on nothing is handed to it */
    pthread_mutex_unlock(&w->server->lock);
    if (busy) { /* something was handed over meanwhile, or is on its way */
        w->left = false;
        return;
    }
    weft__loop_alarm_del(w->loop, &w->retry);
    weft__loop_alarm_del(w->loop, &w->sweep);
    weft__loop_alarm_del(w->loop, &w->cut);
    weft__loop_alarm_del(w->loop, &w->late);
    weft__group_fini(&w->conns);
    weft__factory_unref(w->factory);
    weft__factory_unref(w->parked);
    w->factory = w->parked = NULL;
    weft__list_remove(&w->member.link);
    weft__server_worker_gone(w);
    m.link = (struct weft__node){NULL, NULL};
    weft__group_leave(&m, error, false);
}

void weft__worker_check(struct weft__worker *w)
{
    if (!w->stopped || w->conns.live > 0 || w->left || atomic_load(&w->live) > 0)
        return;
    w->left = true;
    w->leaving.fn = leave;
    weft__loop_ready(w->loop, &w->leaving);
}

static void stop_listening(struct weft__worker *w)
{
    if (w->fd >= 0) {
        weft__sys_close_fd(w->loop->sys, w->fd);
        w->fd = -1;
        if (w->index == 0)
            weft__unix_file_remove(&w->server->file, &w->server->at);
    }
    w->stopped = true;
    weft__worker_check(w);
}

static void take_late(struct weft__alarm *a);

/* Not beyond the drain's end. */
static void arm_late(struct weft__worker *w)
{
    w->late.fn = take_late;
    weft__loop_alarm(w->loop, &w->late, weft__min_i64(w->loop->now_ns + w->late_ns, w->cut_at));
}

static void take_late(struct weft__alarm *a)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(a, struct weft__worker, late);
    weft__worker_take_rest(w);
    w->late_ns *= 2;
    if (w->late_ns < WEFT__HANDSHAKE_MS * INT64_C(1000000) && w->loop->now_ns < w->cut_at)
        arm_late(w);
    else
        stop_listening(w);
}

/* Serves what has come while the accept operation was being cancelled, then closes the listener. An
 * inherited one goes on elsewhere, with its queue. */
void weft__worker_stopped(struct weft__worker *w)
{
    const struct weft_endpoint *at = &w->server->at;
    bool tcp = weft__endpoint_is_tcp(at);
    if (w->late_ns > 0)
        return;
    if (w->fd >= 0 && at->kind != WEFT_ENDPOINT_FD && weft__call_set_nonblock(w->fd, true) == 0) {
        weft__socket_no_more(w->fd, tcp);
        weft__worker_take_rest(w);
        if (tcp && w->loop->now_ns < w->cut_at) {
            w->late_ns = 1000000;
            arm_late(w);
            return;
        }
    }
    stop_listening(w);
}

static void cut(struct weft__alarm *a)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(a, struct weft__worker, cut);
    if (w->conns.live > 0) {
        pthread_mutex_lock(&w->server->lock);
        w->server->cut_off = true;
        pthread_mutex_unlock(&w->server->lock);
    }
    weft_group_cancel(&w->conns);
    weft__worker_check(w);
}

void weft__worker_drain(struct weft__worker *w, int64_t until_ns)
{
    if (w->cut_at == 0 || until_ns < w->cut_at) {
        weft__loop_alarm_del(w->loop, &w->cut);
        w->cut_at = weft__max_i64(until_ns, 1);
        w->cut.fn = cut;
        if (until_ns != INT64_MAX)
            weft__loop_alarm(w->loop, &w->cut, w->cut_at);
        if (weft__timer_linked(&w->late.timer)) {
            weft__loop_alarm_del(w->loop, &w->late);
            arm_late(w);
        }
    }
    if (w->stopping)
        return;
    w->stopping = true;
    atomic_store(&w->server->draining, true);
    weft__worker_sweep_again(w);
    if (!w->accepting)
        weft__worker_stopped(w);
    else if (!w->pausing) {
        w->pausing = true;
        weft__sys_cancel(w->loop->sys, &w->accept);
    }
}

/* A cancel of the group: connections go on for drain_ms. */
static void worker_cancel(struct weft__member *m, struct weft__queue *more)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(m, struct weft__worker, member);
    (void)more;
    int64_t ms = w->error < 0 ? 0 : w->server->options.drain_ms;
    weft__worker_drain(w, ms > 0 ? weft_after_ms(ms).ns : w->loop->now_ns);
}

const struct weft__member_class weft__worker_class = {
    .kind = "server",
    .cancel = worker_cancel,
    .tree = weft__tree_worker,
};

static void drain_posted(struct weft__remote *r)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(r, struct weft__worker, drain);
    atomic_store(&w->drain_posted, false);
    if (w->running)
        weft__worker_drain(w, atomic_load(&w->server->drain_until_ns));
}

void weft__worker_post_drain(struct weft__worker *w)
{
    if (!w->running || atomic_exchange(&w->drain_posted, true))
        return;
    w->drain.fn = drain_posted;
    weft__loop_remote(w->loop, &w->drain);
}

int weft__worker_start(struct weft__worker *w, struct weft_group *g)
{
    struct weft_server *s = w->server;
    struct weft_loop *l = weft_loop_current();
    int err;
    if (l == NULL)
        l = g->loop; /* called from outside, between two steps */
    w->loop = l;
    w->stopping = w->stopped = false;
    if (s->options.model == WEFT_PROTOCOLS) {
        err = weft__factory_ref_new(&w->factory, &s->factory);
        if (err < 0)
            return err;
    }
    err = weft__group_enter(g, &w->member, &weft__worker_class);
    if (err < 0) {
        weft__factory_unref(w->factory);
        w->factory = NULL;
        return err;
    }
    weft__group_init(&w->conns, &l->callback, l);
    w->conns.by_hand = true;
    w->conns.canceled = false; /* nor does one that came before it */
    w->conns.emptied = conns_emptied;
    pthread_mutex_lock(&s->lock);
    w->running = true;
    pthread_mutex_unlock(&s->lock);
    weft__worker_begin(w);
    if (atomic_load(&s->draining)) /* told before it ran */
        weft__worker_drain(w, atomic_load(&s->drain_until_ns));
    return 0;
}
