/* SPDX-License-Identifier: MIT */
/*
 * How a plain thread waits for its channels (floor 4): in ppoll(2), with its group's cancel
 * descriptor beside c-ares' sockets.
 *
 * Invariant: as in the block driver, the cancel descriptor is looked at and never read, and within
 * a shield not even looked at.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "dns/channel.h"
#include "sys/call.h"

#define SOCKS_MAX 32 /* two for each server, and some to spare */
#define MORE_MAX 64

/* What a thread polls; returns how many. */
static nfds_t collect(struct weft__dns *n, struct pollfd p[SOCKS_MAX], int64_t *until_ns)
{
    nfds_t count = 0;
    int64_t ns;
    WEFT__LIST_EACH(&n->channels, node) {
        struct weft__dns_channel *c = WEFT__CONTAINER_OF(node, struct weft__dns_channel, link);
        WEFT__LIST_EACH(&c->socks, at) {
            const struct weft__dns_sock *s = WEFT__CONTAINER_OF(at, struct weft__dns_sock, link);
            if (s->ready != 0)
                *until_ns = 0; /* the pump has something to do */
            if (count < SOCKS_MAX && s->want != 0)
                p[count++] = (struct pollfd){.fd = s->fd, .events = s->want};
        }
        if (weft__dns_channel_timeout(c, &ns))
            *until_ns = weft__min_i64(*until_ns, weft__clock_ns() + ns);
    }
    return count;
}

static void come(struct weft__dns *n, const struct pollfd *p, nfds_t count)
{
    WEFT__LIST_EACH(&n->channels, node) {
        struct weft__dns_channel *c = WEFT__CONTAINER_OF(node, struct weft__dns_channel, link);
        for (nfds_t i = 0; i < count; i++)
            if (p[i].revents != 0 && weft__dns_sock_of(c, p[i].fd) != NULL)
                weft__dns_channel_process(c, p[i].fd, p[i].revents);
        ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        weft__dns_channel_settle(c);
    }
}

/* Why a thread waits no longer: the end of its time or of its shield, or a cancel; else 0. */
static int given_up(const struct weft__thread *t, weft_deadline d)
{
    const struct weft__flow *f = &t->flow;
    int64_t now = weft__clock_ns();
    bool canceled = atomic_load_explicit(&f->canceled, memory_order_relaxed);
    if (canceled && (f->shields == 0 || now >= f->shield_ns))
        return -ECANCELED;
    return now >= d.ns ? -ETIMEDOUT : 0;
}

int weft__dns_thread_wait(struct weft__dns *n, struct weft__thread *t, weft_deadline d,
                          struct pollfd *more, size_t n_more)
{
    struct pollfd p[SOCKS_MAX + MORE_MAX + 1];
    int64_t until_ns = d.ns;
    int err = given_up(t, d);
    if (err < 0)
        return err;
    err = weft__fault();
    if (err < 0)
        return err;
    nfds_t own = n != NULL ? collect(n, p, &until_ns) : 0, count = own + n_more;
    WEFT__ASSERT(n_more <= MORE_MAX);
    if (n_more > 0)
        memcpy(p + own, more, n_more * sizeof *more);
    if (t->flow.shields > 0 && t->flow.shield_ns > weft__clock_ns())
        until_ns = weft__min_i64(until_ns, t->flow.shield_ns);
    int cancel_fd = t->flow.shields > 0 && t->flow.shield_ns > weft__clock_ns() ? -1 : t->cancel_fd;
    p[count] = (struct pollfd){.fd = cancel_fd, .events = POLLIN};
    int64_t left = weft__max_i64(until_ns - weft__clock_ns(), 0);
    struct timespec ts = {.tv_sec = (time_t)(left / 1000000000),
                          .tv_nsec = (long)(left % 1000000000)};
    int r = ppoll(p, count + 1, until_ns == INT64_MAX ? NULL : &ts, NULL);
    if (r < 0 && errno != EINTR)
        return -errno;
    if (r > 0 && p[count].revents != 0)
        return -ECANCELED;
    for (size_t i = 0; i < n_more; i++)
        more[i].revents = r > 0 ? p[own + i].revents : 0;
    if (n != NULL)
        come(n, p, r > 0 ? own : 0);
    return 0;
}
