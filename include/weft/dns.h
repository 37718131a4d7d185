/* SPDX-License-Identifier: MIT */
#ifndef WEFT_DNS_H
#define WEFT_DNS_H
/*
 * Names: the addresses of a host, and the other records of the domain name system.
 *
 * Each loop has a resolver, opened on first use, and each plain thread has one. It keeps what it
 * has learned for as long as the records' TTLs say, and asks once for all who want to know the same
 * at the same time. On a loop no thread is involved: the questions are operations of the loop.
 *
 * Numbers, `localhost` and what ends in `.localhost`, and the names of the hosts file are answered
 * without asking anybody. The files are read again when they have changed.
 *
 * Thread rule: tasks, plain threads, and, where said, callbacks of a loop. Names are letters,
 * digits,
 * '-', '_' and other printable ASCII but for the backslash; letters of other scripts have to be in
 * the form xn--. Inside a simulated host (sim.h) the names are those of its world's hosts.
 *
 * Errors of the waiting calls here: WEFT_ENAME, whose detail says which name and why: not a name,
 * no such name, no data of that type, the server failed, refused, was silent through all tries, or
 * answered with something malformed; -ETIMEDOUT (the deadline), -ECANCELED; WEFT_ELIMIT when 10,000
 * look-ups of the loop wait; -EINVAL, -ENOMEM; -EDEADLK in a callback; an error of reading
 * /etc/resolv.conf.
 */
#include <weft/address.h>
#include <weft/group.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/* --- Addresses of a host ---------------------------------------------------------------------- */

/* At most this many addresses or records a result; further ones are dropped. */
#define WEFT_DNS_RECORDS_MAX 64

struct weft_addresses {
    size_t n;                      /* at least 1 */
    const struct weft_address *at; /* in the order in which to try them (RFC 6724) */
    const char *name;              /* whose they are: host, completed, aliases followed */
    uint32_t ttl_s;                /* the shortest of the records'; 0 for what was not asked for */
};

struct weft_resolve_options {
    int family;     /* AF_INET, AF_INET6; 0: both */
    bool no_search; /* the name is complete: no search domains */
};

/*
 * The addresses of host, each with this port (0 to 65535). A name with a dot at its end is
 * complete; others are completed by the search domains, those with enough dots after they were
 * tried as they are; the search ends where no server answers. With both families both are asked for
 * at once, and one is enough. Waits; a cancellation point. *ret is one allocation, to be freed with
 * weft_addresses_free. Returns 0 or an error as above.
 */
WEFT_API WEFT_MUST_CHECK int weft_resolve(struct weft_addresses **ret, const char *host, int port,
                                          const struct weft_resolve_options *o, weft_deadline d);
WEFT_API void weft_addresses_free(struct weft_addresses **a);

/*
 * The same for code that may not wait, such as the callbacks of a protocol: returns at once, and
 * calls fn(arg, result, addresses) from the loop's turn, never from within this call. addresses is
 * the callee's to free, NULL when result is negative; weft_error_detail has the detail. fn may open
 * and close look-ups, its own, too.
 *
 * The look-up is a member of g, a group of the calling loop: cancelling it calls fn with -ECANCELED
 * in the next turn; failures do not cancel the group. With ret, the handle is the caller's to
 * close, before the group is; without, it goes by itself. weft_lookup_close: fn is not called any
 * more. On the loop's thread. Returns 0; WEFT_ENAME for what is no name, -ENOMEM, -EINVAL,
 * WEFT_ELIMIT, WEFT_ETHREAD (g is not of this loop), -ECANCELED (g is cancelled).
 */
struct weft_lookup;
typedef void (*weft_resolved_fn)(void *arg, int result, struct weft_addresses *addresses);
WEFT_API WEFT_MUST_CHECK int weft_lookup_open(struct weft_lookup **ret, struct weft_group *g,
                                              const char *host, int port,
                                              const struct weft_resolve_options *o, weft_deadline d,
                                              weft_resolved_fn fn, void *arg);
