/* SPDX-License-Identifier: MIT */
/*
 * Many datagrams a call, and datagrams that the kernel joins.
 *
 * Floor 3. A batch is tried at once by recvmmsg(2) or sendmmsg(2), and again after a wait for
 * readiness. With the segment option, runs of equal datagrams to one peer leave as one message with
 * UDP_SEGMENT, and what UDP_GRO joined on its way in is taken apart again.
 *
 * Invariants: out-parameters of datagrams that did not come are untouched; what was joined and did
 * not fit into a batch is kept for the next; where the kernel or the device does not segment,
 * datagrams go one by one and nobody is told.
 */
#include <netinet/udp.h>
#include <string.h>

#include "base/alloc.h"
#include "net/udp.h"
#include "sys/call.h"

#define BATCH WEFT_UDP_BATCH_MAX
#define RUN_BYTES_MAX 65000u /* of one message, with room for its headers */
#define RUN_MAX 64           /* UDP_MAX_SEGMENTS of older kernels */

int weft__udp_segment(struct weft_udp *u)
{
    int on = 1;
    int size = 0;
    socklen_t len = sizeof size;
    u->segments = weft__call_getsockopt(u->fd, SOL_UDP, UDP_SEGMENT, &size, &len) == 0;
    struct weft__gro *g = weft__alloc(sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    g->len = g->used = 0;
    g->error = 0;
    if (weft__call_setsockopt(u->fd, SOL_UDP, UDP_GRO, &on, sizeof on) < 0) {
        weft__free(g);
        return 0;
    }
    u->gro = g;
    return 0;
}

/* --- Receiving ------------------------------------------------------------------------------- */

/* Calls recvmmsg until it brings something. */
static int recv_when_ready(struct weft_udp *u, struct mmsghdr *m, unsigned n, weft_deadline d)
{
    for (;;) {
        int got = weft__call_recvmmsg(u->fd, m, n, 0);
        if (got != -EAGAIN) {
            if (got > 0)
                weft__charge();
            return got;
        }
        int err = weft__udp_await(u, POLLIN, d);
        if (err < 0)
            return err;
    }
}

static int recv_batch(struct weft_udp *u, struct weft_datagram *dg, int n, weft_deadline d)
{
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH];
    for (int i = 0; i < n; i++) {
        iov[i] = (struct iovec){.iov_base = dg[i].data, .iov_len = dg[i].cap};
        m[i].msg_hdr = (struct msghdr){.msg_name = &dg[i].address.sa,
                                       .msg_namelen = sizeof dg[i].address.sa,
                                       .msg_iov = &iov[i],
                                       .msg_iovlen = 1};
    }
    int got = recv_when_ready(u, m, (unsigned)n, d);
    for (int i = 0; i < got; i++) {
        dg[i].address.len = m[i].msg_hdr.msg_namelen;
        dg[i].len = m[i].msg_len;
        dg[i].truncated = (m[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    }
    return got;
}

/* The next message that the kernel may have joined; may_wait: else -EAGAIN when there is none. */
static int gro_fill(struct weft_udp *u, bool may_wait, weft_deadline d)
{
    struct weft__gro *g = u->gro;
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = g->data, .iov_len = sizeof g->data};
    struct mmsghdr m = {.msg_hdr = {.msg_name = &g->from.sa,
                                    .msg_namelen = sizeof g->from.sa,
                                    .msg_iov = &iov,
                                    .msg_iovlen = 1,
                                    .msg_control = control.buf,
                                    .msg_controllen = sizeof control.buf}};
    if (g->error < 0) {
        int err = g->error;
        g->error = 0;
        return err;
    }
    int got = may_wait ? recv_when_ready(u, &m, 1, d) : weft__call_recvmmsg(u->fd, &m, 1, 0);
    if (got <= 0)
        return got;
    g->from.len = m.msg_hdr.msg_namelen;
    g->len = m.msg_len;
    g->used = 0;
    g->segment = m.msg_len;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m.msg_hdr); c != NULL; c = CMSG_NXTHDR(&m.msg_hdr, c)) {
        int size;
        if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO)
            continue;
        memcpy(&size, CMSG_DATA(c), sizeof size);
        if (size > 0)
            g->segment = (size_t)size;
    }
    return 1;
}

/* One datagram out of what is kept; an empty one is its own message. */
static void gro_take(struct weft__gro *g, struct weft_datagram *dg)
{
    size_t len = weft__min_size(g->segment, g->len - g->used);
    dg->truncated = len > dg->cap;
    dg->len = weft__min_size(len, dg->cap);
    dg->address = g->from;
    memcpy(dg->data, g->data + g->used, dg->len);
    g->used += len;
}

