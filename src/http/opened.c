/* SPDX-License-Identifier: MIT */
/*
 * Files that are kept open for the next request (nginx's open_file_cache).
 *
 * Floor 5. One cache for each directory that is served and each worker, who alone uses it, so
 * nothing is locked. An entry is asked by fstat(2) once for all requests that had come by then: a
 * file that was written to, deleted, or replaced by a rename, which is then a file without a name,
 * is noticed at once. What only its path would tell, a directory renamed above it, a symbolic link
 * that leads elsewhere, rights taken away, is noticed when the entry is too old, and opened anew.
 * Likewise the bytes of a small file are read once for all of them.
 *
 * Invariants: at most `max` entries are in the table; one that leaves it while somebody sends from
 * it is closed by the last of them; only regular files are kept, and no failures. Bytes that
 * somebody may be sending are not written to: a slot is filled for an entry that one exchange has,
 * and goes to another entry when no exchange has its own.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/list.h"
#include "http/site.h"
#include "http/static.h"
#include "net/stream.h"

#define SLOTS 64 /* small files whose bytes are at hand */

struct weft__http_kept {
    struct weft__node node; /* in `recent` */
    struct weft__http_kept *chain;
    struct weft__http_kept_files *files;
    uint32_t refs; /* who sends from it */
    bool kept;     /* it is in the table */
    int fd;
    struct stat st;
    int64_t until_ns;
    uint64_t asked; /* the moment in which it was last seen to be the same; 0: none */
    uint64_t read;  /* that of the bytes which the slot has */
    int slot;       /* -1: none */
    struct weft__http_told told;
    size_t hash;
    char path[];
};

struct weft__http_kept_files {
    struct weft__http_kept_files *next; /* of the site */
    const struct weft__http_keep *owner;
    struct weft__list recent; /* the one used last in front */
    size_t count, mask;
    unsigned next_slot;
    struct {
        struct weft__http_kept *of; /* NULL: nobody's */
        char *bytes;                /* WEFT__HTTP_FILE_SMALL; NULL: not needed yet */
    } slots[SLOTS];
    struct weft__http_kept *buckets[];
};

static size_t hash_of(const char *path)
{
    uint64_t h = 5381;
    for (; *path != '\0'; path++)
        h = h * 33 ^ (unsigned char)*path;
    return (size_t)(h ^ h >> 17);
}

static void release(struct weft__http_kept *k)
{
    if (k->kept || k->refs > 0)
        return;
    if (k->slot >= 0)
        k->files->slots[k->slot].of = NULL;
    close(k->fd);
    weft__free(k);
}

static void drop(struct weft__http_kept *k)
{
    struct weft__http_kept_files *files = k->files;
    struct weft__http_kept **at = &files->buckets[k->hash & files->mask];
    while (*at != k)
        at = &(*at)->chain;
    *at = k->chain;
    weft__list_remove(&k->node);
    files->count--;
    k->kept = false;
    release(k);
}

static struct weft__http_kept *oldest(const struct weft__http_kept_files *files)
{
    struct weft__node *n = weft__list_last(&files->recent);
    return n != NULL ? WEFT__CONTAINER_OF(n, struct weft__http_kept, node) : NULL;
}

void weft__http_kept_close(struct weft__http_site *site)
{
    while (site->kept_files != NULL) {
        struct weft__http_kept_files *files = site->kept_files;
        site->kept_files = files->next;
        while (files->count > 0)
            drop(oldest(files));
        for (int i = 0; i < SLOTS; i++) {
            WEFT__ASSERT(files->slots[i].of == NULL); /* exchanges end before their site does */
            weft__free(files->slots[i].bytes);
        }
        weft__free(files);
    }
}

/* The table for one directory; NULL: nothing is kept. A thread without a loop has no moments in
 * which a file is known to be the same. */
