/* SPDX-License-Identifier: MIT */
/*
 * The work pool: jobs that would hold the loop run on a few threads beside it.
 *
 * Floor 2. One pool a loop, opened with its first job and closed with the loop. Threads are started
 * when a job finds none idle, up to the maximum, and stay until the close; all signals but those
 * of faults are blocked in them. To a job its thread is a plain thread: waiting calls block it.
 *
 * Who owns a job, and what a cancel or time-out of the waiting task does to it:
 *
 *                       weft_offload (arg borrowed)        weft_offload_copy (arg copied)
 *   it lies             on the waiting task's stack        on the heap, the copy behind it
 *   not begun           taken from the queue: never runs   abandoned: never runs, but is cleaned up
 *   running             told, and waited for               told, and abandoned
 *   ended, not yet told the result stands                  the result stands
 *
 * The task goes on at once after abandoning; the pool's thread then calls cleanup and frees the
 * job. A queued job with nothing to clean up is freed at once. So after -ETIMEDOUT and -ECANCELED
 * of weft_offload_copy what the copy refers to belongs to cleanup, which is called exactly once,
 * and after every other result to the caller. That also holds where the cancel came before the call
 * (then cleanup is called in the calling task, on *arg itself, as there is no job), and where the
 * job itself returned one of the two codes, as the caller cannot tell that from being abandoned:
 * then whoever ran the job cleans up before the caller hears of it, and nothing is copied back.
 *
 * In a simulation there is no pool, and the calling task runs the job itself; see run_in_host.
 *
 * Beside jobs there is work (struct weft__work), for code of the library that has no task to wait
 * in: it lies in its owner's memory, any amount of it may wait, and so that this holds up no job,
 * it has half of the threads at most, and the two are taken by turns.
 *
 * Invariants:
 *  - the pool's lock guards the queues, the counts, each job's state and call, and whether a piece
 * of work has begun;
 *  - a job that was abandoned never touches the loop, and one that was not touches it once, by its
 *    remote, as its last act; so all that the close has to do is to join the threads;
 *  - jobs are submitted on the loop's thread only, so threads are started by one at a time.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include <weft/offload.h>

#include "base/alloc.h"
#include "rt/rt.h"
#include "sys/call.h"
#include "sys/sim/world.h"

#define THREADS_DEFAULT 4
#define CAPACITY_DEFAULT 1024
#define COPY_MAX 65536

struct pool {
    struct weft__service service;
    struct weft_loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct weft__list queue; /* jobs that have not begun */
    size_t waiting;          /* their number */
    struct weft__list works; /* likewise, of struct weft__work */
    size_t works_waiting;
    size_t works_now; /* threads that are at work, */
    size_t works_max; /* of at most so many */
    bool work_turn;   /* where both wait, work is next */
    size_t idle;      /* threads without a job, just started ones included */
    size_t capacity;
    size_t threads_max;
    size_t threads; /* the loop's thread only */
    bool closing;
    pthread_t ids[];
};

/* A task's wait for its job. */
struct call {
    struct weft__wait wait;
    struct weft_job *job;
    int gave_up; /* why the job's result does not count; 0: it does */
};

enum state { QUEUED, RUNNING, ENDED };

struct weft_job {
    struct weft__node link;   /* in the pool's queue */
    struct weft__remote told; /* tells the loop that it has ended */
    struct pool *pool;        /* NULL: it runs on the thread that called */
    struct call *call;        /* NULL: abandoned */
    weft_job_fn fn;
    void *arg;
    void (*cleanup)(void *arg);
    struct weft__detail *detail; /* of an error result */
    int result;
    enum state state;
    bool may_abandon;
    _Atomic bool canceled;
    const struct weft__flow *here; /* pool NULL: the calling flow; */
    int64_t shield_ns;             /* a cancel of it counts from here on, when its shield ends; */
    int64_t until_ns;              /* and the call's deadline */
};

