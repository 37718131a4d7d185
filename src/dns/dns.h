/* SPDX-License-Identifier: MIT */
#ifndef WEFT__DNS_H
#define WEFT__DNS_H
/*
 * The inside of the resolver (floor 4).
 *
 * A resolver (struct weft__dns) belongs to a loop, as one of its services, or to a plain thread.
 * Three things are to be told apart:
 *
 *   look-up  what a caller wants: addresses of a host, which may take several names and two types
 *   entry    one name and type: a question that waits, is under way, or an answer that is kept
 *   channel  c-ares, which brings a question to the servers and an answer back
 *
 * c-ares does identifiers, time-outs, servers in turn and the change to TCP. Names, files, search,
 * the cache, the reading of answers and the order of addresses are done here.
 *
 * Invariants:
 *  - an entry is in the table, and in the one list that its state names;
 *  - a look-up is never told within the call that began it: the pump does that, which the loop runs
 *    as one of its callbacks, and a thread itself;
 *  - no code of the program runs inside a call of c-ares, and c-ares runs on no task's stack;
 *  - with no look-up left, no question is under way and no operation stays in the loop.
 */
#include <ares.h>
#include <poll.h>

#include <weft/dns.h>

#include "rt/rt.h"

#define WEFT__DNS_NAME 256      /* a name in our form, with its NUL */
#define WEFT__DNS_TEXT 1025     /* any name of a message as text, with its NUL */
#define WEFT__DNS_LOOKUPS 10000 /* of one resolver */
#define WEFT__DNS_ASKED 256     /* questions under way at once; the others wait for their turn */
#define WEFT__DNS_ONE_PORT 512  /* questions that one channel asks, by the same ports */
#define WEFT__DNS_CHANNELS 8    /* as many at once, but for changes of the configuration */
#define WEFT__DNS_SERVERS 8
#define WEFT__DNS_DOMAINS 8
#define WEFT__DNS_KEPT_LEN 4096 /* longer answers are not kept */

enum weft__dns_status {
    WEFT__DNS_OK,
    WEFT__DNS_NO_NAME,
    WEFT__DNS_NO_DATA,
    WEFT__DNS_SERVER_FAILED,
    WEFT__DNS_REFUSED,
    WEFT__DNS_NOT_DONE,
    WEFT__DNS_FORMAT,
    WEFT__DNS_MALFORMED,
    WEFT__DNS_SILENT,
    WEFT__DNS_UNREACHABLE,
    WEFT__DNS_NO_MEMORY,
    WEFT__DNS_STOPPED,
};

/* --- Names (name.c) --------------------------------------------------------------------------- */

/* Checks a name and writes it in lower case without the dot at its end. WEFT_ENAME with a detail.
 */
int weft__dns_name(char ret[WEFT__DNS_NAME], const char *name, bool *absolute);
bool weft__dns_is_localhost(const char *name);
size_t weft__dns_dots(const char *name);
/* An IPv4 address in its IPv6 form, ::ffff:1.2.3.4, as IPv4; others as they are. */
struct weft_address weft__dns_unmapped(const struct weft_address *a);
/* The name that has the PTR records of an address. -EINVAL */
int weft__dns_reverse_name(char ret[WEFT__DNS_NAME], const struct weft_address *a);

/* --- Messages (message.c) --------------------------------------------------------------------- */

struct weft__dns_rr {
    const unsigned char *msg; /* the whole message, for names in the data */
    size_t len;
    size_t at, size; /* the data */
    uint32_t ttl_s;
};

struct weft__dns_scan {
    enum weft__dns_status status;
    uint32_t ttl_s; /* of what there is; of what there is not, if negative_ttl; of aliases, too */
    bool negative_ttl;
    size_t n;
    char name[WEFT__DNS_TEXT]; /* at the end of the aliases */
};

/* Reads an answer; each (may be NULL) gets the records of that name and type, at most 64. */
void weft__dns_scan(struct weft__dns_scan *ret, const unsigned char *msg, size_t len,
                    const char *name, uint16_t type,
                    void (*each)(void *arg, const struct weft__dns_rr *rr), void *arg);
/* The address of an A or AAAA record. */
bool weft__dns_rr_address(struct weft_address *ret, const struct weft__dns_rr *rr, uint16_t type);
/* An answer for a caller; NULL: no memory. age_s is taken off the TTLs. */
struct weft_dns_answer *weft__dns_build(const unsigned char *msg, size_t len, const char *name,
                                        uint16_t type, uint32_t age_s);
