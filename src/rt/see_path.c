/* SPDX-License-Identifier: MIT */
/*
 * Where the sockets that show trees are: $XDG_RUNTIME_DIR/weft/PID.sock, else
 * /tmp/weft-UID/PID.sock.
 *
 * Floor 2. Invariant: a socket is only made in a directory that belongs to this user and is closed
 * to all others, so that nobody else can connect to it, remove it, or have made it first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rt/see.h"
#include "sys/call.h"

#define BACKLOG 16

int weft__see_place(int n, uid_t uid, pid_t pid, char path[WEFT__SEE_PATH_MAX])
{
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    int len = -1;
    if (n == 0 && runtime != NULL && runtime[0] == '/')
        len = snprintf(path, WEFT__SEE_PATH_MAX, "%s/weft/%ld.sock", runtime, (long)pid);
    else if (n == 1)
        len = snprintf(path, WEFT__SEE_PATH_MAX, "/tmp/weft-%lu/%ld.sock", (unsigned long)uid,
                       (long)pid);
    else if (n == 2) /* for who asks from where XDG_RUNTIME_DIR is not set, or another's */
        len = snprintf(path, WEFT__SEE_PATH_MAX, "/run/user/%lu/weft/%ld.sock", (unsigned long)uid,
                       (long)pid);
    else if (n > 2)
        return -ENOENT;
    return len > 0 && len < WEFT__SEE_PATH_MAX ? 0 : -EINVAL;
}

/* Makes the path's directory, or checks the one that is there. */
static int prepare_directory(const char *path)
{
    char directory[WEFT__SEE_PATH_MAX];
    struct stat st;
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = '\0';
    int err = weft__fault();
    if (err < 0)
        return err;
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return weft__fail(-errno, "cannot make the directory %s", directory);
    if (lstat(directory, &st) < 0)
        return weft__fail(-errno, "cannot look at %s", directory);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return weft__fail(-EACCES, "%s is not a directory of this user's alone", directory);
    return 0;
}

static int listen_at(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int err = prepare_directory(path);
    if (err < 0)
        return err;
    int fd = weft__call_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    (void)unlink(path);       /* left by a process that had our number */
    if (fchmod(fd, 0600) < 0) /* what bind makes the file with: it is never open to others */
        err = -errno;
    if (err == 0)
        err = weft__call_bind(fd, (struct sockaddr *)&sa, sizeof sa);
    if (err == 0) {
        err = weft__call_listen(fd, BACKLOG);
        if (err < 0)
            (void)unlink(path);
    }
    if (err < 0) {
        close(fd);
        return weft__fail(err, "cannot listen at %s", path);
    }
    return fd;
}

int weft__see_listen(char path[WEFT__SEE_PATH_MAX])
{
    int fd = -EINVAL;
    for (int n = 0; n < 2 && fd < 0; n++)
        if (weft__see_place(n, geteuid(), getpid(), path) == 0)
            fd = listen_at(path);
    return fd;
}
