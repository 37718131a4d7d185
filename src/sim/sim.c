/* SPDX-License-Identifier: MIT */
/*
 * Simulations: opening and closing, options and environment, facts.
 *
 * Floor 4. Invariant: a simulation that could not be opened leaves nothing behind, and one that is
 * closed has no host, no action and no event left.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sim/sim.h"
#include "sys/sim/memory.h"

#define TRACE_LAST_DEFAULT 60
#define TRACE_LAST_MAX 1000000
/* Hosts that are cancelled in close have so long, by their clocks, and so many turns. */
#define CLOSE_NS INT64_C(60000000000)
#define CLOSE_STEPS UINT64_C(10000000)

_Thread_local struct weft_sim *weft__sim_running;

int weft__sim_of(struct weft_sim **sim)
{
    if (*sim == NULL)
        *sim = weft__sim_running;
    if (*sim == NULL)
        return weft__fail(-EINVAL, "no simulation runs here");
    if (!pthread_equal((*sim)->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the simulation belongs to another thread");
    return 0;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static int choose_seed(uint64_t *seed)
{
    const char *text = getenv("WEFT_SIM_SEED");
    char *end;
    if (*seed != 0)
        return 0;
    *seed = 1;
    if (text == NULL || text[0] == '\0')
        return 0;
    errno = 0;
    *seed = strtoull(text, &end, 0);
    if (errno != 0 || *end != '\0' || strchr(text, '-') != NULL || *seed == 0)
        return weft__fail(-EINVAL, "WEFT_SIM_SEED is '%s', which is no number above 0", text);
    return 0;
}

/* The file of WEFT_SIM_TRACE holds all simulations of the process, one after the other. */
static int open_trace(struct weft_sim *sim, FILE *asked)
{
    static _Atomic bool begun;
    const char *name = getenv("WEFT_SIM_TRACE");
    struct weft__world *w = sim->world;
    w->trace = asked;
    if (asked != NULL || name == NULL || name[0] == '\0')
        return 0;
    sim->trace_file = fopen(name, atomic_exchange(&begun, true) ? "ae" : "we");
    if (sim->trace_file == NULL)
        return weft__fail(-errno, "WEFT_SIM_TRACE: '%s' cannot be written", name);
    w->trace = sim->trace_file;
    fprintf(w->trace, "# simulation, seed %llu\n", (unsigned long long)w->seed);
    return 0;
}

/* Those with a host that could not be ended: what its tasks use stays, and is still known. */
static pthread_mutex_t lost_lock = PTHREAD_MUTEX_INITIALIZER;
static struct weft_sim *lost;

static void lose(struct weft_sim *sim)
{
    pthread_mutex_lock(&lost_lock);
    sim->next_lost = lost;
    lost = sim;
    pthread_mutex_unlock(&lost_lock);
}

static void sim_free(struct weft_sim *sim)
{
    struct weft__node *n;
    weft__sim_actions_drop(sim);
    weft__sim_commands_drop(sim);
    while ((n = weft__list_pop_front(&sim->checks)) != NULL)
        weft__free(WEFT__CONTAINER_OF(n, struct weft__sim_checker, link));
    if (sim->refusing)
        weft__alloc_refuse_by(NULL);
    if (sim->world != NULL) /* its end takes what is still on its way, and tells of it */
        sim->world->trace = NULL;
    if (sim->trace_file != NULL)
        (void)fclose(sim->trace_file);
    if (sim->stuck) {
        lose(sim);
        return;
    }
    while ((n = weft__list_pop_front(&sim->hosts)) != NULL)
        weft__free(WEFT__CONTAINER_OF(n, struct weft__sim_host, link));
    weft__world_close(sim->world);
    weft__stack_pool_close(sim->stacks);
    for (size_t i = 0; i < WEFT__SIM_PLACES; i++)
        weft__free(sim->places[i]);
    weft__free(sim->ready);
    free(sim->body);
    weft__free(sim);
}

static int sim_init(struct weft_sim *sim, const struct weft_sim_options *o, uint64_t seed)
{
    size_t last = o->trace_last > 0 ? o->trace_last : TRACE_LAST_DEFAULT;
    int err = weft__world_open(&sim->world, seed);
    if (err < 0)
        return err;
    sim->world->run_by_steps = true;
    sim->world->in_order = o->in_order;
    /* The scenario's own choices neither follow from nor move those of the world. */
    weft__random_seed(sim->random, seed ^ UINT64_C(0x5ce7a610c401ce5));
    err = weft__trace_open(sim->world, weft__min_size(last, TRACE_LAST_MAX));
    if (err == 0)
        err = open_trace(sim, o->trace);
    if (err == 0)
        err = weft__stack_pool_open(&sim->stacks, o->stack_size, 0);
    return err;
}

int weft_sim_open(struct weft_sim **ret, const struct weft_sim_options *o)
{
    static const struct weft_sim_options none;
    if (o == NULL)
        o = &none;
    uint64_t seed = o->seed;
    if (weft__sim_running != NULL || weft_loop_current() != NULL)
        return weft__fail(-EDEADLK, "a simulation inside a %s",
                          weft__sim_running != NULL ? "simulation" : "loop's task");
    int err = choose_seed(&seed);
    if (err < 0)
        return err;
    struct weft_sim *sim = weft__calloc(1, sizeof *sim);
    if (sim == NULL)
        return -ENOMEM;
    sim->thread = pthread_self();
    sim->report = o->report != NULL ? o->report : stderr;
    sim->quiet = o->quiet;
    sim->in_order = o->in_order;
    sim->max_at_once = o->max_steps_at_once;
    sim->stack_size = o->stack_size;
    sim->instant = 1;
    weft__list_init(&sim->hosts);
    weft__list_init(&sim->starting);
    weft__list_init(&sim->taken);
    weft__list_init(&sim->checks);
    weft__list_init(&sim->actions);
    err = sim_init(sim, o, seed);
    if (err < 0) {
        sim_free(sim);
        return err;
    }
    *ret = sim;
    return 0;
}

/* --- Closing ---------------------------------------------------------------------------------- */

/* Hosts that ran well are asked to end, in their own world and time, so that what they leave open
 * shows. */
static void end_gently(struct weft_sim *sim)
{
    int64_t now = sim->world->now_ns;
    WEFT__LIST_EACH(&sim->hosts, n) {
        struct weft__sim_host *h = WEFT__CONTAINER_OF(n, struct weft__sim_host, link);
        h->host->paused = false;
        h->held = false;
        weft__sim_cancel(h);
    }
    weft__sim_go(sim, now < INT64_MAX - CLOSE_NS ? now + CLOSE_NS : INT64_MAX, CLOSE_STEPS);
}

int weft_sim_close(struct weft_sim **ret)
{
    struct weft_sim *sim = *ret;
    if (sim == NULL)
        return 0;
    int err = weft__sim_of(&sim);
    if (err == 0 && (weft__sim_running != NULL || weft_loop_current() != NULL))
        err = weft__fail(-EDEADLK, "weft_sim_close inside a simulation or a loop's task");
    if (err < 0)
        return err;
    weft__sim_running = sim;
    sim->closing = true;
    weft__sim_actions_drop(sim);
    if (sim->code == 0)
        end_gently(sim);
    WEFT__LIST_EACH(&sim->hosts, n)
        weft__sim_end(WEFT__CONTAINER_OF(n, struct weft__sim_host, link), 0);
    weft__sim_tell(sim);
    weft__sim_running = NULL;
    err = sim->code;
    sim_free(sim);
    *ret = NULL;
    return err;
}

/* --- Facts ------------------------------------------------------------------------------------ */

const char *weft_sim_host_name(void)
{
    return weft__sim_proc != NULL ? weft__sim_proc->host->name : "";
}

unsigned weft_sim_incarnation(void)
{
    return weft__sim_proc != NULL ? weft__sim_proc->incarnation : 0;
}

/* The one that is meant by NULL, from inside. */
static const struct weft_sim *meant(const struct weft_sim *sim)
{
    return sim != NULL ? sim : weft__sim_running;
}

const char *weft_sim_failure(const struct weft_sim *sim)
{
    sim = meant(sim);
    return sim->code < 0 ? sim->sentence : "";
}

uint64_t weft_sim_seed(const struct weft_sim *sim)
{
    return meant(sim)->world->seed;
}

int64_t weft_sim_now_ns(const struct weft_sim *sim)
{
    return meant(sim)->world->now_ns;
}

uint64_t weft_sim_random(struct weft_sim *sim)
{
    sim = sim != NULL ? sim : weft__sim_running;
    return weft__random_next(sim->random);
}

uint64_t weft_sim_hash(const struct weft_sim *sim)
{
    sim = meant(sim);
    return sim->world->hash ^ sim->turn_hash;
}

void weft_sim_stats(const struct weft_sim *sim, struct weft_sim_stats *ret)
{
    sim = meant(sim);
    const struct weft__world_stats *s = &sim->world->stats;
    *ret = (struct weft_sim_stats){
        .steps = sim->steps,
        .events = s->events,
        .segments = s->segments,
        .datagrams = s->datagrams,
        .dropped = s->dropped,
        .connections = s->connections,
    };
}
