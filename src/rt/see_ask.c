/* SPDX-License-Identifier: MIT */
/*
 * Asking loops to print themselves: the asker's thread waits, each loop prints on its own thread.
 *
 * Floor 2. One asking at a time. All loops are asked at once, then waited for together; one that
 * has not begun to print by then is reported with what holds it. A loop that has begun is waited
 * for: what it prints is bounded.
 *
 * Invariants, all by ask_lock:
 *  - an ask belongs to the asker; the loop touches it only from taking it (PRINTING) to giving it
 *    back (DONE), and meanwhile the asker waits; so an answer that comes late finds nothing to
 * write to;
 *  - a loop that closes leaves the list first, and an ask of it that is still WAITING is GONE;
 *  - a loop's remote is posted at most once at a time; it lies in the loop's own service.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/alloc.h"
#include "rt/printer.h"
#include "rt/see.h"

#define PATIENCE_NS INT64_C(2000000000)
#define ROOM ((size_t)16 << 20) /* bytes of all answers together */
#define LAST_LINE 64            /* room that is kept for saying that something is missing */

enum state { WAITING, PRINTING, DONE, GONE };

struct weft__ask {
    struct weft__seen *seen; /* NULL once it is DONE or GONE */
    enum state state;
    struct weft__printer printer;
    struct weft__asking *asking;
    char *data;
    size_t len, cap;
};

struct weft__asking {
    _Atomic size_t room; /* left for all of them */
    size_t next;         /* to be read */
    size_t n;
    struct weft__ask asks[];
};

static pthread_mutex_t ask_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static struct weft__list loops = WEFT__LIST_INIT(loops);
static size_t loops_count;
static bool stopped;

/* --- The text of an answer ------------------------------------------------------------------ */

static bool make_room(struct weft__ask *a, size_t len)
{
    size_t need = a->len + len + LAST_LINE;
    if (need <= a->cap)
        return true;
    size_t cap = weft__max_size(2 * need, 4096);
    char *grown = weft__realloc(a->data, cap);
    if (grown == NULL)
        return false;
    a->data = grown;
    a->cap = cap;
    return true;
}

static void cut(struct weft__ask *a, const char *why)
{
    a->printer.cut = true;
    if (a->data != NULL) /* then there are LAST_LINE bytes left */
        a->len += (size_t)snprintf(a->data + a->len, LAST_LINE, "... cut: %s\n", why);
}

static bool take_room(struct weft__asking *all, size_t len)
{
    size_t room = atomic_load(&all->room);
    do {
        if (len > room)
            return false;
    } while (!atomic_compare_exchange_weak(&all->room, &room, room - len));
    return true;
}

static void append(void *arg, const char *text, size_t len)
{
    struct weft__ask *a = arg;
    if (a->printer.cut)
        return;
    if (!make_room(a, len)) {
        cut(a, "out of memory");
    } else if (!take_room(a->asking, len)) {
        cut(a, "the tree is too long");
    } else {
        memcpy(a->data + a->len, text, len);
        a->len += len;
    }
}

/* --- The loop's side ------------------------------------------------------------------------ */

static void answer(struct weft__remote *r)
{
    struct weft__seen *s = WEFT__CONTAINER_OF(r, struct weft__seen, remote);
    pthread_mutex_lock(&ask_lock);
    struct weft__ask *a = s->ask;
    s->posted = false;
    s->ask = NULL;
    if (a != NULL)
        a->state = PRINTING;
    pthread_mutex_unlock(&ask_lock);
    if (a == NULL)
        return; /* too late */
    a->printer.now_ns = weft_now_ns();
    weft__print_loop(&a->printer, s->loop);
    pthread_mutex_lock(&ask_lock);
    a->state = DONE;
    a->seen = NULL;
    pthread_cond_broadcast(&answered);
    pthread_mutex_unlock(&ask_lock);
}

void weft__ask_enter(struct weft__seen *s)
{
    s->remote.fn = answer;
    pthread_mutex_lock(&ask_lock);
    weft__list_push_back(&loops, &s->link);
    loops_count++;
    pthread_mutex_unlock(&ask_lock);
}

void weft__ask_leave(struct weft__seen *s)
{
    pthread_mutex_lock(&ask_lock);
    weft__list_remove(&s->link);
    loops_count--;
    if (s->ask != NULL) {
        s->ask->state = GONE;
        s->ask->seen = NULL;
        pthread_cond_broadcast(&answered);
    }
    pthread_mutex_unlock(&ask_lock);
}

