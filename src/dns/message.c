/* SPDX-License-Identifier: MIT */
/*
 * Reading DNS messages (floor 4; no I/O). RFC 1035, section 4; SRV: RFC 2782; AAAA: RFC 3596.
 *
 * Invariants: every length is checked against the message; a compressed name points only backwards,
 * so that following it ends; records of a name that the question and its aliases do not lead to
 * are passed over.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <weft/random.h>

#include "base/alloc.h"
#include "dns/dns.h"
#include "wire/cursor.h"

#define HEADER 12
#define CLASS_IN 1
#define TYPE_CNAME 5
#define TYPE_SOA 6
#define ALIASES_MAX 16
#define RCODE_NO_NAME WEFT__DNS_RCODE_NO_NAME

struct head {
    unsigned rcode, questions, answers, authority;
};

static unsigned u16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* A byte of a label as text; what is special there is written as \DDD. */
static bool put(char *text, size_t *n, unsigned char c)
{
    bool plain = c > ' ' && c < 0x7f && c != '.' && c != '\\';
    if (*n + (plain ? 1 : 4) >= WEFT__DNS_TEXT)
        return false;
    if (plain)
        text[(*n)++] = (char)c;
    else
        *n += (size_t)sprintf(text + *n, "\\%03u", c);
    return true;
}

/* The name at r's position as text, without a dot at its end; r goes behind it. */
static bool read_name(struct weft__reader *r, char text[WEFT__DNS_TEXT])
{
    struct weft__reader at = *r;
    size_t n = 0, wire = 0, lowest = r->pos;
    bool jumped = false;
    for (;;) {
        unsigned char len;
        if (!weft__reader_u8(&at, &len))
            return false;
        if (len >= 0xc0) {
            unsigned char low;
            if (!weft__reader_u8(&at, &low))
                return false;
            size_t to = (size_t)(len & 0x3f) << 8 | low;
            if (!jumped)
                r->pos = at.pos;
            jumped = true;
            if (to >= lowest || !weft__reader_seek(&at, to))
                return false;
            lowest = to;
            continue;
        }
        if (len > 63 || (wire += len + 1u) > 255)
            return false;
        if (len == 0)
            break;
        if (n > 0)
            text[n++] = '.';
        for (unsigned i = 0; i < len; i++) {
            unsigned char c;
            if (!weft__reader_u8(&at, &c) || !put(text, &n, c))
                return false;
        }
    }
    if (!jumped)
        r->pos = at.pos;
    text[n] = '\0';
    return true;
}

/* A record: its owner, type and data; r goes behind it. Another class counts as type 0. */
static bool read_rr(struct weft__reader *r, char owner[WEFT__DNS_TEXT], unsigned *type,
                    struct weft__dns_rr *rr)
{
    if (!read_name(r, owner) || weft__reader_left(r) < 10)
        return false;
    const unsigned char *p = r->data + r->pos;
    uint32_t ttl = (uint32_t)u16(p + 4) << 16 | u16(p + 6);
    *type = u16(p + 2) == CLASS_IN ? u16(p) : 0;
    /* RFC 2181, section 8: with the highest bit set it counts as 0. */
    *rr = (struct weft__dns_rr){.msg = r->data,
                                .len = r->len,
                                .at = r->pos + 10,
                                .size = u16(p + 8),
                                .ttl_s = ttl > INT32_MAX ? 0 : ttl};
    return weft__reader_skip(r, 10 + rr->size);
}

static bool read_head(struct weft__reader *r, struct head *h)
{
    char name[WEFT__DNS_TEXT];
    if (r->len < HEADER || (r->data[2] & 0x80) == 0)
        return false;
    *h = (struct head){.rcode = r->data[3] & 15u,
                       .questions = u16(r->data + 4),
                       .answers = u16(r->data + 6),
                       .authority = u16(r->data + 8)};
    r->pos = HEADER;
    for (unsigned i = 0; i < h->questions; i++)
        if (!read_name(r, name) || !weft__reader_skip(r, 4))
            return false;
    return true;
}

