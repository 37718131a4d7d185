/* SPDX-License-Identifier: MIT */
/*
 * What is not synced on a simulated disk: noting it, syncing it, and what a crash makes of it; see
 * disk_inode.h.
 *
 * Floor 1. A change of names rests on an earlier one when both are about the same name or inode, or
 * one is about a name in a directory that the other is about; and the move of a directory rests on
 * all before it, so that no crash makes a directory its own ancestor.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sys/sim/disk_inode.h"
#include "sys/sim/memory.h"

/* Rarely do 100 changes all survive when chance looks at each alone, so it first decides over the
 * crash as a whole. */
enum mood { MOOD_NONE, MOOD_ALL, MOOD_EACH, MOOD_EACH_TOO, MOODS };

/* --- Images ----------------------------------------------------------------------------------- */

static void image_resize(struct weft__image *m, int64_t size)
{
    if (size < m->size)
        memset(m->bytes + size, 0, (size_t)(m->size - size));
    m->size = size;
}

static void image_write(struct weft__image *m, const uint8_t *bytes, int64_t len, int64_t offset)
{
    memcpy(m->bytes + offset, bytes, (size_t)len);
    m->size = weft__max_i64(m->size, offset + len);
}

static int image_grow(struct weft__image *m, int64_t before, int64_t room)
{
    uint8_t *bytes = weft__realloc(m->bytes, (size_t)room);
    if (bytes == NULL)
        return -ENOMEM;
    memset(bytes + before, 0, (size_t)(room - before));
    m->bytes = bytes;
    return 0;
}

int weft__inode_reserve(struct weft__inode *i, int64_t size)
{
    if (size > WEFT__SIM_FILE_MAX)
        return -EFBIG;
    if (size <= i->room)
        return 0;
    int64_t room = weft__max_i64(i->room, WEFT__SECTOR);
    while (room < size)
        room *= 2;
    if (image_grow(&i->now, i->room, room) < 0 || image_grow(&i->stored, i->room, room) < 0)
        return -ENOMEM;
    i->room = room;
    return 0;
}

/* --- Changes of content ----------------------------------------------------------------------- */

static void apply(struct weft__inode *i, const struct weft__change *c)
{
    if (c->len < 0)
        image_resize(&i->stored, c->offset);
    else
        image_write(&i->stored, c->bytes, c->len, c->offset);
}

static struct weft__change *take_change(struct weft__inode *i)
{
    struct weft__node *n = weft__list_pop_front(&i->changes);
    if (n == NULL)
        return NULL;
    struct weft__change *c = WEFT__CONTAINER_OF(n, struct weft__change, link);
    i->n_changes--;
    i->change_bytes -= weft__max_i64(c->len, 0);
    return c;
}

static int note_change(struct weft__inode *i, const void *buf, int64_t len, int64_t offset)
{
    size_t bytes = (size_t)weft__max_i64(len, 0);
    struct weft__change *c = weft__alloc(sizeof *c + bytes);
    if (c == NULL)
        return -ENOMEM;
    *c = (struct weft__change){.offset = offset, .len = len};
    if (bytes > 0)
        memcpy(c->bytes, buf, bytes);
    weft__list_push_back(&i->changes, &c->link);
    i->n_changes++;
    i->change_bytes += (int64_t)bytes;
    while (i->n_changes > WEFT__SIM_WRITES_MAX || i->change_bytes > WEFT__SIM_WRITE_BYTES_MAX) {
        c = take_change(i);
        apply(i, c);
        weft__free(c);
    }
    return 0;
}

int weft__inode_write(struct weft__inode *i, const void *buf, int64_t len, int64_t offset)
{
    int err = weft__inode_reserve(i, offset + len);
    if (err == 0)
        err = note_change(i, buf, len, offset);
    if (err < 0)
        return err;
    image_write(&i->now, buf, len, offset);
    weft__inode_charge(i);
    return 0;
}

int weft__inode_truncate(struct weft__inode *i, int64_t size)
{
    int err = weft__inode_reserve(i, size);
    if (err == 0)
        err = note_change(i, NULL, -1, size);
    if (err < 0)
        return err;
    image_resize(&i->now, size);
    weft__inode_charge(i);
    return 0;
}

void weft__inode_sync(struct weft__inode *i, bool failed)
{
    struct weft__world *w = i->disk->host->world;
    struct weft__change *c;
    weft__trace(w, i->disk->host, NULL,
                failed ? "disk: sync of inode %" PRIi64 " fails, %" PRIi64 " changes"
                       : "disk: syncs inode %" PRIi64 ", %" PRIi64 " changes",
                (int64_t)i->number, (int64_t)i->n_changes, 0, 0);
    while ((c = take_change(i)) != NULL) {
        if (!failed || weft__world_below(w, 2) == 0)
            apply(i, c);
        weft__free(c);
    }
}