void weft__ask_forget_all(void)
{
    pthread_mutex_init(&ask_lock, NULL); /* the thread that held it is not here */
    pthread_cond_init(&answered, NULL);
    weft__list_init(&loops);
    loops_count = 0;
    stopped = false;
}

/* --- The asker's side: with the lock -------------------------------------------------------- */

static void ask(struct weft__ask *a, struct weft__seen *s)
{
    s->ask = a; /* an older one was taken back by its asker */
    (void)weft__hold_look(s->loop, &s->hold, weft__clock_ns());
    if (s->posted)
        return;
    s->posted = true;
    weft__loop_remote(s->loop, &s->remote); /* in the list, so it is there */
}

/* A loop that did not answer. */
static void give_up(struct weft__ask *a)
{
    struct weft__seen *s = a->seen;
    const char *name = s->loop->options.name;
    int64_t now = weft__clock_ns();
    char who[256];
    s->ask = NULL;
    a->seen = NULL;
    a->printer.now_ns = now;
    switch (weft__hold_look(s->loop, &s->hold, now)) {
    case WEFT__HOLD_NOT_RUN:
        weft__print(&a->printer, "loop %s is not being run: its tasks cannot be shown", name);
        return;
    case WEFT__HOLD_BUSY:
        if (s->hold.since_ns < now && weft__hold_who(s->loop, &s->hold, who, sizeof who)) {
            weft__print(&a->printer, "loop %s does not answer: %s holds it for %.1f s at least",
                        name, who, (double)(now - s->hold.since_ns) / 1e9);
            return;
        }
        break;
    case WEFT__HOLD_NONE:
        break;
    }
    weft__print(&a->printer, "loop %s is at work and has not answered in time", name);
}

static bool any(const struct weft__asking *all, enum state state)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->asks[i].state == state)
            return true;
    return false;
}

static void wait_for_answers(const struct weft__asking *all)
{
    int64_t until = weft__clock_ns() + PATIENCE_NS;
    struct timespec ts = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = until % 1000000000};
    int err = 0;
    while (err == 0 && !stopped && any(all, WAITING))
        err = pthread_cond_clockwait(&answered, &ask_lock, CLOCK_MONOTONIC, &ts);
    while (any(all, PRINTING))
        pthread_cond_wait(&answered, &ask_lock);
}

int weft__asking_open(struct weft__asking **ret, unsigned flags)
{
    pthread_mutex_lock(&ask_lock);
    struct weft__asking *all =
        weft__calloc(1, sizeof *all + loops_count * sizeof(struct weft__ask));
    if (all == NULL) {
        pthread_mutex_unlock(&ask_lock);
        return -ENOMEM;
    }
    atomic_init(&all->room, ROOM);
    WEFT__LIST_EACH(&loops, n) {
        struct weft__ask *a = &all->asks[all->n++];
        a->seen = WEFT__CONTAINER_OF(n, struct weft__seen, link);
        a->asking = all;
        a->printer = (struct weft__printer){.sink = append, .arg = a, .flags = flags};
        ask(a, a->seen);
    }
    wait_for_answers(all);
    for (size_t i = 0; i < all->n; i++)
        if (all->asks[i].state == WAITING)
            give_up(&all->asks[i]);
    pthread_mutex_unlock(&ask_lock);
    *ret = all;
    return 0;
}

/* --- The answers ---------------------------------------------------------------------------- */

bool weft__asking_next(struct weft__asking *a, const char **text, size_t *len)
{
    while (a->next < a->n) {
        const struct weft__ask *one = &a->asks[a->next++];
        if (one->len > 0) {
            *text = one->data;
            *len = one->len;
            return true;
        }
    }
    return false;
}

size_t weft__asking_size(const struct weft__asking *a)
{
    size_t size = 0;
    for (size_t i = 0; i < a->n; i++)
        size += a->asks[i].len;
    return size;
}

void weft__asking_close(struct weft__asking *a)
{
    for (size_t i = 0; i < a->n; i++)
        weft__free(a->asks[i].data);
    weft__free(a);
}

void weft__asking_stop(bool stop)
{
    pthread_mutex_lock(&ask_lock);
    stopped = stop;
    pthread_cond_broadcast(&answered);
    pthread_mutex_unlock(&ask_lock);
}