/* Follows the aliases: name becomes the last. false: malformed. */
static bool follow(const struct weft__reader *answers, unsigned n, struct weft__dns_scan *ret)
{
    char owner[WEFT__DNS_TEXT];
    for (int hop = 0; hop < ALIASES_MAX; hop++) {
        struct weft__reader r = *answers;
        bool found = false;
        for (unsigned i = 0; i < n && !found; i++) {
            struct weft__dns_rr rr;
            unsigned type;
            if (!read_rr(&r, owner, &type, &rr))
                return false;
            if (type != TYPE_CNAME || strcasecmp(owner, ret->name) != 0)
                continue;
            struct weft__reader data = {.data = rr.msg, .len = rr.at + rr.size, .pos = rr.at};
            if (!read_name(&data, ret->name))
                return false;
            ret->ttl_s = rr.ttl_s < ret->ttl_s ? rr.ttl_s : ret->ttl_s;
            found = true;
        }
        if (!found)
            return true;
    }
    return false;
}

/* RFC 2308, section 5: the lesser of the SOA's TTL and its last field. */
static bool negative_ttl(struct weft__reader *r, unsigned n, uint32_t *ttl_s)
{
    char owner[WEFT__DNS_TEXT];
    for (unsigned i = 0; i < n; i++) {
        struct weft__dns_rr rr;
        unsigned type;
        if (!read_rr(r, owner, &type, &rr))
            return false;
        if (type != TYPE_SOA || rr.size < 22)
            continue;
        const unsigned char *last = rr.msg + rr.at + rr.size - 4;
        uint32_t minimum = (uint32_t)u16(last) << 16 | u16(last + 2);
        *ttl_s = minimum < rr.ttl_s ? minimum : rr.ttl_s;
        return true;
    }
    return false;
}

/* Whether the data of a record is as its type wants it. */
static bool data_fits(const struct weft__dns_rr *rr, uint16_t type)
{
    char name[WEFT__DNS_TEXT];
    size_t before = type == WEFT_DNS_SRV ? 6 : type == WEFT_DNS_MX ? 2 : 0;
    struct weft__reader r = {.data = rr->msg, .len = rr->at + rr->size, .pos = rr->at};
    switch (type) {
    case WEFT_DNS_A:
        return rr->size == 4;
    case WEFT_DNS_AAAA:
        return rr->size == 16;
    case WEFT_DNS_TXT: {
        unsigned char len = 0;
        bool any = false;
        while (weft__reader_u8(&r, &len)) {
            if (!weft__reader_skip(&r, len))
                return false;
            any = true;
        }
        return any;
    }
    default:
        return weft__reader_skip(&r, before) && read_name(&r, name);
    }
}

void weft__dns_scan(struct weft__dns_scan *ret, const unsigned char *msg, size_t len,
                    const char *name, uint16_t want,
                    void (*each)(void *arg, const struct weft__dns_rr *rr), void *arg)
{
    struct weft__reader r = weft__reader_of(msg, len);
    char owner[WEFT__DNS_TEXT];
    struct head h;
    *ret = (struct weft__dns_scan){.status = WEFT__DNS_MALFORMED, .ttl_s = UINT32_MAX};
    (void)snprintf(ret->name, sizeof ret->name, "%s", name);
    if (!read_head(&r, &h) || !follow(&r, h.answers, ret))
        return;
    for (unsigned i = 0; i < h.answers; i++) {
        struct weft__dns_rr rr;
        unsigned type;
        if (!read_rr(&r, owner, &type, &rr))
            return;
        if (type != want || strcasecmp(owner, ret->name) != 0)
            continue;
        if (!data_fits(&rr, want))
            return;
        if (ret->n == WEFT_DNS_RECORDS_MAX)
            continue;
        ret->n++;
        ret->ttl_s = rr.ttl_s < ret->ttl_s ? rr.ttl_s : ret->ttl_s;
        if (each != NULL)
            each(arg, &rr);
    }
    ret->status = ret->n > 0                 ? WEFT__DNS_OK
                  : h.rcode == RCODE_NO_NAME ? WEFT__DNS_NO_NAME
                                             : WEFT__DNS_NO_DATA;
    uint32_t ttl_s;
    if (ret->n == 0 && negative_ttl(&r, h.authority, &ttl_s)) {
        /* An alias may lead elsewhere, to what there is, when its own time is over. */
        ret->ttl_s = ttl_s < ret->ttl_s ? ttl_s : ret->ttl_s;
        ret->negative_ttl = true;
    }
}

