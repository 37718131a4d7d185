/* SPDX-License-Identifier: MIT */
/*
 * Inodes and directory entries of simulated disks: finding, counting, freeing; see disk_inode.h.
 *
 * Floor 1. Entries of a directory are sorted by name, so that nothing depends on addresses.
 */
#include "sys/sim/disk_inode.h"

#include <string.h>

#include "sys/sim/memory.h"

/* --- Inodes ----------------------------------------------------------------------------------- */

struct weft__inode *weft__inode_new(struct weft__disk *d, mode_t mode)
{
    struct weft__inode *i = weft__calloc(1, sizeof *i);
    if (i == NULL)
        return NULL;
    i->disk = d;
    i->number = ++d->next_number;
    i->mode = mode;
    i->refs = 1;
    weft__list_init(&i->changes);
    weft__list_push_back(&d->inodes, &i->link);
    return i;
}

void weft__inode_ref(struct weft__inode *i)
{
    i->refs++;
}

static void inode_free(struct weft__inode *i)
{
    struct weft__node *n;
    WEFT__ASSERT(i->n_entries == 0);
    while ((n = weft__list_pop_front(&i->changes)) != NULL)
        weft__free(WEFT__CONTAINER_OF(n, struct weft__change, link));
    i->disk->used -= i->charged;
    weft__list_remove(&i->link);
    weft__free(i->now.bytes);
    weft__free(i->stored.bytes);
    weft__free(i->entries);
    weft__free(i);
}

void weft__inode_unref(struct weft__inode *i)
{
    if (i == NULL)
        return;
    WEFT__ASSERT(i->refs > 0);
    if (--i->refs == 0)
        inode_free(i);
}

void weft__inode_charge(struct weft__inode *i)
{
    int64_t bytes = i->links > 0 || i->opens > 0 ? i->now.size : 0;
    i->disk->used += bytes - i->charged;
    i->charged = bytes;
}

/* --- Entries ---------------------------------------------------------------------------------- */

static int compare(const struct weft__entry *e, const char *name, size_t len)
{
    int c = strncmp(e->name, name, len);
    return c != 0 ? c : e->name[len] != '\0';
}

/* Where the name is, or belongs. */
static size_t place_of(const struct weft__inode *dir, const char *name, size_t len)
{
    size_t low = 0, high = dir->n_entries;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(dir->entries[middle], name, len) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct weft__entry *entry_new(struct weft__inode *dir, size_t place, const char *name,
                                     size_t len)
{
    if (dir->n_entries == dir->entries_cap) {
        size_t cap = weft__max_size(2 * dir->entries_cap, 8);
        struct weft__entry **more = weft__realloc(dir->entries, cap * sizeof(struct weft__entry *));
        if (more == NULL)
            return NULL;
        dir->entries = more;
        dir->entries_cap = cap;
    }
    struct weft__entry *e = weft__calloc(1, sizeof *e + len + 1);
    if (e == NULL)
        return NULL;
    e->dir = dir;
    weft__inode_ref(dir);
    memcpy(e->name, name, len);
    memmove(&dir->entries[place + 1], &dir->entries[place],
            (dir->n_entries - place) * sizeof(struct weft__entry *));
    dir->entries[place] = e;
    dir->n_entries++;
    return e;
}

struct weft__entry *weft__entry_get(struct weft__inode *dir, const char *name, size_t len,
                                    bool make)
{
    size_t place = place_of(dir, name, len);
    if (place < dir->n_entries && compare(dir->entries[place], name, len) == 0)
        return dir->entries[place];
    return make ? entry_new(dir, place, name, len) : NULL;
}

void weft__entry_see(struct weft__entry *e, struct weft__inode *i)
{
    struct weft__inode *before = e->now;
    if (before == i)
        return;
    e->now = i;
    if (i != NULL) {
        weft__inode_ref(i);
        i->links++;
        if (S_ISDIR(i->mode))
            i->parent = e->dir;
        weft__inode_charge(i);
    }
    if (before != NULL) {
        before->links--;
        weft__inode_charge(before);
        weft__inode_unref(before);
    }
}

void weft__entry_store(struct weft__entry *e, struct weft__inode *i)
{
    struct weft__inode *before = e->stored;
    e->stored = i;
    if (i != NULL)
        weft__inode_ref(i);
    weft__inode_unref(before);
}

void weft__entry_check(struct weft__entry *e)
{
    struct weft__inode *dir = e->dir;
    if (e->now != NULL || e->stored != NULL || e->pending > 0)
        return;
    size_t place = place_of(dir, e->name, strlen(e->name));
    WEFT__ASSERT(place < dir->n_entries && dir->entries[place] == e);
    dir->n_entries--;
    memmove(&dir->entries[place], &dir->entries[place + 1],
            (dir->n_entries - place) * sizeof(struct weft__entry *));
    weft__free(e);
    weft__inode_unref(dir);
}
