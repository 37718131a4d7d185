/* SPDX-License-Identifier: MIT */
/*
 * The tree server: one thread of the process that listens on a Unix socket, asks all visible loops
 * to print themselves (see_ask.c), and sends the answer; on SIGQUIT it writes it to stderr.
 *
 * Floor 2. A request is served to its end before the next; everything it waits for has a time
 * limit, and the end of the last loop ends it at once. Who may ask is decided by the directory and
 * the file, which are ours alone, and again by the peer's user id.
 *
 * Invariants: `life` is held while the thread and what it uses are made and ended, and never taken
 * by the thread; SIGQUIT's disposition is ours from the first loop that asked for it to the last,
 * and what was before is put back unless somebody has replaced ours meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/tree.h>

#include "base/alloc.h"
#include "rt/see.h"
#include "sys/call.h"

#define REQUEST_NS INT64_C(1000000000)
#define REPLY_NS INT64_C(5000000000)
#define PIECE 4096 /* what a pipe with room takes without blocking */
#define PAUSE_MS 100

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    size_t loops, quits; /* visible ones, and those with sigquit_tree */
    pthread_t thread;
    int listen_fd; /* -1: there is no place for a socket */
    int stop_fd;   /* readable: the thread is to end */
    char path[WEFT__SEE_PATH_MAX];
} see;

/* --- SIGQUIT: what the handler touches ------------------------------------------------------ */

static _Atomic int quit_fd = -1; /* polled by the thread */
static _Atomic int handlers;     /* under way */
static _Atomic pid_t quit_pid;   /* whose handler it is */
static struct sigaction quit_before;

static void on_quit(int sig)
{
    int saved = errno;
    atomic_fetch_add(&handlers, 1);
    int fd = atomic_load(&quit_fd);
    if (fd >= 0 && getpid() == atomic_load(&quit_pid)) {
        ssize_t ignored = write(fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)ignored; /* full: it is readable, which is what matters */
    } else {
        /* Nobody is there to print: a fork that has not executed anything, or somebody has put this
         * handler back after its time. The signal has the effect that it had before. */
        (void)sigaction(sig, &quit_before, NULL);
        (void)raise(sig);
    }
    atomic_fetch_sub(&handlers, 1);
    errno = saved;
}

static bool quit_is_ours(void)
{
    struct sigaction now;
    return sigaction(SIGQUIT, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
           now.sa_handler == on_quit;
}

static void quit_install(void)
{
    struct sigaction sa = {.sa_handler = on_quit, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigfillset(&sa.sa_mask);
    atomic_store(&quit_pid, getpid());
    if (!quit_is_ours()) {
        (void)sigaction(SIGQUIT, NULL, &quit_before); /* before the handler is there, which may need
                                                         it */
        (void)sigaction(SIGQUIT, &sa, NULL);
    }
}

static void quit_restore(void)
{
    if (quit_is_ours())
        (void)sigaction(SIGQUIT, &quit_before, NULL);
}

/* --- Waiting for a descriptor --------------------------------------------------------------- */

/* 0: fd is ready; -ETIMEDOUT; -ECANCELED: the thread is to end. */
static int await_fd(int fd, short events, int64_t until_ns)
{
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = see.stop_fd, .events = POLLIN}};
    for (;;) {
        int64_t left = until_ns - weft__clock_ns();
        int n = left > 0 ? poll(p, 2, (int)(left / 1000000 + 1)) : 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && p[1].revents != 0)
            return -ECANCELED;
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
    }
}

