/* SPDX-License-Identifier: MIT */
/*
 * Simulated hosts and the processes on them; see world.h.
 *
 * Floor 1. Host number i has the addresses 10.x.y.z (i + 1 in the low 24 bits) and fd00::(i + 1).
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "sys/sim/disk.h"
#include "sys/sim/driver.h"
#include "sys/sim/memory.h"
#include "sys/sim/ports.h"
#include "sys/sim/world.h"

#define NAME_MAX_LEN 63
#define HOSTS_MAX 1000000
#define FDS_DEFAULT 20000
#define PORT_FIRST 32768
/* The monotonic clock of a host is not at 0 when the simulation begins, as none is in life. */
#define BOOTED_NS INT64_C(1000000000000)
/* 2026-01-01, for wall clocks. */
#define WALL_START_NS INT64_C(1767225600000000000)

_Thread_local struct weft__proc *weft__sim_proc;

/* --- Hosts ------------------------------------------------------------------------------------ */

static uint64_t name_hash(const char *name, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
    return h ^ (h >> 32);
}

/* The slot of a name, or the free one where it belongs. */
static size_t *name_slot(struct weft__world *w, const char *name, size_t len)
{
    size_t i = (size_t)name_hash(name, len) & (w->by_name_cap - 1);
    for (;; i = (i + 1) & (w->by_name_cap - 1)) {
        size_t at = w->by_name[i];
        if (at == 0)
            return &w->by_name[i];
        const char *other = w->hosts[at - 1]->name;
        if (strncmp(other, name, len) == 0 && other[len] == '\0')
            return &w->by_name[i];
    }
}

static int make_room(struct weft__world *w)
{
    if (w->n_hosts < w->hosts_cap)
        return 0;
    size_t cap = weft__max_size(2 * w->hosts_cap, 16);
    struct weft__host **hosts = weft__realloc(w->hosts, cap * sizeof(struct weft__host *));
    if (hosts == NULL)
        return -ENOMEM;
    w->hosts = hosts;
    size_t *table = weft__calloc(4 * cap, sizeof *table);
    if (table == NULL)
        return -ENOMEM;
    weft__free(w->by_name);
    w->by_name = table;
    w->by_name_cap = 4 * cap;
    w->hosts_cap = cap;
    for (size_t i = 0; i < w->n_hosts; i++)
        *name_slot(w, hosts[i]->name, strlen(hosts[i]->name)) = i + 1;
    return 0;
}

struct weft__host *weft__host_by_name(struct weft__world *w, const char *name, size_t len)
{
    if (w->by_name_cap == 0 || len == 0 || len > NAME_MAX_LEN)
        return NULL;
    size_t at = *name_slot(w, name, len);
    return at > 0 ? w->hosts[at - 1] : NULL;
}

static struct weft__host *by_number(struct weft__world *w, uint32_t number)
{
    return number >= 1 && number <= w->n_hosts ? w->hosts[number - 1] : NULL;
}

struct weft__host *weft__host_by_address(struct weft__world *w, struct weft__host *self,
                                         const struct sockaddr *sa)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t net6[12] = {0xfd};
    uint32_t v4;
    if (sa->sa_family == AF_INET) {
        v4 = ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr);
    } else {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
        uint32_t low;
        memcpy(&low, &a->s6_addr[12], sizeof low);
        low = ntohl(low);
        if (IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a))
            return self;
        if (memcmp(a, net6, sizeof net6) == 0)
            return by_number(w, low);
        if (memcmp(a, mapped, sizeof mapped) != 0)
            return NULL;
        v4 = low;
    }
    if (v4 == 0 || v4 >> 24 == 127) /* connecting to the unspecified address means oneself */
        return self;
    return v4 >> 24 == 10 ? by_number(w, v4 & 0xffffff) : NULL;
}

int weft__host_open(struct weft__host **ret, struct weft__world *w, const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MAX_LEN)
        return weft__fail(-EINVAL, "a host's name has 1 to %d characters", NAME_MAX_LEN);
    for (size_t i = 0; i < len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", name[i]) ==
            NULL)
            return weft__fail(-EINVAL, "host '%s': a name has letters, digits, '-', '.' and '_'",
                              name);
    if (weft__host_by_name(w, name, len) != NULL)
        return weft__fail(-EEXIST, "there is a host '%s' already", name);
    if (w->n_hosts == HOSTS_MAX)
        return weft__fail(-ENOSPC, "a simulation has at most %d hosts", HOSTS_MAX);
    if (make_room(w) < 0)
        return -ENOMEM;
    struct weft__host *h = weft__calloc(1, sizeof *h);
    char *copy = weft__strdup(name);
    if (h == NULL || copy == NULL) {
        weft__free(h);
        weft__free(copy);
        return -ENOMEM;
    }
    h->world = w;
    h->name = copy;
    h->id = (uint32_t)w->n_hosts;
    uint32_t number = htonl(UINT32_C(0x0a000000) + h->id + 1);
    h->address4.s_addr = number;
    h->address6.s6_addr[0] = 0xfd;
    number = htonl(h->id + 1);
    memcpy(&h->address6.s6_addr[12], &number, sizeof number);
    h->clock_ns = BOOTED_NS;
    h->clock_at_ns = w->now_ns;
    h->wall_ns = WALL_START_NS - BOOTED_NS;
    h->max_fds = FDS_DEFAULT;
    h->next_port = (uint16_t)(PORT_FIRST + weft__world_below(w, 20000));
    w->hosts[w->n_hosts++] = h;
    *name_slot(w, name, len) = w->n_hosts;
    *ret = h;
    return 0;
}

