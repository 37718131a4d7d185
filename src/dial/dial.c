/* SPDX-License-Identifier: MIT */
/*
 * Dialling: from a plan to a stream, through names, addresses and handshakes, within one deadline.
 *
 * Floor 4. Invariant: until the stream is handed out, all that was opened is closed on every way
 * out.
 */
#include "dial/dial.h"

#include <errno.h>

#include <weft/dns.h>

#include "base/alloc.h"

/* Says in front of an error's detail where it was met. */
static int fail_at(int err, const struct weft__plan *p)
{
    char was[sizeof(struct weft__detail)] = "";
    (void)strncpy(was, weft_error_detail(), sizeof was - 1);
    return weft__fail(err, "%s: %s", p->text, was[0] != '\0' ? was : weft_error_text(err));
}

/* --- Addresses -------------------------------------------------------------------------------- */

static int connect_one(struct weft__plan *p, const struct weft_address *to, weft_deadline d)
{
    int fd = weft__dial_fd(&p->how, to, d);
    if (fd < 0)
        return weft__fail(fd, "connecting to %s: %s", p->text, weft_error_text(fd));
    return fd;
}

static int connect_named(struct weft__plan *p, weft_deadline d)
{
    struct weft_resolve_options o = {.family = p->family};
    struct weft_addresses *a = NULL;
    int err = weft_resolve(&a, p->to.host, p->to.port, &o, d);
    if (err < 0)
        return fail_at(err, p);
    err = WEFT_ENAME;
    for (size_t i = 0; i < a->n && err < 0 && err != -ECANCELED && err != -ETIMEDOUT; i++)
        err = connect_one(p, &a->at[i], d);
    weft_addresses_free(&a);
    return err;
}

/* --- All of it -------------------------------------------------------------------------------- */

int weft__plan_dial(struct weft__plan *p, struct weft_stream **ret, weft_deadline d)
{
    struct weft_stream *s = weft__alloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    int fd = p->to.host[0] != '\0' ? connect_named(p, d) : connect_one(p, &p->to.address, d);
    if (fd < 0) {
        weft__free(s);
        return fd;
    }
    int family = weft__socket_family(fd);
    if (family < 0) {
        weft__fd_close(weft_loop_current(), fd, true);
        weft__free(s);
        return family;
    }
    weft__fd_stream_init(s, fd, family, weft_loop_current(), p->write_buffer);
    int err = p->secure ? weft_tls_connect(&s, p->tls, p->server_name, d) : 0;
    if (err < 0) {
        err = fail_at(err, p);
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
    return err;
}
