/* SPDX-License-Identifier: MIT */
/*
 * c-ares, driven by our loop or by a thread (floor 4).
 *
 * Its sockets are made, read and written by functions of ours. On a loop each is watched by a POLL
 * operation, one event at a time; its time-outs are an alarm.
 *
 * c-ares cannot take back one query. To stop one that nobody waits for any more, it is handed an
 * answer of our own making, "no such name", as if it had come by the query's socket: so nothing is
 * sent for it again and its memory is free. Where that cannot be (TCP), it runs out by itself; when
 * nobody waits for anything, everything is cancelled.
 *
 * Invariants:
 *  - a descriptor is closed when no operation of it is under way;
 *  - callbacks of c-ares only note what has come; the pump does the rest.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "dns/channel.h"
#include "sys/call.h"

#define EDNS_SIZE 1232 /* what goes through nearly every path unfragmented */
#define RCODE_FORMERR 1
#define RCODE_SERVFAIL 2
#define RCODE_NOTIMP 4
#define RCODE_REFUSED 5

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_err;

static void library_open(void)
{
    library_err = ares_library_init(ARES_LIB_INIT_ALL);
}

/* --- Sockets ---------------------------------------------------------------------------------- */

struct weft__dns_sock *weft__dns_sock_of(struct weft__dns_channel *c, int fd)
{
    WEFT__LIST_EACH(&c->socks, n) {
        struct weft__dns_sock *s = WEFT__CONTAINER_OF(n, struct weft__dns_sock, link);
        if (s->fd == fd)
            return s;
    }
    return NULL;
}

static int fail(int err)
{
    errno = -err;
    return -1;
}

static ares_socket_t sock_open(int domain, int type, int protocol, void *arg)
{
    struct weft__dns_channel *c = arg;
    struct weft__dns_sock *s = weft__calloc(1, sizeof *s);
    if (s == NULL)
        return fail(-ENOMEM);
    int fd = weft__call_socket(domain, type, protocol);
    int err = fd < 0 ? fd : weft__call_set_nonblock(fd, true);
    if (err < 0) {
        if (fd >= 0)
            weft__call_close(fd);
        weft__free(s);
        return fail(err);
    }
    s->channel = c;
    s->loop = c->dns->loop;
    s->fd = fd;
    s->stream = (type & 0xf) == SOCK_STREAM;
    weft__list_push_back(&c->socks, &s->link);
    return fd;
}

static void sock_free(struct weft__dns_sock *s)
{
    weft__sys_close_fd(s->loop != NULL ? s->loop->sys : NULL, s->fd);
    weft__free(s);
}

static void sock_cancel(struct weft__dns_sock *s)
{
    if (!s->canceling)
        weft__sys_cancel(s->loop->sys, &s->op);
    s->canceling = true;
}

static int sock_close(ares_socket_t fd, void *arg)
{
    struct weft__dns_channel *c = arg;
    struct weft__dns_sock *s = weft__dns_sock_of(c, fd);
    WEFT__ASSERT(s != NULL);
    WEFT__LIST_EACH(&c->asked, n) {
        struct weft__dns_entry *e = WEFT__CONTAINER_OF(n, struct weft__dns_entry, link);
        if (e->sock == s)
            e->sock = NULL;
    }
    weft__list_remove(&s->link);
    s->closed = true;
    if (s->under_way)
        sock_cancel(s);
    else
        sock_free(s);
    return 0;
}

static int sock_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *arg)
{
    struct weft__dns_sock *s = weft__dns_sock_of(arg, fd);
    if (len > sizeof s->peer.sa)
        return fail(-EINVAL);
    memcpy(&s->peer.sa, sa, len);
    s->peer.len = len;
    int err = weft__call_connect_now(fd, sa, len);
    return err < 0 ? fail(err) : 0;
}

static struct weft__dns_entry *entry_of(struct weft__dns_channel *c, const unsigned char *packet)
{
    uint16_t id = (uint16_t)((unsigned)packet[0] << 8 | packet[1]);
    WEFT__LIST_EACH(&c->asked, n) {
        struct weft__dns_entry *e = WEFT__CONTAINER_OF(n, struct weft__dns_entry, link);
        if (e->id == id && e != c->asking)
            return e;
    }
    return NULL;
}

/*
 * Refusals, after which c-ares asks elsewhere and at the end does not say that there were any. Some
 * servers do not repeat the question in them (unbound, and those that do not know EDNS), and c-ares
 * would take that for an answer to another one and wait: then it is put in. Returns the length.
 */
