/* SPDX-License-Identifier: MIT */
/*
 * The table of error codes and the detail text; see error.h and <weft/error.h>.
 *
 * Floor 0. Invariants: the tables are const and every returned string is static, so all look-ups
 * may be made from any thread; codes that are not in the table get their name and text from the C
 * library's static tables, never from a buffer.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strerrorname_np, strerrordesc_np */
#endif

#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/text.h"

struct error_info {
    int code;
    enum weft_error_class cls;
    const char *name;
    const char *text;
};

#define SYS(number, cls, text)                                                                     \
    {                                                                                              \
        -(number), WEFT_CLASS_##cls, #number, text                                                 \
    }
#define OWN(code, cls, text)                                                                       \
    {                                                                                              \
        code, WEFT_CLASS_##cls, #code, text                                                        \
    }

/* One line a code, so that the table can be read down. */
/* clang-format off */
static const struct error_info errors[] = {
    /* Weft's own */
    OWN(WEFT_ECLOSED, USAGE, "the object was already closed on this side"),
    OWN(WEFT_EEOF, PEER, "the peer ended the stream before the message was complete"),
    OWN(WEFT_ETOOLONG, PROTOCOL, "a record is longer than the maximum set for it"),
    OWN(WEFT_EPROTOCOL, PROTOCOL, "the peer sent bytes that the protocol does not allow"),
    OWN(WEFT_EENDPOINT, ADDRESS, "the endpoint string is not understood"),
    OWN(WEFT_ENAME, ADDRESS, "the host name does not resolve to an address"),
    OWN(WEFT_ELIMIT, RESOURCE, "a configured limit is reached"),
    OWN(WEFT_EPOISONED, PEER, "an earlier write failed or was cut off; no more can be written"),
    OWN(WEFT_EABANDONED, CANCELED, "the job was abandoned and its result is lost"),
    OWN(WEFT_ETHREAD, USAGE, "the object belongs to another loop or thread"),
    OWN(WEFT_EDRAINING, RESOURCE, "the server is draining and takes no new work"),
    OWN(WEFT_EORPHAN, USAGE, "the group still has live tasks"),
    OWN(WEFT_EOUTSIDE, USAGE, "the call would leave the simulation"),
    OWN(WEFT_ECHECK, USAGE, "a check of the simulation failed"),
    OWN(WEFT_EDEADLOCK, USAGE, "nothing can happen any more"),
    OWN(WEFT_ELIVELOCK, USAGE, "the simulation runs on and time stands still"),
    OWN(WEFT_ELEAK, USAGE, "something was left open"),
    OWN(WEFT_ETLS, PROTOCOL, "the connection could not be secured, or its protection failed"),
    OWN(WEFT_ECERTIFICATE, PERMISSION, "a certificate was not trusted"),
    OWN(WEFT_EURL, ADDRESS, "the URL is not understood"),

    /* time and cancellation */
    SYS(ETIMEDOUT, TIMEOUT, "the operation did not finish in the time given"),
    SYS(ETIME, TIMEOUT, "the timer expired"),
    SYS(ECANCELED, CANCELED, "the operation was cancelled"),
    SYS(EINTR, CANCELED, "a signal interrupted the operation"),

    /* the peer and the network between */
    SYS(ECONNREFUSED, PEER, "nothing accepts connections at that address"),
    SYS(ECONNRESET, PEER, "the peer reset the connection"),
    SYS(ECONNABORTED, PEER, "the connection was aborted before it was accepted"),
    SYS(EPIPE, PEER, "the connection can no longer be written to"),
    SYS(ENOTCONN, PEER, "the socket is not connected"),
    SYS(ESHUTDOWN, PEER, "the socket was shut down for writing"),
    SYS(EHOSTUNREACH, PEER, "no route leads to the host"),
    SYS(EHOSTDOWN, PEER, "the host does not answer on its network"),
    SYS(ENETUNREACH, PEER, "no route leads to that network"),
    SYS(ENETDOWN, PEER, "the network interface is down"),
    SYS(ENETRESET, PEER, "the network dropped the connection"),
    SYS(EREMOTEIO, PEER, "the remote side reported an input or output error"),
    SYS(ENONET, PEER, "this machine is not on a network"),
    SYS(ENOLINK, PEER, "the link to the peer was cut"),

    /* protocol */
    SYS(EPROTO, PROTOCOL, "the peer broke the protocol"),
    SYS(EBADMSG, PROTOCOL, "the message is damaged"),
    SYS(EMSGSIZE, PROTOCOL, "the message is larger than the transport carries at once"),
    SYS(EILSEQ, PROTOCOL, "the bytes are not valid in the expected encoding"),

    /* addresses and names */
    SYS(EADDRINUSE, ADDRESS, "the address is already in use"),
    SYS(EADDRNOTAVAIL, ADDRESS, "the address does not belong to this machine"),
    SYS(EAFNOSUPPORT, ADDRESS, "this address family is not supported here"),
    SYS(EPFNOSUPPORT, ADDRESS, "this protocol family is not supported here"),
    SYS(EPROTONOSUPPORT, ADDRESS, "this protocol is not supported here"),
    SYS(EPROTOTYPE, ADDRESS, "the address belongs to a socket of another type"),
    SYS(ESOCKTNOSUPPORT, ADDRESS, "this socket type is not supported here"),
    SYS(EDESTADDRREQ, ADDRESS, "a destination address is needed"),
    SYS(ENOENT, ADDRESS, "no such file, directory or socket exists"),
    SYS(ENOTDIR, ADDRESS, "a part of the path is not a directory"),
    SYS(ENOTEMPTY, ADDRESS, "the directory is not empty"),
    SYS(EISDIR, ADDRESS, "the path is a directory"),
    SYS(EEXIST, ADDRESS, "the file already exists"),
    SYS(ENAMETOOLONG, ADDRESS, "the name is too long"),
    SYS(ELOOP, ADDRESS, "the path has too many symbolic links"),
    SYS(ENODEV, ADDRESS, "no such device exists"),
    SYS(ENXIO, ADDRESS, "no such device or address exists"),
    SYS(ENOTUNIQ, ADDRESS, "the name is not unique on the network"),

    /* permission */
    SYS(EACCES, PERMISSION, "the system's permissions do not allow it"),
    SYS(EPERM, PERMISSION, "this user may not do that"),
    SYS(EROFS, PERMISSION, "the file system is read-only"),

    /* resources */
    SYS(ENOMEM, RESOURCE, "out of memory"),
    SYS(ENOBUFS, RESOURCE, "no buffer space is left"),
    SYS(EMFILE, RESOURCE, "this process has too many open files"),
    SYS(ENFILE, RESOURCE, "the system has too many open files"),
    SYS(ENOSPC, RESOURCE, "no space is left"),
    SYS(EDQUOT, RESOURCE, "the disk quota is used up"),
    SYS(EFBIG, RESOURCE, "the file would be too large"),
    SYS(EAGAIN, RESOURCE, "it cannot be done at once and waiting was not asked for"),
    SYS(EUSERS, RESOURCE, "there are too many users"),
    SYS(ETOOMANYREFS, RESOURCE, "too many descriptors are on their way in messages"),

    /* use of the library and of the system */
    SYS(EINVAL, USAGE, "an argument is not valid"),
    SYS(EBADF, USAGE, "the file descriptor is not open, or not open for this"),
    SYS(EFAULT, USAGE, "an argument points outside the program's memory"),
    SYS(ENOTSOCK, USAGE, "the file descriptor is not a socket"),
    SYS(EISCONN, USAGE, "the socket is already connected"),
    SYS(EALREADY, USAGE, "the same operation is already under way"),
    SYS(EINPROGRESS, USAGE, "the operation has been started and is not finished"),
    SYS(EBUSY, USAGE, "another task is already using the object in this way"),
    SYS(EDEADLK, USAGE, "waiting here would block the loop for ever"),
    SYS(EOPNOTSUPP, USAGE, "the object does not support this operation"),
    SYS(ENOPROTOOPT, USAGE, "the protocol has no such option"),
    SYS(ERANGE, USAGE, "a number is out of range"),
    SYS(EDOM, USAGE, "a number is outside the domain of the function"),
    SYS(EOVERFLOW, USAGE, "a value is too large for its type"),
    SYS(E2BIG, USAGE, "the argument list is too long"),
    SYS(ESPIPE, USAGE, "the file has no position to move"),
    SYS(ENOTTY, USAGE, "the file descriptor does not support this request"),

    /* the system */
    SYS(ENOSYS, SYSTEM, "this kernel does not have the system call"),
    SYS(EIO, SYSTEM, "an input or output error happened below the socket or file"),
    SYS(ECHILD, SYSTEM, "there is no such child process"),
    SYS(ESRCH, SYSTEM, "there is no such process"),
};
/* clang-format on */

