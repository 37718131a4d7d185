/* SPDX-License-Identifier: MIT */
/*
 * The load for the benchmark of WebSocket servers: epoll and frames, nothing else. Floor 6.
 *
 *   ws_load PORT echo SECONDS CONNECTIONS BYTES
 *   ws_load PORT broadcast SECONDS SUBSCRIBERS BYTES IN_FLIGHT
 *   ws_load PORT hold CONNECTIONS
 *
 * echo: one binary message in flight on each connection. broadcast: the first connection publishes,
 * every one gets what it published; so many messages are under way at once. hold: one message of 64
 * B is echoed on each connection, one after the other, and then all are idle.
 *
 * Prints "ready" when the connections are there and warm, and waits for a line of input; then
 * loads, prints the number of messages that came (broadcast: to all together), and waits for the
 * end of input before it closes. Each message has a number and a pattern, and all of it is checked,
 * so a lost, doubled or spoiled one ends the program. Connections end with a reset.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>

#define BUF (1 << 20)
#define EVENTS 256
#define PER_ADDRESS 2000
#define WARM_MS 300
#define BYTES_MAX 65535
#define MASK_LEN 4
#define HEAD_MAX 4

struct conn {
    int fd;
    uint64_t next; /* number of the message that has to come next */
    uint8_t *rest; /* of a frame that came in part */
    size_t rest_len;
    uint8_t *frame;   /* to be sent: masked, but for its number */
    uint8_t *pattern; /* what has to come behind the number */
};

static size_t size, head_len;
static uint16_t port;
static struct conn *conns;
static int n_conns, epoll_fd;
static uint64_t came;
static uint8_t *buffer;

static void give_up(const char *what)
{
    fprintf(stderr, "ws_load: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- Opening ------------------------------------------------------------------------------------
 */

static int dial(int i, bool spread)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr =
                                   htonl(INADDR_LOOPBACK + 1 + (uint32_t)(i / PER_ADDRESS))};
    struct linger reset = {.l_onoff = 1};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) < 0 ||
        (spread && bind(fd, (struct sockaddr *)&from, sizeof from) < 0) ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        peer_die("connect");
    return fd;
}