/* A job on the heap, with the copy of its argument. */
struct copied {
    struct weft_job job;
    _Alignas(max_align_t) char copy[];
};

/* Without a pool: why whoever called would not wait any longer; 0: it would. */
static int given_up(const struct weft_job *j)
{
    if (atomic_load_explicit(&j->here->canceled, memory_order_relaxed) &&
        (j->shield_ns == 0 || weft__clock_ns() >= j->shield_ns))
        return -ECANCELED;
    return j->until_ns != INT64_MAX && weft__clock_ns() >= j->until_ns ? -ETIMEDOUT : 0;
}

bool weft_job_canceled_mt(const struct weft_job *j)
{
    if (j->pool != NULL)
        return atomic_load_explicit(&j->canceled, memory_order_relaxed);
    return given_up(j) < 0;
}

/* --- The pool's threads ----------------------------------------------------------------------- */

/* Pieces of work that a thread would take up now. */
static size_t works_due(const struct pool *p)
{
    return weft__min_size(p->works_waiting, p->works_max - p->works_now);
}

static void job_free(struct weft_job *j)
{
    weft__free(j->detail);
    weft__free(WEFT__CONTAINER_OF(j, struct copied, job));
}

static void keep_detail(struct weft_job *j)
{
    if (j->result >= 0 || weft_error_detail()[0] == '\0')
        return;
    j->detail = weft__alloc(sizeof *j->detail);
    if (j->detail != NULL)
        strcpy(j->detail->text, weft_error_detail()); /* same size, and terminated */
}

/* Of a job's own: it reads like a cancel or time-out of the call. */
static bool says_stopped(int result)
{
    return result == -ECANCELED || result == -ETIMEDOUT;
}

/* The clean-up is done here, without the lock: nobody else looks at cleanup while the job runs. */
static void run(struct weft_job *j)
{
    weft__error_detail_clear();
    j->result = j->fn(j, j->arg);
    keep_detail(j);
    if (j->cleanup != NULL && says_stopped(j->result)) {
        j->cleanup(j->arg);
        j->cleanup = NULL;
    }
}

/* Called with the lock, which is given back; j may be gone afterwards. */
static void end_job(struct pool *p, struct weft_job *j)
{
    bool abandoned = j->call == NULL;
    j->state = ENDED;
    if (!abandoned)
        p->idle++; /* before the task can submit its next job */
    pthread_mutex_unlock(&p->lock);
    if (!abandoned) {
        weft__loop_remote(p->loop, &j->told);
        return;
    }
    if (j->cleanup != NULL)
        j->cleanup(j->arg);
    job_free(j);
    pthread_mutex_lock(&p->lock);
    p->idle++;
    pthread_mutex_unlock(&p->lock);
}

/* Called with the lock, as is what follows. */
static void take_job(struct pool *p)
{
    struct weft__node *n = weft__list_pop_front(&p->queue);
    struct weft_job *j = WEFT__CONTAINER_OF(n, struct weft_job, link);
    p->waiting--;
    p->idle--;
    p->work_turn = true;
    if (works_due(p) > 0 && p->idle > 0)
        pthread_cond_signal(&p->work);
    if (j->call != NULL) {
        j->state = RUNNING;
        pthread_mutex_unlock(&p->lock);
        run(j);
        pthread_mutex_lock(&p->lock);
    }
    end_job(p, j);
    pthread_mutex_lock(&p->lock);
}

static void take_work(struct pool *p)
{
    struct weft__node *n = weft__list_pop_front(&p->works);
    struct weft__work *w = WEFT__CONTAINER_OF(n, struct weft__work, link);
    p->works_waiting--;
    p->works_now++;
    p->idle--;
    p->work_turn = false;
    w->begun = true;
    pthread_mutex_unlock(&p->lock);
    w->run(w);
    pthread_mutex_lock(&p->lock);
    p->works_now--;
    p->idle++;
    pthread_mutex_unlock(&p->lock);
    weft__loop_remote(p->loop, &w->told); /* and with that it is its owner's again */
    pthread_mutex_lock(&p->lock);
}

