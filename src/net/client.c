/* SPDX-License-Identifier: MIT */
/*
 * Clients in callback mode: connect a protocol once, or again and again (Twisted's
 * ReconnectingClientFactory).
 *
 * Floor 3. Both are one state machine: connecting, connected, waiting, over. It is a member of its
 * group, and its connection is another. Invariant: at most one of operation, alarm and connection
 * is under way; `over` frees the machine from a turn of its own, with none of them.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <weft/random.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/dial.h"
#include "net/transport.h"
#include "rt/printer.h"

#define FIRST_MS 100
#define FACTOR 2.0
#define MAX_MS 30000
#define JITTER 0.2
#define CONNECT_MS 10000
#define STEADY_MS 1000

enum state { CONNECTING, CONNECTED, WAITING, OVER };

struct weft_reconnector {
    struct weft__member member;
    struct weft__attached attached; /* freed with the group: the handle is borrowed */
    struct weft_loop *loop;
    struct weft_group *group;
    struct weft__factory_ref *factory;    /* with `watched` around the user's protocol */
    const struct weft_protocol *protocol; /* the user's */
    void *factory_arg;
    struct weft_protocol watched;
    struct weft_reconnect_options options;
    struct weft__dial_how how;
    struct weft_address to;
    char text[WEFT_ENDPOINT_MAX];
    struct weft__op op;
    struct weft__alarm alarm;
    enum state state;
    int fd;
    bool once;
    bool stop;
    bool canceled;
    bool timed_out;
    bool busy; /* op is under way */
    int retries;
    int64_t delay_ms;
    int64_t up_ns; /* when the connection was made */
    int result;
    uint64_t random;
};

static void attempt(struct weft_reconnector *r);
static void attached_free(struct weft__attached *a);

static void over(struct weft_reconnector *r, int result)
{
    r->state = OVER;
    r->result = result;
    weft__loop_alarm_del(r->loop, &r->alarm);
    weft__loop_alarm(r->loop, &r->alarm, 0); /* leaves in the next turn, outside all callbacks */
}

static double next_random(struct weft_reconnector *r)
{
    r->random ^= r->random << 13; /* xorshift64: jitter needs no more */
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return (double)(r->random >> 11) / 9007199254740992.0;
}

static void tell(struct weft_reconnector *r, bool connected, int error, int64_t delay_ms)
{
    if (r->options.state != NULL)
        r->options.state(r->options.state_arg, connected, error, delay_ms);
}

/* The connection failed or was lost: again later, or never. */
static void down(struct weft_reconnector *r, int error)
{
    const struct weft_reconnect_options *o = &r->options;
    if (r->once || r->stop || r->canceled) {
        over(r, 0); /* the error was told to lost */
        return;
    }
    if (o->max_retries > 0 && r->retries >= o->max_retries) {
        tell(r, false, error, -1);
        over(r, error < 0 ? error : -ECONNRESET);
        return;
    }
    r->retries++;
    double wide = o->jitter * (2 * next_random(r) - 1);
    int64_t delay = (int64_t)((double)r->delay_ms * (1 + wide));
    delay = weft__max_i64(delay, 1);
    double grown = (double)r->delay_ms * o->factor;
    r->delay_ms = grown > (double)o->max_ms ? o->max_ms : (int64_t)grown;
    r->state = WAITING;
    tell(r, false, error, delay);
    if (r->state == WAITING && !r->canceled) /* the call may have stopped it */
        weft__loop_alarm(r->loop, &r->alarm, weft_after_ms(delay).ns);
}

/* --- The user's protocol, watched ------------------------------------------------------------- */

static int watched_made(struct weft_stream *t, void *arg)
{
    struct weft_reconnector *r = arg;
    r->up_ns = weft_now_ns();
    tell(r, true, 0, 0);
    return r->protocol->made != NULL ? r->protocol->made(t, r->factory_arg) : 0;
}

static void watched_lost(struct weft_stream *t, int error, void *conn)
{
    struct weft__factory_ref *ref = t->shared;
    struct weft_reconnector *r = ref->factory.arg;
    if (r->protocol->lost != NULL)
        r->protocol->lost(t, error, conn);
    if (r->state != CONNECTED)
        return;
    if (weft_now_ns() - r->up_ns >= r->options.steady_ms * 1000000) {
        r->delay_ms = r->options.first_ms;
        r->retries = 0;
    }
    if (r->once)
        over(r, 0); /* the connection itself tells the group */
    else
        down(r, error);
}

/* --- Connecting ------------------------------------------------------------------------------- */

static void failed(struct weft_reconnector *r, int error)
{
    if (r->fd >= 0)
        weft__fd_close(r->loop, r->fd, false);
    r->fd = -1;
    if (r->once && r->protocol->lost != NULL)
        r->protocol->lost(NULL, error, r->factory_arg);
    down(r, error);
}

