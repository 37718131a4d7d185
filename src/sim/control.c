/* SPDX-License-Identifier: MIT */
/*
 * What a scenario does to its hosts: links, partitions, crashes, pauses, signals, clocks, faults.
 *
 * Floor 4. Invariant: a call whose arguments are refused has changed nothing.
 */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <signal.h>

#include "base/alloc.h"
#include "sim/sim.h"
#include "sys/sim/calls.h"
#include "sys/sim/disk.h"

#define REORDER_NS INT64_C(1000000)
#define LATENCY_DEFAULT_US 500
#define DISK_LATENCY_DEFAULT_US 100
#define MTU_DEFAULT 1500
#define MTU_MIN 68 /* RFC 791, 3.2 */
/* Longer ones are taken for mistakes; and sums of a few cannot overflow. */
#define DELAY_MAX_US INT64_C(86400000000)

/* --- Patterns --------------------------------------------------------------------------------- */

typedef int (*host_fn)(struct weft__sim_host *h, const void *arg);

static int no_host(const char *pattern)
{
    return weft__fail(-ENOENT, "no host matches '%s'", pattern);
}

/* Calls fn (NULL: only looks) for each host that matches. -ENOENT when none does; else the first
 * error, which ends it. */
static int each(struct weft_sim *sim, const char *pattern, host_fn fn, const void *arg)
{
    if (pattern == NULL)
        return weft__fail(-EINVAL, "no pattern of hosts");
    if (strpbrk(pattern, "*?[\\") == NULL) {
        struct weft__host *host = weft__host_by_name(sim->world, pattern, strlen(pattern));
        if (host == NULL)
            return no_host(pattern);
        return fn != NULL ? fn(host->user, arg) : 0;
    }
    bool any = false;
    WEFT__LIST_EACH(&sim->hosts, n) {
        struct weft__sim_host *h = WEFT__CONTAINER_OF(n, struct weft__sim_host, link);
        if (fnmatch(pattern, h->host->name, 0) != 0)
            continue;
        any = true;
        int err = fn != NULL ? fn(h, arg) : 0;
        if (err < 0)
            return err;
    }
    return any ? 0 : no_host(pattern);
}

static int on_hosts(struct weft_sim *sim, const char *hosts, host_fn fn, const void *arg)
{
    int err = weft__sim_of(&sim);
    if (err < 0 || weft__sim_by_ghost())
        return err;
    return each(sim, hosts, fn, arg);
}

static int on_pairs(struct weft_sim **sim, const char *from, const char *to)
{
    int err = weft__sim_of(sim);
    if (err == 0)
        err = each(*sim, from, NULL, NULL);
    return err == 0 ? each(*sim, to, NULL, NULL) : err;
}

static int check_chance(const char *what, double p)
{
    if (p >= 0 && p <= 1)
        return 0;
    return weft__fail(-EINVAL, "%s: %g is no chance from 0 to 1", what, p);
}

static int check_delay(const char *what, int64_t us)
{
    if (us >= 0 && us <= DELAY_MAX_US)
        return 0;
    return weft__fail(-EINVAL, "%s: %" PRId64 " us is not from 0 to a day", what, us);
}

/* --- The network ------------------------------------------------------------------------------ */

static int convert_link(const struct weft_link *l, struct weft__link *ret)
{
    int err = check_delay("latency_us", l->latency_us);
    if (err == 0)
        err = check_delay("jitter_us", l->jitter_us);
    if (err == 0)
        err = check_chance("loss", l->loss);
    if (err == 0)
        err = check_chance("duplicate", l->duplicate);
    if (err == 0)
        err = check_chance("reorder", l->reorder);
    if (err == 0 && l->bytes_per_s < 0)
        err = weft__fail(-EINVAL, "bytes_per_s: %" PRId64, l->bytes_per_s);
    if (err == 0 && l->mtu != 0 && l->mtu < MTU_MIN)
        err = weft__fail(-EINVAL, "mtu: %" PRIu32 " bytes; at least %d", l->mtu, MTU_MIN);
    if (err < 0)
        return err;
    int64_t latency_us = l->latency_us > 0 ? l->latency_us : LATENCY_DEFAULT_US;
    *ret = (struct weft__link){
        .latency_ns = latency_us * 1000,
        .jitter_ns = l->jitter_us * 1000,
        .bytes_per_s = l->bytes_per_s,
        .reorder_ns = latency_us * 1000 + REORDER_NS,
        .loss = weft__probability(l->loss),
        .duplicate = weft__probability(l->duplicate),
        .reorder = weft__probability(l->reorder),
        .mtu = l->mtu > 0 ? l->mtu : MTU_DEFAULT,
    };
    return 0;
}

