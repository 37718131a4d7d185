/* SPDX-License-Identifier: MIT */
/*
 * Clients in callback mode: connect a protocol once, or again and again (Twisted's
 * ReconnectingClientFactory).
 *
 * Floor 4. Both are one state machine: connecting, connected, waiting, over. It is a member of its
 * group. What dials is a short-lived task, another member, so that a callback's client goes the
 * same way as everyone: names, addresses, proxies, TLS. The connection is a third one. Invariant:
 * at most one of task, alarm and connection is under way, but for the alarm by which a task tells
 * its end; `over` frees the machine from a turn of its own, with none of them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weft/random.h>

#include "base/alloc.h"
#include "dial/dial.h"
#include "net/transport.h"
#include "rt/printer.h"

#define FIRST_MS 100
#define FACTOR 2.0
#define MAX_MS 30000
#define JITTER 0.2
#define CONNECT_MS 10000
#define STEADY_MS 1000
#define QUEUE_MAX 65536u

/* What was sent while there was no connection. */
struct waiting {
    struct weft__node link;
    size_t len;
    char data[];
};

enum state { CONNECTING, CONNECTED, WAITING, OVER };

struct weft_reconnector {
    struct weft__member member;
    struct weft__attached attached; /* freed with the group: the handle is borrowed */
    struct weft_loop *loop;
    struct weft_group *group;
    struct weft_factory factory;          /* with `watched` around the user's protocol */
    const struct weft_protocol *protocol; /* the user's */
    void *factory_arg;
    struct weft_protocol watched;
    struct weft_reconnect_options options;
    struct weft__plan *plan;
    struct weft__alarm alarm;
    enum state state;
    struct weft_task *task; /* that dials; NULL: none */
    bool dialled;           /* ... and is done, with: */
    struct weft_stream *stream;
    int error;
    char detail[sizeof(struct weft__detail)]; /* of the last error, as users' calls forget it */
    struct weft_stream *live; /* the connection, from made to lost, or until it was given away */
    struct weft__list queue;  /* struct waiting */
    size_t queued;            /* its bytes */
    bool once;
    bool stop;
    bool canceled;
    int retries;
    int64_t delay_ms;
    int64_t up_ns; /* when the connection was made */
    int result;
    uint64_t random;
};

static void attempt(struct weft_reconnector *r);
static void attached_free(struct weft__attached *a);

/* Also between two steps of a loop that another one drives. */
static void tell_loop(const struct weft_reconnector *r)
{
    if (!r->loop->in_turn)
        weft__loop_arm_embedding(r->loop);
}

/* Has fired look at the state then, and no earlier. */
static void look_at(struct weft_reconnector *r, int64_t when_ns)
{
    weft__loop_alarm_del(r->loop, &r->alarm);
    weft__loop_alarm(r->loop, &r->alarm, when_ns);
    tell_loop(r);
}

static void over(struct weft_reconnector *r, int result)
{
    r->state = OVER;
    r->result = result;
    look_at(r, 0); /* leaves in the next turn, outside all callbacks */
}

static void note(struct weft_reconnector *r, const char *detail)
{
    (void)snprintf(r->detail, sizeof r->detail, "%s", detail);
}

static double next_random(struct weft_reconnector *r)
{
    r->random ^= r->random << 13; /* xorshift64: jitter needs no more */
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return (double)(r->random >> 11) / 9007199254740992.0;
}

/* At least one; what no int64_t can say saturates. */
static int64_t to_ms(double ms)
{
    return ms < (double)INT64_MAX ? weft__max_i64((int64_t)ms, 1) : INT64_MAX;
}

static void tell(struct weft_reconnector *r, bool connected, int error, int64_t delay_ms)
{
    if (r->options.state != NULL)
        r->options.state(r->options.state_arg, connected, error, delay_ms);
}

/* The connection failed or was lost: again later, or never. All is settled before the user is told,
 * as that call may stop or cancel it, or send. */
