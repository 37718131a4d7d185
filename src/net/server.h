/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_SERVER_H
#define WEFT__NET_SERVER_H
/*
 * Servers from the inside (floor 3).
 *
 * A server is shared by its workers. A worker of a loop is a member of a group on that loop: it
 * accepts, holds its connections in a group of its own, and leaves when it has stopped accepting
 * and the last connection has ended. With the thread model one supervising thread does the same in
 * blocking style.
 *
 * Invariants: a server lives as long as the group it was opened in; what several threads touch in
 * it is atomic or under its lock.
 */
#include <weft/channel.h>
#include <weft/server.h>

#include "net/secure.h"
#include "net/stream.h"
#include "net/transport.h"

struct weft__worker;
struct weft__parking;

/* The file of a bound Unix socket, so that only it is removed, and not a successor's. */
struct weft__unix_file {
    dev_t device;
    ino_t inode;
    bool there;
};

/*
 * How long a server that drains keeps its TCP listener, for peers whose SYN it has answered: to
 * them the connection is there already, and a close would reset it with what they have sent. It
 * looks after 1 ms, 2 ms and so on.
 */
#define WEFT__HANDSHAKE_MS 64

/* A client host, counted for max_per_peer. */
struct weft__peer {
    struct weft__node link;
    struct weft_address address;
    size_t count;
};
#define WEFT__PEER_BUCKETS 1024

struct weft_server {
    struct weft__attached attached;     /* to the group; frees it */
    struct weft_server_options options; /* with defaults filled in */
    struct weft_options loop_options;
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_endpoint at; /* with the real port */
    struct weft_tls *tls;    /* counted; NULL: plain */
    struct weft__handshakes handshakes;
    struct weft__proxies *proxies; /* who sends PROXY headers; NULL: nobody */
    struct weft__unix_file file;
    int family;
    weft_handler handler;
    void *arg;
    struct weft_factory factory;
    bool protocol; /* factory is set */
    struct weft_group *group;
    struct weft_loop *home; /* of the group; NULL: a plain thread's */

    pthread_mutex_t lock;      /* guards from here to peers */
    struct weft__start *start; /* while its opener waits for the workers to begin */
    struct weft__wait *waiter; /* in drain */
    struct weft__remote wake;  /* to the waiter's loop */
    size_t workers_live;
    bool cut_off;             /* a connection had to be cancelled */
    struct weft__list *peers; /* WEFT__PEER_BUCKETS lists, when max_per_peer is set */

    _Atomic bool draining;
    _Atomic int64_t drain_until_ns;
    _Atomic uint64_t accepted, live, refused, failed, timed_out, backoffs;
    _Atomic uint64_t shaken, unshaken; /* handshakes that succeeded, and failed */

    /* The thread model. */
    int listen_fd;
    struct weft_group *acceptors;
    struct weft_group *threads;
    struct weft_channel *slots;

    bool spreads; /* one listener for several workers: connections are handed over */
    int n_workers;
    struct weft__worker *workers; /* n_workers */
};

struct weft__worker {
    struct weft_server *server;
    int index;
    bool here;              /* on the loop of the server's group, without a thread */
    bool told;              /* its server knows how it began */
    int fd;                 /* its listener; -1: connections are handed to it */
    struct weft_loop *loop; /* under server->lock for others */
    bool running;           /* likewise: posts may go to it */
    struct weft__member member;
    struct weft_group conns;
    struct weft__factory_ref *factory;
    struct weft__factory_ref *parked; /* of parked connections, once there was one; park.c */
    const struct weft__parking *parking;
    struct weft__op accept;
    struct weft__alarm retry;  /* after a back-off */
    struct weft__alarm sweep;  /* looks for idle connections */
    struct weft__alarm cut;    /* the end of a drain */
    struct weft__alarm late;   /* looks for peers whose handshake was under way at the end */
    struct weft__remote drain; /* posted by weft_server_drain */
    _Atomic bool drain_posted;
    struct weft__run leaving;
    bool accepting;    /* the operation is under way */
    bool pausing;      /* ... and is being cancelled */
    bool stopping;     /* accepts no more */
    bool stopped;      /* the listener is closed */
    bool left;         /* `leaving` is on its way */
    bool behind;       /* the connection that begins was taken up behind another in one turn */
    _Atomic int error; /* with WEFT_ERRORS_STOP, the first */
    int64_t cut_at;    /* the end of the drain; 0: none */
    int64_t late_ns;   /* until `late` looks again; 0: not begun */
    int64_t backoff_ns;
    int64_t took_ns; /* the loop's time when it took up the last connection */
    size_t max_connections;
    _Atomic uint64_t live;
    struct weft__counters counters;
};

/* One connection in the task or thread model; lives on its flow's stack. */
struct weft__conn {
    struct weft__worker *worker;
    struct weft_stream *stream; /* NULL: given away or closed by the handler */
    struct weft__peer *peer;
    struct weft_address told; /* by a PROXY header: the peer's; len 0: none */
    struct weft__pull *pull;  /* callbacks run by this flow; see pull.c */
    bool parked;              /* goes on without this flow, which counts nothing any more; park.c */
    uint32_t carried;         /* a protocol's own count, kept while it was parked */
    struct weft__split split; /* unparked: its stream is to be taken over */
};

/* --- worker.c: connections, accepting, limits ------------------------------------------------- */

