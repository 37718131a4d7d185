/* SPDX-License-Identifier: MIT */
/*
 * The resolver's options, and resolv.conf behind them (floor 4). See resolv.conf(5).
 *
 * Invariants: what a program gives is checked and refused when it is wrong; what a file says and we
 * do not understand is passed over, as other readers of that file do.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "dns/dns.h"
#include "sys/call.h"
#include "sys/call_file.h"

#define FILE_SERVERS 3 /* as resolv.conf(5) has it */
#define PORT 53
#define TIMEOUT_MAX_MS 60000
#define TRIES_MAX 10
#define NDOTS_MAX 15
#define CACHE_DEFAULT 1024
#define CACHE_MAX 65536

/* --- Files ------------------------------------------------------------------------------------ */

bool weft__dns_changed(const char *path, const struct weft__dns_stamp *old,
                       struct weft__dns_stamp *now)
{
    struct stat st;
    *now = (struct weft__dns_stamp){.there = false};
    if (path[0] != '\0' && stat(path, &st) == 0)
        *now = (struct weft__dns_stamp){
            .there = true,
            .dev = st.st_dev,
            .ino = st.st_ino,
            .size = (uint64_t)st.st_size,
            .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
            .ctime_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec,
        };
    return now->there != old->there || now->dev != old->dev || now->ino != old->ino ||
           now->size != old->size || now->mtime_ns != old->mtime_ns ||
           now->ctime_ns != old->ctime_ns;
}

static int load(char *buf, size_t max, int fd)
{
    size_t n = 0;
    ssize_t r;
    do {
        r = weft__call_pread(fd, buf + n, max - n, (int64_t)n);
        n += r > 0 ? (size_t)r : 0;
    } while (r > 0 && n < max);
    buf[n] = '\0';
    return r < 0 ? (int)r : 0;
}

int weft__dns_load(char **ret, const char *path, size_t max)
{
    struct stat st = {.st_size = 0};
    char *buf = NULL;
    int fd = path[0] != '\0' ? weft__call_open(path, O_RDONLY, 0) : -ENOENT;
    int err = fd >= 0 ? weft__call_fstat(fd, &st) : fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
    if (err == 0 && !S_ISREG(st.st_mode))
        max = 0; /* also a name that leads nowhere: it says nothing */
    if (err == 0) {
        /* It may grow meanwhile; then it is read again with the next look-up. */
        max = weft__min_size(max, (size_t)st.st_size);
        buf = weft__alloc(max + 1);
        err = buf == NULL ? -ENOMEM : max > 0 ? load(buf, max, fd) : 0;
        if (err == 0 && max == 0)
            buf[0] = '\0';
    }
    if (fd >= 0)
        (void)weft__call_close_file(fd);
    if (err < 0) {
        weft__free(buf);
        return err == -ENOMEM ? err : weft__fail(err, "cannot read %s", path);
    }
    *ret = buf;
    return 0;
}

/* --- Parts of both ---------------------------------------------------------------------------- */

/* The next word of *at, in place, and *at behind it; NULL: none left. */
static char *word(char **at, const char *ends)
{
    char *w = *at + strspn(*at, ends);
    size_t len = strcspn(w, ends);
    if (len == 0)
        return NULL;
    *at = w + len + (w[len] != '\0');
    w[len] = '\0';
    return w;
}

/* "1.2.3.4", "1.2.3.4:53", "::1", "[::1]:53"; text is cut up. */
static bool read_server(struct weft_address *ret, char *text)
{
    char *port = NULL, *host = text, *end;
    long number = PORT;
    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return false;
        port = end[1] == ':' ? end + 2 : NULL;
        *end = '\0';
    } else {
        char *colon = strchr(text, ':');
        if (colon != NULL && strchr(colon + 1, ':') == NULL) {
            *colon = '\0';
            port = colon + 1;
        }
    }
    if (port != NULL) {
        number = strtol(port, &end, 10);
        if (port[0] < '0' || port[0] > '9' || *end != '\0' || number < 1 || number > 65535)
            return false;
    }
    /* c-ares has no place for a scope, so an address that needs one cannot be reached. */
    return strchr(host, '%') == NULL && weft_address_ip(ret, host, (int)number) == 0;
}

/* Adds a domain; false when it is none. The root, ".", adds nothing. */
static bool add_domain(struct weft__dns_conf *c, const char *text)
{
    bool absolute;
    char *to = c->domains[c->n_domains];
    if (strcmp(text, ".") == 0)
        return true;
    if (weft__dns_name(to, text, &absolute) < 0)
        return false;
    c->n_domains++;
    return true;
}

/* --- Options ---------------------------------------------------------------------------------- */

static int give_servers(struct weft__dns_conf *c, char *text)
{
    for (char *w; (w = word(&text, ", \t")) != NULL; c->n_servers++) {
        char before[80];
        (void)snprintf(before, sizeof before, "%s", w);
        if (c->n_servers == WEFT__DNS_SERVERS)
            return weft__fail(-EINVAL, "servers: more than %d", WEFT__DNS_SERVERS);
        if (!read_server(&c->servers[c->n_servers], w))
            return weft__fail(-EINVAL, "servers: not an address with or without a port: %s",
                              before);
    }
    return c->n_servers > 0 ? 0 : weft__fail(-EINVAL, "servers: there is none");
}

static int give_search(struct weft__dns_conf *c, char *text)
{
    for (char *w; (w = word(&text, ", \t")) != NULL;) {
        if (c->n_domains == WEFT__DNS_DOMAINS)
            return weft__fail(-EINVAL, "search: more than %d domains", WEFT__DNS_DOMAINS);
        if (!add_domain(c, w))
            return weft__fail(-EINVAL, "search: not a domain: %.80s", w);
    }
    return 0;
}

