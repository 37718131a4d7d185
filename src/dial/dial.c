/* SPDX-License-Identifier: MIT */
/*
 * Dialling: from a plan to a stream, through names, addresses and handshakes, within one deadline.
 *
 * Floor 4. Invariant: until the stream is handed out, all that was opened is closed on every way
 * out.
 */
#include "dial/dial.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "dial/race.h"

int weft__plan_fail(const struct weft__plan *p, int err)
{
    char was[sizeof(struct weft__detail)] = "";
    (void)strncpy(was, weft_error_detail(), sizeof was - 1);
    return weft__fail(err, "%.80s: %s", p->text, was[0] != '\0' ? was : weft_error_text(err));
}

/* A connected descriptor, or a negative code. */
static int connect_to(struct weft__plan *p, struct weft_address *peer, weft_deadline d)
{
    const struct weft_endpoint *hop = weft__plan_hop(p);
    if (hop->host[0] != '\0')
        return weft__race_run(p, hop->host, hop->port, peer, d);
    *peer = hop->address;
    int fd = weft__dial_fd(&p->how, peer, d);
    if (fd < 0)
        return weft__fail(fd, "connecting to %s: %s", p->text, weft_error_text(fd));
    return fd;
}

int weft__plan_dial(struct weft__plan *p, struct weft_stream **ret, weft_deadline d)
{
    struct weft_address peer;
    struct weft_stream *s = weft__alloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    int fd = connect_to(p, &peer, d);
    if (fd < 0) {
        weft__free(s);
        return fd;
    }
    weft__fd_stream_init(s, fd, peer.sa.ss_family, weft_loop_current(), p->write_buffer);
    int err = p->via.kind != WEFT__PROXY_NONE ? weft__proxy_ask(p, s, d) : 0;
    if (err == 0 && p->send_proxy > 0)
        err = weft__proxy_tell(p, s, d);
    if (err == 0 && p->secure)
        err = weft_tls_connect(&s, p->tls, p->server_name, d);
    if (err < 0) {
        err = weft__plan_fail(p, err);
        weft__out_last_try(s); /* the alert, that says why to the peer */
        weft__stream_end(&s, err == -ECANCELED || err == -ETIMEDOUT);
        return err;
    }
    *ret = s;
    return 0;
}

int weft_dial(struct weft_stream **ret, const char *endpoint, const struct weft_dial_options *o,
              weft_deadline d)
{
    struct weft__plan *p = NULL;
    int err = weft__wait_check();
    if (err < 0)
        return err;
    err = weft__plan_make(&p, endpoint, o);
    if (err < 0)
        return err;
    err = weft__plan_dial(p, ret, d);
    weft__plan_free(p);
    if (err == 0)
        weft__error_detail_clear(); /* of what was tried on the way */
    return err;
}
