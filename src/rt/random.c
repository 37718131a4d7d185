/* SPDX-License-Identifier: MIT */
/*
 * Random numbers, of the kernel or of a simulation's seed; see <weft/random.h>.
 *
 * Floor 2. Invariant: nothing is kept between calls, so a fork or a copy of the process's memory
 * repeats no number and gives none away.
 */
#include <errno.h>
#include <sys/random.h>

#include <weft/random.h>

#include "base/base.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

void weft_random(void *buf, size_t len)
{
    struct weft__proc *proc = weft__sim_proc;
    size_t done = 0;
    if (WEFT__UNLIKELY(proc != NULL)) {
        weft__sim_random(proc, buf, len);
        return;
    }
    while (done < len) {
        ssize_t n = getrandom((char *)buf + done, len - done, 0);
        WEFT__ASSERT(n > 0 || (n < 0 && errno == EINTR));
        done += n > 0 ? (size_t)n : 0;
    }
}

uint64_t weft_random_u64(void)
{
    uint64_t n;
    weft_random(&n, sizeof n);
    return n;
}

uint64_t weft_random_below(uint64_t n)
{
    if (n == 0)
        return 0;
    /* The numbers below 2^64 mod n would make some results likelier than others. */
    uint64_t odd = (0 - n) % n;
    uint64_t r;
    do {
        r = weft_random_u64();
    } while (r < odd);
    return r % n;
}
