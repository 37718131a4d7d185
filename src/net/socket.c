/* SPDX-License-Identifier: MIT */
/*
 * Facts and settings of sockets (floor 3).
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/secure.h"
#include "net/stream.h"
#include "sys/call.h"

int weft__socket_no_delay(int fd)
{
    int on = 1;
    return weft__call_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int weft__socket_family(int fd)
{
    int type, family;
    socklen_t len = sizeof type;
    int err = weft__call_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    if (err < 0)
        return err;
    if (type != SOCK_STREAM)
        return weft__fail(-EINVAL, "descriptor %d is no stream socket", fd);
    len = sizeof family;
    err = weft__call_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
    return err < 0 ? err : family;
}

int weft__socket_local(int fd, struct weft_address *ret)
{
    struct weft_address a = {.len = sizeof a.sa};
    int err = weft__call_getsockname(fd, (struct sockaddr *)&a.sa, &a.len);
    if (err == 0)
        *ret = a;
    return err;
}

int weft__socket_peer(int fd, struct weft_address *ret)
{
    struct weft_address a = {.len = sizeof a.sa};
    int err = weft__call_getpeername(fd, (struct sockaddr *)&a.sa, &a.len);
    if (err == 0)
        *ret = a;
    return err;
}

/*
 * A filter that drops segments with SYN and passes all others (byte 13 of the TCP header holds the
 * flags, RFC 9293 3.1). Whoever asks after this asks again in a second, and then finds a successor
 * or nobody.
 */
static int drop_syns(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {.len = WEFT__ARRAY_LEN(code), .filter = code};
    return weft__call_setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

void weft__socket_no_more(int fd, bool tcp)
{
    /* A Unix listener that does not receive any more refuses, and what is queued can be accepted.
     */
    int err = tcp ? drop_syns(fd) : weft__call_shutdown(fd, SHUT_RD);
    (void)err; /* without it a connection of the last microseconds may be reset */
}

bool weft__socket_unacked(const struct weft_stream *s, uint64_t *acked)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    while (s->cls->filter != NULL)
        s = s->cls->filter->lower((struct weft_stream *)(uintptr_t)s);
    if (!s->tcp || weft__call_getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        len < offsetof(struct tcp_info, tcpi_notsent_bytes) + sizeof info.tcpi_notsent_bytes)
        return false;
    *acked = info.tcpi_bytes_acked;
    return info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0;
}
