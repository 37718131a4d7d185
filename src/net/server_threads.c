/* SPDX-License-Identifier: MIT */
/*
 * The thread model: accepting threads, a thread for each connection, and one that supervises both.
 *
 * Floor 3. It is a program in blocking style on the library's own groups. Invariant: the threads of
 * connections are cancelled by hand only, after the drain, so that a cancel of the server lets
 * them finish.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/server.h"
#include "sys/call.h"

#define BACKOFF_FIRST_MS 10
#define BACKOFF_MAX_MS 1000

static int conn_main(void *arg)
{
    struct weft__conn *c = arg;
    struct weft_server *s = c->worker->server;
    char slot;
    c->stream->conn = c;
    weft__conn_serve(c);
    int err = weft_channel_recv_nowait(s->slots, &slot);
    (void)err;                                /* its own place, which is there */
    if (atomic_load(&c->worker->error) < 0) { /* WEFT_ERRORS_STOP */
        pthread_mutex_lock(&s->lock);
        if (s->acceptors != NULL)
            weft_group_cancel(s->acceptors);
        pthread_mutex_unlock(&s->lock);
    }
    return 0;
}

#define REFUSED 1 /* by max_per_peer */

/* Takes fd in any case; the place only when the connection was started (0). */
static int start_connection(struct weft_server *s, int fd)
{
    struct weft__worker *w = &s->workers[0];
    struct weft__conn c = {.worker = w};
    if (!weft__server_admit(s, fd, &c.peer)) {
        weft__server_count_refused(s);
        weft__fd_close(NULL, fd, true);
        return REFUSED;
    }
    weft__server_count_live(w);
    int err = weft__fd_stream_open(&c.stream, fd, s->family, s->options.write_buffer);
    if (err < 0) {
        weft__fd_close(NULL, fd, true);
        goto fail;
    }
    c.stream->counters = &w->counters;
    err = weft__thread_spawn(s->threads,
                             &(struct weft__spawn){.fn = conn_main,
                                                   .arg = &c,
                                                   .copy = sizeof c,
                                                   .name = "connection",
                                                   .site = s->endpoint,
                                                   .keep_errors = true},
                             NULL);
    if (err == 0)
        return 0;
    weft__stream_free(c.stream, true);
fail:
    weft__server_count_ended(w);
    weft__server_dismiss(s, c.peer);
    return err;
}

static int accept_one(struct weft_server *s)
{
    struct weft__io io;
    io.op = (struct weft__op){.kind = WEFT__OP_ACCEPT, .fd = s->listen_fd};
    int fd = weft__await(&io, "accept", WEFT_NEVER);
    return fd < 0 ? fd : start_connection(s, fd);
}

static int accept_main(void *arg)
{
    struct weft_server *s = arg;
    int64_t pause_ms = 0;
    char slot = 0;
    for (;;) {
        int err = weft_channel_send(s->slots, &slot, WEFT_NEVER); /* a place for one more */
        if (err < 0)
            return err;
        err = accept_one(s);
        if (err == 0) {
            pause_ms = 0;
            continue;
        }
        int back = weft_channel_recv_nowait(s->slots, &slot); /* not used */
        (void)back;
        if (err == -ECANCELED)
            return err;
        if (err == REFUSED || weft__accept_passing(err))
            continue;
        /* Out of descriptors, threads or memory: what ends meanwhile brings some back. */
        atomic_fetch_add(&s->backoffs, 1);
        pause_ms = weft__min_i64(weft__max_i64(2 * pause_ms, BACKOFF_FIRST_MS), BACKOFF_MAX_MS);
        err = weft_sleep_ms(pause_ms);
        if (err < 0)
            return err;
    }
}

/* At most a backlog of them: a peer that connects as fast as this accepts must not hold it here. */
static void take_rest(struct weft_server *s)
{
    char slot = 0;
    int left = s->options.backlog;
    while (left-- > 0 && weft_channel_send_nowait(s->slots, &slot) == 0) {
        int fd = weft__call_accept_now(s->listen_fd);
        int err = fd < 0 ? fd : start_connection(s, fd);
        if (err == 0)
            continue;
        int back = weft_channel_recv_nowait(s->slots, &slot);
        (void)back;
        if (err < 0)
            return;
    }
}

