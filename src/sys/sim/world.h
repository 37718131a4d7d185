/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_WORLD_H
#define WEFT__SIM_WORLD_H
/*
 * The simulated world (floor 1): a clock, events, hosts, links between them, and one source of
 * chance for all of it. The sim driver (driver.c) and the calls of calls.h stand on it; src/sim
 * runs programs in it.
 *
 * Words: a host is a machine, with a name, addresses, a disk and a place in the network. A process
 * (proc) is what runs on it: descriptors, clock, the operations under way. A crash ends the process
 * and not the host; a restart gives the host a new one. The crashed one stays for a moment as a
 * ghost, so that its tasks can give their memory back: nothing it does is seen by anyone.
 *
 * Invariants:
 *  - one thread; nothing here depends on an address, on the real clock, or on any choice but those
 *    of weft__world_random, so a seed decides everything;
 *  - events happen in the order of their time, and of their making where times are equal;
 *  - time moves only in weft__world_step, and never back.
 */
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/list.h"
#include "sys/rbuf.h"
#include "sys/sys.h"

struct weft__world;
struct weft__host;
struct weft__proc;
struct weft__desc;
struct weft__path;
struct weft__disk;

/* --- Events (world.c) ------------------------------------------------------------------------ */

/* Something that will happen. In its owner's memory; zeroed memory is one that is not set. */
struct weft__event {
    int64_t when_ns;
    uint64_t seq;
    size_t place; /* in the heap, from 1; 0: not set */
    void (*fn)(struct weft__event *e);
};

/* Sets e, or sets it anew; when_ns before now is now. -ENOMEM only when the heap has to grow, which
 * reserve prevents. */
int weft__event_set(struct weft__world *w, struct weft__event *e, int64_t when_ns);
/* Makes room for so many events more (n < 0: fewer), so that setting them cannot fail. */
int weft__event_reserve(struct weft__world *w, int n);
void weft__event_del(struct weft__world *w, struct weft__event *e);
static inline bool weft__event_is_set(const struct weft__event *e)
{
    return e->place != 0;
}

/* --- The world (world.c) --------------------------------------------------------------------- */

struct weft__world_stats {
    uint64_t events;    /* that have happened */
    uint64_t segments;  /* of TCP and the like, delivered */
    uint64_t datagrams; /* delivered */
    uint64_t dropped;   /* segments and datagrams lost on the way */
    uint64_t connections;
};

struct weft__trace_line; /* trace.c */

struct weft__world {
    int64_t now_ns;
    uint64_t seed;
    uint64_t random[4];
    struct weft__event **heap; /* heap[0] is unused */
    size_t heap_n, heap_cap, reserved;
    uint64_t next_seq;
    struct weft__host **hosts;
    size_t n_hosts, hosts_cap;
    size_t *by_name; /* hash table of index + 1 */
    size_t by_name_cap;
    struct weft__list runnable; /* procs that have something to do */
    struct weft__list procs;    /* all, ghosts included */
    bool in_order;              /* what ends at one time is told in the order of its end */
    bool run_by_steps; /* the sim driver's wait notes its deadline and returns: see proc->wake */
    struct weft__rpool pool; /* receive buffers of all hosts */
    /* Links (link.c). */
    struct weft__list rules;
    uint64_t epoch;            /* of the rules: paths look again when it has changed */
    struct weft__path **paths; /* hash table by (from, to) */
    size_t n_paths, paths_cap;
    /* Trace (trace.c). */
    struct weft__trace_line *last; /* a ring */
    size_t last_cap, last_n;       /* last_n: lines ever */
    uint64_t hash;                 /* of every line so far */
    FILE *trace;
    struct weft__world_stats stats;
};

int weft__world_open(struct weft__world **ret, uint64_t seed);
/* No proc is left. NULL is fine. */
void weft__world_close(struct weft__world *w);

/* When the next event is due; INT64_MAX: nothing will ever happen by itself. */
int64_t weft__world_next_ns(const struct weft__world *w);
/* Moves the clock to the next event and lets it happen. False when there is none. */
bool weft__world_step(struct weft__world *w);
/* Moves the clock on without an event; there is none before. */
void weft__world_advance(struct weft__world *w, int64_t now_ns);