static void down(struct weft_reconnector *r, int error)
{
    const struct weft_reconnect_options *o = &r->options;
    if (r->once || r->stop || r->canceled) {
        over(r, 0); /* the error was told to lost */
        return;
    }
    if (o->max_retries > 0 && r->retries >= o->max_retries) {
        over(r, error < 0 ? error : -ECONNRESET);
        tell(r, false, error, -1);
        return;
    }
    r->retries++;
    double wide = o->jitter * (2 * next_random(r) - 1);
    int64_t delay = to_ms((double)r->delay_ms * (1 + wide));
    r->delay_ms = weft__min_i64(to_ms((double)r->delay_ms * o->factor), o->max_ms);
    r->state = WAITING;
    look_at(r, weft_after_ms(delay).ns);
    tell(r, false, error, delay);
}

/* --- The user's protocol, watched ------------------------------------------------------------- */

/* What has waited goes out, as far as it fits behind what made has written. The rest waits on: for
 * room, for a handshake that made has begun, or, if made has closed it, for the next connection. */
static int flush_queue(struct weft_reconnector *r, struct weft_stream *t)
{
    struct weft__node *node;
    while (!t->detached && (node = weft__list_first(&r->queue)) != NULL) {
        struct waiting *w = WEFT__CONTAINER_OF(node, struct waiting, link);
        weft__list_remove(node); /* `paused`, which the write may call, may send */
        int err = weft_transport_write(t, w->data, w->len);
        if (err < 0)
            weft__list_push_front(&r->queue, node);
        if (err == -ENOBUFS || err == -EBUSY || err == WEFT_ECLOSED) {
            weft__error_detail_clear();
            return 0;
        }
        if (err < 0)
            return err;
        r->queued -= w->len;
        weft__free(w);
    }
    return 0;
}

static int watched_made(struct weft_stream *t, void *arg)
{
    struct weft_reconnector *r = arg;
    r->up_ns = weft_now_ns();
    tell(r, true, 0, 0);
    r->live = t; /* not before that call: what it sends goes behind what made writes */
    int err = r->protocol->made != NULL ? r->protocol->made(t, r->factory_arg) : 0;
    return err < 0 ? err : flush_queue(r, t);
}

static void room(struct weft_stream *t)
{
    struct weft_reconnector *r = t->shared->factory.arg;
    int err = r->live == t ? flush_queue(r, t) : 0;
    if (err < 0)
        weft_transport_abort(t, err);
}

static void watched_lost(struct weft_stream *t, int error, void *conn)
{
    struct weft__factory_ref *ref = t->shared;
    struct weft_reconnector *r = ref->factory.arg;
    const struct weft__transport_extra *x = weft__transport_of(t)->extra;
    note(r, x != NULL && x->why != NULL ? x->why : "");
    r->live = NULL;
    r->state = WAITING; /* which is what a call within lost has to find */
    if (r->protocol->lost != NULL)
        r->protocol->lost(t, error, conn);
    if ((weft_now_ns() - r->up_ns) / 1000000 >= r->options.steady_ms) {
        r->delay_ms = r->options.first_ms;
        r->retries = 0;
    }
    down(r, error);
}

/* The user has detached the connection. It goes on, and nobody will tell when it ends: the client
 * has done what it was for. */
static void given(struct weft__factory_ref *ref)
{
    struct weft_reconnector *r = ref->factory.arg;
    r->live = NULL;
    over(r, 0);
}

/* --- Connecting ------------------------------------------------------------------------------- */

static void failed(struct weft_reconnector *r, int error)
{
    (void)weft__fail(error, "%s", r->detail); /* for whom it is told to */
    if (r->once && r->protocol->lost != NULL)
        r->protocol->lost(NULL, error, r->factory_arg);
    down(r, error);
}

/* In its own task; the alarm takes it from there, as a callback. */
static int dial_main(void *arg)
{
    struct weft_reconnector *r = *(struct weft_reconnector **)arg;
    r->error = weft__plan_dial(r->plan, &r->stream, weft_after_ms(r->options.connect_ms));
    note(r, r->error < 0 ? weft_error_detail() : "");
    r->dialled = true;
    look_at(r, 0);
    return 0;
}

static void attempt(struct weft_reconnector *r)
{
    r->state = CONNECTING;
    r->dialled = false;
    int err = weft__task_spawn(r->group,
                               &(struct weft__spawn){.fn = dial_main,
                                                     .arg = &r,
                                                     .copy = sizeof r,
                                                     .name = "dial",
                                                     .site = r->plan->text,
                                                     .keep_errors = true},
                               &r->task);
    if (err < 0) {
        note(r, weft_error_text(err));
        failed(r, err);
    }
}

