/* SPDX-License-Identifier: MIT */
/*
 * What the tests of crashes, restarts and faults share: the calls as actions, a client that goes on
 * whatever becomes of its server.
 */
#ifndef SIM_FAULT_KIT_H
#define SIM_FAULT_KIT_H

#include <signal.h>

#include "sim_run_kit.h"

static inline void add(struct sim_kit *k, const char *name, weft_fn fn, void *arg)
{
    assert_int_equal(weft_sim_host(k->sim, name, fn, arg), 0);
}

static inline void add_service(struct sim_kit *k, const char *name, weft_fn fn, void *arg)
{
    struct weft_sim_host_options o = {.service = true};
    assert_int_equal(weft_sim_host_with(k->sim, name, &o, fn, arg), 0);
}

/* --- Actions of one call ------------------------------------------------------------------- */

static inline void crash(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_crash(sim, arg), 0);
}

static inline void restart(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_restart(sim, arg), 0);
}

static inline void pause_it(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_pause(sim, arg), 0);
}

static inline void resume(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_resume(sim, arg), 0);
}

static inline void terminate(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_signal(sim, arg, SIGTERM), 0);
}

static inline void kill_it(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_signal(sim, arg, SIGKILL), 0);
}

static inline void hang_up(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_signal(sim, arg, SIGHUP), 0);
}

static inline void nothing(struct weft_sim *sim, void *arg)
{
    (void)sim;
    (void)arg;
}

static inline void at(struct sim_kit *k, int64_t when_ns, weft_sim_action fn, const char *hosts)
{
    assert_int_equal(weft_sim_at(k->sim, when_ns, fn, (void *)(uintptr_t)hosts), 0);
}

/* --- Clients ------------------------------------------------------------------------------- */

/* Dials anew until all pings are answered, whatever becomes of the server. */
static inline int persist(void *arg)
{
    struct sim_kit_client *c = arg;
    while (c->done < c->pings) {
        struct weft_stream *s = NULL;
        int err = weft_dial(&s, "tcp://server:80", NULL, weft_after_s(1));
        while (err == 0 && c->done < c->pings) {
            err = sim_kit_ping(s, "ping\n", weft_after_s(1));
            c->done += err == 0;
            if (err == 0)
                err = weft_sleep_ms(c->pause_ms);
        }
        if (err == -ECANCELED) {
            weft_abort(&s);
            return err;
        }
        (void)weft_close(&s, weft_after_s(1));
        if (err < 0)
            CHECK_EQ(weft_sleep_ms(50), 0);
    }
    return 0;
}

#endif