/* Serves what has come; see worker_life.c. */
static void stop_accepting(struct weft_server *s, weft_deadline until)
{
    bool tcp = weft__endpoint_is_tcp(&s->at);
    if (s->at.kind == WEFT_ENDPOINT_FD || weft__call_set_nonblock(s->listen_fd, true) < 0)
        return;
    weft__socket_no_more(s->listen_fd, tcp);
    take_rest(s);
    weft_shield(2 * WEFT__HANDSHAKE_MS); /* of a server that is cancelled, too */
    for (int64_t ms = 1; tcp && ms < WEFT__HANDSHAKE_MS && weft_left_ns(until) > 0; ms *= 2) {
        int64_t next = weft_after_ms(ms).ns;
        if (weft_sleep_until((weft_deadline){weft__min_i64(next, until.ns)}) < 0)
            break;
        take_rest(s);
    }
    weft_unshield();
}

static weft_deadline drain_until(struct weft_server *s)
{
    int64_t ms = s->options.drain_ms;
    if (atomic_load(&s->workers[0].error) < 0)
        return WEFT_NOW;
    if (atomic_exchange(&s->draining, true))
        return (weft_deadline){atomic_load(&s->drain_until_ns)};
    return ms > 0 ? weft_after_ms(ms) : WEFT_NOW;
}

static void drain(struct weft_server *s, weft_deadline until)
{
    int64_t left_ms =
        until.ns == INT64_MAX ? INT64_MAX / 4000000 : weft_left_ns(until) / 1000000 + 1;
    weft_shield(left_ms); /* the server may be cancelled: its connections still have their time */
    int err = weft_group_wait(s->threads, until);
    weft_unshield();
    if (err < 0) {
        pthread_mutex_lock(&s->lock);
        s->cut_off = true;
        pthread_mutex_unlock(&s->lock);
    }
    (void)weft_group_close(&s->threads);
}

static void stop_listening(struct weft_server *s)
{
    if (s->listen_fd < 0)
        return;
    weft__call_close(s->listen_fd);
    s->listen_fd = -1;
    weft__unix_file_remove(&s->file, &s->at);
}

static int start_acceptors(struct weft_server *s)
{
    int n = s->options.workers > 0 ? s->options.workers : 1;
    int err = 0;
    for (int i = 0; i < n && err == 0; i++)
        err = weft_group_go(s->acceptors, "accept", accept_main, s);
    return err;
}

static int supervise(void *arg)
{
    struct weft_server *s = arg;
    struct weft__worker *w = &s->workers[0];
    struct weft_group *acceptors = NULL;
    int err = weft_group_open(&s->threads);
    if (err == 0)
        err = weft_group_open(&acceptors);
    if (err < 0)
        goto out;
    s->threads->by_hand = true;
    pthread_mutex_lock(&s->lock);
    s->acceptors = acceptors;
    bool run = !atomic_load(&s->draining);
    pthread_mutex_unlock(&s->lock);
    if (run)
        err = start_acceptors(s);
    if (err == 0)
        err = weft_group_wait(acceptors, WEFT_NEVER); /* until an error, a drain or a cancel */
    pthread_mutex_lock(&s->lock);
    s->acceptors = NULL;
    pthread_mutex_unlock(&s->lock);
    (void)weft_group_close(&acceptors);
    weft_deadline until = drain_until(s);
    stop_accepting(s, until);
    stop_listening(s);
    drain(s, until);
out:
    stop_listening(s);
    if (atomic_load(&w->error) < 0)
        err = atomic_load(&w->error);
    (void)weft_group_close(&s->threads);
    weft__server_worker_gone(w);
    return err == -ECANCELED ? 0 : err;
}

int weft__server_threads_start(struct weft_server *s)
{
    s->listen_fd = s->workers[0].fd;
    s->workers[0].fd = -1;
    int err = weft_channel_open_mt(&s->slots, 1, (size_t)s->options.max_connections);
    if (err < 0)
        return err;
    return weft__thread_spawn(
        s->group,
        &(struct weft__spawn){.fn = supervise, .arg = s, .name = "server", .site = s->endpoint},
        NULL);
}