int weft__udp_gro_recv(struct weft_udp *u, struct weft_datagram *dg, int n, weft_deadline d)
{
    struct weft__gro *g = u->gro;
    int taken = 0;
    while (taken < n) {
        if (g->used == g->len) {
            /* Behind the first message only what is there already. */
            int got = gro_fill(u, taken == 0, d);
            if (got < 0 && taken == 0)
                return got;
            if (got < 0) {
                g->error = got == -EAGAIN ? 0 : got; /* for the next call */
                return taken;
            }
        }
        do {
            gro_take(g, &dg[taken++]);
        } while (taken < n && g->used < g->len);
    }
    return taken;
}

static int check_batch(int n)
{
    if (n < 1 || n > BATCH)
        return weft__fail(-EINVAL, "a batch of %d; 1 to %d can be had", n, BATCH);
    return 0;
}

int weft_udp_recv_batch(struct weft_udp *u, struct weft_datagram *dg, int n, weft_deadline d)
{
    int err = check_batch(n);
    if (err == 0)
        err = weft__udp_enter(u, &u->receiver);
    if (err < 0)
        return err;
    int got = u->gro != NULL ? weft__udp_gro_recv(u, dg, n, d) : recv_batch(u, dg, n, d);
    return weft__udp_leave(u, &u->receiver, got);
}

/* --- Sending --------------------------------------------------------------------------------- */

/* A batch as messages: message i is made of run[i] datagrams. */
struct messages {
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH];
    uint8_t run[BATCH];
    union {
        char buf[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control[BATCH];
};

/* How many datagrams from dg on can go as one message: equal ones, the last one may be shorter. */
static int run_length(const struct weft_udp *u, const struct weft_datagram *dg, int n)
{
    size_t total = dg[0].len;
    int i = 1;
    if (!u->segments || dg[0].len == 0)
        return 1;
    while (i < n && i < RUN_MAX && dg[i].len > 0 && dg[i].len <= dg[0].len &&
           dg[i - 1].len == dg[0].len && total + dg[i].len <= RUN_BYTES_MAX &&
           dg[i].address.len == dg[0].address.len &&
           memcmp(&dg[i].address.sa, &dg[0].address.sa, dg[0].address.len) == 0)
        total += dg[i++].len;
    return i;
}

static unsigned build(const struct weft_udp *u, struct messages *ms, struct weft_datagram *dg,
                      int n)
{
    unsigned count = 0;
    for (int i = 0; i < n; count++) {
        int run = run_length(u, dg + i, n - i);
        struct msghdr *msg = &ms->m[count].msg_hdr;
        *msg = (struct msghdr){.msg_iov = &ms->iov[i], .msg_iovlen = (size_t)run};
        if (dg[i].address.len > 0) {
            msg->msg_name = &dg[i].address.sa;
            msg->msg_namelen = dg[i].address.len;
        }
        if (run > 1) {
            uint16_t size = (uint16_t)dg[i].len;
            memset(&ms->control[count], 0, sizeof ms->control[count]);
            msg->msg_control = ms->control[count].buf;
            msg->msg_controllen = sizeof ms->control[count].buf;
            struct cmsghdr *c = CMSG_FIRSTHDR(msg);
            c->cmsg_level = SOL_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof size);
            memcpy(CMSG_DATA(c), &size, sizeof size);
        }
        ms->run[count] = (uint8_t)run;
        for (int end = i + run; i < end; i++)
            ms->iov[i] = (struct iovec){.iov_base = dg[i].data, .iov_len = dg[i].len};
    }
    return count;
}

/* What a kernel or device answers that cannot segment, or not into pieces of this size. */
static bool cannot_segment(int err)
{
    return err == -EIO || err == -EINVAL || err == -EMSGSIZE || err == -EOPNOTSUPP;
}

static int send_batch(struct weft_udp *u, struct weft_datagram *dg, int n, weft_deadline d)
{
    struct messages ms;
    int sent = 0;
    while (sent < n) {
        unsigned count = build(u, &ms, dg + sent, n - sent);
        int went = weft__call_sendmmsg(u->fd, ms.m, count, 0);
        for (int i = 0; i < went; i++)
            sent += ms.run[i];
        if (went > 0)
            continue; /* the rest, or the error that stopped it */
        if (went == -EAGAIN)
            went = weft__udp_await(u, POLLOUT, d);
        else if (ms.run[0] > 1 && cannot_segment(went)) {
            u->segments = false;
            went = 0;
        }
        if (went < 0)
            return sent > 0 ? sent : went;
    }
    weft__charge();
    return sent;
}

int weft_udp_send_batch(struct weft_udp *u, struct weft_datagram *dg, int n, weft_deadline d)
{
    int err = check_batch(n);
    if (err == 0)
        err = weft__udp_enter(u, &u->sender);
    if (err < 0)
        return err;
    return weft__udp_leave(u, &u->sender, send_batch(u, dg, n, d));
}
