/* SPDX-License-Identifier: MIT */
/*
 * The writer of an access log: a thread that takes lines from any other and writes them out.
 *
 * Floor 5. Lines are collected in one of two buffers while the thread writes the other; when there
 * is no room the line is dropped, since neither a loop nor its clients are to wait for a disk or a
 * pipe. The thread itself does wait, also where the descriptor would not have it wait, so that what
 * is dropped are lines and not the rest of one. A simulation has neither threads nor foreign
 * descriptors: there a log is a callback.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/log.h"
#include "sys/sim/world.h"

#define BUFFER_SIZE ((size_t)256 * 1024)
#define ENDING_MS 1000 /* at the end, for a full pipe that nobody reads */

struct weft__log_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    int fd;
    bool ending, asleep;
    /* The thread's: */
    bool torn;    /* the last line that was written has no end */
    bool no_hope; /* it has waited at the end, and nobody reads */
    _Atomic uint64_t dropped;
    size_t len;    /* in active */
    char *active;  /* lines come here */
    char *writing; /* the thread's */
    char buffers[2][BUFFER_SIZE];
};

/* Of a descriptor that does not have its writers wait; false: to no end. */
static bool await_room(struct weft__log_writer *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLOUT};
    int n = poll(&p, 1, w->no_hope ? 0 : ENDING_MS);
    if (n != 0)
        return n > 0 || errno == EINTR;
    pthread_mutex_lock(&w->lock);
    w->no_hope = w->ending;
    pthread_mutex_unlock(&w->lock);
    return !w->no_hope;
}

/* How much was written. */
static size_t write_some(struct weft__log_writer *w, const char *data, size_t len)
{
    size_t at = 0;
    while (at < len) {
        ssize_t n = write(w->fd, data + at, len - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || (errno != EINTR && (errno != EAGAIN || !await_room(w))))
            break; /* a log that cannot be written is no reason to stop serving */
    }
    return at;
}

static void write_lines(struct weft__log_writer *w, const char *data, size_t len)
{
    uint64_t lost = 0;
    if (w->torn && write_some(w, "\n", 1) == 1)
        w->torn = false;
    size_t at = w->torn ? 0 : write_some(w, data, len);
    if (at == len)
        return;
    w->torn = w->torn || (at > 0 && data[at - 1] != '\n');
    for (; at < len; at++)
        lost += data[at] == '\n';
    atomic_fetch_add_explicit(&w->dropped, lost, memory_order_relaxed);
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
        write_lines(w, data, len);
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

uint64_t weft__log_writer_dropped(const struct weft__log_writer *w)
{
    return w != NULL ? atomic_load_explicit(&w->dropped, memory_order_relaxed) : 0;
}