extern const struct weft__member_class weft__worker_class;
/* Starts a task for a connection (c: copied). */
int weft__worker_spawn(struct weft__worker *w, struct weft__conn *c);
/* The time limits that the sweep looks at have changed. */
void weft__worker_sweep_again(struct weft__worker *w);
/* Begins to accept. */
void weft__worker_begin(struct weft__worker *w);
/* A place may have become free. */
void weft__worker_resume(struct weft__worker *w);
/* Accepts, without waiting, what the kernel holds for the listener. */
void weft__worker_take_rest(struct weft__worker *w);
/* A connection has ended: counts it and tells `failed`. On its loop or thread. */
void weft__worker_ended(struct weft__worker *w, struct weft__peer *peer, int error, bool timed_out,
                        const struct weft_address *address);
/* Runs the handler or the protocol on a connection in the calling flow, then ends it. */
void weft__conn_serve(struct weft__conn *c);
/* Whether accept(2) failed for want of something that may come back. */
bool weft__accept_exhausted(int err);
/* ... or for a reason that concerns one connection only. */
bool weft__accept_passing(int err);

/* --- worker_life.c: start, drain, end --------------------------------------------------------- */

/* Starts it on the current loop as a member of g. */
int weft__worker_start(struct weft__worker *w, struct weft_group *g);
void weft__worker_drain(struct weft__worker *w, int64_t until_ns);
/* Accepting has ended. */
void weft__worker_stopped(struct weft__worker *w);
/* Leaves when all is done. */
void weft__worker_check(struct weft__worker *w);
/* Any thread: has the worker drain. server->lock is held. */
void weft__worker_post_drain(struct weft__worker *w);
/* tree_net.c */
void weft__tree_worker(struct weft__member *m, struct weft__printer *p);
void weft__tree_transport(struct weft__member *m, struct weft__printer *p);
/* For a connection in the task model: bytes, label, peer. */
void weft__tree_conn_note(const struct weft__flow *f, char *buf, size_t cap);

/* --- server.c --------------------------------------------------------------------------------- */

/* What to serve: weft_server_open with the endpoint read and the context made. */
struct weft__serving {
    struct weft_endpoint at; /* its host is no name */
    struct weft_tls *tls;    /* borrowed; NULL: plain */
    weft_handler handler;
    void *arg;
    const struct weft_factory *factory;
};
int weft__server_open(struct weft_server **ret, struct weft_group *g, const struct weft__serving *w,
                      const struct weft_server_options *o);

/* A worker is done with the server. */
void weft__server_worker_gone(struct weft__worker *w);
/* Looks up and counts the peer of fd, but for a trusted proxy, whose connections are counted as
 * those of whom it tells of. False: it has too many connections already. */
bool weft__server_admit(struct weft_server *s, int fd, struct weft__peer **peer);
/* The same of an address that was told. */
bool weft__server_admit_told(struct weft_server *s, const struct weft_address *a,
                             struct weft__peer **peer);
void weft__server_dismiss(struct weft_server *s, struct weft__peer *peer);

/* What others may read of the counts: who was accepted is live, was refused, or has ended, and who
 * has ended counts as what it ended with. So `live` is first and `accepted` behind it at the
 * beginning, and `live` comes last at the end; weft_server_stats_mt reads in the other order. */
static inline void weft__server_count_live(struct weft__worker *w)
{
    atomic_fetch_add(&w->live, 1);
    atomic_fetch_add(&w->server->live, 1);
    atomic_fetch_add(&w->server->accepted, 1);
}

static inline void weft__server_count_refused(struct weft_server *s)
{
    atomic_fetch_add(&s->refused, 1);
    atomic_fetch_add(&s->accepted, 1);
}

static inline void weft__server_count_ended(struct weft__worker *w)
{
    atomic_fetch_sub(&w->live, 1);
    atomic_fetch_sub(&w->server->live, 1);
}

/* --- proxies.c: PROXY headers ------------------------------------------------------------------
 */

/* Reads "10.0.0.0/8, ::1" or "*". -EINVAL, -ENOMEM. */
int weft__proxies_open(struct weft__proxies **ret, const char *text);
bool weft__proxies_trust(const struct weft__proxies *p, const struct weft_address *peer);
/* Takes the header off a connection of one of them; waits. */
int weft__proxies_meet(const struct weft__proxies *p, struct weft__conn *c, weft_deadline d);

/* --- server_threads.c ------------------------------------------------------------------------- */

int weft__server_threads_start(struct weft_server *s);

/* --- pull.c: a protocol's callbacks run by a task or thread ----------------------------------- */

struct weft__pull {
    const struct weft_factory *factory;
    void *user;
    int error;
    bool closing, aborting;
};
int weft__pull_run(struct weft__conn *c, const struct weft_factory *f);
int weft__pull_writev(struct weft_stream *s, const struct iovec *iov, int n);
int weft__pull_produce(struct weft_stream *s, weft_producer fn, void *arg);
/* The pull state of a stream that is not in callback mode; asserts that there is one. */
struct weft__pull *weft__pull_of(const struct weft_stream *s);

/* --- listener.c ------------------------------------------------------------------------------- */

struct weft__listen {
    int backlog;
    bool reuse_port;
    bool v6_only;
    int unix_mode;
};
/* A bound and listening descriptor, or a negative code. e's address becomes the bound one. */
int weft__listen_fd(struct weft_endpoint *e, const struct weft__listen *o);
/* The path of a Unix socket's file; NULL when it has none. */
const char *weft__unix_path(const struct weft_endpoint *e);
void weft__unix_file_note(struct weft__unix_file *f, const struct weft_endpoint *e);
void weft__unix_file_remove(struct weft__unix_file *f, const struct weft_endpoint *e);

#endif
