/* SPDX-License-Identifier: MIT */
/*
 * What the tests of names share: a real name server on loopback, and one that misbehaves as the
 * first label of the name that it is asked for says.
 *
 *   silent     no answer                       servfail refused notimp   that code
 *   hold       answered when wild_release says nx nodata                 with an SOA of 1 s
 *   lieid      another identifier              nxbare                    without an SOA
 *   liename    another question                cut                       ends within a record
 *   trunc      by UDP only that it is cut off  many                      100 addresses, by TCP
 *   v4 v6      only the one family             half                      AAAA: SERVFAIL
 *   ttl0 ttl1  that TTL                        loop                      an alias of itself
 *   old        knows no EDNS                 zero    an empty datagram before the answer
 *   oldsix     the same, and no A              hold-old                  held, and the same
 *   bare       refused, without the question   oldbare knows no EDNS and says so without it
 *   mute       by UDP that it is cut off, by TCP nothing
 *   torn       by UDP that it is cut off, by TCP the first half
 *   forged     from two other sources 10.0.0.66, and then from the right one
 *   sixless    AAAA: no answer                 and .gone.test at the end: no such name
 *   stray      records of another name, too    other names               10.0.0.1, fd00::1, 300 s
 */
#ifndef DNS_KIT_H
#define DNS_KIT_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/dns.h>
#include <weft/stream.h>

#include "dns_real_kit.h"
#include "rt_kit.h"

#define DNS_SOON weft_after_s(KIT_SLOW ? 60 : 20)

/* --- The wild one ----------------------------------------------------------------------------- */

#define WILD_SEEN 32768
#define WILD_HELD 64

struct wild_packet {
    struct sockaddr_in from;
    size_t len;
    unsigned char bytes[600];
};

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    int udp, tcp, stop, seen;
    int port;
    bool in_tcp; /* a connection is open */
    pthread_cond_t idle;
    size_t queries, by_tcp, n_held, n_ports;
    bool ports[65536]; /* that questions came from by UDP */
    size_t n_names;
    struct {
        uint32_t hash;
        uint16_t type;
    } names[WILD_SEEN]; /* of each query, in the order of arrival */
    struct wild_packet held[WILD_HELD];
} wild = {.lock = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};

static inline uint32_t wild_hash(const char *name)
{
    uint32_t h = 5381;
    for (; *name != '\0'; name++)
        h = h * 33 + (unsigned char)(*name | 0x20);
    return h;
}

struct wild_reply {
    unsigned char bytes[8192];
    size_t len;
};

static inline void wild_put(struct wild_reply *r, const void *bytes, size_t n)
{
    CHECK(r->len + n <= sizeof r->bytes);
    memcpy(r->bytes + r->len, bytes, n);
    r->len += n;
}

static inline void wild_u16(struct wild_reply *r, unsigned v)
{
    wild_put(r, (unsigned char[]){(unsigned char)(v >> 8), (unsigned char)v}, 2);
}

static inline void wild_rr(struct wild_reply *r, unsigned owner, unsigned type, uint32_t ttl,
                           const void *data, size_t n)
{
    wild_u16(r, owner);
    wild_u16(r, type);
    wild_u16(r, 1);
    wild_u16(r, ttl >> 16);
    wild_u16(r, ttl & 0xffff);
    wild_u16(r, (unsigned)n);
    wild_put(r, data, n);
}

static inline void wild_address(struct wild_reply *r, unsigned type, uint32_t ttl, unsigned last)
{
    unsigned char a[16] = {10, 0, 0, (unsigned char)last};
    if (type == 28) {
        memset(a, 0, sizeof a);
        a[0] = 0xfd;
        a[15] = (unsigned char)last;
    }
    wild_rr(r, 0xc00c, type, ttl, a, type == 28 ? 16 : 4);
    r->bytes[7]++;
}

static inline bool wild_is(const char *name, const char *what)
{
    size_t n = strlen(what);
    return strncmp(name, what, n) == 0 && (name[n] == '.' || name[n] == '-');
}