static void connected(struct weft_reconnector *r)
{
    int fd = r->fd;
    int err = weft__dial_settle(fd, &r->how, &r->to);
    r->state = CONNECTED;
    if (err == 0)
        err = weft__transport_open(r->group, r->factory, fd, r->to.sa.ss_family, NULL, NULL, false);
    if (err < 0) {
        r->state = CONNECTING;
        failed(r, err);
        return;
    }
    r->fd = -1;
}

static void connect_done(struct weft__op *op)
{
    struct weft_reconnector *r = WEFT__CONTAINER_OF(op, struct weft_reconnector, op);
    int res = op->res;
    r->busy = false;
    weft__loop_alarm_del(r->loop, &r->alarm);
    if (r->canceled || r->stop)
        res = -ECANCELED;
    else if (res == -ECANCELED && r->timed_out)
        res = -ETIMEDOUT;
    if (res < 0)
        failed(r, res);
    else
        connected(r);
}

static void attempt(struct weft_reconnector *r)
{
    r->state = CONNECTING;
    r->timed_out = false;
    int fd = weft__dial_socket(&r->how, r->to.sa.ss_family);
    if (fd < 0) {
        failed(r, fd);
        return;
    }
    r->fd = fd;
    r->op = (struct weft__op){.kind = WEFT__OP_CONNECT,
                              .fd = fd,
                              .done = connect_done,
                              .u.connect = {(const struct sockaddr *)&r->to.sa, r->to.len}};
    r->busy = true;
    if (weft__sys_submit(r->loop->sys, &r->op))
        connect_done(&r->op);
    else
        weft__loop_alarm(r->loop, &r->alarm, weft_after_ms(r->options.connect_ms).ns);
}

static void leave(struct weft_reconnector *r)
{
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
        if (r->busy) {
            r->timed_out = !r->canceled && !r->stop;
            weft__sys_cancel(r->loop->sys, &r->op);
        } else {
            attempt(r);
        }
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
    weft__loop_alarm_del(r->loop, &r->alarm);
    weft__loop_alarm(r->loop, &r->alarm, 0);
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
    weft__print(p, "client %s, %s, %d retries", r->text, names[r->state], r->retries);
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
    weft__factory_unref(r->factory);
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
    o->jitter = o->jitter < 0 ? 0 : o->jitter > 1 ? 1 : o->jitter;
    if (o->connect_ms <= 0)
        o->connect_ms = CONNECT_MS;
    if (o->steady_ms <= 0)
        o->steady_ms = STEADY_MS;
}

static int target(struct weft_reconnector *r, const char *endpoint,
                  const struct weft_dial_options *o)
{
    struct weft_endpoint e, local;
    int err = weft_endpoint_parse(&e, endpoint);
    if (err == 0)
        err = weft__endpoint_here(&e);
    if (err < 0)
        return err;
    if (e.kind != WEFT_ENDPOINT_TCP && e.kind != WEFT_ENDPOINT_UNIX)
        return weft__fail(-EINVAL, "%s: only tcp:// and unix: can be dialled as streams", endpoint);
    if (e.port == 0)
        return weft__fail(WEFT_EENDPOINT, "%s: port 0 cannot be connected to", endpoint);
    r->to = e.address;
    if (o != NULL) {
        r->how = (struct weft__dial_how){.keepalive_s = o->keepalive_s,
                                         .user_timeout_ms = o->user_timeout_ms,
                                         .no_delay_off = o->no_delay_off};
    }
    if (o != NULL && o->bind != NULL) {
        err = weft_endpoint_parse(&local, o->bind);
        if (err < 0)
            return err;
        if (local.address.sa.ss_family != e.address.sa.ss_family)
            return weft__fail(-EINVAL, "bind %s does not go with %s", o->bind, endpoint);
        r->how.local = local.address;
    }
    return weft__endpoint_plain(&e, r->text, sizeof r->text) < 0 ? -EINVAL : 0;
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
    r->fd = -1;
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
    struct weft_factory watched = *f;
    watched.protocol = &r->watched;
    watched.arg = r;
    int err = target(r, endpoint, dial);
    if (err == 0)
        err = weft__factory_ref_new(&r->factory, &watched);
    if (err == 0)
        err = weft__group_enter(g, &r->member, &client_class);
    if (err < 0) {
        weft__factory_unref(r->factory);
        weft__free(r);
        return err;
    }
    r->attached.free = attached_free;
    weft__group_attach(g, &r->attached);
    r->alarm.fn = fired;
    r->state = CONNECTING;
    weft__loop_alarm(r->loop, &r->alarm, 0);
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
    return client_open(ret, g, endpoint, NULL, o, f, false);
}

void weft_reconnector_stop(struct weft_reconnector *r)
{
    r->stop = true;
    poke(r);
}