static struct weft__http_kept_files *files_of(const struct weft__http_exchange *x,
                                              const struct weft__http_keep *keep)
{
    struct weft__http_site *site = x->site;
    struct weft__http_kept_files *files = site->kept_files;
    if (keep->max <= 0 || site->shared || x->stream->loop == NULL)
        return NULL;
    while (files != NULL && files->owner != keep)
        files = files->next;
    if (files != NULL)
        return files;
    size_t buckets = 16;
    while (buckets < (size_t)keep->max)
        buckets *= 2;
    files = weft__calloc(1, sizeof *files + buckets * sizeof files->buckets[0]);
    if (files == NULL)
        return NULL;
    files->owner = keep;
    files->mask = buckets - 1;
    weft__list_init(&files->recent);
    files->next = site->kept_files;
    site->kept_files = files;
    return files;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/*
 * As long as no operation of the loop ends, nothing new is read and, where it would matter, nothing
 * is sent: who asks in the same moment had asked when it began, and no answer could have led to it.
 * Behind a request of the same piece that may have changed a file it is another moment, too.
 */
static uint64_t moment_of(const struct weft__http_exchange *x)
{
    return x->stream->loop->sys->completions + x->site->unsafe + 1;
}

/* The entry of that path, if it is still what the path means; else it is dropped. */
static struct weft__http_kept *find(struct weft__http_kept_files *files, const char *path,
                                    size_t hash, int64_t now, uint64_t moment)
{
    struct weft__http_kept *k = files->buckets[hash & files->mask];
    struct stat st;
    while (k != NULL && (k->hash != hash || strcmp(k->path, path) != 0))
        k = k->chain;
    if (k == NULL)
        return NULL;
    if (now >= k->until_ns ||
        (k->asked != moment && (fstat(k->fd, &st) < 0 || st.st_nlink == 0 || !same(&st, &k->st)))) {
        drop(k);
        return NULL;
    }
    k->asked = moment;
    weft__list_remove(&k->node);
    weft__list_push_front(&files->recent, &k->node);
    return k;
}

static struct weft__http_kept *keep_it(struct weft__http_kept_files *files, const char *path,
                                       size_t hash, const struct weft__http_opened *o, int64_t now)
{
    size_t len = strlen(path) + 1;
    struct weft__http_kept *k = weft__calloc(1, sizeof *k + len);
    if (k == NULL)
        return NULL;
    while (files->count >= (size_t)files->owner->max)
        drop(oldest(files));
    memcpy(k->path, path, len);
    weft__http_tell(&k->told, &o->st, path, NULL);
    k->files = files;
    k->hash = hash;
    k->fd = o->fd;
    k->st = o->st;
    k->until_ns = now + files->owner->for_ns;
    k->slot = -1;
    k->kept = true;
    k->chain = files->buckets[hash & files->mask];
    files->buckets[hash & files->mask] = k;
    weft__list_push_front(&files->recent, &k->node);
    files->count++;
    return k;
}

static void take(struct weft__http_kept *k, struct weft__http_opened *ret)
{
    k->refs++;
    *ret = (struct weft__http_opened){.fd = k->fd, .st = k->st, .kept = k, .told = &k->told};
}

bool weft__http_opened_kept(struct weft__http_exchange *x, const struct weft__http_keep *keep,
                            const char *path, struct weft__http_opened *ret)
{
    struct weft__http_kept_files *files = files_of(x, keep);
    struct weft__http_kept *k = files != NULL ? find(files, path, hash_of(path),
                                                     weft__stream_now_ns(x->stream), moment_of(x))
                                              : NULL;
    if (k != NULL)
        take(k, ret);
    return k != NULL;
}

/* Room for its bytes; NULL: no memory, or somebody is sending what is there. */
static char *slot_for(struct weft__http_kept *k)
{
    struct weft__http_kept_files *files = k->files;
    if (k->slot >= 0)
        return files->slots[k->slot].bytes;
    unsigned i = files->next_slot++ % SLOTS;
    struct weft__http_kept *before = files->slots[i].of;
    if (before != NULL && before->refs > 0)
        return NULL;
    if (files->slots[i].bytes == NULL)
        files->slots[i].bytes = weft__alloc(WEFT__HTTP_FILE_SMALL);
    if (files->slots[i].bytes == NULL)
        return NULL;
    if (before != NULL)
        before->slot = -1;
    files->slots[i].of = k;
    k->slot = (int)i;
    return files->slots[i].bytes;
}

const char *weft__http_opened_bytes(const struct weft__http_exchange *x,
                                    const struct weft__http_opened *o)
{
    struct weft__http_kept *k = o->kept;
    uint64_t moment = moment_of(x);
    size_t size = (size_t)o->st.st_size;
    WEFT__ASSERT(size > 0 && size <= WEFT__HTTP_FILE_SMALL);
    if (k->slot >= 0 && k->read == moment)
        return k->files->slots[k->slot].bytes;
    char *bytes = k->refs == 1 ? slot_for(k) : NULL;
    if (bytes == NULL)
        return NULL;
    k->read = 0;
    if (weft__http_read_now(k->fd, bytes, size, 0) != (ssize_t)size)
        return NULL;
    k->read = moment;
    return bytes;
}

int weft__http_opened_get(struct weft__http_exchange *x, const struct weft__http_keep *keep,
                          int dirfd, const char *path, struct weft__http_opened *ret)
{
    struct weft__http_kept_files *files = files_of(x, keep);
    int64_t now = weft__stream_now_ns(x->stream);
    size_t hash = files != NULL ? hash_of(path) : 0;
    struct weft__http_kept *k = files != NULL ? find(files, path, hash, now, moment_of(x)) : NULL;
    struct weft__http_opened o = {0};
    if (k == NULL) {
        o.fd = weft__http_open(x, dirfd, path, true);
        if (o.fd < 0)
            return o.fd;
        if (fstat(o.fd, &o.st) < 0) {
            close(o.fd);
            return -ENOENT;
        }
        /* Opening may have waited, and another task may have kept it meanwhile. */
        if (files != NULL && S_ISREG(o.st.st_mode) &&
            find(files, path, hash, now, moment_of(x)) == NULL)
            k = keep_it(files, path, hash, &o, now);
    }
    if (k != NULL)
        take(k, &o);
    *ret = o;
    return 0;
}

void weft__http_opened_put(struct weft__http_opened *o)
{
    if (o->kept != NULL) {
        o->kept->refs--;
        release(o->kept);
    } else {
        close(o->fd);
    }
}