static int check_numbers(const struct weft_dns_options *o)
{
    const struct {
        const char *name;
        int64_t value, max;
    } numbers[] = {
        {"ndots", o->ndots, NDOTS_MAX},
        {"timeout_ms", o->timeout_ms, TIMEOUT_MAX_MS},
        {"tries", o->tries, TRIES_MAX},
        {"cache_entries", (int64_t)weft__min_size(o->cache_entries, INT32_MAX), CACHE_MAX},
        {"ttl_min_ms", o->ttl_min_ms, INT32_MAX},
        {"ttl_max_ms", o->ttl_max_ms, INT32_MAX},
        {"negative_max_ms", o->negative_max_ms, INT32_MAX},
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(numbers); i++)
        if (numbers[i].value < 0 || numbers[i].value > numbers[i].max)
            return weft__fail(-EINVAL, "%s: 0 to %lld can be had", numbers[i].name,
                              (long long)numbers[i].max);
    return 0;
}

static size_t length(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static char *copy(char **to, const char *text)
{
    char *at = *to;
    if (text == NULL)
        return NULL;
    strcpy(at, text); /* measured before */
    *to += strlen(text) + 1;
    return at;
}

int weft__dns_settings_make(struct weft__dns_settings **ret, const struct weft_dns_options *o)
{
    static const struct weft_dns_options none = {.servers = NULL};
    o = o != NULL ? o : &none;
    int err = check_numbers(o);
    if (err < 0)
        return err;
    struct weft__dns_settings *s =
        weft__calloc(1, sizeof *s + length(o->servers) + length(o->search) +
                            length(o->resolv_conf) + length(o->hosts));
    if (s == NULL)
        return -ENOMEM;
    char *to = s->text;
    s->o = *o;
    s->o.resolv_conf = o->resolv_conf != NULL ? copy(&to, o->resolv_conf) : "/etc/resolv.conf";
    s->o.hosts = o->hosts != NULL ? copy(&to, o->hosts) : "/etc/hosts";
    s->o.cache_entries = o->no_cache ? 0 : o->cache_entries > 0 ? o->cache_entries : CACHE_DEFAULT;
    s->o.ttl_max_ms = o->ttl_max_ms > 0 ? o->ttl_max_ms : 86400000;
    s->o.negative_max_ms = o->negative_max_ms > 0 ? o->negative_max_ms : 900000;
    /* Only whether they were given is asked for later; the words are cut up. */
    char *servers = copy(&to, o->servers), *search = copy(&to, o->search);
    if (servers != NULL)
        err = give_servers(&s->given, servers);
    if (err == 0 && search != NULL)
        err = give_search(&s->given, search);
    s->o.servers = servers;
    s->o.search = search;
    if (err < 0) {
        weft__free(s);
        return err;
    }
    *ret = s;
    return 0;
}

/* --- resolv.conf ------------------------------------------------------------------------------ */

static void read_option(struct weft__dns_conf *c, const char *w)
{
    const struct {
        const char *name;
        int *to, least, most, times;
    } numbers[] = {
        {"ndots:", &c->ndots, 0, NDOTS_MAX, 1},
        {"timeout:", &c->timeout_ms, 1, TIMEOUT_MAX_MS / 1000, 1000},
        {"attempts:", &c->tries, 1, TRIES_MAX, 1},
    };
    if (strcmp(w, "rotate") == 0)
        c->rotate = true;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(numbers); i++) {
        size_t len = strlen(numbers[i].name);
        if (strncmp(w, numbers[i].name, len) != 0)
            continue;
        long n = strtol(w + len, NULL, 10);
        n = n < numbers[i].least ? numbers[i].least : n > numbers[i].most ? numbers[i].most : n;
        *numbers[i].to = (int)n * numbers[i].times;
    }
}

static void read_line(struct weft__dns_conf *c, char *line)
{
    static const char blanks[] = " \t\r";
    char *key = word(&line, blanks), *w;
    if (key == NULL || key[0] == '#' || key[0] == ';')
        return;
    if (strcmp(key, "nameserver") == 0) {
        w = word(&line, blanks);
        if (w != NULL && c->n_servers < FILE_SERVERS && read_server(&c->servers[c->n_servers], w))
            c->n_servers++;
    } else if (strcmp(key, "search") == 0 || strcmp(key, "domain") == 0) {
        c->n_domains = 0; /* the last line counts */
        while ((w = word(&line, blanks)) != NULL && c->n_domains < WEFT__DNS_DOMAINS)
            (void)add_domain(c, w);
    } else if (strcmp(key, "options") == 0) {
        while ((w = word(&line, blanks)) != NULL)
            read_option(c, w);
    }
}

void weft__dns_conf_make(struct weft__dns_conf *ret, const struct weft__dns_settings *s, char *text)
{
    struct weft__dns_conf *c = ret;
    const struct weft_dns_options *o = &s->o;
    *c = (struct weft__dns_conf){.ndots = 1, .timeout_ms = 5000, .tries = 2};
    for (char *line; (line = word(&text, "\n")) != NULL;)
        read_line(c, line);
    if (o->servers != NULL) {
        memcpy(c->servers, s->given.servers, sizeof c->servers);
        c->n_servers = s->given.n_servers;
        c->rotate = false;
    }
    if (o->search != NULL) {
        memcpy(c->domains, s->given.domains, sizeof c->domains);
        c->n_domains = s->given.n_domains;
    }
    if (c->n_servers == 0 && weft_address_ip(&c->servers[0], "127.0.0.1", PORT) == 0)
        c->n_servers = 1;
    c->ndots = o->ndots > 0 ? o->ndots : c->ndots;
    c->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : c->timeout_ms;
    c->tries = o->tries > 0 ? o->tries : c->tries;
}
