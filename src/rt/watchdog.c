/* SPDX-License-Identifier: MIT */
/*
 * The watchdog: a thread of the process that looks at the watched loops now and then and reports,
 * through the log of each, what holds it for longer than options.watchdog_ms.
 *
 * Floor 2. It looks every half of the shortest watchdog_ms. A stretch is measured from the first
 * look that found it, so it is reported at the latest half of that time after it has become too
 * long, and its length is never overstated. It is reported again each time it has doubled.
 *
 * What counts as one stretch: one task that runs without a switch; or callbacks, from one end of an
 * operation or one turn of the loop to the next.
 *
 * Invariants: watch_lock guards the list and the looking, calls of the log included, so a loop that
 * has left is not logged to; `life` is held while the thread is made and ended, and never taken
 * by it.
 */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rt/see.h"

struct watch {
    struct weft__service service;
    struct weft__node link;
    struct weft_loop *loop;
    struct weft__hold hold;
    int64_t limit_ns;
    int64_t next_ns; /* the length at which the stretch is reported next */
    pid_t pid;
};

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct weft__list watches = WEFT__LIST_INIT(watches);
static size_t count; /* by `life` */
static pthread_t thread;
static bool stopping; /* by watch_lock */

static void report(struct watch *w, int64_t held_ns)
{
    char who[256];
    if (!weft__hold_who(w->loop, &w->hold, who, sizeof who))
        return; /* it has just gone on */
    weft__log_printf(&w->loop->log, WEFT_LOG_WARNING, "%s holds loop %s for %lld ms", who,
                     w->loop->options.name, (long long)(held_ns / 1000000));
    while (w->next_ns <= held_ns && w->next_ns <= INT64_MAX / 2)
        w->next_ns *= 2;
}

static void look(struct watch *w)
{
    int64_t now = weft__clock_ns();
    enum weft__hold_state state = weft__hold_look(w->loop, &w->hold, now);
    int64_t held = now - w->hold.since_ns;
    if (state != WEFT__HOLD_BUSY || held == 0)
        w->next_ns = w->limit_ns; /* another stretch, if it is one */
    else if (held >= w->next_ns)
        report(w, held);
}

static void *watchdog_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&watch_lock);
    while (!stopping) {
        int64_t period = INT64_C(1000000000);
        WEFT__LIST_EACH(&watches, n) {
            struct watch *w = WEFT__CONTAINER_OF(n, struct watch, link);
            look(w);
            period = weft__min_i64(period, weft__max_i64(w->limit_ns / 2, 1000000));
        }
        int64_t next = weft__clock_ns() + period;
        struct timespec ts = {.tv_sec = (time_t)(next / 1000000000), .tv_nsec = next % 1000000000};
        (void)pthread_cond_clockwait(&changed, &watch_lock, CLOCK_MONOTONIC, &ts);
    }
    pthread_mutex_unlock(&watch_lock);
    return NULL;
}

static void stop(void)
{
    pthread_mutex_lock(&watch_lock);
    stopping = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&watch_lock);
    pthread_join(thread, NULL);
}

static void watch_close(struct weft__service *s)
{
    struct watch *w = WEFT__CONTAINER_OF(s, struct watch, service);
    if (w->pid == getpid()) { /* else a fork closes its parent's loop */
        pthread_mutex_lock(&life);
        pthread_mutex_lock(&watch_lock);
        weft__list_remove(&w->link);
        pthread_mutex_unlock(&watch_lock);
        if (--count == 0)
            stop();
        pthread_mutex_unlock(&life);
    }
    weft__free(w);
}

static void in_child(void)
{
    pthread_mutex_init(&life, NULL);
    pthread_mutex_init(&watch_lock, NULL);
    pthread_cond_init(&changed, NULL);
    weft__list_init(&watches);
    count = 0;
}

static void register_fork(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

int weft__watchdog_open(struct weft_loop *l)
{
    struct watch *w = weft__calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    pthread_once(&once, register_fork);
    int64_t ms = weft__min_i64(l->options.watchdog_ms, INT64_MAX / 4000000);
    *w = (struct watch){.loop = l, .limit_ns = ms * 1000000, .pid = getpid()};
    w->next_ns = w->limit_ns;
    w->service.close = watch_close;
    int err = 0;
    pthread_mutex_lock(&life);
    if (count == 0) {
        stopping = false;
        err = weft__see_thread(&thread, "weft-watchdog", watchdog_main);
    }
    if (err == 0) {
        count++;
        pthread_mutex_lock(&watch_lock);
        weft__list_push_back(&watches, &w->link);
        pthread_cond_signal(&changed); /* it may want to be looked at more often */
        pthread_mutex_unlock(&watch_lock);
        weft__list_push_back(&l->services, &w->service.link);
    }
    pthread_mutex_unlock(&life);
    if (err < 0) {
        weft__free(w);
        return weft__fail(err, "no thread for the watchdog");
    }
    return 0;
}