uint64_t weft__world_random(struct weft__world *w);
/* 0 to n - 1; n > 0. */
uint64_t weft__world_below(struct weft__world *w, uint64_t n);
/* True with probability p of 2^32. Asks for no number when p is 0, so that a fault which is off
 * changes nothing. */
static inline bool weft__world_chance(struct weft__world *w, uint32_t p)
{
    return WEFT__UNLIKELY(p != 0) &&
           ((uint32_t)(weft__world_random(w) >> 32) < p || p == UINT32_MAX);
}
/* A probability from 0 to 1 as such a number; below 0 is 0, 1 and above is always. */
uint32_t weft__probability(double p);

/* xoshiro256**, for the world's chance and each process's own. */
void weft__random_seed(uint64_t state[4], uint64_t seed);
uint64_t weft__random_next(uint64_t state[4]);

/* --- Trace (trace.c) ------------------------------------------------------------------------- */

/* One line: "3.201340 s  client-1 -> server: tcp 40001 > 80: 64 bytes". `to` may be NULL. Cheap:
 * the line is made into text only when somebody reads it, so fmt takes no more than four values,
 * each an int64_t (PRIi64), and is a string literal. */
void weft__trace(struct weft__world *w, const struct weft__host *from, const struct weft__host *to,
                 const char *fmt, int64_t a, int64_t b, int64_t c, int64_t d);
/* A line with text made now, for notes of the user. */
void weft__trace_note(struct weft__world *w, const struct weft__host *from, const char *text);
/* Prints the last lines, oldest first. */
void weft__trace_print(const struct weft__world *w, FILE *to);
int weft__trace_open(struct weft__world *w, size_t last);
void weft__trace_close(struct weft__world *w);

/* --- Hosts and processes (host.c) ------------------------------------------------------------ */

/* Chances of 2^32 that a call fails, and so on. */
struct weft__sim_faults {
    uint32_t short_io;   /* a read or write moves less than it could */
    uint32_t again;      /* a call that does not wait says -EAGAIN without need; an operation that
                            could end at once takes a turn more */
    uint32_t no_buffers; /* -ENOBUFS of sends of datagrams */
    uint32_t no_files;   /* -EMFILE of whatever makes a descriptor */
    uint32_t no_memory;  /* -ENOMEM of calls, and allocations of the library */
};

struct weft__host {
    struct weft__world *world;
    char *name;
    uint32_t id; /* index in world->hosts; addresses follow from it */
    struct in_addr address4;
    struct in6_addr address6;
    struct weft__proc *proc; /* NULL: down */
    bool paused;
    bool dark; /* without power: silent, where one without a process refuses and resets */
    uint32_t incarnations;
    int64_t drift_ppm; /* its clocks run so much faster */
    int64_t clock_ns;  /* of its monotonic clock at `clock_at_ns` of the world's */
    int64_t clock_at_ns;
    int64_t wall_ns; /* what its wall clock is ahead of its monotonic one */
    struct weft__sim_faults faults;
    size_t max_fds;
    uint16_t next_port;
    struct weft__disk *disk; /* NULL until a file is opened */
    void *user;              /* src/sim's */
};

/* The bound sockets of a process, for whoever looks for a port. */
struct weft__binding {
    struct weft__node link; /* in one of proc->ports */
    struct weft__desc *desc;
    struct sockaddr_storage at;
    socklen_t at_len;
    int proto; /* IPPROTO_TCP, IPPROTO_UDP */
};
#define WEFT__SIM_PORT_BUCKETS 64