/* An answer that repeats its question and has a code, and nothing else. Returns its length. */
#define WEFT__DNS_RCODE_NO_NAME 3
size_t weft__dns_write_bare(unsigned char *buf, size_t cap, uint16_t id, unsigned rcode,
                            const char *name, uint16_t type);
/* The same with one A or AAAA record, of TTL 0. */
#define WEFT__DNS_ADDRESS_LEN (WEFT__DNS_NAME + 48) /* is enough for it */
size_t weft__dns_write_address(unsigned char *buf, size_t cap, const char *name, uint16_t type,
                               const unsigned char *data, size_t size);

/* --- Files and options (conf.c, hosts.c) ------------------------------------------------------ */

struct weft__dns_stamp {
    bool there;
    uint64_t dev, ino, size;
    int64_t mtime_ns, ctime_ns;
};
/* Whether the file at path is not what `old` says; *now gets what it is. */
bool weft__dns_changed(const char *path, const struct weft__dns_stamp *old,
                       struct weft__dns_stamp *now);
/* All of a text file up to max bytes, with a NUL; an empty text if there is none. */
int weft__dns_load(char **ret, const char *path, size_t max);

/* What is in force: options, and behind them resolv.conf. */
struct weft__dns_conf {
    struct weft_address servers[WEFT__DNS_SERVERS];
    size_t n_servers;
    char domains[WEFT__DNS_DOMAINS][WEFT__DNS_NAME];
    size_t n_domains;
    int ndots, timeout_ms, tries;
    bool rotate;
};

/* Options with their strings, in one allocation. */
struct weft__dns_settings {
    struct weft_dns_options o;
    struct weft__dns_conf given; /* servers, search and numbers of the options, as far as given */
    char text[];
};
int weft__dns_settings_make(struct weft__dns_settings **ret, const struct weft_dns_options *o);
/* Fills what the options leave open from the text of a resolv.conf. */
void weft__dns_conf_make(struct weft__dns_conf *ret, const struct weft__dns_settings *s,
                         char *text);

struct weft__dns_hosts;
int weft__dns_hosts_load(struct weft__dns_hosts **ret, const char *path);
void weft__dns_hosts_free(struct weft__dns_hosts *h);
/* Calls each for the addresses of a name. */
void weft__dns_hosts_find(const struct weft__dns_hosts *h, const char *name,
                          void (*each)(void *arg, const struct weft_address *a), void *arg);
/* The i-th name of an address, in whichever form of it; NULL: no more. */
const char *weft__dns_hosts_name(const struct weft__dns_hosts *h, const struct weft_address *a,
                                 size_t i);

/* --- Order of addresses (sort.c) -------------------------------------------------------------- */

/* Sorts by RFC 6724 with source addresses, of which len 0 says that there is none. */
void weft__dns_order(struct weft_address *at, struct weft_address *source, size_t n);
/* The same with the sources that the kernel chooses. Without memory they are left as they are. */
void weft__dns_sort(struct weft_address *at, size_t n);

/* --- Entries ---------------------------------------------------------------------------------- */

struct weft__dns;
struct weft__dns_channel;
struct weft__dns_sock;

struct weft__dns_reply {
    unsigned refs; /* of one thread */
    int64_t when_ns;
    size_t len;
    unsigned char msg[];
};

enum weft__dns_state { WEFT__DNS_QUEUED, WEFT__DNS_UNDER_WAY, WEFT__DNS_ENDED, WEFT__DNS_KEPT };

struct weft__dns_entry {
    struct weft__dns_entry *next; /* in its bucket */
    struct weft__node link;       /* by state: dns->queued, channel->asked, dns->ended, dns->kept */
    struct weft__list asks;
    struct weft__dns *dns;
    struct weft__dns_channel *channel; /* UNDER_WAY; QUEUED: the one to ask it again, or NULL */
    struct weft__dns_sock *sock;       /* by which it was last sent, if by UDP and still open */
    struct weft__dns_reply *reply;     /* status OK */
    int64_t until_ns;                  /* KEPT */
    uint32_t hash;
    uint16_t type;
    uint16_t id;    /* of its query */
    uint8_t state;  /* enum weft__dns_state */
    uint8_t status; /* enum weft__dns_status, when ended or kept */
    uint8_t said;   /* a server's refusal, as its rcode; 0: none */
    bool again;     /* it was asked, or is to be, a second time */
    bool forget;    /* not to be kept: the options have changed since */
    char name[];
};