/* The key of RFC 6455, 1.3, and its answer. */
static void shake_hands(int fd)
{
    char text[4096];
    size_t len = 0;
    int n = snprintf(text, sizeof text,
                     "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     (unsigned)port);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        give_up("the request does not go out");
    do {
        ssize_t m = recv(fd, text + len, sizeof text - 1 - len, 0);
        if (m <= 0)
            give_up("no answer to the handshake");
        len += (size_t)m;
        text[len] = '\0';
    } while (strstr(text, "\r\n\r\n") == NULL);
    if (strncmp(text, "HTTP/1.1 101", 12) != 0 ||
        strstr(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == NULL || strstr(text, "\r\n\r\n")[4] != '\0')
        give_up(text);
}

/* The frame that connection i sends, and what it has to get back. */
static void prepare(struct conn *c, int i)
{
    uint32_t x = 2463534242u + (uint32_t)i;
    c->frame = malloc(HEAD_MAX + MASK_LEN + size);
    c->pattern = malloc(size);
    if (c->frame == NULL || c->pattern == NULL)
        peer_die("malloc");
    c->frame[0] = 0x82; /* the only one, binary */
    c->frame[1] = (uint8_t)(0x80 | (size < 126 ? size : 126));
    if (size >= 126) {
        c->frame[2] = (uint8_t)(size >> 8);
        c->frame[3] = (uint8_t)size;
    }
    uint8_t *mask = c->frame + head_len, *payload = mask + MASK_LEN;
    for (size_t k = 0; k < size + MASK_LEN; k++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        if (k < MASK_LEN)
            mask[k] = (uint8_t)x;
        else
            c->pattern[k - MASK_LEN] = (uint8_t)x;
    }
    for (size_t k = 0; k < size; k++)
        payload[k] = c->pattern[k] ^ mask[k & 3];
}

static void open_all(bool same_pattern, bool spread)
{
    conns = calloc((size_t)n_conns, sizeof *conns);
    buffer = malloc(BUF);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (conns == NULL || buffer == NULL || epoll_fd < 0)
        peer_die("open");
    for (int i = 0; i < n_conns; i++) {
        struct conn *c = &conns[i];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        c->fd = dial(i, spread);
        shake_hands(c->fd);
        if (!same_pattern || i == 0)
            prepare(c, i);
        else
            c->pattern = conns[0].pattern;
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0 ||
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
            peer_die("epoll_ctl");
    }
}

/* --- Messages -----------------------------------------------------------------------------------
 */

static void send_message(struct conn *c, uint64_t number)
{
    uint32_t mask;
    size_t len = head_len + MASK_LEN + size;
    memcpy(&mask, c->frame + head_len, sizeof mask);
    number ^= (uint64_t)mask << 32 | mask;
    memcpy(c->frame + head_len + MASK_LEN, &number, sizeof number);
    if (send(c->fd, c->frame, len, MSG_NOSIGNAL) != (ssize_t)len)
        give_up("a message does not go out whole");
}

/* Whole frames at data: how many bytes they are. Each calls got with its number. */
static size_t take_frames(struct conn *c, const uint8_t *data, size_t len,
                          void (*got)(struct conn *c, uint64_t number))
{
    size_t at = 0, frame = head_len + size;
    for (; len - at >= frame; at += frame) {
        const uint8_t *f = data + at, *payload = f + head_len;
        bool head_ok = f[0] == 0x82 && (size < 126 ? f[1] == size
                                                   : f[1] == 126 && f[2] == (uint8_t)(size >> 8) &&
                                                         f[3] == (uint8_t)size);
        if (!head_ok)
            give_up("a frame is not the one that was sent");
        if (memcmp(payload + 8, c->pattern + 8, size - 8) != 0)
            give_up("a message is not the one that was sent");
        uint64_t number;
        memcpy(&number, payload, sizeof number);
        got(c, number);
        came++;
    }
    return at;
}

static void receive(struct conn *c, void (*got)(struct conn *c, uint64_t number))
{
    size_t len = c->rest_len;
    if (len > 0)
        memcpy(buffer, c->rest, len);
    ssize_t n = recv(c->fd, buffer + len, BUF - len, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        give_up("the server has closed a connection");
    len += (size_t)n;
    size_t used = take_frames(c, buffer, len, got);
    c->rest_len = len - used;
    if (c->rest_len > 0) {
        if (c->rest == NULL)
            c->rest = malloc(HEAD_MAX + size);
        if (c->rest == NULL)
            peer_die("malloc");
        memcpy(c->rest, buffer + used, c->rest_len);
    }
}

static bool turn(int wait_ms, void (*got)(struct conn *c, uint64_t number))
{
    static struct epoll_event evs[EVENTS];
    int n = epoll_wait(epoll_fd, evs, EVENTS, wait_ms);
    for (int i = 0; i < n; i++)
        receive(evs[i].data.ptr, got);
    return n > 0;
}

/* The line that says go, or the end of input. */
static void wait_for_word(void)
{
    char line[16];
    ssize_t n = read(STDIN_FILENO, line, sizeof line);
    (void)n;
}

static void ready(void)
{
    puts("ready");
    fflush(stdout);
    wait_for_word();
}

/* --- Echo ---------------------------------------------------------------------------------------
 */

static bool stopping;

static void got_echo(struct conn *c, uint64_t number)
{
    if (number != c->next++)
        give_up("an echo is lost or came twice");
    if (!stopping)
        send_message(c, c->next);
}

static void echo_for(double seconds)
{
    uint64_t waited_for = 0;
    double until = now() + seconds;
    stopping = false;
    for (int i = 0; i < n_conns; i++)
        send_message(&conns[i], conns[i].next);
    while (now() < until)
        if (!turn(5000, got_echo))
            give_up("no echo for 5 seconds");
    stopping = true;
    for (int i = 0; i < n_conns; i++)
        waited_for += conns[i].next + 1;
    for (uint64_t all = 0; all < waited_for;) { /* what is still under way */
        if (!turn(5000, got_echo))
            give_up("the last echoes do not come");
        all = 0;
        for (int i = 0; i < n_conns; i++)
            all += conns[i].next;
    }
}

/* --- Broadcast ----------------------------------------------------------------------------------
 */

static uint64_t published;

static void got_broadcast(struct conn *c, uint64_t number)
{
    if (number != c->next++)
        give_up("a message is lost or came twice");
}

static void got_first(struct conn *c, uint64_t number)
{
    c->next = number + 1;
}

/* Until one message has reached everybody: then everybody is known to the server. */
static void join(void)
{
    for (int tries = 0; tries < 1000; tries++) {
        int there = 0;
        send_message(&conns[0], published++);
        double until = now() + 0.2;
        while (there < n_conns && now() < until) {
            turn(20, got_first);
            there = 0;
            for (int i = 0; i < n_conns; i++)
                there += conns[i].next == published;
        }
        if (there == n_conns)
            return;
    }
    give_up("not everybody gets what is published");
}

static void broadcast_for(double seconds, uint64_t in_flight)
{
    uint64_t first = published, before = came, each = (uint64_t)n_conns;
    double until = now() + seconds;
    for (bool last = false; !last || came - before < (published - first) * each;) {
        last = last || now() >= until;
        while (!last && published - first < (came - before) / each + in_flight)
            send_message(&conns[0], published++);
        if (came - before < (published - first) * each && !turn(5000, got_broadcast))
            give_up("no message for 5 seconds");
    }
}

/* --- Main ---------------------------------------------------------------------------------------
 */

static int usage(void)
{
    fprintf(stderr, "usage: see the file's head\n");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return usage();
    peer_begin(argc, argv); /* no SIGPIPE, many descriptors */
    port = (uint16_t)atoi(argv[1]);
    bool hold = strcmp(argv[2], "hold") == 0, broadcast = strcmp(argv[2], "broadcast") == 0;
    if ((!hold && argc < 6) || (broadcast && argc < 7))
        return usage();
    double seconds = atof(argv[3]);
    n_conns = atoi(argv[hold ? 3 : 4]);
    size = hold ? 64 : (size_t)atoi(argv[5]);
    if (n_conns < 1 || size < 8 || size > BYTES_MAX)
        return usage();
    head_len = size < 126 ? 2 : HEAD_MAX;
    open_all(broadcast, hold);
    if (hold) {
        for (int i = 0; i < n_conns; i++) {
            stopping = true;
            send_message(&conns[i], 0);
            while (conns[i].next == 0)
                if (!turn(5000, got_echo))
                    give_up("no echo for 5 seconds");
        }
        ready();
        return 0;
    }
    uint64_t in_flight = broadcast ? (uint64_t)atoi(argv[6]) : 1;
    if (broadcast) {
        join();
        broadcast_for(WARM_MS / 1e3, in_flight);
    } else {
        echo_for(WARM_MS / 1e3);
    }
    ready();
    came = 0;
    if (broadcast)
        broadcast_for(seconds, in_flight);
    else
        echo_for(seconds);
    printf("%llu\n", (unsigned long long)came);
    fflush(stdout);
    wait_for_word();
    return 0;
}