/* A cancel came between the connection and its first callback. */
static void unmade(struct weft__factory_ref *ref, int error)
{
    struct weft_reconnector *r = ref->factory.arg;
    r->state = CONNECTING;
    failed(r, error);
}

static int start_protocol(struct weft_reconnector *r)
{
    struct weft__factory_ref *ref = NULL;
    struct weft__transport *t = NULL;
    int err = weft__factory_ref_new(&ref, &r->factory);
    if (err < 0)
        return err;
    ref->unmade = unmade;
    ref->given = given;
    ref->room = room;
    err = weft__transport_attach(&t, &r->stream, r->group, ref, NULL, NULL);
    weft__factory_unref(ref); /* the transport has its own */
    if (err == 0)
        weft__transport_later(t);
    return err;
}

/* The task that dials is done. */
static void dialled(struct weft_reconnector *r)
{
    int err = r->error;
    weft_task_release(&r->task);
    if (err == 0 && (r->canceled || r->stop))
        err = -ECANCELED;
    r->state = err == 0 ? CONNECTED : CONNECTING;
    if (err == 0) {
        err = start_protocol(r);
        if (err < 0)
            note(r, weft_error_detail());
    }
    if (err == 0)
        return;
    if (r->stream != NULL)
        weft__stream_end(&r->stream, true);
    r->state = CONNECTING;
    failed(r, err);
}

static void leave(struct weft_reconnector *r)
{
    if (r->result < 0)
        (void)weft__fail(r->result, "%s", r->detail);
    weft__group_leave(&r->member, r->result, false);
    if (r->once) { /* nobody holds a handle; others go with their group */
        weft__list_remove(&r->attached.link);
        attached_free(&r->attached);
    }
}

static void fired(struct weft__alarm *a)
{
    struct weft_reconnector *r = WEFT__CONTAINER_OF(a, struct weft_reconnector, alarm);
    switch (r->state) {
    case OVER:
        leave(r);
        break;
    case CONNECTING:
        if (r->task == NULL && (r->canceled || r->stop))
            failed(r, -ECANCELED);
        else if (r->task == NULL)
            attempt(r);
        else if (r->dialled)
            dialled(r);
        else if (r->canceled || r->stop)
            weft_task_cancel(r->task);
        break;
    case WAITING:
        if (r->canceled || r->stop)
            over(r, 0);
        else
            attempt(r);
        break;
    case CONNECTED:
        break;
    }
}

/* Has fired look at the state again, now. */
static void poke(struct weft_reconnector *r)
{
    if (r->state == CONNECTED || r->state == OVER)
        return;
    look_at(r, 0);
}

static void cancel(struct weft__member *m, struct weft__queue *more)
{
    struct weft_reconnector *r = WEFT__CONTAINER_OF(m, struct weft_reconnector, member);
    (void)more;
    r->canceled = true;
    poke(r);
}

static void tree(struct weft__member *m, struct weft__printer *p)
{
    static const char *const names[] = {"connecting", "connected", "waiting", "over"};
    struct weft_reconnector *r = WEFT__CONTAINER_OF(m, struct weft_reconnector, member);
    weft__print(p, "client %s, %s, %d retries", r->plan->text, names[r->state], r->retries);
}

static const struct weft__member_class client_class = {
    .kind = "client",
    .cancel = cancel,
    .tree = tree,
};

/* --- Opening
 * ---------------------------------------------------------------------------------------------------
 */

static void attached_free(struct weft__attached *a)
{
    struct weft_reconnector *r = WEFT__CONTAINER_OF(a, struct weft_reconnector, attached);
    struct weft__node *node;
    while ((node = weft__list_pop_front(&r->queue)) != NULL)
        weft__free(WEFT__CONTAINER_OF(node, struct waiting, link));
    weft__plan_free(r->plan);
    weft__free(r);
}

