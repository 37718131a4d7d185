/* SPDX-License-Identifier: MIT */
/*
 * The hosts file (floor 4). See hosts(5).
 *
 * Invariants: lines that are not understood are passed over; entries are sorted by name, those of
 * one name as they stand in the file; a file is read up to HOSTS_MAX bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "dns/dns.h"

#define HOSTS_MAX ((size_t)4 << 20)

struct entry {
    const char *name; /* in text */
    uint32_t line;    /* its number, for the order */
    uint32_t address; /* index */
};

struct weft__dns_hosts {
    char *text;
    struct weft_address *addresses;
    struct entry *entries;
    size_t n_addresses, n_entries;
};

void weft__dns_hosts_free(struct weft__dns_hosts *h)
{
    if (h == NULL)
        return;
    weft__free(h->text);
    weft__free(h->addresses);
    weft__free(h->entries);
    weft__free(h);
}

static char *word(char **at)
{
    static const char blanks[] = " \t\r";
    char *w = *at + strspn(*at, blanks);
    size_t len = strcspn(w, blanks);
    if (len == 0)
        return NULL;
    *at = w + len + (w[len] != '\0');
    w[len] = '\0';
    return w;
}

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int by_name = strcmp(x->name, y->name);
    if (by_name != 0)
        return by_name;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* Upper bounds: a line has one address, a name takes two bytes at least. */
static int make_room(struct weft__dns_hosts *h)
{
    size_t lines = 1, words = 1;
    bool in_word = false;
    for (const char *p = h->text; *p != '\0'; p++) {
        bool blank = *p == ' ' || *p == '\t' || *p == '\r' || *p == '\n';
        lines += *p == '\n';
        words += !blank && !in_word;
        in_word = !blank;
    }
    h->addresses = weft__calloc(lines, sizeof *h->addresses);
    h->entries = weft__calloc(words, sizeof *h->entries);
    return h->addresses != NULL && h->entries != NULL ? 0 : -ENOMEM;
}

static void read_line(struct weft__dns_hosts *h, char *line)
{
    struct weft_address a;
    line[strcspn(line, "#")] = '\0';
    char *w = word(&line);
    if (w == NULL || weft_address_ip(&a, w, 0) < 0)
        return;
    h->addresses[h->n_addresses] = a;
    while ((w = word(&line)) != NULL) {
        char name[WEFT__DNS_NAME];
        bool absolute;
        if (weft__dns_name(name, w, &absolute) < 0)
            continue;
        strcpy(w, name); /* not longer than it was */
        h->entries[h->n_entries] = (struct entry){
            .name = w, .line = (uint32_t)h->n_entries, .address = (uint32_t)h->n_addresses};
        h->n_entries++;
    }
    h->n_addresses++;
}

int weft__dns_hosts_load(struct weft__dns_hosts **ret, const char *path)
{
    struct weft__dns_hosts *h = weft__calloc(1, sizeof *h);
    int err = h != NULL ? weft__dns_load(&h->text, path, HOSTS_MAX) : -ENOMEM;
    if (err == 0)
        err = make_room(h);
    if (err < 0) {
        weft__dns_hosts_free(h);
        return err;
    }
    for (char *at = h->text; *at != '\0';) {
        size_t len = strcspn(at, "\n");
        char *next = at + len + (at[len] != '\0');
        at[len] = '\0';
        read_line(h, at);
        at = next;
    }
    weft__error_detail_clear(); /* of what was passed over */
    qsort(h->entries, h->n_entries, sizeof *h->entries, compare);
    *ret = h;
    return 0;
}

void weft__dns_hosts_find(const struct weft__dns_hosts *h, const char *name,
                          void (*each)(void *arg, const struct weft_address *a), void *arg)
{
    size_t low = 0, high = h->n_entries;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(h->entries[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < h->n_entries && strcmp(h->entries[low].name, name) == 0; low++)
        each(arg, &h->addresses[h->entries[low].address]);
}

const char *weft__dns_hosts_name(const struct weft__dns_hosts *h, const struct weft_address *a,
                                 size_t i)
{
    const struct entry *best = NULL;
    struct weft_address want = weft__dns_unmapped(a);
    uint32_t from = 0;
    /* Entries are sorted by name, and wanted as they stand in the file. */
    for (size_t turn = 0; turn <= i; turn++) {
        best = NULL;
        for (size_t k = 0; k < h->n_entries; k++) {
            const struct entry *e = &h->entries[k];
            if (e->line < from || (best != NULL && e->line >= best->line))
                continue;
            struct weft_address has = weft__dns_unmapped(&h->addresses[e->address]);
            if (weft_address_same_host(&has, &want))
                best = e;
        }
        if (best == NULL)
            return NULL;
        from = best->line + 1;
    }
    return best->name;
}