bool weft__dns_rr_address(struct weft_address *ret, const struct weft__dns_rr *rr, uint16_t type)
{
    *ret = (struct weft_address){.len = 0};
    if (type == WEFT_DNS_A) {
        struct sockaddr_in in4 = {.sin_family = AF_INET};
        memcpy(&in4.sin_addr, rr->msg + rr->at, 4);
        memcpy(&ret->sa, &in4, sizeof in4);
        ret->len = sizeof in4;
    } else if (type == WEFT_DNS_AAAA) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        memcpy(&in6.sin6_addr, rr->msg + rr->at, 16);
        memcpy(&ret->sa, &in6, sizeof in6);
        ret->len = sizeof in6;
    }
    return ret->len > 0;
}

/* --- Answers for callers ---------------------------------------------------------------------- */

struct build {
    uint16_t type;
    uint32_t age_s;
    size_t bytes;               /* first pass: what the texts take */
    struct weft_dns_record *at; /* second pass: where the next record and text go */
    char *text;
};

static size_t skip_of(uint16_t type)
{
    return type == WEFT_DNS_SRV ? 6 : type == WEFT_DNS_MX ? 2 : 0;
}

static void measure(void *arg, const struct weft__dns_rr *rr)
{
    struct build *b = arg;
    char name[WEFT__DNS_TEXT];
    struct weft__reader r = {.data = rr->msg, .len = rr->at + rr->size, .pos = rr->at};
    if (b->type == WEFT_DNS_TXT) {
        b->bytes += rr->size + 1;
    } else if (b->type != WEFT_DNS_A && b->type != WEFT_DNS_AAAA) {
        if (weft__reader_skip(&r, skip_of(b->type)) && read_name(&r, name))
            b->bytes += strlen(name) + 1;
    }
}

static uint32_t left_of(uint32_t ttl_s, uint32_t age_s)
{
    return ttl_s > age_s ? ttl_s - age_s : 0;
}

static void fill(void *arg, const struct weft__dns_rr *rr)
{
    struct build *b = arg;
    char name[WEFT__DNS_TEXT];
    const unsigned char *p = rr->msg + rr->at;
    struct weft__reader r = {.data = rr->msg, .len = rr->at + rr->size, .pos = rr->at};
    struct weft_dns_record *rec = b->at++;
    *rec = (struct weft_dns_record){.ttl_s = left_of(rr->ttl_s, b->age_s)};
    if (weft__dns_rr_address(&rec->address, rr, b->type))
        return;
    if (b->type == WEFT_DNS_TXT) {
        unsigned char len;
        rec->text = b->text;
        while (weft__reader_u8(&r, &len)) {
            memcpy(b->text, r.data + r.pos, len);
            b->text += len;
            (void)weft__reader_skip(&r, len);
        }
        rec->text_len = (size_t)(b->text - rec->text);
        *b->text++ = '\0';
        return;
    }
    if (!weft__reader_skip(&r, skip_of(b->type)) || !read_name(&r, name))
        return;
    if (b->type != WEFT_DNS_PTR)
        rec->priority = (uint16_t)u16(p);
    if (b->type == WEFT_DNS_SRV) {
        rec->weight = (uint16_t)u16(p + 2);
        rec->port = (uint16_t)u16(p + 4);
    }
    rec->name = b->text;
    strcpy(b->text, name); /* measured before */
    b->text += strlen(name) + 1;
}

static void swap_to(struct weft_dns_record *at, size_t from, size_t to)
{
    struct weft_dns_record r = at[from];
    memmove(at + to + 1, at + to, (from - to) * sizeof *at);
    at[to] = r;
}