int weft_sim_link_oneway(struct weft_sim *sim, const char *from, const char *to,
                         const struct weft_link *l)
{
    struct weft__link link;
    int err = on_pairs(&sim, from, to);
    if (err == 0 && l == NULL)
        err = weft__fail(-EINVAL, "no link");
    if (err == 0)
        err = convert_link(l, &link);
    if (err < 0 || weft__sim_by_ghost())
        return err;
    return weft__link_set(sim->world, from, to, &link);
}

int weft_sim_link(struct weft_sim *sim, const char *from, const char *to, const struct weft_link *l)
{
    int err = weft_sim_link_oneway(sim, from, to, l);
    return err == 0 && strcmp(from, to) != 0 ? weft_sim_link_oneway(sim, to, from, l) : err;
}

static int cut(struct weft_sim *sim, const char *from, const char *to, bool both, bool cut)
{
    int err = on_pairs(&sim, from, to);
    if (err < 0 || weft__sim_by_ghost())
        return err;
    weft__trace_note(sim->world, weft__sim_proc != NULL ? weft__sim_proc->host : NULL,
                     cut ? both ? "cuts links" : "cuts links one way" : "heals links");
    err = weft__link_cut(sim->world, from, to, cut);
    return err == 0 && both ? weft__link_cut(sim->world, to, from, cut) : err;
}

int weft_sim_partition(struct weft_sim *sim, const char *from, const char *to)
{
    return cut(sim, from, to, true, true);
}

int weft_sim_partition_oneway(struct weft_sim *sim, const char *from, const char *to)
{
    return cut(sim, from, to, false, true);
}

int weft_sim_heal(struct weft_sim *sim, const char *from, const char *to)
{
    return cut(sim, from, to, true, false);
}

/* --- Up and down ------------------------------------------------------------------------------ */

static int crash_host(struct weft__sim_host *h, const void *arg)
{
    (void)arg;
    return weft__sim_command(h, WEFT__SIM_CRASH, 0);
}

int weft_sim_crash(struct weft_sim *sim, const char *hosts)
{
    return on_hosts(sim, hosts, crash_host, NULL);
}

static int restart_host(struct weft__sim_host *h, const void *arg)
{
    (void)arg;
    return weft__sim_command(h, WEFT__SIM_RESTART, 0);
}

int weft_sim_restart(struct weft_sim *sim, const char *hosts)
{
    return on_hosts(sim, hosts, restart_host, NULL);
}

static int pause_host(struct weft__sim_host *h, const void *arg)
{
    bool on = *(const bool *)arg;
    if (h->host->paused == on)
        return 0;
    h->host->paused = on;
    weft__trace(h->sim->world, h->host, NULL, on ? "is paused" : "goes on", 0, 0, 0, 0);
    if (!on && h->held) {
        h->held = false;
        if (h->proc != NULL)
            weft__proc_ready(h->proc);
    }
    return 0;
}

int weft_sim_pause(struct weft_sim *sim, const char *hosts)
{
    return on_hosts(sim, hosts, pause_host, &(const bool){true});
}

int weft_sim_resume(struct weft_sim *sim, const char *hosts)
{
    return on_hosts(sim, hosts, pause_host, &(const bool){false});
}

static int signal_host(struct weft__sim_host *h, const void *arg)
{
    int sig = *(const int *)arg;
    if (h->state != WEFT__HOST_UP)
        return 0;
    int err = -ESRCH;
    if (sig != SIGKILL) {
        struct weft__proc *before = weft__sim_proc;
        weft__sim_proc = h->proc;
        err = weft__sim_signal_send(h->proc, sig);
        weft__sim_proc = before;
    }
    if (err == 0)
        weft__trace(h->sim->world, h->host, NULL, "gets signal %" PRIi64, sig, 0, 0, 0);
    if (err != -ESRCH)
        return err;
    bool deadly = sig == SIGTERM || sig == SIGINT || sig == SIGKILL;
    return deadly ? weft__sim_command(h, WEFT__SIM_KILL, sig) : 0;
}

int weft_sim_signal(struct weft_sim *sim, const char *hosts, int signal)
{
    if (signal < 1 || signal >= _NSIG)
        return weft__fail(-EINVAL, "%d is no signal", signal);
    return on_hosts(sim, hosts, signal_host, &signal);
}

/* --- Clocks ----------------------------------------------------------------------------------- */

struct clock_change {
    int64_t jump_ns, drift_ppm;
};