static void defaults(struct weft_reconnect_options *o)
{
    if (o->first_ms <= 0)
        o->first_ms = FIRST_MS;
    if (!(o->factor >= 1))
        o->factor = FACTOR;
    if (o->max_ms <= 0)
        o->max_ms = MAX_MS;
    if (o->jitter == 0)
        o->jitter = JITTER;
    if (!(o->jitter > 0)) /* none, or no number */
        o->jitter = 0;
    if (o->jitter > 1)
        o->jitter = 1;
    if (o->connect_ms <= 0)
        o->connect_ms = CONNECT_MS;
    if (o->steady_ms <= 0)
        o->steady_ms = STEADY_MS;
    if (o->queue_max == 0)
        o->queue_max = QUEUE_MAX;
    o->dial = NULL; /* the caller's, and read by then */
}

static int client_open(struct weft_reconnector **ret, struct weft_group *g, const char *endpoint,
                       const struct weft_dial_options *dial, const struct weft_reconnect_options *o,
                       const struct weft_factory *f, bool once)
{
    if (g->loop == NULL || !pthread_equal(g->loop->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "a protocol's client needs a group of this thread's loop");
    if (f == NULL || f->protocol == NULL || f->protocol->data == NULL)
        return weft__fail(-EINVAL, "a factory needs a protocol with a data callback");
    struct weft_reconnector *r = weft__calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->loop = g->loop;
    r->group = g;
    r->once = once;
    if (o != NULL)
        r->options = *o;
    defaults(&r->options);
    r->delay_ms = r->options.first_ms;
    r->random = weft_random_u64() | 1; /* 0 would stay 0 */
    r->protocol = f->protocol;
    r->factory_arg = f->arg;
    r->watched = *f->protocol;
    r->watched.made = watched_made;
    r->watched.lost = watched_lost;
    r->factory = *f;
    r->factory.protocol = &r->watched;
    r->factory.arg = r;
    weft__list_init(&r->queue);
    int err = weft__plan_make(&r->plan, endpoint, dial);
    if (err == 0)
        err = weft__group_enter(g, &r->member, &client_class);
    if (err < 0) {
        weft__plan_free(r->plan);
        weft__free(r);
        return err;
    }
    r->attached.free = attached_free;
    weft__group_attach(g, &r->attached);
    r->alarm.fn = fired;
    r->state = CONNECTING;
    look_at(r, 0);
    if (ret != NULL)
        *ret = r;
    return 0;
}

int weft_protocol_dial(struct weft_group *g, const char *endpoint,
                       const struct weft_dial_options *o, const struct weft_factory *f,
                       int64_t timeout_ms)
{
    struct weft_reconnect_options options = {.connect_ms = timeout_ms};
    return client_open(NULL, g, endpoint, o, &options, f, true);
}

int weft_reconnector_open(struct weft_reconnector **ret, struct weft_group *g, const char *endpoint,
                          const struct weft_reconnect_options *o, const struct weft_factory *f)
{
    return client_open(ret, g, endpoint, o != NULL ? o->dial : NULL, o, f, false);
}

void weft_reconnector_stop(struct weft_reconnector *r)
{
    r->stop = true;
    poke(r);
}

int weft_reconnector_send(struct weft_reconnector *r, const void *buf, size_t len)
{
    bool last = r->canceled || (r->stop && r->state != CONNECTED);
    if (r->state == OVER || last || (r->live != NULL && r->live->detached))
        return WEFT_ECLOSED;
    size_t max = weft__factory_write_max(&r->factory);
    if (len > max)
        return weft__fail(-ENOBUFS, "%zu bytes are more than a write may be, which is %zu", len,
                          max);
    if (r->live != NULL && weft__list_empty(&r->queue)) {
        int err = weft_transport_write(r->live, buf, len);
        tell_loop(r);
        return err;
    }
    if (len > r->options.queue_max - r->queued)
        return weft__fail(-ENOBUFS, "%s is not connected, and %zu bytes wait for it already",
                          r->plan->text, r->queued);
    struct waiting *w = weft__alloc(sizeof *w + len);
    if (w == NULL)
        return -ENOMEM;
    w->link = (struct weft__node){NULL, NULL};
    w->len = len;
    memcpy(w->data, buf, len);
    weft__list_push_back(&r->queue, &w->link);
    r->queued += len;
    return 0;
}