static int write_all(int fd, bool socket, const char *text, size_t len, int64_t until_ns)
{
    while (len > 0) {
        int err = await_fd(fd, POLLOUT, until_ns);
        if (err < 0)
            return err;
        ssize_t n = socket ? send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : write(fd, text, weft__min_size(len, PIECE));
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* --- A request ------------------------------------------------------------------------------ */

static bool may_ask(int fd)
{
    struct ucred who;
    socklen_t len = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
           (who.uid == geteuid() || who.uid == 0);
}

/* One line; the flags that it asks for, or a negative code. */
static int read_request(int fd)
{
    char line[WEFT__SEE_HEAD_MAX];
    size_t len = 0;
    int64_t until = weft__clock_ns() + REQUEST_NS;
    const size_t head = sizeof WEFT__SEE_HEAD - 1;
    while (len == 0 || line[len - 1] != '\n') {
        int err = len == sizeof line ? WEFT_EPROTOCOL : await_fd(fd, POLLIN, until);
        if (err < 0)
            return err;
        ssize_t n = recv(fd, line + len, sizeof line - len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return WEFT_EEOF;
        len += n > 0 ? (size_t)n : 0;
    }
    line[len - 1] = '\0';
    if (len <= head || memcmp(line, WEFT__SEE_HEAD, head) != 0)
        return WEFT_EPROTOCOL;
    return atoi(line + head) & WEFT_TREE_BACKTRACE;
}

static void reply(int fd, bool socket, const char *head, struct weft__asking *a)
{
    int64_t until = weft__clock_ns() + REPLY_NS;
    const char *text;
    size_t len;
    int err = write_all(fd, socket, head, strlen(head), until);
    while (err == 0 && weft__asking_next(a, &text, &len))
        err = write_all(fd, socket, text, len, until);
}

static void serve(int fd)
{
    struct weft__asking *a;
    char head[WEFT__SEE_HEAD_MAX];
    if (!may_ask(fd)) {
        static const char denied[] = WEFT__SEE_HEAD WEFT__SEE_DENIED "\n";
        (void)write_all(fd, true, denied, sizeof denied - 1, weft__clock_ns() + REPLY_NS);
        return;
    }
    int flags = read_request(fd);
    if (flags < 0 || weft__asking_open(&a, (unsigned)flags) < 0)
        return;
    snprintf(head, sizeof head, WEFT__SEE_HEAD "%zu\n", weft__asking_size(a));
    reply(fd, true, head, a);
    weft__asking_close(a);
}

static void print_to_stderr(int fd)
{
    struct weft__asking *a;
    char head[WEFT__SEE_HEAD_MAX];
    uint64_t count;
    ssize_t ignored = read(fd, &count, sizeof count);
    (void)ignored;
    if (weft__asking_open(&a, WEFT_TREE_BACKTRACE) < 0)
        return;
    snprintf(head, sizeof head, "weft: the tree of process %ld\n", (long)getpid());
    reply(STDERR_FILENO, false, head, a);
    weft__asking_close(a);
}

static void *see_main(void *arg)
{
    (void)arg;
    for (;;) {
        int quit = atomic_load(&quit_fd);
        struct pollfd p[3] = {{.fd = see.stop_fd, .events = POLLIN},
                              {.fd = quit, .events = POLLIN},
                              {.fd = see.listen_fd, .events = POLLIN}};
        if (poll(p, 3, -1) < 0)
            continue; /* EINTR */
        if (p[0].revents != 0)
            return NULL;
        if (p[1].revents != 0)
            print_to_stderr(quit);
        if (p[2].revents == 0)
            continue;
        int fd = accept4(see.listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(fd);
            close(fd);
        } else if (errno != EAGAIN && errno != ECONNABORTED) {
            (void)poll(p, 1, PAUSE_MS); /* out of descriptors, and it is still there to be accepted
                                         */
        }
    }
}

/* --- The thread's life: with `life` held ------------------------------------------------------ */

static void release(void)
{
    int quit = atomic_exchange(&quit_fd, -1);
    while (atomic_load(&handlers) > 0)
        sched_yield(); /* a few instructions in another thread */
    if (quit >= 0)
        close(quit);
    if (see.stop_fd >= 0)
        close(see.stop_fd);
    if (see.listen_fd >= 0) {
        (void)unlink(see.path);
        close(see.listen_fd);
    }
    see.stop_fd = see.listen_fd = -1;
}

static int start(struct weft_loop *l)
{
    weft__asking_stop(false);
    see.listen_fd = -1;
    see.stop_fd = weft__call_eventfd();
    int quit = see.stop_fd >= 0 ? weft__call_eventfd() : see.stop_fd;
    if (quit < 0) {
        release();
        return weft__fail(quit, "no descriptor for the tree server");
    }
    atomic_store(&quit_fd, quit);
    see.listen_fd = weft__see_listen(see.path);
    if (see.listen_fd < 0) { /* the program is no worse off, and SIGQUIT works */
        weft__log_printf(&l->log, WEFT_LOG_WARNING, "`weft tree` has no socket: %s: %s",
                         weft_error_detail(), weft_error_text(see.listen_fd));
        weft__error_detail_clear();
    }
    int err = weft__see_thread(&see.thread, "weft-see", see_main);
    if (err < 0) {
        release();
        return weft__fail(err, "no thread for the tree server");
    }
    return 0;
}

static void stop(void)
{
    ssize_t ignored = write(see.stop_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored;
    weft__asking_stop(true);
    pthread_join(see.thread, NULL);
    release();
}

/* --- A loop's service ------------------------------------------------------------------------ */

static void seen_close(struct weft__service *service)
{
    struct weft__seen *s = WEFT__CONTAINER_OF(service, struct weft__seen, service);
    if (s->pid == getpid()) { /* else a fork closes its parent's loop */
        weft__ask_leave(s);
        pthread_mutex_lock(&life);
        if (s->quits && --see.quits == 0)
            quit_restore();
        if (--see.loops == 0)
            stop();
        pthread_mutex_unlock(&life);
    }
    weft__free(s);
}

static void in_child(void)
{
    pthread_mutex_init(&life, NULL);
    weft__ask_forget_all();
    if (see.loops == 0)
        return;
    see.loops = see.quits = 0;
    if (see.listen_fd >= 0)
        close(see.listen_fd);
    close(see.stop_fd);
    close(atomic_exchange(&quit_fd, -1));
    atomic_store(&handlers, 0);
    quit_restore();
}

static void register_fork(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

int weft__see_serve(struct weft_loop *l)
{
    struct weft__seen *s = weft__calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    pthread_once(&once, register_fork);
    *s = (struct weft__seen){.loop = l, .quits = l->options.sigquit_tree, .pid = getpid()};
    s->service.close = seen_close;
    pthread_mutex_lock(&life);
    int err = see.loops == 0 ? start(l) : 0;
    if (err == 0) {
        see.loops++;
        if (s->quits && see.quits++ == 0)
            quit_install();
        weft__ask_enter(s);
        weft__list_push_back(&l->services, &s->service.link);
    }
    pthread_mutex_unlock(&life);
    if (err < 0)
        weft__free(s);
    return err;
}

/* --- All of it ------------------------------------------------------------------------------- */

int weft__see_open(struct weft_loop *l)
{
    const struct weft_options *o = &l->options;
    int err = 0;
    l->watched = o->visible || o->watchdog_ms > 0;
    atomic_store(&l->place, WEFT__NOT_RUN);
    if (o->report_overflow)
        err = weft__overflow_open(l);
    if (err == 0 && o->watchdog_ms > 0)
        err = weft__watchdog_open(l);
    if (err == 0 && o->visible)
        err = weft__see_serve(l);
    return err;
}

int weft__see_thread(pthread_t *ret, const char *name, void *(*fn)(void *))
{
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigset_t blocked, before;
    int err = weft__fault();
    if (err < 0)
        return err;
    sigfillset(&blocked);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(open); i++)
        sigdelset(&blocked, open[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    err = pthread_create(ret, NULL, fn, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err == 0)
        (void)pthread_setname_np(*ret, name);
    return -err;
}