/* One look-up's interest in one entry. */
struct weft__dns_ask {
    struct weft__node link; /* in entry->asks */
    struct weft__dns_lookup *lookup;
    struct weft__dns_entry *entry; /* NULL: answered */
    struct weft__dns_reply *reply; /* a reference, status OK */
    enum weft__dns_status status;
    uint16_t type;
};

struct weft__dns_lookup {
    struct weft__dns *dns;
    struct weft__node link;                   /* in dns->ready */
    void (*told)(struct weft__dns_lookup *k); /* by the pump; k may go in it */
    bool early; /* to be told also when one of its types is answered, before it is done */
    struct weft__dns_ask asks[2];
    size_t n_asks, unanswered;
    size_t tried, names; /* candidates */
    bool as_is_first, search, live;
    bool done;
    int err;                      /* when done: 0, -ENOMEM, WEFT_ENAME */
    enum weft__dns_status status; /* why it is WEFT_ENAME */
    char host[WEFT__DNS_NAME];
    char name[WEFT__DNS_NAME]; /* the candidate that is asked for, or was found */
};

struct weft__dns {
    struct weft__service service;
    struct weft_loop *loop; /* NULL: of a thread */
    struct weft__run pump;
    bool pump_queued;
    bool abandoned; /* some entry may have lost its last ask */
    struct weft__dns_settings *settings;
    struct weft__dns_conf conf;
    bool conf_read;
    struct weft__dns_stamp resolv_stamp, hosts_stamp;
    int64_t looked_ns; /* when the stamps were last compared */
    struct weft__dns_hosts *hosts;
    struct weft__dns_channel *channel;     /* the current one; NULL: to be opened */
    struct weft__list channels;            /* all */
    struct weft__list queued, ended, kept; /* kept: the least recently used first */
    struct weft__list ready;               /* look-ups to be told */
    size_t n_asked, n_kept, n_lookups, n_channels;
    uint32_t seed;
    struct weft__dns_entry *buckets[1024];
};

/* cache.c */
struct weft__dns_entry *weft__dns_entry_find(struct weft__dns *n, const char *name, uint16_t type);
struct weft__dns_entry *weft__dns_entry_make(struct weft__dns *n, const char *name, uint16_t type);
void weft__dns_entry_free(struct weft__dns_entry *e);
/* An ended one: into the cache, if it may be kept, or freed. */
void weft__dns_entry_keep(struct weft__dns_entry *e);
void weft__dns_forget_all(struct weft__dns *n);
void weft__dns_reply_unref(struct weft__dns_reply *r);

/* channel.c, thread.c */
int weft__dns_channel_open(struct weft__dns *n);
/* All of them; questions under way end by it, as stopped. */
void weft__dns_channels_close(struct weft__dns *n);
/* Those that are no longer current and have nothing under way go; with nobody left who waits,
 * everything under way is stopped. */
void weft__dns_channels_tidy(struct weft__dns *n);
void weft__dns_channel_ask(struct weft__dns_channel *c, struct weft__dns_entry *e);
/* Whether c has asked enough: who forges answers is to have little time to find its ports. */
bool weft__dns_channel_worn(const struct weft__dns_channel *c);
void weft__dns_channel_stop_abandoned(struct weft__dns *n);
/* What descriptors brought at once, when operations were submitted. */
void weft__dns_channels_ready(struct weft__dns *n);
/* Of a thread: waits until something has come or `until` has passed; -ECANCELED ... `more` are
 * polled, too, at most 64; n may be NULL then. */
int weft__dns_thread_wait(struct weft__dns *n, struct weft__thread *t, weft_deadline d,
                          struct pollfd *more, size_t n_more);

/* resolver.c */
struct weft__dns *weft__dns_of_flow(struct weft__flow *f, bool open);
/* Reads the files again if they have changed. */
int weft__dns_refresh(struct weft__dns *n);
void weft__dns_want_pump(struct weft__dns *n);
void weft__dns_pump(struct weft__dns *n);
/* A look-up of host with these types; k is filled in. 0 or an error; k->done when it is known. */
int weft__dns_begin(struct weft__dns *n, struct weft__dns_lookup *k, const char *host, bool search,
                    const uint16_t *types, size_t n_types);
/* Whoever waits for it gives up, or has what it wanted. Legal more than once. */
void weft__dns_end(struct weft__dns_lookup *k);
/* The detail for k's failure; returns the code. */
int weft__dns_failed(const struct weft__dns_lookup *k);

#endif