/* --- Changes of names ------------------------------------------------------------------------- */

static void let_go(struct weft__entry *e)
{
    if (e == NULL)
        return;
    e->pending--;
    weft__entry_check(e);
}

/* Out of the log: onto the disk, or lost. */
static void end_naming(struct weft__disk *d, struct weft__naming *n, bool keep)
{
    if (keep && n->gone != NULL)
        weft__entry_store(n->gone, NULL);
    if (keep && n->made != NULL)
        weft__entry_store(n->made, n->inode);
    weft__list_remove(&n->link);
    d->n_namings--;
    let_go(n->gone);
    let_go(n->made);
    weft__inode_unref(n->inode);
    weft__free(n);
}

int weft__disk_name(struct weft__disk *d, struct weft__entry *gone, struct weft__entry *made,
                    struct weft__inode *i)
{
    struct weft__naming *n = weft__calloc(1, sizeof *n);
    if (n == NULL)
        return -ENOMEM;
    n->gone = gone;
    n->made = made;
    n->inode = i;
    n->moves_dir = gone != NULL && made != NULL && S_ISDIR(i->mode);
    weft__inode_ref(i);
    if (gone != NULL) {
        gone->pending++;
        weft__entry_see(gone, NULL);
    }
    if (made != NULL) {
        made->pending++;
        weft__entry_see(made, i);
    }
    weft__list_push_back(&d->namings, &n->link);
    if (++d->n_namings > WEFT__SIM_NAMES_MAX) {
        struct weft__node *oldest = weft__list_first(&d->namings);
        end_naming(d, WEFT__CONTAINER_OF(oldest, struct weft__naming, link), true);
    }
    return 0;
}

static bool in_dir(const struct weft__naming *n, const struct weft__inode *dir)
{
    return dir != NULL &&
           ((n->gone != NULL && n->gone->dir == dir) || (n->made != NULL && n->made->dir == dir));
}

static bool names(const struct weft__naming *n, const struct weft__entry *e)
{
    return e != NULL && (n->gone == e || n->made == e);
}

static bool rests_on(const struct weft__naming *later, const struct weft__naming *n)
{
    return later->moves_dir || names(later, n->gone) || names(later, n->made) ||
           later->inode == n->inode || in_dir(later, n->inode) || in_dir(n, later->inode);
}

void weft__disk_sync_dir(struct weft__inode *dir)
{
    struct weft__disk *d = dir->disk;
    size_t chosen = 0;
    for (struct weft__node *l = weft__list_last(&d->namings); l != NULL && l != &d->namings.head;
         l = l->prev) {
        struct weft__naming *n = WEFT__CONTAINER_OF(l, struct weft__naming, link);
        n->chosen = in_dir(n, dir);
        for (struct weft__node *o = l->next; o != &d->namings.head && !n->chosen; o = o->next) {
            const struct weft__naming *later = WEFT__CONTAINER_OF(o, struct weft__naming, link);
            n->chosen = later->chosen && rests_on(later, n);
        }
        chosen += n->chosen;
    }
    weft__trace(d->host->world, d->host, NULL,
                "disk: syncs directory %" PRIi64 ", %" PRIi64 " changes", (int64_t)dir->number,
                (int64_t)chosen, 0, 0);
    WEFT__LIST_EACH_SAFE(&d->namings, l, next) {
        struct weft__naming *n = WEFT__CONTAINER_OF(l, struct weft__naming, link);
        if (n->chosen)
            end_naming(d, n, true);
    }
}

/* --- Crashes ---------------------------------------------------------------------------------- */

static enum mood mood_of(struct weft__world *w)
{
    return (enum mood)weft__world_below(w, MOODS);
}

static void tell_change(const struct weft__inode *i, const char *fmt, const struct weft__change *c,
                        int64_t border)
{
    const struct weft__host *h = i->disk->host;
    weft__trace(h->world, h, NULL, fmt, (int64_t)i->number, c->len, c->offset, border);
}

/* A part of it, up to a border of sectors or from one on. False: it lies in one sector. */
static bool tear(struct weft__inode *i, const struct weft__change *c)
{
    int64_t first = c->offset / WEFT__SECTOR + 1;
    int64_t last = (c->offset + c->len - 1) / WEFT__SECTOR;
    struct weft__world *w = i->disk->host->world;
    if (c->len < 0 || last < first)
        return false;
    int64_t border = first + (int64_t)weft__world_below(w, (uint64_t)(last - first + 1));
    int64_t head = border * WEFT__SECTOR - c->offset;
    if (weft__world_below(w, 2) == 0)
        image_write(&i->stored, c->bytes, head, c->offset);
    else
        image_write(&i->stored, c->bytes + head, c->len - head, c->offset + head);
    tell_change(i,
                "disk: inode %" PRIi64 ": write of %" PRIi64 " at %" PRIi64 " is torn at %" PRIi64,
                c, border * WEFT__SECTOR);
    return true;
}

