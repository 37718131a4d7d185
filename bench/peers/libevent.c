/* SPDX-License-Identifier: MIT */
/*
 * libevent at its two levels, as its experts write them. Floor 6.
 *
 *   --mode bufferevent  the input buffer goes to the socket directly (evbuffer_write); what the
 *                       socket did not take moves without a copy to the output buffer, and
 *                       reading is off until that is empty. libevent 2.1 reads at most 4 KiB at
 *                       a time; a large message is read on to its end before it is echoed.
 *   --mode event        a persistent event per connection, recv into one buffer of the loop's
 *                       and send at once; only a rest is kept, and then EV_WRITE is awaited.
 *
 * Changes of interest are joined by the epoll change list; there are no locks.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>

/* ---- bufferevent ---- */

#define CHUNK 4096 /* libevent's EVBUFFER_MAX_READ */
#define BATCH 65536

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    if (evbuffer_get_length(in) >= CHUNK) {
        evbuffer_unfreeze(in, 0);
        while (evbuffer_get_length(in) < BATCH &&
               evbuffer_read(in, bufferevent_getfd(bev), -1) == CHUNK) {
        }
        evbuffer_freeze(in, 0);
    }
    if (evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
        (void)evbuffer_write(in, bufferevent_getfd(bev));
    }
    if (evbuffer_get_length(in) > 0) {
        bufferevent_disable(bev, EV_READ);
        evbuffer_add_buffer(bufferevent_get_output(bev), in);
    }
}

/* The output buffer is empty again. */
static void on_written(struct bufferevent *bev, void *arg)
{
    (void)arg;
    bufferevent_enable(bev, EV_READ);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
        bufferevent_free(bev);
    }
}

static void accept_bufferevent(struct evconnlistener *listener, evutil_socket_t fd,
                               struct sockaddr *addr, int len, void *arg)
{
    (void)addr;
    (void)len;
    (void)arg;
    struct bufferevent *bev =
        bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        close(fd);
        return;
    }
    bufferevent_setcb(bev, on_read, on_written, on_event, NULL);
    bufferevent_enable(bev, EV_READ);
}

/* ---- event ---- */

struct conn {
    struct event event;
    size_t off;
    size_t len;
    char *rest;
};

static char buffer[65536];

static void conn_close(struct conn *c)
{
    event_del(&c->event);
    close(event_get_fd(&c->event));
    free(c->rest);
    free(c);
}

static void on_ready(evutil_socket_t fd, short what, void *arg);

static void wait_for(struct conn *c, short what)
{
    evutil_socket_t fd = event_get_fd(&c->event);
    struct event_base *base = event_get_base(&c->event);
    event_del(&c->event);
    event_assign(&c->event, base, fd, (short)(what | EV_PERSIST), on_ready, c);
    event_add(&c->event, NULL);
}

static void write_rest(struct conn *c)
{
    ssize_t n = send(event_get_fd(&c->event), c->rest + c->off, c->len - c->off, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN) {
            conn_close(c);
        }
        return;
    }
    c->off += (size_t)n;
    if (c->off == c->len) {
        free(c->rest);
        c->rest = NULL;
        wait_for(c, EV_READ);
    }
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    if (what & EV_WRITE) {
        write_rest(c);
        return;
    }
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            conn_close(c);
        }
        return;
    }
    ssize_t sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n) {
        return;
    }
    if (sent < 0 && errno != EAGAIN) {
        conn_close(c);
        return;
    }
    c->off = 0;
    c->len = (size_t)(n - (sent > 0 ? sent : 0));
    c->rest = malloc(c->len);
    if (!c->rest) {
        conn_close(c);
        return;
    }
    memcpy(c->rest, buffer + n - c->len, c->len);
    wait_for(c, EV_WRITE);
}

static void accept_event(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
                         int len, void *arg)
{
    (void)addr;
    (void)len;
    (void)arg;
    struct conn *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return;
    }
    event_assign(&c->event, evconnlistener_get_base(listener), fd, EV_READ | EV_PERSIST, on_ready,
                 c);
    event_add(&c->event, NULL);
}

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    const char *mode = peer_option(argc, argv, "--mode", "bufferevent");
    evconnlistener_cb on_accept = strcmp(mode, "event") == 0 ? accept_event : accept_bufferevent;
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    if (!base || !evconnlistener_new(base, on_accept, NULL, LEV_OPT_CLOSE_ON_EXEC, 0,
                                     peer_listen(port, SOCK_NONBLOCK))) {
        peer_die("libevent");
    }
    event_config_free(config);
    return event_base_dispatch(base);
}