static void *thread_main(void *arg)
{
    struct pool *p = arg;
    (void)pthread_setname_np(pthread_self(), "weft-offload");
    pthread_mutex_lock(&p->lock);
    for (;;) {
        bool work = works_due(p) > 0;
        if (work && (p->work_turn || p->waiting == 0))
            take_work(p);
        else if (p->waiting > 0)
            take_job(p);
        else if (p->closing)
            break;
        else
            pthread_cond_wait(&p->work, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static int start_thread(struct pool *p)
{
    /* Not those that a fault of the thread itself raises: blocked, they would kill without a word
     * to the program's handler. And profilers want their ticks. */
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigset_t blocked, before;
    int err = -weft__fault();
    if (err != 0)
        return -err;
    sigfillset(&blocked);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(open); i++)
        sigdelset(&blocked, open[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    err = pthread_create(&p->ids[p->threads], NULL, thread_main, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err == 0)
        p->threads++;
    return -err;
}

/* --- Opening and closing ---------------------------------------------------------------------- */

/* The loop has no task left, so what is still queued or running was abandoned; all of it is cleaned
 * up before the threads end. */
static void pool_close(struct weft__service *s)
{
    struct pool *p = WEFT__CONTAINER_OF(s, struct pool, service);
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->threads; i++)
        pthread_join(p->ids[i], NULL);
    WEFT__ASSERT(p->waiting == 0 && p->works_waiting == 0 && p->idle == p->threads);
    p->loop->offload = NULL;
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    weft__free(p);
}

/* That the calling thread, and so the pool's, may use. */
static size_t cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
}

static struct pool *pool_of(struct weft_loop *l)
{
    if (l->offload != NULL)
        return WEFT__CONTAINER_OF(l->offload, struct pool, service);
    const struct weft_options *o = &l->options;
    size_t threads = o->offload_threads > 0 ? o->offload_threads : THREADS_DEFAULT;
    struct pool *p = weft__calloc(1, sizeof *p + threads * sizeof p->ids[0]);
    if (p == NULL)
        return NULL;
    p->loop = l;
    p->capacity = o->offload_capacity > 0 ? o->offload_capacity : CAPACITY_DEFAULT;
    p->threads_max = threads;
    p->works_max = weft__max_size(weft__min_size(threads / 2, cores() - 1), 1);
    /* As much again, so that a thread has what is next, unless it shares the loop's core. */
    l->works_max = cores() > 1 ? 2 * p->works_max : p->works_max;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    weft__list_init(&p->queue);
    weft__list_init(&p->works);
    p->service.close = pool_close;
    weft__list_push_back(&l->services, &p->service.link);
    l->offload = &p->service;
    return p;
}

/* --- Submitting and waiting ------------------------------------------------------------------- */

static void job_told(struct weft__remote *r)
{
    struct weft_job *j = WEFT__CONTAINER_OF(r, struct weft_job, told);
    weft__wait_trigger(&j->call->wait, 0); /* ended jobs are not abandoned, so there is a call */
}

/* Sees to it that the pool has a thread, and if it may have one more, one for this job. */
static int provide_thread(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool more = p->waiting + works_due(p) >= p->idle && p->threads < p->threads_max;
    if (more)
        p->idle++;
    pthread_mutex_unlock(&p->lock);
    int err = more ? start_thread(p) : 0;
    if (err == 0)
        return 0;
    pthread_mutex_lock(&p->lock);
    p->idle--;
    pthread_mutex_unlock(&p->lock);
    if (p->threads > 0)
        return 0; /* it waits for one of those that there are */
    return weft__fail(-EAGAIN, "no thread to be had for the work pool: %s", weft_error_text(err));
}

/* The loop's pool, which has a thread for what is about to be queued. */
static int staffed(struct weft_loop *l, struct pool **ret)
{
    *ret = pool_of(l);
    return *ret != NULL ? provide_thread(*ret) : -ENOMEM;
}

/* The pool takes j, unless this fails. */
static int submit(struct weft_loop *l, struct weft_job *j)
{
    struct pool *p;
    int err = staffed(l, &p);
    if (err < 0)
        return err;
    j->pool = p;
    j->told.fn = job_told;
    pthread_mutex_lock(&p->lock);
    bool full = p->waiting >= p->idle + p->capacity;
    if (!full) {
        weft__list_push_back(&p->queue, &j->link);
        p->waiting++;
        if (p->idle > 0)
            pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    if (full)
        return weft__fail(WEFT_ELIMIT, "offload_capacity: %zu jobs wait for a thread of the pool",
                          p->capacity);
    return 0;
}

/* The task gives up: see the table above. */
static void call_abort(struct weft__wait *w, int why)
{
    struct call *c = WEFT__CONTAINER_OF(w, struct call, wait);
    struct weft_job *j = c->job;
    struct pool *p = j->pool;
    pthread_mutex_lock(&p->lock);
    bool go_on = j->state != ENDED && (j->may_abandon || j->state == QUEUED);
    bool dequeue = j->state == QUEUED && j->cleanup == NULL;
    bool drop = dequeue && j->may_abandon;
    if (j->state != ENDED) {
        c->gave_up = why;
        atomic_store_explicit(&j->canceled, true, memory_order_relaxed);
        if (j->may_abandon)
            j->call = NULL;
    }
    if (dequeue) {
        weft__list_remove(&j->link);
        p->waiting--;
    }
    pthread_mutex_unlock(&p->lock);
    if (drop)
        job_free(j);
    if (go_on)
        weft__wait_trigger(w, why);
}

/* Waits for a job that was submitted; when it returns != 0 an abandonable job is gone. */
static int await(struct call *c, weft_deadline d)
{
    (void)weft__wait_block(&c->wait, d);
    return c->gave_up;
}

/* The job's result for the caller, with its detail. */
static int result_of(struct weft_job *j)
{
    if (j->detail != NULL)
        weft__error_detail("%s", j->detail->text);
    return j->result;
}

/* No pool: the job asks the flow that called. */
static void set_here(struct weft_job *j, const struct weft__flow *f, weft_deadline d)
{
    j->here = f;
    j->shield_ns = f->shields > 0 ? f->shield_ns : 0;
    j->until_ns = d.ns;
}

/* On a plain thread nothing is held up, so the job runs right there, to its end. */
static int run_here(weft_job_fn fn, void *arg, void (*cleanup)(void *arg), weft_deadline d)
{
    struct weft_job j = {0};
    set_here(&j, weft__flow_self(), d);
    j.result = fn(&j, arg);
    if (cleanup == NULL || !says_stopped(j.result))
        return j.result;
    keep_detail(&j);
    cleanup(arg);
    (void)result_of(&j);
    weft__free(j.detail);
    return j.result;
}

/* --- In a simulation -------------------------------------------------------------------------- */

static void let_others_run(struct weft__flow *f)
{
    weft__loop_ready(f->loop, &weft__task_of(f)->run);
    weft__task_switch_away(f->loop, weft__task_of(f));
}

/*
 * A pool's thread would run beside the tasks; here the calling task runs the job, with turns of the
 * others before, so that they may cancel it, and behind. Returns != 0 where the waiting task would
 * have given up; the job was then not begun, or told.
 */
static int run_in_host(struct weft_job *j, weft_deadline d)
{
    struct weft__flow *f = weft__flow_self();
    set_here(j, f, d);
    let_others_run(f);
    int why = given_up(j);
    if (why < 0 && weft__world_below(weft__sim_proc->world, 2) == 0)
        return why; /* no thread had taken it up */
    weft__error_detail_clear();
    j->result = j->fn(j, j->arg);
    why = given_up(j);
    let_others_run(f); /* a cancel from here on comes after the end */
    return why;
}

/* --- Work ------------------------------------------------------------------------------------- */

static void work_told(struct weft__remote *r)
{
    struct weft__work *w = WEFT__CONTAINER_OF(r, struct weft__work, told);
    w->loop->works--;
    w->done(w);
}

int weft__work_post(struct weft_loop *l, struct weft__work *w)
{
    if (WEFT__UNLIKELY(weft__sim_proc != NULL))
        return -EOPNOTSUPP;
    struct pool *p;
    int err = staffed(l, &p);
    if (err < 0)
        return err;
    w->loop = l;
    w->told.fn = work_told;
    w->begun = false;
    l->works++;
    pthread_mutex_lock(&p->lock);
    weft__list_push_back(&p->works, &w->link);
    p->works_waiting++;
    if (p->idle > 0 && p->works_now < p->works_max)
        pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

bool weft__work_withdraw(struct weft__work *w)
{
    struct pool *p = WEFT__CONTAINER_OF(w->loop->offload, struct pool, service);
    pthread_mutex_lock(&p->lock);
    bool had_not_begun = !w->begun;
    if (had_not_begun) {
        weft__list_remove(&w->link);
        p->works_waiting--;
    }
    pthread_mutex_unlock(&p->lock);
    w->loop->works -= had_not_begun;
    return had_not_begun;
}

/* --- Calls ------------------------------------------------------------------------------------ */

int weft_offload(weft_job_fn fn, void *arg, weft_deadline d)
{
    if (fn == NULL)
        return weft__fail(-EINVAL, "no function to run");
    int err = weft__wait_check();
    if (err < 0)
        return err;
    struct weft_loop *l = weft__flow_self()->loop;
    if (l == NULL)
        return run_here(fn, arg, NULL, d);
    struct call c = {.gave_up = 0};
    struct weft_job j = {.fn = fn, .arg = arg, .call = &c};
    if (WEFT__UNLIKELY(weft__sim_proc != NULL)) {
        err = run_in_host(&j, d);
        return err < 0 ? err : j.result;
    }
    c.job = &j;
    weft__wait_init(&c.wait, "offload", -1, call_abort);
    err = submit(l, &j);
    if (err < 0)
        return err;
    err = await(&c, d);
    if (err == 0)
        err = result_of(&j);
    weft__free(j.detail);
    return err;
}

int weft_offload_copy(weft_job_fn fn, void *arg, size_t size, void (*cleanup)(void *arg),
                      weft_deadline d)
{
    if (fn == NULL || size == 0 || size > COPY_MAX)
        return weft__fail(-EINVAL, "offload with a copy of %zu bytes; 1 to %d can be had", size,
                          COPY_MAX);
    int err = weft__wait_check();
    if (err < 0) {
        if (err == -ECANCELED && cleanup != NULL)
            cleanup(arg);
        return err;
    }
    struct weft_loop *l = weft__flow_self()->loop;
    if (l == NULL)
        return run_here(fn, arg, cleanup, d);
    struct copied *h = weft__alloc(sizeof *h + size);
    if (h == NULL)
        return -ENOMEM;
    struct weft_job *j = &h->job;
    struct call c = {.job = j};
    *j = (struct weft_job){.fn = fn, .arg = h->copy, .cleanup = cleanup, .may_abandon = true};
    j->call = &c;
    memcpy(h->copy, arg, size);
    if (WEFT__UNLIKELY(weft__sim_proc != NULL)) {
        err = run_in_host(j, d);
        if (err == 0)
            err = j->result;
        if (!says_stopped(err))
            memcpy(arg, h->copy, size);
        else if (cleanup != NULL)
            cleanup(h->copy);
        job_free(j);
        return err;
    }
    weft__wait_init(&c.wait, "offload", -1, call_abort);
    err = submit(l, j);
    if (err == 0) {
        err = await(&c, d);
        if (err < 0)
            return err; /* abandoned: j is not ours any more */
        if (!says_stopped(j->result))
            memcpy(arg, h->copy, size);
        err = result_of(j);
    }
    job_free(j);
    return err;
}