static ssize_t note_refusal(struct weft__dns_channel *c, const struct weft__dns_sock *s,
                            unsigned char *packet, ssize_t n, size_t cap)
{
    unsigned rcode = packet[3] & 15u;
    if ((packet[2] & 0x80) == 0 || (rcode != RCODE_FORMERR && rcode != RCODE_SERVFAIL &&
                                    rcode != RCODE_NOTIMP && rcode != RCODE_REFUSED))
        return n;
    struct weft__dns_entry *e = entry_of(c, packet);
    if (e == NULL || e->sock != s)
        return n;
    if (rcode != RCODE_FORMERR)
        e->said = (uint8_t)rcode;
    bool bare = packet[4] == 0 && packet[5] == 0;
    return bare ? (ssize_t)weft__dns_write_bare(packet, cap, e->id, rcode, e->name, e->type) : n;
}

/* Notes by which socket an entry's query went out, and its identifier. */
static void note_query(struct weft__dns_channel *c, struct weft__dns_sock *s,
                       const unsigned char *packet)
{
    struct weft__dns_entry *e = c->asking != NULL ? c->asking : entry_of(c, packet);
    if (e == NULL)
        return;
    e->id = (uint16_t)((unsigned)packet[0] << 8 | packet[1]);
    e->sock = s;
}

static ares_ssize_t sock_recv(ares_socket_t fd, void *buf, size_t len, int flags,
                              struct sockaddr *from, ares_socklen_t *fromlen, void *arg)
{
    struct weft__dns_channel *c = arg;
    struct weft__dns_sock *s = weft__dns_sock_of(c, fd);
    const struct weft__dns_entry *e = c->stopping;
    ssize_t n = -EAGAIN;
    (void)flags;
    if (s->broken != 0)
        return fail(-s->broken);
    if (e != NULL && !c->fed && e->sock == s) {
        c->fed = true;
        n = (ssize_t)weft__dns_write_bare(buf, len, e->id, WEFT__DNS_RCODE_NO_NAME, e->name,
                                          e->type);
    } else {
        n = weft__call_recv_now(fd, buf, len);
        if (n == 0 && !s->stream) /* an empty datagram, which some c-ares take for an end */
            n = -EAGAIN;
        if (n >= 12 && !s->stream)
            n = note_refusal(c, s, buf, n, len);
    }
    if (n < 0)
        return fail((int)n);
    /* The socket is connected, so nothing comes from elsewhere. */
    if (from != NULL && fromlen != NULL) {
        *fromlen = *fromlen < s->peer.len ? *fromlen : s->peer.len;
        memcpy(from, &s->peer.sa, *fromlen);
    }
    return n;
}

static ares_ssize_t sock_send(ares_socket_t fd, const struct iovec *iov, int n, void *arg)
{
    struct weft__dns_sock *s = weft__dns_sock_of(arg, fd);
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
    if (s->broken != 0)
        return fail(-s->broken);
    if (!s->stream && n > 0 && iov[0].iov_len >= 2)
        note_query(arg, s, iov[0].iov_base);
    ssize_t sent = weft__call_sendmsg_now(fd, &msg, 0);
    if (sent >= 0)
        return sent;
    /* It may be an earlier datagram that was refused. c-ares lets only this question go elsewhere,
     * and the error is told once: the others have to hear of it, too. */
    if (sent != -EAGAIN && !s->stream) {
        s->broken = (int)-sent;
        s->ready = POLLIN;
        weft__dns_want_pump(s->channel->dns);
    }
    return fail((int)sent);
}

static const struct ares_socket_functions functions = {
    .asocket = sock_open,
    .aclose = sock_close,
    .aconnect = sock_connect,
    .arecvfrom = sock_recv,
    .asendv = sock_send,
};

static void sock_wants(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct weft__dns_sock *s = weft__dns_sock_of(arg, fd);
    if (s != NULL)
        s->want = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
}

/* --- Driving it ------------------------------------------------------------------------------- */

void weft__dns_channel_process(struct weft__dns_channel *c, int fd, int events)
{
    int in = events & (POLLIN | POLLERR | POLLHUP | POLLNVAL) ? fd : ARES_SOCKET_BAD;
    int out = events & (POLLOUT | POLLERR | POLLHUP) ? fd : ARES_SOCKET_BAD;
    ares_process_fd(c->ares, in, out);
}

