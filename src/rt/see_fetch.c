/* SPDX-License-Identifier: MIT */
/*
 * weft_tree_fetch: asks another process (or this one) for its trees.
 *
 * Floor 2: it waits as every call does, in a task or on a plain thread. Invariant: only what the
 * process itself says is passed on; a socket that another one listens at does not count.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <weft/tree.h>

#include "base/alloc.h"
#include "rt/see.h"
#include "sys/call.h"

#define PIECE 16384

struct fetch {
    int fd;
    weft_deadline deadline;
    char *buf; /* PIECE bytes */
    size_t have;
};

static int await_op(const struct fetch *f, struct weft__op op, const char *what)
{
    struct weft__io io;
    op.fd = f->fd;
    io.op = op;
    return weft__await(&io, what, f->deadline);
}

static void close_fd(int fd)
{
    struct weft_loop *l = weft__flow_self()->loop;
    weft__sys_close_fd(l != NULL ? l->sys : NULL, fd);
}

/* Whether process pid listens at the other end. */
static bool is_process(int fd, int pid)
{
    struct ucred who;
    socklen_t len = sizeof who;
    return weft__call_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == pid;
}

static int connect_to(struct fetch *f, const char *path, int pid)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int fd = weft__call_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    f->fd = fd;
    int err = await_op(f,
                       (struct weft__op){.kind = WEFT__OP_CONNECT,
                                         .u.connect = {(struct sockaddr *)&sa, sizeof sa}},
                       "connect");
    if (err == 0 && !is_process(fd, pid))
        err = -ENOENT;
    if (err == -ECONNREFUSED) /* the file of one that was killed */
        err = -ENOENT;
    if (err < 0) {
        close_fd(fd);
        f->fd = -1;
    }
    return err;
}

/* Tries the places where the process may have its socket. */
static int find(struct fetch *f, int pid)
{
    char path[WEFT__SEE_PATH_MAX];
    struct stat st;
    int err = -ENOENT;
    snprintf(path, sizeof path, "/proc/%d", pid);
    uid_t uid = stat(path, &st) == 0 ? st.st_uid : geteuid();
    for (int n = 0;; n++) {
        int place = weft__see_place(n, uid, pid, path);
        if (place == -ENOENT)
            return err;
        if (place < 0)
            continue;
        int one = connect_to(f, path, pid);
        if (one == -ENOTDIR)
            one = -ENOENT;
        if (one != -ENOENT && one != -EACCES)
            return one;
        if (one == -EACCES)
            err = one;
    }
}

static int send_request(struct fetch *f, unsigned flags)
{
    char line[WEFT__SEE_HEAD_MAX];
    int len = snprintf(line, sizeof line, WEFT__SEE_HEAD "%u\n", flags);
    int n = await_op(
        f, (struct weft__op){.kind = WEFT__OP_SEND, .u.io = {.buf = line, .len = (uint32_t)len}},
        "write");
    return n < 0 ? n : 0;
}

/* More bytes behind those in buf; WEFT_EEOF at the end. */
static int receive(struct fetch *f)
{
    int n = await_op(
        f,
        (struct weft__op){.kind = WEFT__OP_RECV,
                          .u.io = {.buf = f->buf + f->have, .len = (uint32_t)(PIECE - f->have)}},
        "read");
    if (n > 0)
        f->have += (size_t)n;
    return n == 0 ? WEFT_EEOF : n < 0 ? n : 0;
}

/* The answer's first line is taken out of buf; *len is what it says will follow. */
static int read_head(struct fetch *f, size_t *len)
{
    const size_t head = sizeof WEFT__SEE_HEAD - 1;
    char *end;
    while ((end = memchr(f->buf, '\n', f->have)) == NULL) {
        int err = f->have >= WEFT__SEE_HEAD_MAX ? WEFT_EPROTOCOL : receive(f);
        if (err < 0)
            return err;
    }
    *end = '\0';
    size_t used = (size_t)(end + 1 - f->buf);
    if (used <= head || memcmp(f->buf, WEFT__SEE_HEAD, head) != 0)
        return weft__fail(WEFT_EPROTOCOL, "the process speaks of its trees in another way");
    if (strcmp(f->buf + head, WEFT__SEE_DENIED) == 0)
        return weft__fail(-EACCES, "the process belongs to another user");
    *len = strtoul(f->buf + head, NULL, 10);
    memmove(f->buf, f->buf + used, f->have - used);
    f->have -= used;
    return 0;
}

static int converse(struct fetch *f, unsigned flags, weft_tree_sink sink, void *arg)
{
    size_t left = 0;
    int err = send_request(f, flags);
    if (err == 0)
        err = read_head(f, &left);
    while (err == 0 && left > 0) {
        if (f->have == 0)
            err = receive(f);
        size_t len = weft__min_size(f->have, left);
        if (len > 0)
            sink(arg, f->buf, len);
        left -= len;
        f->have = 0;
    }
    return err;
}

int weft_tree_fetch(int pid, unsigned flags, weft_tree_sink sink, void *arg, weft_deadline d)
{
    struct fetch f = {.fd = -1, .deadline = d};
    if (pid <= 0 || sink == NULL)
        return weft__fail(-EINVAL, "%s", sink == NULL ? "no sink" : "not a process id");
    f.buf = weft__alloc(PIECE);
    if (f.buf == NULL)
        return -ENOMEM;
    int err = find(&f, pid);
    if (err == 0) {
        err = converse(&f, flags, sink, arg);
        close_fd(f.fd);
    }
    weft__free(f.buf);
    return err;
}
