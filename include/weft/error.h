/* SPDX-License-Identifier: MIT */
/*
 * Errors: one int for every result. Zero or more is success; below zero is an error: -errno as the
 * kernel gives it, or one of Weft's own codes below -10000. Every code has a class (what to do
 * about it), a name (for logs) and a sentence (for people). docs/ERRORS.md lists them all.
 *
 * Invariants: nothing here waits, allocates in the caller's name, or touches errno; all strings are
 * static except the detail's, which lives until the next failed call of the same task or thread.
 */
#ifndef WEFT_ERROR_H
#define WEFT_ERROR_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/* Weft's own codes. They are part of the ABI: a number never changes its meaning. */
enum {
    WEFT_ECLOSED = -10001,    /* the object was closed on this side */
    WEFT_EEOF = -10002,       /* the peer ended the stream before the message was complete */
    WEFT_ETOOLONG = -10003,   /* a record is longer than its maximum */
    WEFT_EPROTOCOL = -10004,  /* the peer's bytes are not what the protocol allows */
    WEFT_EENDPOINT = -10005,  /* the endpoint string is not understood */
    WEFT_ENAME = -10006,      /* the host name does not resolve */
    WEFT_ELIMIT = -10007,     /* a configured limit is reached */
    WEFT_EPOISONED = -10008,  /* an earlier write failed or was cut off; no more can be written */
    WEFT_EABANDONED = -10009, /* the work-pool job was abandoned */
    WEFT_ETHREAD = -10010,    /* the object belongs to another loop or thread */
    WEFT_EDRAINING = -10011,  /* the server is draining and takes no new work */
    WEFT_EORPHAN = -10012,    /* the group still has live tasks */
    WEFT_EOUTSIDE = -10013,   /* the call would leave the simulation */
    WEFT_ECHECK = -10014,     /* a check of the simulation failed */
    WEFT_EDEADLOCK = -10015,  /* nothing can happen any more in the simulation */
    WEFT_ELIVELOCK = -10016,  /* the simulation runs on and time stands still */
    WEFT_ELEAK = -10017,      /* a simulated host ended and left something open */
    WEFT_ETLS = -10018,       /* TLS failed: the peer does not speak it, or nothing is in common */
    WEFT_ECERTIFICATE = -10019, /* a certificate is not to be trusted: the peer's, or ours by it */
    WEFT_EURL = -10020          /* the URL is not understood */
};

/* What a code means for the caller. New classes are added at the end only. */
enum weft_error_class {
    WEFT_CLASS_OK,         /* not an error */
    WEFT_CLASS_TIMEOUT,    /* the time given was not enough */
    WEFT_CLASS_CANCELED,   /* the caller, or a group around it, asked to stop */
    WEFT_CLASS_PEER,       /* the other side or the network between: closed, reset, unreachable */
    WEFT_CLASS_PROTOCOL,   /* the other side sent what the protocol does not allow */
    WEFT_CLASS_ADDRESS,    /* the address, name or endpoint is wrong, taken or does not exist */
    WEFT_CLASS_PERMISSION, /* the system does not allow it to this user */
    WEFT_CLASS_RESOURCE,   /* memory, descriptors, buffers or a configured limit ran out */
    WEFT_CLASS_USAGE,      /* the program used the library wrongly */
    WEFT_CLASS_SYSTEM      /* anything else that the system reports */
};

/*
 * The class of a result. Never waits; any thread.
 * Returns WEFT_CLASS_OK for zero and above, WEFT_CLASS_SYSTEM for a code that is not known.
 */
WEFT_API enum weft_error_class weft_error_class(int code);

/*
 * The class in one lower-case word: "timeout", "canceled", "peer" ...
 * Never waits; any thread. The string is static; "unknown" for a number that is no class.
 */
WEFT_API const char *weft_error_class_name(enum weft_error_class cls);

/*
 * The name of a code as it is written in programs: "ETIMEDOUT", "WEFT_EEOF"; "OK" for zero and
 * above; "UNKNOWN" for a code that is not known.
 * Never waits; any thread. The string is static.
 */
WEFT_API const char *weft_error_name(int code);

/*
 * One plain sentence about a code, without a full stop, so that it fits into a longer one.
 * Never waits; any thread. The string is static; never NULL.
 */
WEFT_API const char *weft_error_text(int code);

/*
 * What the code alone cannot say about the last failed call of the calling task (or, outside a
 * task, thread): which host, which byte, which limit. "" if that call left none.
 * Never waits; any thread. The string belongs to the library and is valid until the calling task's
 * next call into Weft; it is at most 199 bytes, with control characters replaced by '?'.
 */
WEFT_API const char *weft_error_detail(void);

WEFT_END_DECLS

#endif
