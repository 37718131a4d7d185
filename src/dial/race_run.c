/* SPDX-License-Identifier: MIT */
/*
 * How a task and a plain thread run a race, and what they say when it is lost.
 *
 * Floor 4. A task stands still in one wait, which the last operation's end triggers; a thread polls
 * all its descriptors, those of the resolver among them. Invariant: when the call returns, the
 * kernel has let go of every attempt, and nobody is asked any more.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "dial/race.h"
#include "sys/call.h"
#include "sys/sim/world.h"

/* --- In a task -------------------------------------------------------------------------------- */

static void go_on(struct weft__race *r)
{
    if (!r->waiting)
        return; /* still within the call that began it */
    weft__loop_alarm_del(r->loop, &r->alarm);
    int64_t when_ns = weft__race_step(r, weft__clock_ns());
    if (weft__race_done(r)) {
        r->waiting = false;
        weft__wait_trigger(&r->wait, 0);
    } else if (when_ns != INT64_MAX) {
        weft__loop_alarm(r->loop, &r->alarm, when_ns);
    }
}

static void connect_done(struct weft__op *op)
{
    struct weft__attempt *a = WEFT__CONTAINER_OF(op, struct weft__attempt, op);
    weft__race_ended(a->race, a, op->res);
    go_on(a->race);
}

static void looked_up(struct weft__dns_lookup *k)
{
    struct weft__race *r = WEFT__CONTAINER_OF(k, struct weft__race, w.k);
    weft__race_told(r);
    go_on(r);
}

static void alarmed(struct weft__alarm *a)
{
    go_on(WEFT__CONTAINER_OF(a, struct weft__race, alarm));
}

static void aborted(struct weft__wait *w, int why)
{
    struct weft__race *r = WEFT__CONTAINER_OF(w, struct weft__race, wait);
    (void)why; /* it is in the wait */
    weft__race_stop(r);
    go_on(r);
}

static int run_in_task(struct weft__race *r, weft_deadline d)
{
    weft__wait_init(&r->wait, "connect", -1, aborted);
    int64_t when_ns = weft__race_step(r, weft__clock_ns());
    if (weft__race_done(r)) {
        weft__charge();
        return 0;
    }
    r->waiting = true;
    if (when_ns != INT64_MAX)
        weft__loop_alarm(r->loop, &r->alarm, when_ns);
    int err = weft__wait_block(&r->wait, d);
    WEFT__ASSERT(!weft__timer_linked(&r->alarm.timer));
    return r->winner >= 0 ? 0 : err < 0 ? err : r->wait.why;
}

/* --- On a thread ------------------------------------------------------------------------------ */

/* What a connect that has become writable has come to. */
static int connect_result(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    int err = weft__call_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return err < 0 ? err : -error;
}

/* Waits until something has happened or `until` has passed, and tells the race. */
static int poll_all(struct weft__race *r, struct weft__thread *t, weft_deadline until)
{
    struct pollfd p[WEFT__RACE_MAX];
    struct weft__attempt *of[WEFT__RACE_MAX];
    struct weft__dns *n = r->looking ? r->w.k.dns : NULL;
    size_t count = 0;
    for (size_t i = 0; i < r->next; i++) {
        if (!r->attempts[i].live)
            continue;
        of[count] = &r->attempts[i];
        p[count++] = (struct pollfd){.fd = r->attempts[i].fd, .events = POLLOUT};
    }
    int err = weft__dns_thread_wait(n, t, until, p, count);
    if (err < 0)
        return err;
    for (size_t i = 0; i < count; i++)
        if (p[i].revents != 0 && of[i]->live)
            weft__race_ended(r, of[i], connect_result(of[i]->fd));
    if (n != NULL && r->looking)
        weft__dns_pump(n);
    return 0;
}

static int run_on_thread(struct weft__race *r, struct weft__thread *t, weft_deadline d)
{
    int err = 0;
    weft__wait_init(&r->wait, "connect", -1, NULL);
    r->wait.until_ns = d.ns;
    pthread_mutex_lock(&t->lock);
    t->flow.wait = &r->wait; /* for the tree only */
    pthread_mutex_unlock(&t->lock);
    if (r->looking)
        weft__dns_pump(r->w.k.dns);
    for (;;) {
        int64_t now_ns = weft__clock_ns();
        int64_t when_ns = weft__race_step(r, now_ns);
        if (weft__race_done(r))
            break;
        err = poll_all(r, t, (weft_deadline){weft__min_i64(when_ns, d.ns)});
        if (err == -ETIMEDOUT && when_ns < d.ns)
            err = 0;
        if (err < 0)
            break;
    }
    weft__race_stop(r);
    pthread_mutex_lock(&t->lock);
    t->flow.wait = NULL;
    pthread_mutex_unlock(&t->lock);
    if (r->winner < 0)
        return err;
    return weft__call_set_nonblock(r->attempts[r->winner].fd, false);
}

/* --- Both ------------------------------------------------------------------------------------- */

bool weft__race_begin(struct weft__race *r, struct weft__attempt *a, int *res)
{
    const struct weft_address *to = &r->at[a - r->attempts];
    const struct sockaddr *sa = (const struct sockaddr *)&to->sa;
    if (r->loop != NULL) {
        a->op = (struct weft__op){.kind = WEFT__OP_CONNECT,
                                  .fd = a->fd,
                                  .done = connect_done,
                                  .u.connect = {.addr = sa, .addrlen = to->len}};
        bool ended = weft__sys_submit(r->loop->sys, &a->op);
        *res = a->op.res;
        return ended;
    }
    *res = weft__call_set_nonblock(a->fd, true);
    if (*res == 0)
        *res = weft__call_connect_now(a->fd, sa, to->len);
    return *res != -EINPROGRESS;
}

