/* SPDX-License-Identifier: MIT */
/*
 * Setting up a ring, probing whether that can be done here, and handing over what is in it (floor
 * 1).
 *
 * Invariant: the probe sets up the very ring that the driver uses, only smaller, so that what a
 * kernel, a sysctl or a seccomp filter forbids is seen there.
 */
#include <errno.h>

#include "base/base.h"
#include "sys/call.h"
#include "sys/uring.h"

#define CQ_FACTOR 4
#define SETUP_FLAGS                                                                                \
    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |         \
     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP)
#define FEATURES                                                                                   \
    (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP | IORING_FEAT_FAST_POLL |     \
     IORING_FEAT_RW_CUR_POS)

/*
 * liburing maps and unmaps its rings by system calls of its own, of which TSan does not know: a
 * ring at the address of one that another thread has closed would look like shared memory.
 */
#if WEFT__URING_TSAN
#include <sanitizer/tsan_interface.h>
static char order;
#define RING_MAPPED() __tsan_acquire(&order)
#define RING_UNMAPS() __tsan_release(&order)
#else
#define RING_MAPPED() ((void)0)
#define RING_UNMAPS() ((void)0)
#endif

void weft__uring_ring_close(struct io_uring *ring)
{
    RING_UNMAPS();
    io_uring_queue_exit(ring);
}

int weft__uring_ring_open(struct io_uring *ring, unsigned entries)
{
    struct io_uring_params p = {.flags = SETUP_FLAGS, .cq_entries = entries * CQ_FACTOR};
    int err = weft__fault();
    if (err == 0)
        err = io_uring_queue_init_params(entries, ring, &p);
    if (err < 0)
        return err;
    RING_MAPPED();
    if ((p.features & FEATURES) != FEATURES) {
        weft__uring_ring_close(ring);
        return -ENOSYS;
    }
    return 0;
}

void weft__uring_push(struct weft__sys *sys)
{
    struct io_uring *ring = &self(sys)->ring;
    if (io_uring_sq_ready(ring) > 0)
        (void)io_uring_submit(ring); /* what stays there goes with the wait, which tells why */
}

static const char *setup_text(int err)
{
    switch (err) {
    case -EPERM:
    case -EACCES:
        return "io_uring is forbidden here (sysctl kernel.io_uring_disabled, or a seccomp filter)";
    case -EINVAL:
        return "the kernel is older than Linux 6.1";
    case -ENOMEM:
        return "no memory for a ring (or ulimit -l is too low)";
    case -EMFILE:
    case -ENFILE:
        return "no file descriptor is left for a ring";
    case -ENOSYS:
        return "the kernel has no io_uring, or a seccomp filter hides it";
    default:
        return "io_uring_setup failed";
    }
}

int weft__uring_probe(const char **text)
{
    static const uint8_t needed[] = {
        IORING_OP_ACCEPT,   IORING_OP_CONNECT, IORING_OP_RECV,         IORING_OP_SEND,
        IORING_OP_RECVMSG,  IORING_OP_SENDMSG, IORING_OP_READ,         IORING_OP_WRITE,
        IORING_OP_POLL_ADD, IORING_OP_TIMEOUT, IORING_OP_ASYNC_CANCEL,
    };
    struct io_uring ring;
    int err = weft__uring_ring_open(&ring, 4);
    if (err < 0) {
        *text = setup_text(err);
        return err;
    }
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
    err = probe == NULL ? -ENOMEM : 0;
    for (size_t i = 0; err == 0 && i < WEFT__ARRAY_LEN(needed); i++)
        err = io_uring_opcode_supported(probe, needed[i]) ? 0 : -ENOSYS;
    io_uring_free_probe(probe);
    if (err < 0)
        *text = "the kernel's io_uring lacks an operation, or its probe failed";
    weft__uring_ring_close(&ring);
    return err;
}
