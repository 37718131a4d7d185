/* SPDX-License-Identifier: MIT */
/*
 * The writer of an access log: a thread that takes lines from any other and writes them out.
 *
 * Floor 5. Lines are collected in one of two buffers while the thread writes the other; when there
 * is no room the line is dropped, since neither a loop nor its clients are to wait for a disk or a
 * pipe. A simulation has neither threads nor foreign descriptors: there a log is a callback.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/log.h"
#include "sys/sim/world.h"

#define BUFFER_SIZE ((size_t)256 * 1024)

struct weft__log_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    int fd;
    bool ending, asleep;
    size_t len;    /* in active */
    char *active;  /* lines come here */
    char *writing; /* the thread's */
    char buffers[2][BUFFER_SIZE];
};

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return; /* a log that cannot be written is no reason to stop serving */
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void *writer_main(void *arg)
{
    struct weft__log_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (w->len == 0 && !w->ending) {
            w->asleep = true;
            pthread_cond_wait(&w->more, &w->lock);
            w->asleep = false;
        }
        if (w->len == 0)
            break;
        char *data = w->active;
        size_t len = w->len;
        w->active = w->writing;
        w->writing = data;
        w->len = 0;
        pthread_mutex_unlock(&w->lock);
        write_all(w->fd, data, len);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void release(struct weft__log_writer *w)
{
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    weft__free(w);
}

int weft__log_writer_open(struct weft__log_writer **ret, int fd)
{
    if (weft__sim_proc != NULL)
        return weft__fail(WEFT_EOUTSIDE, "an access log to a descriptor");
    struct weft__log_writer *w = weft__alloc(sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    memset(w, 0, offsetof(struct weft__log_writer, buffers));
    w->fd = fd;
    w->active = w->buffers[0];
    w->writing = w->buffers[1];
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    sigset_t all, before;
    sigfillset(&all); /* signals are the program's threads', and a broken pipe is an error */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&w->thread, NULL, writer_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != 0) {
        release(w);
        return -err;
    }
    *ret = w;
    return 0;
}

void weft__log_writer_close(struct weft__log_writer *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    release(w);
}

bool weft__log_writer_put(struct weft__log_writer *w, const char *line, size_t len)
{
    if (w == NULL)
        return false;
    pthread_mutex_lock(&w->lock);
    bool fits = len + 1 <= BUFFER_SIZE - w->len;
    if (fits) {
        memcpy(w->active + w->len, line, len);
        w->active[w->len + len] = '\n';
        w->len += len + 1;
        if (w->asleep)
            pthread_cond_signal(&w->more);
    }
    pthread_mutex_unlock(&w->lock);
    return fits;
}
