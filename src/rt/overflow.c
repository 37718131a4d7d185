/* SPDX-License-Identifier: MIT */
/*
 * options.report_overflow: a task that runs past the end of its stack is named on stderr before the
 * fault kills the process.
 *
 * Floor 2. The fault's handler runs on a stack of its own, one a thread. It reports a fault in the
 * guard of the stack of a task that was running on this thread, then has the default action strike,
 * where the fault was, so that a core shows it. Every other fault is passed on to the handler that
 * was there before.
 *
 * Invariants: in the handler only what is async-signal-safe: the loop that it reads belongs to its
 * own thread, which stands still in the fault; the dispositions are ours from the first such loop
 * of the process to the last, and what was before is put back unless somebody has replaced ours.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rt/see.h"
#include "sys/call.h"

#define HANDLER_STACK ((size_t)64 * 1024)

struct entry {
    struct weft__service service;
    struct weft_loop *loop;
    struct entry *next; /* of the same thread */
};

/* What a thread with such loops has. */
static _Thread_local struct {
    struct entry *first;
    void *stack;     /* ours, for the handler; NULL: the thread had one */
    sigset_t opened; /* of the two signals, those that were blocked */
} here __attribute__((tls_model("initial-exec")));

static const int signals[] = {SIGSEGV, SIGBUS};
static struct sigaction before[WEFT__ARRAY_LEN(signals)];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t count; /* loops, by the lock */

/* --- In the handler ------------------------------------------------------------------------- */

struct line {
    char text[512];
    size_t len;
};

static void put(struct line *l, const char *text)
{
    while (*text != '\0' && l->len < sizeof l->text - 1) {
        l->text[l->len++] = *text >= ' ' && *text != 0x7f ? *text : '?';
        text++;
    }
}

static void put_number(struct line *l, size_t n)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    put(l, digits + at);
}

static void write_report(const struct weft_loop *l, const struct weft__task *t)
{
    struct line line = {.len = 0};
    struct weft__stack_stats stats;
    weft__stack_pool_stats(l->stacks, &stats);
    put(&line, "weft: stack overflow in task ");
    put(&line, t->flow.name);
    put(&line, " (");
    put(&line, t->flow.site);
    put(&line, "), stack of ");
    put_number(&line, stats.stack_size);
    put(&line, " bytes; raise options.stack_size");
    line.text[line.len++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line.text, line.len);
    (void)ignored;
}

/* Whether addr lies in the guard of a task that runs on this thread (several, where loops nest). */
static bool reported(const void *addr)
{
    for (const struct entry *e = here.first; e != NULL; e = e->next) {
        const struct weft_loop *l = e->loop;
        struct weft__stack *stack;
        if (l->running != NULL && weft__stack_guard_hit(l->stacks, addr, &stack) &&
            l->running->stack == stack) {
            write_report(l, l->running);
            return true;
        }
    }
    return false;
}

static void set_default(int sig)
{
    struct sigaction sa = {.sa_handler = SIG_DFL};
    (void)sigaction(sig, &sa, NULL);
}

static void pass_on(int sig, siginfo_t *info, void *context)
{
    struct sigaction *old = &before[sig == SIGSEGV ? 0 : 1];
    bool info_wanted = (old->sa_flags & SA_SIGINFO) != 0;
    if (!info_wanted && (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN)) {
        (void)sigaction(sig, old, NULL);
        if (info->si_code <= 0)
            (void)raise(sig); /* sent by somebody: it does not come again by itself */
        return;
    }
    if ((old->sa_flags & SA_RESETHAND) != 0)
        set_default(sig);
    if (info_wanted)
        old->sa_sigaction(sig, info, context);
    else
        old->sa_handler(sig);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    /* A code above 0 says that the kernel found it, at si_addr. */
    if (info->si_code > 0 && reported(info->si_addr))
        set_default(sig); /* the fault comes again when we return, and kills */
    else
        pass_on(sig, info, context);
    errno = saved;
}

/* --- The process's dispositions: with the lock ---------------------------------------------- */

static bool ours(int sig, struct sigaction *now)
{
    return sigaction(sig, NULL, now) == 0 && (now->sa_flags & SA_SIGINFO) != 0 &&
           now->sa_sigaction == on_fault;
}

static void install(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction now;
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(signals); i++) {
        if (ours(signals[i], &now))
            continue;
        before[i] = now; /* before the handler is there, which may need it */
        (void)sigaction(signals[i], &sa, NULL);
    }
}

static void restore(void)
{
    struct sigaction now;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(signals); i++)
        if (ours(signals[i], &now))
            (void)sigaction(signals[i], &before[i], NULL);
}

/* --- The thread's stack and mask ------------------------------------------------------------- */

static int prepare_thread(void)
{
    stack_t now, mine = {.ss_size = HANDLER_STACK};
    sigset_t open, old;
    if (here.first != NULL)
        return 0;
    int err = weft__fault();
    if (err < 0)
        return err;
    if (sigaltstack(NULL, &now) < 0)
        return -errno;
    if ((now.ss_flags & SS_DISABLE) != 0) { /* else it has one, which will do */
        mine.ss_sp = mmap(NULL, HANDLER_STACK, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (mine.ss_sp == MAP_FAILED)
            return -errno;
        if (sigaltstack(&mine, NULL) < 0) {
            err = -errno;
            munmap(mine.ss_sp, HANDLER_STACK);
            return err;
        }
        here.stack = mine.ss_sp;
    }
    /* A blocked signal of a fault kills without a word. */
    sigemptyset(&open);
    sigemptyset(&here.opened);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(signals); i++)
        sigaddset(&open, signals[i]);
    pthread_sigmask(SIG_UNBLOCK, &open, &old);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(signals); i++)
        if (sigismember(&old, signals[i]) == 1)
            sigaddset(&here.opened, signals[i]);
    return 0;
}

static void release_thread(void)
{
    stack_t now, none = {.ss_flags = SS_DISABLE};
    if (here.first != NULL)
        return;
    pthread_sigmask(SIG_BLOCK, &here.opened, NULL);
    if (here.stack == NULL)
        return;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == here.stack)
        (void)sigaltstack(&none, NULL);
    munmap(here.stack, HANDLER_STACK);
    here.stack = NULL;
}

/* --- A loop's service ------------------------------------------------------------------------ */

static void overflow_close(struct weft__service *s)
{
    struct entry *e = WEFT__CONTAINER_OF(s, struct entry, service);
    pthread_mutex_lock(&lock);
    if (--count == 0)
        restore();
    pthread_mutex_unlock(&lock);
    for (struct entry **at = &here.first; *at != NULL; at = &(*at)->next) {
        if (*at == e) {
            *at = e->next;
            break;
        }
    }
    release_thread();
    weft__free(e);
}

int weft__overflow_open(struct weft_loop *l)
{
    struct entry *e = weft__alloc(sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    int err = prepare_thread();
    if (err < 0) {
        weft__free(e);
        return weft__fail(err, "no stack for the handler of faults");
    }
    *e = (struct entry){.service.close = overflow_close, .loop = l, .next = here.first};
    here.first = e;
    pthread_mutex_lock(&lock);
    if (count++ == 0)
        install();
    pthread_mutex_unlock(&lock);
    weft__list_push_back(&l->services, &e->service.link);
    return 0;
}