static inline void wild_soa(struct wild_reply *r, uint32_t minimum)
{
    unsigned char soa[22] = {0};
    soa[21] = (unsigned char)minimum;
    wild_rr(r, 0xc00c, 6, 600, soa, sizeof soa);
    r->bytes[9]++;
}

/* The name that is asked for, as text; its end in *end. */
static inline void wild_name(char *name, const unsigned char *q, size_t len, size_t *end)
{
    size_t at = 12, n = 0;
    while (at < len && q[at] != 0) {
        for (size_t i = 0; i < q[at] && n < 254; i++)
            name[n++] = (char)q[at + 1 + i];
        name[n++] = '.';
        at += q[at] + 1u;
    }
    name[n > 0 ? n - 1 : 0] = '\0';
    *end = at + 1;
}

/* The records for a name that exists. */
static inline void wild_records(struct wild_reply *r, const char *name, unsigned type)
{
    uint32_t ttl = wild_is(name, "ttl0") ? 0 : wild_is(name, "ttl1") ? 1 : 300;
    if (wild_is(name, "stray")) {
        wild_rr(r, 0xc012, type, 300, "\x7f\0\0\x63\0\0\0\0\0\0\0\0\0\0\0", type == 28 ? 16 : 4);
        r->bytes[7]++;
    }
    if (wild_is(name, "loop")) {
        wild_rr(r, 0xc00c, 5, 300, "\xc0\x0c", 2);
        r->bytes[7]++;
    } else if (strstr(name, "-near.") != NULL && type == 1) {
        for (unsigned i = 0; i < (wild_is(name, "many") ? 100 : 1); i++, r->bytes[7]++)
            wild_rr(r, 0xc00c, type, ttl, (unsigned char[]){127, 0, 0, (unsigned char)(i + 1)}, 4);
    } else if (strstr(name, "-near.") != NULL && type == 28) {
        wild_rr(r, 0xc00c, type, ttl, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
        r->bytes[7]++;
    } else if (type == 1 || type == 28) {
        if (wild_is(name, type == 1 ? "v6" : "v4") || (type == 1 && wild_is(name, "oldsix")))
            wild_soa(r, 1);
        else
            for (unsigned i = 0; i < (wild_is(name, "many") ? 100 : 1); i++)
                wild_address(r, type, ttl, i + 1);
    }
}

/* len 0: no answer. */
static inline void wild_answer(struct wild_reply *r, const unsigned char *q, size_t len, bool tcp)
{
    char name[300];
    size_t end;
    wild_name(name, q, len, &end);
    unsigned type = (unsigned)q[end] << 8 | q[end + 1], rcode = 0;
    r->len = 0;
    wild_put(r, q, end + 4);
    memcpy(r->bytes + 2, "\x81\x80\0\1\0\0\0\0\0\0", 10);
    bool gone = strstr(name, ".gone.test") != NULL;
    if ((wild_is(name, "silent") && !gone) || (wild_is(name, "sixless") && type == 28) ||
        (wild_is(name, "fourless") && type == 1)) {
        r->len = 0;
        return;
    }
    if (wild_is(name, "servfail") || (wild_is(name, "half") && type == 28))
        rcode = 2;
    else if (wild_is(name, "refused"))
        rcode = 5;
    else if (wild_is(name, "notimp"))
        rcode = 4;
    else if (wild_is(name, "nx") || wild_is(name, "nxbare") || gone)
        rcode = 3;
    else if ((wild_is(name, "old") || wild_is(name, "oldsix") || wild_is(name, "hold-old")) &&
             q[11] != 0)
        rcode = 1;
    r->bytes[3] |= (unsigned char)rcode;
    if (wild_is(name, "bare") || (wild_is(name, "oldbare") && q[11] != 0)) {
        memcpy(r->bytes + 2, wild_is(name, "bare") ? "\x81\x85\0\0" : "\x81\x81\0\0", 4);
        r->len = 12;
        return;
    }
    if (wild_is(name, "lieid"))
        r->bytes[1] ^= 0x55;
    if (wild_is(name, "liename"))
        r->bytes[13] ^= 1;
    if (!tcp && (wild_is(name, "trunc") || wild_is(name, "many") || wild_is(name, "mute") ||
                 wild_is(name, "torn"))) {
        r->bytes[2] |= 2;
        return;
    }
    if (wild_is(name, "nx") || wild_is(name, "nodata"))
        wild_soa(r, 1);
    else if (rcode == 0)
        wild_records(r, name, type);
    if (wild_is(name, "cut"))
        r->len -= 2;
}

static inline void wild_note(const unsigned char *q, size_t len, bool tcp)
{
    char name[300];
    size_t end;
    wild_name(name, q, len, &end);
    pthread_mutex_lock(&wild.lock);
    wild.queries++;
    wild.by_tcp += tcp;
    if (wild.n_names < WILD_SEEN) {
        wild.names[wild.n_names].hash = wild_hash(name);
        wild.names[wild.n_names++].type = (uint16_t)((unsigned)q[end] << 8 | q[end + 1]);
    }
    pthread_mutex_unlock(&wild.lock);
    CHECK_EQ(write(wild.seen, &(uint64_t){1}, 8), 8);
}

static inline void wild_send_from(int fd, const struct wild_packet *p, const void *bytes, size_t n)
{
    (void)!sendto(fd, bytes, n, 0, (const struct sockaddr *)&p->from, sizeof p->from);
}

/* An answer to the very question, from another port and from another address. */
static inline void wild_forge(const struct wild_packet *p, struct wild_reply r)
{
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in sa = {.sin_family = AF_INET};
        sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (unsigned)i);
        sa.sin_port = htons(i == 0 ? 0 : (uint16_t)wild.port);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
        r.bytes[r.len - 1] = 66;
        wild_send_from(fd, p, r.bytes, r.len);
        close(fd);
    }
}