static int set_clock(struct weft__sim_host *h, const void *arg)
{
    const struct clock_change *c = arg;
    struct weft__host *host = h->host;
    int64_t now = h->sim->world->now_ns;
    int64_t passed = now - host->clock_at_ns;
    if (host->wall_ns + c->jump_ns < 0)
        return weft__fail(-EINVAL, "the wall clock of %s would be before 1970", host->name);
    /* From here it runs on with another speed. */
    passed += (int64_t)((__int128)passed * host->drift_ppm / 1000000);
    host->clock_ns += passed;
    host->clock_at_ns = now;
    host->drift_ppm = c->drift_ppm;
    host->wall_ns += c->jump_ns;
    weft__trace(h->sim->world, host, NULL,
                "clock: jumps %" PRIi64 " ns, drifts %" PRIi64 " ppm from now on", c->jump_ns,
                c->drift_ppm, 0, 0);
    if (h->proc != NULL)
        weft__proc_ready(h->proc); /* its wake-up is at another time now */
    return 0;
}

int weft__sim_check_drift(int64_t drift_ppm)
{
    if (drift_ppm > -1000000 && drift_ppm <= 1000000)
        return 0;
    return weft__fail(-EINVAL,
                      "a drift of %" PRId64 " ppm: clocks run forward, at most twice as fast",
                      drift_ppm);
}

int weft__sim_check_jump(int64_t jump_ns)
{
    if (jump_ns >= -WEFT__SIM_WALL_MAX_NS && jump_ns <= WEFT__SIM_WALL_MAX_NS)
        return 0;
    return weft__fail(-EINVAL, "a wall clock jumps at most 20 years");
}

int weft_sim_clock(struct weft_sim *sim, const char *hosts, int64_t jump_ns, int64_t drift_ppm)
{
    int err = weft__sim_check_drift(drift_ppm);
    if (err == 0)
        err = weft__sim_check_jump(jump_ns);
    if (err < 0)
        return err;
    return on_hosts(sim, hosts, set_clock,
                    &(struct clock_change){.jump_ns = jump_ns, .drift_ppm = drift_ppm});
}

/* --- Faults ----------------------------------------------------------------------------------- */

/* Asked by base/alloc.c. A ghost, and the simulator itself, always get what they want. */
static bool refuse(void)
{
    const struct weft__proc *p = weft__sim_proc;
    return p != NULL && !p->ghost && weft__sim_running != NULL && weft__sim_running->in_turn &&
           weft__world_chance(p->world, p->host->faults.no_memory);
}

static int set_faults(struct weft__sim_host *h, const void *arg)
{
    h->host->faults = *(const struct weft__sim_faults *)arg;
    return 0;
}

int weft_sim_faults(struct weft_sim *sim, const char *hosts, const struct weft_sim_faults *f)
{
    if (f == NULL)
        return weft__fail(-EINVAL, "no faults");
    int err = weft__sim_of(&sim);
    if (err == 0)
        err = check_chance("short_io", f->short_io);
    if (err == 0)
        err = check_chance("again", f->again);
    if (err == 0)
        err = check_chance("no_buffers", f->no_buffers);
    if (err == 0)
        err = check_chance("no_files", f->no_files);
    if (err == 0)
        err = check_chance("no_memory", f->no_memory);
    if (err < 0)
        return err;
    if (f->no_memory > 0 && !sim->refusing) {
        sim->refusing = true;
        weft__alloc_refuse_by(refuse);
    }
    return on_hosts(sim, hosts, set_faults,
                    &(struct weft__sim_faults){
                        .short_io = weft__probability(f->short_io),
                        .again = weft__probability(f->again),
                        .no_buffers = weft__probability(f->no_buffers),
                        .no_files = weft__probability(f->no_files),
                        .no_memory = weft__probability(f->no_memory),
                    });
}

static int set_disk(struct weft__sim_host *h, const void *arg)
{
    return weft__disk_set(h->host, arg);
}

int weft_sim_disk(struct weft_sim *sim, const char *hosts, const struct weft_sim_disk *d)
{
    if (d == NULL)
        return weft__fail(-EINVAL, "no disk");
    int err = check_delay("latency_us", d->latency_us);
    if (err == 0)
        err = check_delay("jitter_us", d->jitter_us);
    if (err == 0)
        err = check_chance("read_error", d->read_error);
    if (err == 0)
        err = check_chance("write_error", d->write_error);
    if (err == 0)
        err = check_chance("sync_error", d->sync_error);
    if (err == 0 && d->capacity < 0)
        err = weft__fail(-EINVAL, "capacity: %" PRId64 " bytes", d->capacity);
    if (err < 0)
        return err;
    int64_t latency_us = d->latency_us > 0 ? d->latency_us : DISK_LATENCY_DEFAULT_US;
    return on_hosts(sim, hosts, set_disk,
                    &(struct weft__disk_options){
                        .latency_ns = latency_us * 1000,
                        .jitter_ns = d->jitter_us * 1000,
                        .read_error = weft__probability(d->read_error),
                        .write_error = weft__probability(d->write_error),
                        .sync_error = weft__probability(d->sync_error),
                        .capacity = d->capacity,
                    });
}