static const char *const class_names[] = {
    [WEFT_CLASS_OK] = "ok",
    [WEFT_CLASS_TIMEOUT] = "timeout",
    [WEFT_CLASS_CANCELED] = "canceled",
    [WEFT_CLASS_PEER] = "peer",
    [WEFT_CLASS_PROTOCOL] = "protocol",
    [WEFT_CLASS_ADDRESS] = "address",
    [WEFT_CLASS_PERMISSION] = "permission",
    [WEFT_CLASS_RESOURCE] = "resource",
    [WEFT_CLASS_USAGE] = "usage",
    [WEFT_CLASS_SYSTEM] = "system",
};

/* Linear: errors are rare, and the table is short. */
static const struct error_info *find(int code)
{
    for (size_t i = 0; i < WEFT__ARRAY_LEN(errors); i++) {
        if (errors[i].code == code)
            return &errors[i];
    }
    return NULL;
}

enum weft_error_class weft_error_class(int code)
{
    if (code >= 0)
        return WEFT_CLASS_OK;
    const struct error_info *e = find(code);
    return e != NULL ? e->cls : WEFT_CLASS_SYSTEM;
}

const char *weft_error_class_name(enum weft_error_class cls)
{
    unsigned int i = (unsigned int)cls;
    return i < WEFT__ARRAY_LEN(class_names) ? class_names[i] : "unknown";
}