static inline void wild_send(const struct wild_packet *p, const char *name)
{
    struct wild_reply r;
    wild_answer(&r, p->bytes, p->len, false);
    if (wild_is(name, "forged"))
        wild_forge(p, r);
    if (wild_is(name, "zero"))
        wild_send_from(wild.udp, p, "", 0);
    if (r.len > 0)
        wild_send_from(wild.udp, p, r.bytes, r.len);
}

static inline void wild_note_port(const struct wild_packet *p)
{
    pthread_mutex_lock(&wild.lock);
    wild.n_ports += !wild.ports[p->from.sin_port];
    wild.ports[p->from.sin_port] = true;
    pthread_mutex_unlock(&wild.lock);
}

static inline void wild_udp(void)
{
    struct wild_packet p;
    socklen_t n = sizeof p.from;
    ssize_t len;
    while (n = sizeof p.from, (len = recvfrom(wild.udp, p.bytes, sizeof p.bytes, MSG_DONTWAIT,
                                              (struct sockaddr *)&p.from, &n)) > 16) {
        p.len = (size_t)len;
        wild_note_port(&p);
        wild_note(p.bytes, p.len, false);
        char name[300];
        size_t end;
        wild_name(name, p.bytes, p.len, &end);
        if (wild_is(name, "hold") && wild.n_held < WILD_HELD)
            wild.held[wild.n_held++] = p;
        else
            wild_send(&p, name);
    }
}

