/* SPDX-License-Identifier: MIT */
/*
 * A network of two places and the path between them, for tests of what the loopback device never
 * does: delay, jitter, loss, a rate, addresses from which nothing comes back.
 *
 * It makes two network namespaces, "a" and "b", each with a tun device and a loopback device that
 * is up, and carries IP packets between the two. The namespaces have no names: they are the
 * descriptors 3 and 4 of this process, to be entered by /proc/PID/fd/3 and /proc/PID/fd/4, and they
 * are gone when it and whoever entered them have ended. So nothing is ever left behind, however a
 * test ends.
 *
 * usage: relay [KEY VALUE]...
 *
 * It says "ready" when it carries. Each line "KEY VALUE" on its standard input changes the path
 * from then on; at the end of the input it ends. Keys, each for both ways or, with a- or b- in
 * front, for what comes from a or b:
 *
 *   delay-us N, jitter-us N  a packet takes the delay and up to the jitter more; order is kept
 *   loss-ppm N               so many of a million are lost
 *   rate-bps N               bits a second; 0: as fast as it goes
 *   queue-bytes N            what waits for its turn because of the rate; more is dropped
 *   seed N                   of what is lost and of the jitter
 *   hole ADDRESS             packets to it vanish; may be given up to 16 times, `hole none` forgets
 *   stats ANY                prints one line of JSON
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PACKET = 65536, WAITING = 8192, HOLES = 16, NS_FD = 3, SKIP = 77 };

struct packet {
    int64_t due_ns;
    size_t len;
    unsigned char *bytes;
};

/* One way. Packets wait in the order in which they came. */
struct way {
    int from, to;
    int64_t delay_us, jitter_us, loss_ppm, rate_bps, queue_bytes;
    int64_t free_ns; /* when the line has sent all that it was given */
    int64_t last_ns; /* when the packet before is due */
    struct packet ring[WAITING];
    size_t first, n;
    uint64_t carried, bytes, lost, dropped, vanished;
};

static struct way ways[2];
static unsigned char holes[HOLES][16];
static size_t n_holes;
static uint64_t chance = 88172645463325252u;

_Noreturn static void fail(const char *what)
{
    int err = errno;
    (void)fprintf(stderr, "relay: %s: %s\n", what, strerror(err));
    exit(err == EPERM || err == EACCES || err == ENOENT || err == ENODEV ? SKIP : 1);
}

static int64_t now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t below(int64_t n)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return n > 0 ? (int64_t)((chance >> 11) % (uint64_t)n) : 0;
}

/* --- Setting it up ---------------------------------------------------------------------------- */

/* A new namespace as descriptor ns_fd, with a device tun0, whose descriptor is returned. */
static int place(int ns_fd)
{
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    if (unshare(CLONE_NEWNET) < 0)
        fail("a network namespace");
    int ns = open("/proc/thread-self/ns/net", O_RDONLY);
    if (ns < 0 || dup2(ns, ns_fd) < 0)
        fail("the network namespace");
    if (ns != ns_fd)
        close(ns);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0)
        fail("/dev/net/tun");
    (void)snprintf(r.ifr_name, sizeof r.ifr_name, "tun0");
    if (ioctl(tun, TUNSETIFF, &r) < 0)
        fail("a tun device");
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_flags = IFF_UP};
    (void)snprintf(lo.ifr_name, sizeof lo.ifr_name, "lo");
    if (s < 0 || ioctl(s, SIOCSIFFLAGS, &lo) < 0)
        fail("the loopback device");
    close(s);
    return tun;
}

static void set_hole(const char *value)
{
    if (strcmp(value, "none") == 0) {
        n_holes = 0;
        return;
    }
    unsigned char *to = holes[n_holes];
    memset(to, 0, 16);
    if (n_holes == HOLES ||
        (inet_pton(AF_INET6, value, to) != 1 && inet_pton(AF_INET, value, to + 12) != 1)) {
        (void)fprintf(stderr, "relay: not an address, or too many: %s\n", value);
        exit(2);
    }
    n_holes++;
}

static void print_stats(void)
{
    for (int i = 0; i < 2; i++) {
        const struct way *w = &ways[i];
        (void)printf("%s\"%s\": {\"carried\": %" PRIu64 ", \"bytes\": %" PRIu64
                     ", \"lost\": %" PRIu64 ", \"dropped\": %" PRIu64 ", \"vanished\": %" PRIu64
                     "}%s",
                     i == 0 ? "{" : ", ", i == 0 ? "a" : "b", w->carried, w->bytes, w->lost,
                     w->dropped, w->vanished, i == 0 ? "" : "}\n");
    }
    (void)fflush(stdout);
}

static void set(const char *key, const char *value)
{
    int from = strncmp(key, "b-", 2) == 0, to = strncmp(key, "a-", 2) != 0;
    const char *name = key[1] == '-' ? key + 2 : key;
    if (strcmp(name, "hole") == 0) {
        set_hole(value);
        return;
    }
    if (strcmp(name, "stats") == 0) {
        print_stats();
        return;
    }
    char *end;
    long long v = strtoll(value, &end, 10);
    for (int i = from; i <= to; i++) {
        struct way *w = &ways[i];
        struct {
            const char *name;
            int64_t *to;
        } numbers[] = {
            {"delay-us", &w->delay_us},       {"jitter-us", &w->jitter_us},
            {"loss-ppm", &w->loss_ppm},       {"rate-bps", &w->rate_bps},
            {"queue-bytes", &w->queue_bytes}, {"seed", (int64_t *)&chance},
        };
        bool known = false;
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (strcmp(name, numbers[k].name) == 0) {
                *numbers[k].to = v;
                known = true;
            }
        if (!known || *end != '\0' || end == value || v < 0) {
            (void)fprintf(stderr, "relay: what is %s %s?\n", key, value);
            exit(2);
        }
    }
}