/* How near to a connection an error came: the nearest is the whole dial's. */
static int nearness(int err)
{
    switch (err) {
    case -ECONNREFUSED:
    case -ECONNRESET:
        return 4; /* somebody is there */
    case -ETIMEDOUT:
        return 3;
    case -EHOSTUNREACH:
        return 2;
    case -ENETUNREACH:
    case -EADDRNOTAVAIL:
    case -EAFNOSUPPORT:
        return 0; /* it never left this machine */
    default:
        return 1;
    }
}

/* What one attempt has come to, in words; its code when that says something. */
static int met_by(const struct weft__attempt *a, const char **text)
{
    bool open = a->res == -ECANCELED || a->res == 0;
    *text = open ? "no answer" : weft_error_name(a->res);
    return open ? 0 : a->res;
}

/* The error of a lost race, and what each address has met, as far as there is room. given: why it
 * was broken off; 0: it was not. */
static int lost(const struct weft__race *r, const char *text, int given)
{
    char met[sizeof(struct weft__detail)] = "";
    size_t len = 0, told = 0,
           room = sizeof met - strnlen(text, 80) - sizeof "connecting to :  more 64";
    int nearest = 0;
    for (size_t i = 0; i < r->next; i++) {
        char one[WEFT_ENDPOINT_MAX] = "?";
        const char *what;
        int res = met_by(&r->attempts[i], &what);
        if (res < 0 && (nearest == 0 || nearness(res) > nearness(nearest)))
            nearest = res;
        (void)weft_address_print(&r->at[i], one, sizeof one);
        char *port = strrchr(one, ':');
        if (port != NULL)
            *port = '\0';
        size_t more = strlen(one) + strlen(what) + 3;
        if (told < i || len + more > room)
            continue;
        len +=
            (size_t)snprintf(met + len, sizeof met - len, "%s%s %s", i > 0 ? ", " : "", one, what);
        told++;
    }
    int err = given < 0 ? given : nearest < 0 ? nearest : -ECONNREFUSED;
    if (told < r->next)
        return weft__fail(err, "connecting to %.80s: %s, %zu more", text, met, r->next - told);
    return weft__fail(err, "connecting to %.80s: %s", text, met);
}

static int look_up(struct weft__race *r, const char *host, int port, weft_deadline d)
{
    struct weft_resolve_options o = {.family = r->plan->family};
    struct weft_addresses *a = NULL;
    int err;
    r->w.k.told = looked_up;
    r->w.k.early = true;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL)) {
        err = weft_resolve(&a, host, port, &o, d);
    } else {
        err = weft__resolve_begin(&r->w, &a, host, port, &o);
        if (err == 0) {
            r->looking = !r->w.k.done;
            weft__race_told(r); /* a part of it may be known */
            return r->look_up;
        }
    }
    if (err < 0)
        return err;
    weft__race_add(r, a);
    weft_addresses_free(&a);
    return 0;
}

static int run(struct weft__race *r, const char *text, weft_deadline d)
{
    struct weft__flow *f = weft__flow_self();
    int err;
    if (weft__flow_late(f, d))
        err = -ETIMEDOUT;
    else if (f->kind == WEFT__FLOW_THREAD)
        err = run_on_thread(r, weft__thread_of(f), d);
    else
        err = run_in_task(r, d);
    if (err == 0 && r->winner >= 0)
        return 0;
    if (err == 0 && r->look_up < 0)
        return r->look_up == WEFT_ENAME ? weft__resolve_failed(&r->w) : r->look_up;
    if (r->next == 0)
        return err == -ETIMEDOUT ? weft__fail(err, "no answer about the name in the time given")
                                 : err;
    return lost(r, text, err);
}

/* What is left when there is nothing to race with. */
static int connect_one(const struct weft__plan *p, const struct weft_address *to, weft_deadline d)
{
    int fd = weft__dial_fd(&p->how, to, d);
    return fd < 0 ? weft__fail(fd, "connecting to %s: %s", p->text, weft_error_text(fd)) : fd;
}

int weft__race_run(const struct weft__plan *p, const char *host, int port,
                   struct weft_address *peer, weft_deadline d)
{
    struct weft__race *r = weft__calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->plan = p;
    r->loop = weft_loop_current();
    r->winner = -1;
    r->alarm.fn = alarmed;
    int err = look_up(r, host, port, d), fd = -1;
    bool alone = err == 0 && !r->looking && r->n == 1;
    *peer = r->at[0];
    if (err == 0 && !alone)
        err = run(r, p->text, d);
    if (err < 0 && r->next == 0)
        err = weft__plan_fail(p, err);
    if (r->winner >= 0) {
        fd = r->attempts[r->winner].fd;
        *peer = r->at[r->winner];
    }
    if (err < 0 && fd >= 0)
        weft__fd_close(r->loop, fd, true);
    weft__resolve_end(&r->w);
    weft__free(r);
    if (alone)
        return connect_one(p, peer, d);
    return err < 0 ? err : fd;
}