/* One connection: queries until its end; it is quick or has gone. */
static inline void wild_tcp(void)
{
    int fd = accept(wild.tcp, NULL, NULL);
    unsigned char q[2 + 600];
    struct timeval tv = {.tv_sec = 5};
    bool dumb = false; /* until the other side has gone */
    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    while (recv(fd, q, 2, MSG_WAITALL) == 2) {
        size_t len = (size_t)q[0] << 8 | q[1];
        struct wild_reply r;
        if (len > 600 || recv(fd, q + 2, len, MSG_WAITALL) != (ssize_t)len)
            break;
        wild_note(q + 2, len, true);
        wild_answer(&r, q + 2, len, true);
        if (dumb || memcmp(q + 2 + 12, "\4mute", 5) == 0)
            continue;
        unsigned char head[2] = {(unsigned char)(r.len >> 8), (unsigned char)r.len};
        dumb = memcmp(q + 2 + 12, "\4torn", 5) == 0;
        r.len /= dumb ? 2 : 1; /* the length says otherwise */
        if (r.len == 0 || send(fd, head, 2, MSG_MORE | MSG_NOSIGNAL) != 2 ||
            send(fd, r.bytes, r.len, MSG_NOSIGNAL) != (ssize_t)r.len)
            break;
    }
    close(fd);
}

static inline void wild_in_tcp(bool yes)
{
    pthread_mutex_lock(&wild.lock);
    wild.in_tcp = yes;
    pthread_cond_signal(&wild.idle);
    pthread_mutex_unlock(&wild.lock);
}

/* Waits until it has closed what it accepted. */
static inline void wild_idle(void)
{
    pthread_mutex_lock(&wild.lock);
    while (wild.in_tcp)
        pthread_cond_wait(&wild.idle, &wild.lock);
    pthread_mutex_unlock(&wild.lock);
}

static inline void *wild_main(void *arg)
{
    (void)arg;
    for (;;) {
        struct pollfd p[3] = {{.fd = wild.udp, .events = POLLIN},
                              {.fd = wild.tcp, .events = POLLIN},
                              {.fd = wild.stop, .events = POLLIN}};
        (void)poll(p, 3, -1);
        if (p[2].revents != 0) {
            uint64_t n = 0;
            CHECK_EQ(read(wild.stop, &n, 8), 8);
            if (n >= 1000000)
                return NULL;
            for (size_t i = 0; i < wild.n_held; i++)
                wild_send(&wild.held[i], "");
            wild.n_held = 0;
        }
        if (p[0].revents != 0)
            wild_udp();
        if (p[1].revents != 0) {
            wild_in_tcp(true);
            wild_tcp();
            wild_in_tcp(false);
        }
    }
}