static void sock_done(struct weft__op *op)
{
    struct weft__dns_sock *s = WEFT__CONTAINER_OF(op, struct weft__dns_sock, op);
    struct weft__dns_channel *c = s->channel;
    s->under_way = s->canceling = false;
    if (s->closed) {
        sock_free(s);
        return;
    }
    if (op->res < 0 && op->res != -ECANCELED)
        s->broken = -op->res;
    if (op->res != -ECANCELED) /* else the events changed */
        weft__dns_channel_process(c, s->fd, op->res > 0 ? op->res : POLLIN);
    weft__dns_channel_settle(c);
}

static void sock_watch(struct weft__dns_sock *s)
{
    if (s->under_way) {
        if (s->op.u.poll.events != s->want)
            sock_cancel(s);
        return;
    }
    if (s->want == 0 || s->ready != 0)
        return;
    s->op = (struct weft__op){.kind = WEFT__OP_POLL, .fd = s->fd, .done = sock_done};
    s->op.u.poll.events = s->want;
    s->under_way = !weft__sys_submit(s->loop->sys, &s->op);
    if (s->under_way)
        return;
    if (s->op.res < 0)
        s->broken = -s->op.res;
    s->ready = (short)(s->op.res > 0 ? s->op.res : POLLIN);
    weft__dns_want_pump(s->channel->dns);
}

bool weft__dns_channel_timeout(struct weft__dns_channel *c, int64_t *ns)
{
    struct timeval tv;
    if (weft__list_empty(&c->asked) || ares_timeout(c->ares, NULL, &tv) == NULL)
        return false;
    /* Rounded up: c-ares looks at whole microseconds. */
    *ns = (int64_t)tv.tv_sec * 1000000000 + (int64_t)tv.tv_usec * 1000 + 1000;
    return true;
}

void weft__dns_channel_settle(struct weft__dns_channel *c)
{
    struct weft__dns *n = c->dns;
    int64_t ns;
    if (!weft__list_empty(&n->ended))
        weft__dns_want_pump(n);
    if (n->loop == NULL)
        return;
    WEFT__LIST_EACH(&c->socks, node)
        sock_watch(WEFT__CONTAINER_OF(node, struct weft__dns_sock, link));
    weft__loop_alarm_del(n->loop, &c->alarm);
    if (weft__dns_channel_timeout(c, &ns))
        weft__loop_alarm(n->loop, &c->alarm, weft__clock_ns() + ns);
}

static void late(struct weft__alarm *a)
{
    struct weft__dns_channel *c = WEFT__CONTAINER_OF(a, struct weft__dns_channel, alarm);
    ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    weft__dns_channel_settle(c);
}

static bool run_ready(struct weft__dns_channel *c)
{
    WEFT__LIST_EACH(&c->socks, node) {
        struct weft__dns_sock *s = WEFT__CONTAINER_OF(node, struct weft__dns_sock, link);
        int events = s->ready;
        s->ready = 0;
        if (events != 0) {
            weft__dns_channel_process(c, s->fd, events); /* which may close any of them */
            return true;
        }
    }
    return false;
}

void weft__dns_channels_ready(struct weft__dns *n)
{
    WEFT__LIST_EACH(&n->channels, node) {
        struct weft__dns_channel *c = WEFT__CONTAINER_OF(node, struct weft__dns_channel, link);
        bool any = false;
        while (run_ready(c))
            any = true;
        if (any)
            weft__dns_channel_settle(c);
    }
}

/* --- Questions -------------------------------------------------------------------------------- */

static enum weft__dns_status status_of(int status, unsigned said)
{
    static const struct {
        int ares;
        enum weft__dns_status ours;
    } table[] = {
        {ARES_ENOTFOUND, WEFT__DNS_NO_NAME},       {ARES_ENODATA, WEFT__DNS_NO_DATA},
        {ARES_ESERVFAIL, WEFT__DNS_SERVER_FAILED}, {ARES_EREFUSED, WEFT__DNS_REFUSED},
        {ARES_ENOTIMP, WEFT__DNS_NOT_DONE},        {ARES_EFORMERR, WEFT__DNS_FORMAT},
        {ARES_EBADRESP, WEFT__DNS_MALFORMED},      {ARES_ETIMEOUT, WEFT__DNS_SILENT},
        {ARES_ENOMEM, WEFT__DNS_NO_MEMORY},        {ARES_ECANCELLED, WEFT__DNS_STOPPED},
        {ARES_EDESTRUCTION, WEFT__DNS_STOPPED},    {ARES_EBADNAME, WEFT__DNS_FORMAT},
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(table); i++)
        if (table[i].ares == status)
            return table[i].ours;
    return said == RCODE_SERVFAIL  ? WEFT__DNS_SERVER_FAILED
           : said == RCODE_NOTIMP  ? WEFT__DNS_NOT_DONE
           : said == RCODE_REFUSED ? WEFT__DNS_REFUSED
                                   : WEFT__DNS_UNREACHABLE; /* ARES_ECONNREFUSED and the like */
}