struct weft__proc {
    struct weft__world *world;
    struct weft__host *host;
    struct weft__node link;     /* in world->procs */
    struct weft__node runnable; /* in world->runnable */
    struct weft__sys *sys;      /* its driver; NULL until a loop is opened */
    struct weft__desc **fds;
    size_t n_fds, fds_cap, fd_hint;
    uint64_t random[4];
    struct weft__event wake; /* the deadline of its driver's wait */
    bool lazy; /* operations end in the next wait at the earliest, as io_uring's; else as epoll's */
    bool ghost;      /* its host has crashed: every call fails */
    int64_t warp_ns; /* a ghost's clock is so far ahead */
    uint32_t incarnation;
    struct weft__list ports[WEFT__SIM_PORT_BUCKETS]; /* struct weft__binding */
    struct weft__list signals;                       /* see calls.c */
    int64_t sync_slept_ns;    /* of a sync that has begun: see weft__sim_sync_begins */
    int64_t disk_delay_ns;    /* what the calls on files since it was last taken took */
    const char *(*who)(void); /* names whoever calls, for leak reports; may be NULL */
};

/* name: copied, not taken yet. -EEXIST, -EINVAL (empty or over 63 bytes), -ENOMEM. */
int weft__host_open(struct weft__host **ret, struct weft__world *w, const char *name);
struct weft__host *weft__host_by_name(struct weft__world *w, const char *name, size_t len);
/* By address; loopback is `self`. NULL: there is no such host. */
struct weft__host *weft__host_by_address(struct weft__world *w, struct weft__host *self,
                                         const struct sockaddr *sa);

/* Gives the host a process. -EBUSY, -ENOMEM. */
int weft__proc_open(struct weft__proc **ret, struct weft__host *h);
/* Ends it as exit(2) does: what is open is closed. Its sys is closed already. */
void weft__proc_close(struct weft__proc *p);
/* Takes the host's power away: connections end without a word, the disk keeps what was synced, what
 * is under way ends with -ECANCELED. p is a ghost then, still to be closed. */
void weft__proc_crash(struct weft__proc *p);
/* Has it run: moves it to world->runnable. */
void weft__proc_ready(struct weft__proc *p);
/* The process's monotonic clock, and the world's time at which that clock will show local_ns. */
int64_t weft__proc_clock_ns(const struct weft__proc *p);
int64_t weft__proc_to_world_ns(const struct weft__proc *p, int64_t local_ns);

/* The process that the calling thread acts for; NULL: the real world. */
extern _Thread_local struct weft__proc *weft__sim_proc
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* --- Descriptors (desc.c) --------------------------------------------------------------------- */

/* Numbers that the real kernel never gives, so that none is taken for the other kind. */
#define WEFT__SIM_FD_FIRST 0x40000000

enum weft__sim_tried { WEFT__SIM_ENDED, WEFT__SIM_WAIT };

struct weft__desc_class {
    const char *kind; /* "tcp", "listener", "udp", "pipe", "file" ... */
    /* One attempt at an operation (not NOP, not POLL): sets op->res, op->full, op->moved, op->rbuf
     * as sys.h says, or WAIT. */
    enum weft__sim_tried (*attempt)(struct weft__desc *d, struct weft__op *op);
    /* Events of poll(2) that are there now, POLLERR and POLLHUP included. */
    short (*ready)(struct weft__desc *d);
    /* sendmsg(2), recvmsg(2) without waiting. NULL: -ENOTSOCK. */
    ssize_t (*send_now)(struct weft__desc *d, const struct msghdr *msg, int flags);
    ssize_t (*recv_now)(struct weft__desc *d, struct msghdr *msg, int flags);
    int (*bind)(struct weft__desc *d, const struct sockaddr *sa, socklen_t len);
    int (*listen)(struct weft__desc *d, int backlog);
    int (*accept_now)(struct weft__desc *d); /* a descriptor, or -EAGAIN ... */
    int (*connect_now)(struct weft__desc *d, const struct sockaddr *sa, socklen_t len);
    int (*shutdown)(struct weft__desc *d, int how);
    int (*address)(struct weft__desc *d, bool peer, struct sockaddr_storage *sa, socklen_t *len);
    int (*set)(struct weft__desc *d, int level, int name, const void *value, socklen_t len);
    int (*get)(struct weft__desc *d, int level, int name, void *value, socklen_t *len);
    /* fstat(2). NULL: it is a socket. */
    int (*stat)(struct weft__desc *d, struct stat *st);
    /* The last reference is gone; crash: with its host, without a word to anyone. Frees d. */
    void (*release)(struct weft__desc *d, bool crash);
    /* For leak reports: "tcp 10.0.0.1:80 - 10.0.0.2:40001". */
    void (*describe)(const struct weft__desc *d, char *buf, size_t cap);
};