static void crash_content(struct weft__inode *i)
{
    struct weft__world *w = i->disk->host->world;
    enum mood mood = i->n_changes > 0 ? mood_of(w) : MOOD_NONE;
    struct weft__change *c;
    while ((c = take_change(i)) != NULL) {
        uint64_t fate = mood == MOOD_ALL ? 0 : mood == MOOD_NONE ? 1 : weft__world_below(w, 3);
        if (fate == 0)
            apply(i, c);
        else if (fate == 1 || !tear(i, c))
            tell_change(i,
                        c->len < 0 ? "disk: inode %" PRIi64 ": new size is lost"
                                   : "disk: inode %" PRIi64 ": write of %" PRIi64 " at %" PRIi64
                                     " is lost",
                        c, 0);
        weft__free(c);
    }
}

static void tell_naming(const struct weft__disk *d, const struct weft__naming *n)
{
    char text[120];
    if (n->gone != NULL && n->made != NULL)
        (void)snprintf(text, sizeof text, "disk: renaming '%.40s' to '%.40s' is lost",
                       n->gone->name, n->made->name);
    else
        (void)snprintf(text, sizeof text, "disk: %s '%.60s' is lost",
                       n->made != NULL ? "making" : "removing",
                       n->made != NULL ? n->made->name : n->gone->name);
    weft__trace_note(d->host->world, d->host, text);
}

static void crash_names(struct weft__disk *d)
{
    struct weft__world *w = d->host->world;
    enum mood mood = d->n_namings > 0 ? mood_of(w) : MOOD_NONE;
    WEFT__LIST_EACH(&d->namings, l) {
        struct weft__naming *n = WEFT__CONTAINER_OF(l, struct weft__naming, link);
        n->chosen = mood == MOOD_ALL || (mood != MOOD_NONE && weft__world_below(w, 2) == 0);
        for (struct weft__node *o = d->namings.head.next; o != l && n->chosen; o = o->next) {
            const struct weft__naming *before = WEFT__CONTAINER_OF(o, struct weft__naming, link);
            n->chosen = before->chosen || !rests_on(n, before);
        }
        if (!n->chosen)
            tell_naming(d, n);
    }
    WEFT__LIST_EACH_SAFE(&d->namings, l, next) {
        struct weft__naming *n = WEFT__CONTAINER_OF(l, struct weft__naming, link);
        end_naming(d, n, n->chosen);
    }
}

/* What is seen from now on is what is on the disk. */
static void reread(struct weft__inode *i)
{
    for (size_t k = i->n_entries; k-- > 0;) {
        struct weft__entry *e = i->entries[k];
        weft__entry_see(e, e->stored);
        weft__entry_check(e);
    }
    if (i->room > 0)
        memcpy(i->now.bytes, i->stored.bytes, (size_t)i->room);
    i->now.size = i->stored.size;
    weft__inode_charge(i);
}

void weft__disk_crash(struct weft__host *h)
{
    struct weft__disk *d = h->disk;
    if (d == NULL)
        return;
    /* Held, so that none goes while the list is walked. */
    WEFT__LIST_EACH(&d->inodes, l)
        weft__inode_ref(WEFT__CONTAINER_OF(l, struct weft__inode, link));
    crash_names(d);
    WEFT__LIST_EACH(&d->inodes, l) {
        struct weft__inode *i = WEFT__CONTAINER_OF(l, struct weft__inode, link);
        crash_content(i);
        reread(i);
    }
    WEFT__LIST_EACH_SAFE(&d->inodes, l, next)
        weft__inode_unref(WEFT__CONTAINER_OF(l, struct weft__inode, link));
}

void weft__disk_close(struct weft__host *h)
{
    struct weft__disk *d = h->disk;
    if (d == NULL)
        return;
    WEFT__LIST_EACH(&d->inodes, l)
        weft__inode_ref(WEFT__CONTAINER_OF(l, struct weft__inode, link));
    WEFT__LIST_EACH_SAFE(&d->namings, l, next)
        end_naming(d, WEFT__CONTAINER_OF(l, struct weft__naming, link), false);
    WEFT__LIST_EACH(&d->inodes, l) {
        struct weft__inode *i = WEFT__CONTAINER_OF(l, struct weft__inode, link);
        for (size_t k = i->n_entries; k-- > 0;) {
            struct weft__entry *e = i->entries[k];
            weft__entry_see(e, NULL);
            weft__entry_store(e, NULL);
            weft__entry_check(e);
        }
    }
    WEFT__LIST_EACH_SAFE(&d->inodes, l, next)
        weft__inode_unref(WEFT__CONTAINER_OF(l, struct weft__inode, link));
    weft__inode_unref(d->root);
    WEFT__ASSERT(weft__list_empty(&d->inodes));
    weft__free(d);
    h->disk = NULL;
}