WEFT_API void weft_lookup_close(struct weft_lookup **l);

/* --- Records ---------------------------------------------------------------------------------- */

enum weft_dns_type {
    WEFT_DNS_A = 1,
    WEFT_DNS_PTR = 12,
    WEFT_DNS_MX = 15,
    WEFT_DNS_TXT = 16,
    WEFT_DNS_AAAA = 28,
    WEFT_DNS_SRV = 33,
};

struct weft_dns_record {
    uint32_t ttl_s;                  /* what is left of it */
    struct weft_address address;     /* A, AAAA; port 0 */
    const char *name;                /* PTR: the name; SRV, MX: the host; else NULL */
    const char *text;                /* TXT: its strings joined, with a NUL behind; else NULL */
    size_t text_len;                 /* it may hold NULs, too */
    uint16_t priority, weight, port; /* SRV; MX has a priority */
};

struct weft_dns_answer {
    enum weft_dns_type type;
    uint32_t ttl_s;   /* the shortest, aliases included */
    const char *name; /* whose they are, aliases followed */
    size_t n;         /* at least 1 */
    /* SRV: by priority, those of one priority in an order drawn by their weights (RFC 2782), a new
     * one each time; MX: by priority; others as the server sent them. */
    const struct weft_dns_record *at;
};

/*
 * The records of one type of a complete name; neither the hosts file nor search domains are looked
 * at. `localhost` and what ends in `.localhost` have an A and an AAAA record and nothing else.
 * Waits; a cancellation point. *ret is one allocation, to be freed with weft_dns_answer_free.
 * Returns 0 or an error as above; inside a simulated host WEFT_EOUTSIDE for all but A and AAAA.
 */
WEFT_API WEFT_MUST_CHECK int weft_dns_query(struct weft_dns_answer **ret, const char *name,
                                            enum weft_dns_type type, weft_deadline d);
/* The names of an IP address: PTR records, or the names that the hosts file has for it. An IPv4
 * address in its IPv6 form, ::ffff:1.2.3.4, has those of 1.2.3.4. */
WEFT_API WEFT_MUST_CHECK int weft_dns_reverse(struct weft_dns_answer **ret,
                                              const struct weft_address *a, weft_deadline d);
WEFT_API void weft_dns_answer_free(struct weft_dns_answer **a);

/* --- Options ---------------------------------------------------------------------------------- */

struct weft_dns_options {
    /* At most 8 numbers, each with a port or without (53): "127.0.0.1:5353, [::1]:53, 9.9.9.9".
     * NULL: those of resolv_conf, at most 3; if it has none, 127.0.0.1. */
    const char *servers;
    const char *search;      /* at most 8 domains, by blanks or commas; NULL: of resolv_conf */
    int ndots;               /* so many dots: tried as it is first; 0: of resolv_conf, else 1 */
    int timeout_ms;          /* of the first try, doubled with each round; 0: resolv_conf, 5 s */
    int tries;               /* at each server; 0: of resolv_conf, else 2 */
    bool no_cache;           /* keep nothing */
    size_t cache_entries;    /* answers kept, at most 65,536; 0: 1,024 */
    int64_t ttl_min_ms;      /* keep all at least so long; 0: as the TTLs say */
    int64_t ttl_max_ms;      /* and at most so long; 0: a day */
    int64_t negative_max_ms; /* that there is no such thing; 0: 15 minutes */
    const char *resolv_conf; /* NULL: /etc/resolv.conf */
    const char *hosts;       /* NULL: /etc/hosts; "": none */
};

/*
 * Sets the options of the resolver of the calling task's or callback's loop, or of the calling
 * thread, and forgets what it has kept. Look-ups under way end as they began. Strings are copied.
 * NULL: the defaults. Inside a simulated host the options are checked and have no effect.
 * Does not wait. Returns 0, -EINVAL (the detail names the option), -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_dns_configure(const struct weft_dns_options *o);

/* Forgets what the resolver has kept. */
WEFT_API void weft_dns_forget(void);

WEFT_END_DECLS
#endif