/* --- Clocks ----------------------------------------------------------------------------------- */

int64_t weft__proc_clock_ns(const struct weft__proc *p)
{
    const struct weft__host *h = p->host;
    int64_t passed = p->world->now_ns - h->clock_at_ns;
    if (h->drift_ppm != 0)
        passed += (int64_t)((__int128)passed * h->drift_ppm / 1000000);
    return h->clock_ns + passed + p->warp_ns;
}

/* Rounded up: at the time that comes out, the clock shows local_ns or more. */
int64_t weft__proc_to_world_ns(const struct weft__proc *p, int64_t local_ns)
{
    const struct weft__host *h = p->host;
    if (local_ns == INT64_MAX)
        return INT64_MAX;
    int64_t passed = local_ns - h->clock_ns - p->warp_ns;
    if (passed <= 0)
        return h->clock_at_ns;
    if (h->drift_ppm == 0)
        return passed > INT64_MAX - h->clock_at_ns ? INT64_MAX : h->clock_at_ns + passed;
    __int128 world = (__int128)passed * 1000000 / (1000000 + h->drift_ppm) + 2;
    world += h->clock_at_ns;
    return world > INT64_MAX ? INT64_MAX : (int64_t)world;
}

/* --- Processes -------------------------------------------------------------------------------- */

static void wake_due(struct weft__event *e)
{
    weft__proc_ready(WEFT__CONTAINER_OF(e, struct weft__proc, wake));
}

int weft__proc_open(struct weft__proc **ret, struct weft__host *h)
{
    struct weft__world *w = h->world;
    if (h->proc != NULL)
        return -EBUSY;
    struct weft__proc *p = weft__calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    p->world = w;
    p->host = h;
    p->incarnation = ++h->incarnations;
    p->wake.fn = wake_due;
    p->lazy = weft__world_below(w, 2) == 0;
    weft__list_init(&p->signals);
    for (size_t i = 0; i < WEFT__SIM_PORT_BUCKETS; i++)
        weft__list_init(&p->ports[i]);
    /* Of its own, so that one host's numbers do not hang on what others ask for. */
    weft__random_seed(p->random, w->seed ^ name_hash(h->name, strlen(h->name)) ^
                                     ((uint64_t)p->incarnation << 48));
    weft__list_push_back(&w->procs, &p->link);
    h->proc = p;
    h->dark = false;
    *ret = p;
    return 0;
}

/* Every descriptor goes; what others hold goes on without us. */
static void drop_descriptors(struct weft__proc *p, bool crash)
{
    for (size_t i = 0; i < p->n_fds; i++) {
        struct weft__desc *d = p->fds[i];
        if (d == NULL)
            continue;
        p->fds[i] = NULL;
        if (crash)
            weft__desc_crash(d);
        weft__desc_unref(d);
    }
    p->n_fds = 0;
    p->fd_hint = 0;
}

void weft__proc_close(struct weft__proc *p)
{
    struct weft__world *w = p->world;
    WEFT__ASSERT(p->sys == NULL);
    drop_descriptors(p, false);
    weft__sim_signals_close(p);
    weft__event_del(w, &p->wake);
    weft__list_remove(&p->runnable);
    weft__list_remove(&p->link);
    if (p->host->proc == p)
        p->host->proc = NULL;
    weft__free(p->fds);
    weft__free(p);
}

void weft__proc_crash(struct weft__proc *p)
{
    struct weft__host *h = p->host;
    WEFT__ASSERT(!p->ghost);
    weft__trace(p->world, h, NULL, "crashes", 0, 0, 0, 0);
    p->ghost = true;
    h->proc = NULL;
    h->dark = true;
    weft__sim_cancel_all(p);
    drop_descriptors(p, true);
    weft__disk_crash(h);
    weft__proc_ready(p);
}

void weft__proc_ready(struct weft__proc *p)
{
    if (!weft__node_linked(&p->runnable))
        weft__list_push_back(&p->world->runnable, &p->runnable);
}