/* Keeps an answer's bytes; what they say decides about its status. */
static void take(struct weft__dns_entry *e, const unsigned char *msg, size_t len)
{
    struct weft__dns_scan s;
    weft__dns_scan(&s, msg, len, e->name, e->type, NULL, NULL);
    e->status = (uint8_t)s.status;
    e->until_ns = s.status == WEFT__DNS_OK || s.negative_ttl ? weft_s(s.ttl_s) : -1;
    if (s.status != WEFT__DNS_OK)
        return;
    struct weft__dns_reply *r = weft__alloc(sizeof *r + len);
    if (r == NULL) {
        e->status = WEFT__DNS_NO_MEMORY;
        return;
    }
    *r = (struct weft__dns_reply){.refs = 1, .when_ns = weft__clock_ns(), .len = len};
    memcpy(r->msg, msg, len);
    e->reply = r;
}

/* A server without EDNS has refused it. After the first such answer c-ares leaves EDNS out of all
 * that this channel asks, but sends anew only the question that this one was for; others were under
 * way by then. First in the queue it has the place that it leaves, before the channel can go. */
static void ask_again(struct weft__dns_entry *e)
{
    struct weft__dns *n = e->dns;
    e->again = true;
    e->state = WEFT__DNS_QUEUED;
    e->sock = NULL;
    n->n_asked--;
    weft__list_remove(&e->link);
    weft__list_push_front(&n->queued, &e->link);
    weft__dns_want_pump(n);
}

static void answered(void *arg, int status, int timeouts, unsigned char *abuf, int alen)
{
    struct weft__dns_entry *e = arg;
    struct weft__dns *n = e->dns;
    bool told = status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND;
    (void)timeouts;
    if (status == ARES_EFORMERR && !e->again && !weft__list_empty(&e->asks)) {
        ask_again(e);
        return;
    }
    e->until_ns = -1;
    if (e->channel->stopping == e)
        e->status = WEFT__DNS_STOPPED;
    else if (told && abuf != NULL && alen > 0)
        take(e, abuf, (size_t)alen);
    else
        e->status = (uint8_t)status_of(status, e->said);
    e->state = WEFT__DNS_ENDED;
    e->channel = NULL;
    e->sock = NULL;
    n->n_asked--;
    weft__list_remove(&e->link);
    weft__list_push_back(&n->ended, &e->link);
}

void weft__dns_channel_ask(struct weft__dns_channel *c, struct weft__dns_entry *e)
{
    weft__list_remove(&e->link);
    weft__list_push_back(&c->asked, &e->link);
    e->state = WEFT__DNS_UNDER_WAY;
    e->channel = c;
    c->dns->n_asked++;
    c->n_queries++;
    c->asking = e;
    ares_query(c->ares, e->name, 1 /* IN */, e->type, answered, e);
    c->asking = NULL;
    weft__dns_channel_settle(c);
}

bool weft__dns_channel_worn(const struct weft__dns_channel *c)
{
    return c->n_queries >= WEFT__DNS_ONE_PORT && c->dns->n_channels < WEFT__DNS_CHANNELS;
}

static struct weft__dns_entry *first_abandoned(const struct weft__dns_channel *c)
{
    WEFT__LIST_EACH(&c->asked, node) {
        struct weft__dns_entry *e = WEFT__CONTAINER_OF(node, struct weft__dns_entry, link);
        if (weft__list_empty(&e->asks) && e->sock != NULL)
            return e;
    }
    return NULL;
}