/* Ports that are free for UDP and TCP. */
static inline int dns_bind(int *udp, int *tcp)
{
    for (;;) {
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof sa;
        *tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        *udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(setsockopt(*tcp, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
        CHECK_EQ(bind(*tcp, (struct sockaddr *)&sa, len), 0);
        CHECK_EQ(getsockname(*tcp, (struct sockaddr *)&sa, &len), 0);
        if (bind(*udp, (struct sockaddr *)&sa, len) == 0)
            return ntohs(sa.sin_port);
        close(*tcp);
        close(*udp);
    }
}

static inline void wild_open(void)
{
    wild.port = dns_bind(&wild.udp, &wild.tcp);
    CHECK_EQ(listen(wild.tcp, 64), 0);
    (void)setsockopt(wild.udp, SOL_SOCKET, SO_RCVBUF, &(int){1 << 20}, sizeof(int));
    wild.stop = eventfd(0, EFD_CLOEXEC);
    wild.seen = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static inline void wild_start(void)
{
    wild_open();
    CHECK_EQ(pthread_create(&wild.thread, NULL, wild_main, NULL), 0);
    kit_quiet = wild_idle;
}

static inline void wild_end(void)
{
    CHECK_EQ(write(wild.stop, &(uint64_t){1000000}, 8), 8);
    CHECK_EQ(pthread_join(wild.thread, NULL), 0);
    close(wild.udp);
    close(wild.tcp);
    close(wild.stop);
    close(wild.seen);
}

static inline void wild_release(void)
{
    CHECK_EQ(write(wild.stop, &(uint64_t){1}, 8), 8);
}

/* How often a name was asked for; type 0: with any type. */
static inline size_t wild_count(const char *name, unsigned type)
{
    uint32_t hash = wild_hash(name);
    size_t n = 0;
    pthread_mutex_lock(&wild.lock);
    for (size_t i = 0; i < wild.n_names; i++)
        n += wild.names[i].hash == hash && (type == 0 || wild.names[i].type == type);
    pthread_mutex_unlock(&wild.lock);
    return n;
}

static inline size_t wild_queries(void)
{
    pthread_mutex_lock(&wild.lock);
    size_t n = wild.queries;
    pthread_mutex_unlock(&wild.lock);
    return n;
}

static inline size_t wild_by_tcp(void)
{
    pthread_mutex_lock(&wild.lock);
    size_t n = wild.by_tcp;
    pthread_mutex_unlock(&wild.lock);
    return n;
}

static inline void wild_reset(void)
{
    pthread_mutex_lock(&wild.lock);
    wild.queries = wild.by_tcp = wild.n_names = wild.n_ports = 0;
    memset(wild.ports, 0, sizeof wild.ports);
    pthread_mutex_unlock(&wild.lock);
}

/* Waits, in a task or thread, until the name was asked for n times. */
static inline void wild_until(const char *name, size_t n)
{
    uint64_t seen;
    while (wild_count(name, 0) < n) {
        CHECK(weft_poll(wild.seen, POLLIN, DNS_SOON) > 0);
        (void)!read(wild.seen, &seen, 8);
    }
}

/* The calling loop or thread asks the wild one. */
static inline void wild_use(const struct weft_dns_options *more)
{
    char servers[40];
    struct weft_dns_options o = more != NULL ? *more : (struct weft_dns_options){.tries = 0};
    (void)snprintf(servers, sizeof servers, "127.0.0.1:%d", wild.port);
    o.servers = o.servers != NULL ? o.servers : servers;
    o.search = o.search != NULL ? o.search : "";
    o.resolv_conf = "";
    o.hosts = o.hosts != NULL ? o.hosts : "";
    o.timeout_ms = o.timeout_ms > 0 ? o.timeout_ms : 20000;
    CHECK_EQ(weft_dns_configure(&o), 0);
    wild_reset();
}

/* --- Helpers ---------------------------------------------------------------------------------- */

/* A file of its own for a test; the name is overwritten with each text. */
static inline void dns_write(const char *path, const char *text)
{
    char other[300];
    (void)snprintf(other, sizeof other, "%s.new", path);
    FILE *f = fopen(other, "w");
    CHECK(f != NULL);
    CHECK(fputs(text, f) >= 0);
    CHECK_EQ(fclose(f), 0);
    CHECK_EQ(rename(other, path), 0);
}

static inline void dns_print(char *buf, size_t cap, const struct weft_address *a)
{
    CHECK(weft_address_print(a, buf, cap) > 0);
}

/* Whether an address with this text is among them. */
static inline bool dns_has(const struct weft_addresses *a, const char *text)
{
    char buf[WEFT_ENDPOINT_MAX];
    for (size_t i = 0; i < a->n; i++) {
        dns_print(buf, sizeof buf, &a->at[i]);
        if (strcmp(buf, text) == 0)
            return true;
    }
    return false;
}

/* Looks a host up and says how many addresses it has, or why not. */
static inline int dns_look(const char *host, int family)
{
    struct weft_addresses *a = NULL;
    int err =
        weft_resolve(&a, host, 80, &(struct weft_resolve_options){.family = family}, DNS_SOON);
    if (err < 0) {
        CHECK(a == NULL);
        return err;
    }
    int n = (int)a->n;
    weft_addresses_free(&a);
    return n;
}

static inline void dns_detail_has(const char *part)
{
    if (strstr(weft_error_detail(), part) == NULL)
        (void)fprintf(stderr, "the detail is: %s\n", weft_error_detail());
    CHECK(strstr(weft_error_detail(), part) != NULL);
}

/* The same body on a plain thread. */
#define DNS_ON_THREAD(fn)                                                                          \
    static void fn##_thread(const char *driver)                                                    \
    {                                                                                              \
        (void)driver;                                                                              \
        CHECK_EQ(fn(NULL), 0);                                                                     \
    }

#endif
