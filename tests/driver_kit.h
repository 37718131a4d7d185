/* SPDX-License-Identifier: MIT */
#ifndef DRIVER_KIT_H
#define DRIVER_KIT_H
/*
 * What the driver tests share: one way to start, finish and cancel an operation on any driver.
 *
 * For the sim driver a kit has a world of its own with one host; the system calls that a test makes
 * beside the driver are driver_call.h's, which ask the simulated kernel then.
 *
 * A loop driver has all operations of a test under way at once. The block driver ends each within
 * submit, so there an operation that is started runs in a thread of its own with an instance and a
 * cancel descriptor of its own; finish joins it. Whatever a test does between start and finish may
 * therefore happen before or after the operation has begun to wait, and must not depend on it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include <cmocka.h>

#include "driver_call.h"
#include "sys/sys.h"

#define KIT_SECOND INT64_C(1000000000)
#define KIT_PATIENCE (20 * KIT_SECOND) /* a test that waits longer has failed */

struct kit {
    const struct weft__driver *drv;
    struct weft__sys *sys;
    bool block, sim;
    int fds_before;
    struct weft__world *world; /* sim */
    struct weft__proc *proc;
};

/* A test operation. */
struct top {
    struct weft__op op; /* first */
    struct kit *kit;
    unsigned results; /* calls of done, or 1 when it ended in submit */
    bool ended;
    bool at_once;                /* ended in submit */
    void (*then)(struct top *t); /* called at each result */
    void *arg;
    /* block: */
    pthread_t thread;
    bool threaded;
    int cancel_fd;
    struct weft__sys *own;
};

enum {
    ON_LOOP = 1,
    ON_BLOCK = 2,
    ON_ALL = 3,
    ON_REAL = 4, /* about what the simulated kernel does not have: threads, signals, eventfds ... */
};

struct driver_test {
    const char *name;
    void (*fn)(struct kit *k);
    unsigned on;
};

extern const struct driver_test driver_tests_io[];
extern const struct driver_test driver_tests_other[];
extern const struct driver_test driver_tests_connect[];
extern const struct driver_test driver_tests_poll[];
extern const struct driver_test driver_tests_cancel[];
extern const struct driver_test driver_tests_wait[];
extern const struct driver_test driver_tests_stress[];
extern const struct driver_test driver_tests_fault[];

/* seed: of the sim driver's world. An odd one has operations end in wait whenever they can, an even
 * one has them tried at once: the two ways of the real drivers. */
void kit_open(struct kit *k, const struct weft__driver *drv, uint64_t seed);
void kit_close(struct kit *k); /* nothing under way, no descriptor leaked */
int kit_count_fds(void);       /* real and simulated */

/* Aborts the program with the place: for threads, where cmocka cannot. */
#define KIT_CHECK(cond) ((cond) ? (void)0 : kit_failed(__FILE__, __LINE__, #cond))
_Noreturn void kit_failed(const char *file, int line, const char *expr);

/* ---- operations ---- */

void top_init(struct top *t, struct kit *k, enum weft__op_kind kind, int fd);
void top_recv(struct top *t, struct kit *k, int fd, void *buf, size_t len);
void top_recv_pool(struct top *t, struct kit *k, int fd);
void top_send(struct top *t, struct kit *k, int fd, const void *buf, size_t len);
void top_read(struct top *t, struct kit *k, int fd, void *buf, size_t len);
void top_write(struct top *t, struct kit *k, int fd, const void *buf, size_t len);
void top_poll(struct top *t, struct kit *k, int fd, short events);
void top_accept(struct top *t, struct kit *k, int fd);
void top_connect(struct top *t, struct kit *k, int fd, const struct sockaddr *sa, socklen_t len);
void top_msg(struct top *t, struct kit *k, enum weft__op_kind kind, int fd, struct msghdr *msg);

void top_start(struct top *t);
int top_finish(struct top *t); /* waits for its (last) result */
int top_run(struct top *t);    /* both; on block without a thread */
void top_cancel(struct top *t);
/* For RECV_POOL: gives t's buffer back. */
void top_put(struct top *t);

/* One wait that does not block: sends what is queued, takes what is there. */
void kit_turn(struct kit *k);
/* Waits until *flag is true. */
void kit_until(struct kit *k, const bool *flag);
void kit_close_fd(struct kit *k, int fd);

/* ---- sockets ---- */

/* Families for kit_pair. */
enum kit_family { KIT_TCP4, KIT_TCP6, KIT_UNIX, KIT_PAIR, KIT_FAMILIES };
void kit_pair(enum kit_family f, int fds[2]); /* connected streams, blocking mode */
/* A listener at a free address, which goes to *sa. */
int kit_listener(enum kit_family f, int backlog, struct sockaddr_storage *sa, socklen_t *len);
int kit_socket(enum kit_family f);
void kit_unlink(const struct sockaddr_storage *sa); /* a Unix listener's file */
/* Raw, blocking and whole. */
void kit_put(int fd, const void *buf, size_t len);
void kit_get(int fd, void *buf, size_t len);
void kit_reset(int fd); /* closes with RST */
bool kit_is_nonblock(int fd);
/* Writes until the socket takes no more; returns the bytes. */
size_t kit_fill(int fd);
/* Reads and throws away what is there, without waiting. */
size_t kit_drain(int fd);

/* Reads a stream to its end, beside whatever the test does: a thread, or, where there is one thread
 * only, a chain of operations. */
struct kit_reader {
    int fd;
    uint64_t sum; /* kit_checksum of all bytes */
    size_t len;
    pthread_t thread;
    struct top t;
    bool threaded, starting, again, over;
    uint8_t buf[8192];
};
void kit_reader_start(struct kit_reader *r, struct kit *k, int fd);
void kit_reader_join(struct kit_reader *r);
/* Of bytes that lie `at` bytes into something; the sum of its parts is that of the whole. */
uint64_t kit_checksum(const uint8_t *p, size_t len, size_t at);

/* A pseudo-random sequence. */
uint32_t kit_random(uint64_t *seed);

#endif