/* --- Carrying --------------------------------------------------------------------------------- */

static bool into_hole(const unsigned char *p, size_t len)
{
    unsigned char to[16] = {0};
    if (len >= 20 && p[0] >> 4 == 4)
        memcpy(to + 12, p + 16, 4);
    else if (len >= 40 && p[0] >> 4 == 6)
        memcpy(to, p + 24, 16);
    for (size_t i = 0; i < n_holes; i++)
        if (memcmp(holes[i], to, 16) == 0)
            return true;
    return false;
}

static void take(struct way *w, const unsigned char *p, size_t len)
{
    int64_t now = now_ns(), waits_ns = w->free_ns > now ? w->free_ns - now : 0;
    if (into_hole(p, len)) {
        w->vanished++;
        return;
    }
    if (below(1000000) < w->loss_ppm) {
        w->lost++;
        return;
    }
    if (w->n == WAITING ||
        (w->rate_bps > 0 && w->queue_bytes > 0 &&
         waits_ns / 8000 * (w->rate_bps / 1000) / 1000 + (int64_t)len > w->queue_bytes)) {
        w->dropped++;
        return;
    }
    struct packet *to = &w->ring[(w->first + w->n) % WAITING];
    *to = (struct packet){.len = len, .bytes = malloc(len)};
    if (to->bytes == NULL)
        fail("a packet");
    memcpy(to->bytes, p, len);
    w->free_ns = now + waits_ns;
    if (w->rate_bps > 0)
        w->free_ns += (int64_t)len * 8 * 1000000000 / w->rate_bps;
    to->due_ns = w->free_ns + (w->delay_us + below(w->jitter_us + 1)) * 1000;
    if (to->due_ns < w->last_ns)
        to->due_ns = w->last_ns;
    w->last_ns = to->due_ns;
    w->n++;
}

static void give(struct way *w)
{
    while (w->n > 0 && w->ring[w->first].due_ns <= now_ns()) {
        struct packet *p = &w->ring[w->first];
        /* As on a wire: what the other side cannot take is gone. */
        if (write(w->to, p->bytes, p->len) == (ssize_t)p->len) {
            w->carried++;
            w->bytes += p->len;
        } else {
            w->dropped++;
        }
        free(p->bytes);
        w->first = (w->first + 1) % WAITING;
        w->n--;
    }
}

static void carry(struct way *w)
{
    static unsigned char p[PACKET];
    ssize_t len;
    for (int i = 0; i < 64 && (len = read(w->from, p, sizeof p)) > 0; i++)
        take(w, p, (size_t)len);
}

/* Lines of the standard input; false at its end. */
static bool listen_to_input(void)
{
    static char text[4096];
    static size_t n;
    ssize_t r = read(0, text + n, sizeof text - 1 - n);
    if (r <= 0)
        return false;
    n += (size_t)r;
    text[n] = '\0';
    char *at = text, *end;
    for (; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        char key[40], value[80];
        *end = '\0';
        if (sscanf(at, "%39s %79s", key, value) != 2) {
            (void)fprintf(stderr, "relay: what is '%s'?\n", at);
            exit(2);
        }
        set(key, value);
        if (strcmp(key, "stats") != 0) { /* so that whoever asked knows that it is so now */
            (void)puts("ok");
            (void)fflush(stdout);
        }
    }
    n = strlen(at);
    memmove(text, at, n);
    return n < sizeof text - 1;
}

int main(int argc, char **argv)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_TIMERSLACK, 1);
    for (int fd = NS_FD; fd < NS_FD + 2; fd++) /* nobody else is to get these two numbers */
        if (dup2(0, fd) < 0)
            fail("descriptors");
    int tuns[2] = {place(NS_FD), place(NS_FD + 1)};
    for (int i = 0; i < 2; i++) {
        ways[i].from = tuns[i];
        ways[i].to = tuns[!i];
    }
    for (int i = 1; i + 1 < argc; i += 2)
        set(argv[i], argv[i + 1]);
    (void)puts("ready");
    (void)fflush(stdout);
    for (;;) {
        struct pollfd p[3] = {{.fd = 0, .events = POLLIN},
                              {.fd = tuns[0], .events = POLLIN},
                              {.fd = tuns[1], .events = POLLIN}};
        int64_t due_ns = INT64_MAX, now = now_ns();
        for (int i = 0; i < 2; i++)
            if (ways[i].n > 0 && ways[i].ring[ways[i].first].due_ns < due_ns)
                due_ns = ways[i].ring[ways[i].first].due_ns;
        int64_t left = due_ns > now ? due_ns - now : 0;
        struct timespec ts = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        if (ppoll(p, 3, due_ns == INT64_MAX ? NULL : &ts, NULL) < 0 && errno != EINTR)
            fail("waiting");
        if (p[0].revents != 0 && !listen_to_input())
            return 0;
        for (int i = 0; i < 2; i++) {
            carry(&ways[i]);
            give(&ways[i]);
        }
    }
}
