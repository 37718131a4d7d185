/* SPDX-License-Identifier: MIT */
/*
 * The epoll driver's table of descriptors; see epoll_table.h.
 *
 * Floor 1. Invariant: removing a registration never fails for the caller: what cannot be removed
 * is gone already, or its events carry a generation that nobody has any more.
 */
#include "sys/epoll_table.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/alloc.h"
#include "sys/call.h"

#ifndef TCP_IS_MPTCP
#define TCP_IS_MPTCP 43
#endif

#define EVENTS (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

int weft__epoll_get(struct weft__epoll_table *t, int fd, struct weft__epoll_entry **ret)
{
    if (fd < 0)
        return -EBADF;
    size_t chunk = (size_t)fd / WEFT__EPOLL_CHUNK;
    if (chunk >= t->chunk_count) {
        size_t count = weft__max_size(chunk + 1, 2 * t->chunk_count);
        struct weft__epoll_entry **chunks = weft__realloc(t->chunks, count * sizeof(*chunks));
        if (chunks == NULL)
            return -ENOMEM;
        memset(chunks + t->chunk_count, 0, (count - t->chunk_count) * sizeof(*chunks));
        t->chunks = chunks;
        t->chunk_count = count;
    }
    if (t->chunks[chunk] == NULL) {
        t->chunks[chunk] = weft__calloc(WEFT__EPOLL_CHUNK, sizeof(struct weft__epoll_entry));
        if (t->chunks[chunk] == NULL)
            return -ENOMEM;
    }
    *ret = &t->chunks[chunk][(size_t)fd % WEFT__EPOLL_CHUNK];
    return 0;
}

/*
 * What kind of socket it is decides whether a short read may be trusted. Only TCP knows the first
 * question (Linux 5.16), so for most sockets one is enough.
 */
static void learn_type(struct weft__epoll_entry *e, int fd)
{
    int v = 0;
    socklen_t len = sizeof(v);
    e->unix_stream = false;
    e->trust = getsockopt(fd, IPPROTO_TCP, TCP_IS_MPTCP, &v, &len) == 0 && v == 0;
    if (e->trust)
        return;
    len = sizeof(v);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len) < 0 || v != SOCK_STREAM)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &len) < 0)
        return;
    if (v == AF_UNIX)
        e->unix_stream = e->trust = true;
    else if ((v == AF_INET || v == AF_INET6) &&
             getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &v, &len) == 0)
        e->trust = v == IPPROTO_TCP;
}

int weft__epoll_prepare(struct weft__epoll_table *t, int listener)
{
    struct weft__epoll_entry *e;
    int r = weft__epoll_get(t, listener, &e);
    if (r < 0 || e->nonblock)
        return r;
    r = weft__call_set_nonblock(listener, true);
    if (r < 0)
        return r;
    learn_type(e, listener);
    e->nonblock = true;
    return 0;
}

void weft__epoll_accepted(struct weft__epoll_table *t, int listener, int fd)
{
    const struct weft__epoll_entry *from = weft__epoll_find(t, listener);
    struct weft__epoll_entry *e;
    if (from == NULL || !from->trust || weft__epoll_get(t, fd, &e) < 0 || e->registered)
        return;
    e->unix_stream = from->unix_stream;
    e->trust = e->learnt = true;
}

/* Adds or re-arms; sets e->registered to what was the case before, without stale belief. */
static int control(struct weft__epoll_table *t, struct weft__epoll_entry *e, int fd, bool writes)
{
    struct epoll_event ev = {.events = EVENTS | (writes ? EPOLLOUT : 0)};
    ev.data.u64 = (uint64_t)e->gen << 32 | (uint32_t)fd;
    int r = epoll_ctl(t->ep, e->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
    if (r < 0 && errno == ENOENT) { /* it was closed behind our back: this is another one */
        e->registered = false;
        r = epoll_ctl(t->ep, EPOLL_CTL_ADD, fd, &ev);
    } else if (r < 0 && errno == EEXIST) { /* its registration outlived a forget */
        r = epoll_ctl(t->ep, EPOLL_CTL_MOD, fd, &ev);
    }
    return r < 0 ? -errno : 0;
}

int weft__epoll_register(struct weft__epoll_table *t, struct weft__epoll_entry *e,
                         const struct weft__op *op)
{
    bool for_poll = op->kind == WEFT__OP_POLL;
    bool writes = e->writes || for_poll || weft__epoll_is_out(op);
    if (e->registered && !e->foreign && !for_poll && writes == e->writes)
        return 0;
    int r = weft__fault();
    if (r == 0)
        r = control(t, e, op->fd, writes);
    if (r < 0)
        return r;
    bool fresh = !e->registered;
    if (fresh || (e->foreign && !for_poll)) {
        e->in_ready = false;
        e->out_ready = true; /* not known: the first one tries */
        e->over = false;
        if (!fresh || !e->learnt)
            learn_type(e, op->fd);
        e->learnt = false;
    }
    e->foreign = for_poll && (fresh || e->foreign);
    e->registered = true;
    e->writes = writes;
    return 0;
}

void weft__epoll_release(struct weft__epoll_table *t, struct weft__epoll_entry *e, int fd)
{
    if (!e->foreign || e->in != NULL || e->out != NULL)
        return;
    (void)epoll_ctl(t->ep, EPOLL_CTL_DEL, fd, NULL); /* it may be closed long since */
    e->registered = false;
    e->writes = false;
    e->foreign = false;
    e->polled = false;
    e->gen++;
}

void weft__epoll_forget(struct weft__epoll_table *t, int fd, bool only)
{
    struct weft__epoll_entry *e = weft__epoll_find(t, fd);
    if (e == NULL)
        return;
    WEFT__ASSERT(e->in == NULL && e->out == NULL); /* nothing of it is under way */
    if (e->registered && !only)
        (void)epoll_ctl(t->ep, EPOLL_CTL_DEL, fd, NULL);
    *e = (struct weft__epoll_entry){.gen = e->gen + 1};
}

void weft__epoll_table_fini(struct weft__epoll_table *t)
{
    for (size_t i = 0; i < t->chunk_count; i++)
        weft__free(t->chunks[i]);
    weft__free(t->chunks);
}