/* By priority, and as they came where that is equal. */
static void sort_priority(struct weft_dns_record *at, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        size_t to = i;
        while (to > 0 && at[to - 1].priority > at[i].priority)
            to--;
        if (to < i)
            swap_to(at, i, to);
    }
}

/* RFC 2782, "Weight": those without one first, then drawn by the running sum. */
static void draw_weights(struct weft_dns_record *at, size_t n)
{
    for (size_t i = 0, zeros = 0; i < n; i++)
        if (at[i].weight == 0)
            swap_to(at, i, zeros++);
    for (size_t first = 0; first + 1 < n; first++) {
        uint64_t sum = 0, run = 0;
        for (size_t i = first; i < n; i++)
            sum += at[i].weight;
        uint64_t draw = weft_random_below(sum + 1);
        size_t pick = first;
        for (size_t i = first; i < n; i++) {
            run += at[i].weight;
            if (run >= draw) {
                pick = i;
                break;
            }
        }
        swap_to(at, pick, first);
    }
}

static void sort(struct weft_dns_record *at, size_t n, uint16_t type)
{
    if (type != WEFT_DNS_SRV && type != WEFT_DNS_MX)
        return;
    sort_priority(at, n);
    for (size_t i = 0, end; type == WEFT_DNS_SRV && i < n; i = end) {
        for (end = i + 1; end < n && at[end].priority == at[i].priority;)
            end++;
        draw_weights(at + i, end - i);
    }
}

struct weft_dns_answer *weft__dns_build(const unsigned char *msg, size_t len, const char *name,
                                        uint16_t type, uint32_t age_s)
{
    struct build b = {.type = type, .age_s = age_s};
    struct weft__dns_scan s;
    weft__dns_scan(&s, msg, len, name, type, measure, &b);
    struct weft_dns_answer *a =
        weft__alloc(sizeof *a + s.n * sizeof *b.at + b.bytes + strlen(s.name) + 1);
    if (a == NULL)
        return NULL;
    struct weft_dns_record *at = (struct weft_dns_record *)(void *)(a + 1);
    b.at = at;
    b.text = (char *)(at + s.n);
    weft__dns_scan(&s, msg, len, name, type, fill, &b);
    *a = (struct weft_dns_answer){.type = (enum weft_dns_type)type,
                                  .ttl_s = left_of(s.ttl_s, age_s),
                                  .name = b.text,
                                  .n = s.n,
                                  .at = at};
    strcpy(b.text, s.name);
    sort(at, s.n, type);
    return a;
}

void weft_dns_answer_free(struct weft_dns_answer **a)
{
    weft__free(*a);
    *a = NULL;
}

size_t weft__dns_write_bare(unsigned char *buf, size_t cap, uint16_t id, unsigned rcode,
                            const char *name, uint16_t type)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    weft__writer_number(&w, 2, id);
    weft__writer_number(&w, 2, 0x8180 | rcode); /* an answer, recursion */
    weft__writer_number(&w, 2, 1);
    weft__writer_number(&w, 6, 0);
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        weft__writer_number(&w, 1, len);
        weft__writer_bytes(&w, name, len);
        name += len + (name[len] == '.');
    }
    weft__writer_number(&w, 1, 0);
    weft__writer_number(&w, 2, type);
    weft__writer_number(&w, 2, CLASS_IN);
    return w.full ? 0 : w.pos;
}

size_t weft__dns_write_address(unsigned char *buf, size_t cap, const char *name, uint16_t type,
                               const unsigned char *data, size_t size)
{
    size_t head = weft__dns_write_bare(buf, cap, 0, 0, name, type);
    struct weft__writer w = weft__writer_of(buf + head, cap - head);
    if (head == 0)
        return 0;
    buf[7] = 1;                                  /* one answer */
    weft__writer_number(&w, 2, 0xc000 | HEADER); /* whose name is that of the question */
    weft__writer_number(&w, 2, type);
    weft__writer_number(&w, 2, CLASS_IN);
    weft__writer_number(&w, 4, 0);
    weft__writer_number(&w, 2, size);
    weft__writer_bytes(&w, data, size);
    return w.full ? 0 : head + w.pos;
}