const char *weft_error_name(int code)
{
    if (code >= 0)
        return "OK";
    const struct error_info *e = find(code);
    if (e != NULL)
        return e->name;
    /* INT_MIN has no positive counterpart. */
    const char *name = code == INT_MIN ? NULL : strerrorname_np(-code);
    return name != NULL ? name : "UNKNOWN";
}

const char *weft_error_text(int code)
{
    if (code >= 0)
        return "success";
    const struct error_info *e = find(code);
    if (e != NULL)
        return e->text;
    const char *text = code == INT_MIN ? NULL : strerrordesc_np(-code);
    return text != NULL ? text : "an error that this version of Weft does not know";
}

_Thread_local struct weft__detail **weft__detail_slot;

static _Thread_local struct weft__detail thread_detail;

/* The buffer of the running flow, NULL if it has none yet. */
static struct weft__detail *current_detail(void)
{
    return weft__detail_slot == NULL ? &thread_detail : *weft__detail_slot;
}

static void set_detail(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void set_detail(const char *fmt, va_list ap)
{
    int saved = errno;
    /* Formatted apart first: an argument may be the old detail itself. */
    struct weft__detail fresh;
    if (vsnprintf(fresh.text, sizeof(fresh.text), fmt, ap) < 0)
        fresh.text[0] = '\0';
    weft__text_make_printable(fresh.text);
    struct weft__detail *d = current_detail();
    if (d == NULL)
        d = *weft__detail_slot = weft__alloc(sizeof(*d));
    if (d != NULL)
        memcpy(d->text, fresh.text, strlen(fresh.text) + 1);
    errno = saved;
}

void weft__error_detail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_detail(fmt, ap);
    va_end(ap);
}

int weft__fail(int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_detail(fmt, ap);
    va_end(ap);
    return code;
}

void weft__error_detail_clear(void)
{
    struct weft__detail *d = current_detail();
    if (d != NULL)
        d->text[0] = '\0';
}

const char *weft_error_detail(void)
{
    const struct weft__detail *d = current_detail();
    return d != NULL ? d->text : "";
}