void weft__dns_channel_stop_abandoned(struct weft__dns *n)
{
    WEFT__LIST_EACH(&n->channels, node) {
        struct weft__dns_channel *c = WEFT__CONTAINER_OF(node, struct weft__dns_channel, link);
        struct weft__dns_entry *e;
        while ((e = first_abandoned(c)) != NULL) {
            c->stopping = e;
            c->fed = false;
            ares_process_fd(c->ares, e->sock->fd, ARES_SOCKET_BAD);
            c->stopping = NULL;
            if (e->state == WEFT__DNS_UNDER_WAY)
                e->sock = NULL; /* c-ares would not have it: the query runs out by itself */
        }
        weft__dns_channel_settle(c);
    }
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static int set_servers(ares_channel ares, const struct weft__dns_conf *conf)
{
    struct ares_addr_port_node nodes[WEFT__DNS_SERVERS];
    for (size_t i = 0; i < conf->n_servers; i++) {
        const struct weft_address *a = &conf->servers[i];
        struct ares_addr_port_node *to = &nodes[i];
        *to = (struct ares_addr_port_node){.family = a->sa.ss_family};
        to->next = i + 1 < conf->n_servers ? to + 1 : NULL;
        to->udp_port = to->tcp_port = weft_address_port(a);
        if (a->sa.ss_family == AF_INET) {
            struct sockaddr_in in4;
            memcpy(&in4, &a->sa, sizeof in4);
            to->addr.addr4 = in4.sin_addr;
        } else {
            struct sockaddr_in6 in6;
            memcpy(&in6, &a->sa, sizeof in6);
            memcpy(&to->addr.addr6, &in6.sin6_addr, sizeof to->addr.addr6);
        }
    }
    return ares_set_servers_ports(ares, nodes);
}

/* All that c-ares would read from files of its own is given. */
static int init(struct weft__dns_channel *c, const struct weft__dns_conf *conf)
{
    static char lookups[] = "b", no_file[] = "/dev/null";
    struct in_addr any = {.s_addr = htonl(INADDR_LOOPBACK)};
    struct ares_options o = {
        .flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = conf->timeout_ms,
        .tries = conf->tries,
        .ndots = 1,
        .servers = &any,
        .nservers = 1,
        .lookups = lookups,
        .ednspsz = EDNS_SIZE,
        .sock_state_cb = sock_wants,
        .sock_state_cb_data = c,
        .resolvconf_path = no_file,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
               ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
               ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF |
               (conf->rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE);
    int status = library_err != 0 ? library_err : ares_init_options(&c->ares, &o, mask);
    if (status == ARES_SUCCESS) {
        ares_set_socket_functions(c->ares, &functions, c);
        status = set_servers(c->ares, conf);
        if (status != ARES_SUCCESS)
            ares_destroy(c->ares);
    }
    if (status == ARES_SUCCESS)
        return 0;
    return status == ARES_ENOMEM ? -ENOMEM
                                 : weft__fail(-EINVAL, "c-ares: %s", ares_strerror(status));
}

int weft__dns_channel_open(struct weft__dns *n)
{
    struct weft__dns_channel *c = weft__calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    (void)pthread_once(&library_once, library_open);
    c->dns = n;
    c->alarm.fn = late;
    weft__list_init(&c->socks);
    weft__list_init(&c->asked);
    int err = init(c, &n->conf);
    if (err < 0) {
        weft__free(c);
        return err;
    }
    weft__list_push_back(&n->channels, &c->link);
    n->n_channels++;
    n->channel = c;
    return 0;
}

static void channel_close(struct weft__dns_channel *c)
{
    struct weft__dns *n = c->dns;
    if (n->loop != NULL)
        weft__loop_alarm_del(n->loop, &c->alarm);
    ares_destroy(c->ares); /* ends what is under way, and closes its sockets */
    WEFT__ASSERT(weft__list_empty(&c->asked) && weft__list_empty(&c->socks));
    WEFT__LIST_EACH(&n->queued, node) {
        struct weft__dns_entry *e = WEFT__CONTAINER_OF(node, struct weft__dns_entry, link);
        if (e->channel == c)
            e->channel = NULL;
    }
    weft__list_remove(&c->link);
    n->n_channels--;
    if (n->channel == c)
        n->channel = NULL;
    weft__free(c);
}

void weft__dns_channels_tidy(struct weft__dns *n)
{
    WEFT__LIST_EACH_SAFE(&n->channels, node, tmp) {
        struct weft__dns_channel *c = WEFT__CONTAINER_OF(node, struct weft__dns_channel, link);
        if (n->n_lookups == 0 && !weft__list_empty(&c->asked)) {
            ares_cancel(c->ares);
            weft__dns_channel_settle(c);
        }
        if (c != n->channel && weft__list_empty(&c->asked))
            channel_close(c);
    }
}

void weft__dns_channels_close(struct weft__dns *n)
{
    struct weft__node *node;
    while ((node = weft__list_first(&n->channels)) != NULL)
        channel_close(WEFT__CONTAINER_OF(node, struct weft__dns_channel, link));
}