/* The beginning of whatever a descriptor refers to. */
struct weft__desc {
    const struct weft__desc_class *cls;
    struct weft__world *world;
    struct weft__proc *proc;    /* whose it is; NULL: travelling between processes */
    struct weft__queue waiting; /* operations */
    unsigned refs;              /* descriptors, messages that carry it, callers that hold it */
    bool nonblock;
    bool crashed;            /* its host has: release is told */
    bool waking, wake_again; /* weft__desc_wake is at work, and asked for anew */
    const char *opened_by;   /* proc->who's word; NULL */
    int64_t opened_ns;
};

void weft__desc_init(struct weft__desc *d, const struct weft__desc_class *cls,
                     struct weft__proc *p);
/* A number for d, which takes over the caller's reference; on failure the reference is the
 * caller's still. -EMFILE, -ENOMEM. */
int weft__desc_install(struct weft__proc *p, struct weft__desc *d);
/* NULL: no such descriptor. */
struct weft__desc *weft__desc_of(struct weft__proc *p, int fd);
/* As weft__desc_of for a call named `what`: *err is -EBADF, or WEFT_EOUTSIDE with the detail for a
 * number of the real kernel. */
struct weft__desc *weft__desc_for(struct weft__proc *p, int fd, const char *what, int *err);
void weft__desc_ref(struct weft__desc *d);
void weft__desc_unref(struct weft__desc *d);
int weft__desc_close(struct weft__proc *p, int fd);
/* Something has changed: tries the operations that wait again. */
void weft__desc_wake(struct weft__desc *d);

/* --- The driver (driver.c) -------------------------------------------------------------------- */

/* op, which is in no queue, has ended with op->res; done is called in the next wait. */
void weft__sim_ended(struct weft__proc *p, struct weft__op *op);
/* A pool buffer with n bytes for RECV_POOL: sets op->rbuf. NULL: no memory (op->res is set). */
struct weft__rbuf *weft__sim_rbuf(struct weft__desc *d, struct weft__op *op);

/* --- Links (link.c) --------------------------------------------------------------------------- */

/* The way from one host to another, one direction. Made when first used; lives as long as the
 * world. */
struct weft__path {
    struct weft__host *from, *to;
    struct weft__path *next; /* in its bucket */
    uint64_t epoch;
    int64_t latency_ns, jitter_ns;
    int64_t bytes_per_s;               /* 0: no bound */
    uint32_t loss, duplicate, reorder; /* chances of 2^32 */
    uint32_t mtu;
    int64_t reorder_ns;
    bool cut;
    int64_t busy_ns; /* until then bytes sent before are on their way into it */
};

/* What a rule says; fields as of struct weft_link, in the units of a path. */
struct weft__link {
    int64_t latency_ns, jitter_ns, bytes_per_s, reorder_ns;
    uint32_t loss, duplicate, reorder, mtu;
};

/* Rules for hosts whose names match the patterns (fnmatch(3)); the last that matches counts. */
int weft__link_set(struct weft__world *w, const char *from, const char *to,
                   const struct weft__link *l);
/* Cuts, or mends what was cut: every pair that matches, one direction. */
int weft__link_cut(struct weft__world *w, const char *from, const char *to, bool cut);
/* -ENOMEM: NULL. from == to is the way within a host: no latency unless a rule names it. */
struct weft__path *weft__path_get(struct weft__world *w, struct weft__host *from,
                                  struct weft__host *to);
/* Brings its figures up to date with the rules. Called by the others here. */
void weft__path_refresh(struct weft__path *p);
/* One packet of so many bytes leaves now: when it arrives, or -1 when it is lost. */
int64_t weft__path_send(struct weft__path *p, size_t bytes);
void weft__links_close(struct weft__world *w);

#endif
