/* SPDX-License-Identifier: MIT */
/*
 * The files below a directory.
 *
 * Floor 5. The directory is opened once; names are resolved by openat2(2) with RESOLVE_BENEATH, so
 * that the kernel refuses whatever leads outside, "..", absolute or symbolic links, also when the
 * tree is changed meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/site.h"
#include "http/static.h"
#include "net/stream.h"
#include "sys/sim/world.h"
#include "wire/http_field.h"

struct weft__http_static {
    struct weft__http_owned owned;
    int dirfd;
    struct weft__http_keep keep;
    char *index, *cache_control;
    bool list, hidden, precompressed;
};

/* What a failed open(2) is for a client: it learns nothing of what it may not see. */
static int refuse(struct weft_http_response *r, int err)
{
    if (err == -ECANCELED || err == -ETIMEDOUT) /* of the wait for it */
        return err;
    if (err == -EMFILE || err == -ENFILE || err == -ENOMEM)
        return weft_http_error(r, 503, "too many files are open");
    if (err == -EAGAIN)
        return weft_http_error(r, 503, "another program holds the file");
    if (err == -ENAMETOOLONG)
        return weft_http_error(r, 414, NULL);
    return weft_http_error(r, 404, "there is no such file");
}

static bool has_hidden(const char *path)
{
    return path[0] == '.' || strstr(path, "/.") != NULL;
}

/* A directory's slash at the end is the only one with nothing behind it: the kernel takes several
 * for one, but whoever looks at paths, middleware above all, does not. */
static bool is_doubled(const char *path)
{
    return path[0] == '/' || strstr(path, "//") != NULL;
}

/* The sibling NAME.br or NAME.gz that the client likes best: 0, to be put back, or < 0. */
static int open_compressed(struct weft__http_exchange *x, const struct weft__http_static *s,
                           const char *path, struct weft__http_opened *ret, const char **coding)
{
    static const char *const offers[] = {"br", "gzip", "identity"};
    static const char *const endings[] = {".br", ".gz"};
    struct weft__slice accept;
    char name[4096];
    int err = weft__http_list_of(&x->q, WEFT__HN_ACCEPT_ENCODING, &accept);
    if (err < 0 || accept.at == NULL)
        return err < 0 ? err : -ENOENT;
    size_t first = (size_t)weft__http_coding_choose(accept, offers, 3);
    for (size_t k = 0; k < 2; k++) {
        size_t i = first < 2 ? (first + k) % 2 : 2;
        if (i == 2 || weft__http_coding_quality(accept, offers[i]) == 0 ||
            snprintf(name, sizeof name, "%s%s", path, endings[i]) >= (int)sizeof name)
            continue;
        err = weft__http_opened_get(x, &s->keep, s->dirfd, name, ret);
        if (err == -ECANCELED || err == -ETIMEDOUT)
            return err;
        if (err == 0 && S_ISREG(ret->st.st_mode)) {
            *coding = offers[i];
            return 0;
        }
        if (err == 0)
            weft__http_opened_put(ret);
    }
    return -ENOENT;
}

static int send_regular(struct weft__http_exchange *x, const struct weft__http_static *s,
                        const struct weft__http_opened *o, const char *data, const char *path)
{
    struct weft__http_file f = {.fd = o->fd,
                                .st = o->st,
                                .name = path,
                                .cache_control = s->cache_control,
                                .told = o->told,
                                .data = data};
    struct weft__http_opened other;
    int err = 0, second = -ENOENT;
    if (s->precompressed) {
        err = weft__http_vary_by_coding(&x->r);
        second = open_compressed(x, s, path, &other, &f.coding);
        if (second == 0) {
            f.fd = other.fd;
            f.st = other.st;
        } else if (second != -ENOENT) {
            return second;
        }
    }
    if (err == 0)
        err = weft__http_send_file(x, &f);
    if (second == 0)
        weft__http_opened_put(&other);
    return err;
}

/* A directory's name ends with a slash, so that relative links in its index work. One slash at the
 * front: "//host/" would lead elsewhere. */
static int add_slash(struct weft__http_exchange *x)
{
    struct weft__slice path = weft__http_slice(x->q.base, x->q.head.path);
    while (path.len > 1 && path.at[1] == '/')
        path = weft__slice_from(path, 1);
    const char *query = weft_http_query(&x->q);
    size_t most = path.len + (query != NULL ? strlen(query) : 0) + 4;
    char *text = weft__arena_alloc(&x->arena, most);
    if (text == NULL)
        return -ENOMEM;
    (void)snprintf(text, most, "%.*s/%s%s", (int)path.len, path.at, query != NULL ? "?" : "",
                   query != NULL ? query : "");
    return weft_http_redirect(&x->r, 301, text);
}

static int send_directory(struct weft__http_exchange *x, const struct weft__http_static *s, int fd,
                          const char *path)
{
    struct weft__slice whole = weft__http_slice(x->q.base, x->q.head.path);
    struct weft__http_opened index;
    char name[4096];
    if (whole.len > 0 && whole.at[whole.len - 1] != '/')
        return add_slash(x);
    if (s->index[0] != '\0' &&
        snprintf(name, sizeof name, "%s%s", path, s->index) < (int)sizeof name) {
        int err = weft__http_opened_get(x, &s->keep, s->dirfd, name, &index);
        if (err == -ECANCELED || err == -ETIMEDOUT)
            return err;
        bool regular = err == 0 && S_ISREG(index.st.st_mode);
        if (regular)
            err = send_regular(x, s, &index, NULL, name);
        if (regular || err == 0)
            weft__http_opened_put(&index);
        if (regular)
            return err;
    }
    if (!s->list)
        return refuse(&x->r, -ENOENT);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? refuse(&x->r, -errno) : weft__http_send_listing(x, copy, s->hidden);
}

/* What serve_ready has brought. */
struct ahead {
    struct weft__http_ahead base;
    struct weft__http_opened o;
    const char *path;
    const char *data;
};

static struct ahead *ahead_of(struct weft__http_ahead *a)
{
    return WEFT__CONTAINER_OF(a, struct ahead, base);
}

static void put_ahead(struct weft__http_ahead *a)
{
    weft__http_opened_put(&ahead_of(a)->o);
}

/* All bytes of a kept file that is small, if they are in memory. */
static const char *bytes_of(struct weft__http_exchange *x, const struct weft__http_opened *o)
{
    size_t size = (size_t)o->st.st_size;
    if (size == 0 || size > WEFT__HTTP_FILE_SMALL)
        return NULL;
    const char *shared = weft__http_opened_bytes(x, o);
    if (shared != NULL)
        return shared;
    char *own = weft__arena_alloc(&x->arena, size);
    return own != NULL && weft__http_read_now(o->fd, own, size, 0) == (ssize_t)size ? own : NULL;
}

/* A plain request for a small file that is kept open, with all its bytes in memory. */
static bool serve_ready(struct weft__http_exchange *x, void *arg)
{
    const struct weft__http_static *s = arg;
    const uint64_t more = WEFT__HTTP_CONDITIONS | UINT64_C(1) << WEFT__HN_RANGE;
    struct weft__http_opened o;
    if (s->keep.max <= 0 || s->precompressed || x->q.head.method != WEFT__HTTP_GET ||
        (x->q.head.seen & more) != 0)
        return false;
    const char *path = weft__http_param(&x->q, "file");
    size_t len = path != NULL ? strlen(path) : 0;
    if (len == 0 || path[len - 1] == '/' || is_doubled(path) || (!s->hidden && has_hidden(path)) ||
        !weft__http_opened_kept(x, &s->keep, path, &o))
        return false;
    struct ahead *a = NULL;
    const char *data = bytes_of(x, &o);
    if (data != NULL)
        a = weft__arena_alloc(&x->arena, sizeof *a);
    if (a == NULL) {
        weft__http_opened_put(&o);
        return false;
    }
    *a = (struct ahead){.base.put = put_ahead, .o = o, .path = path, .data = data};
    x->ahead = &a->base;
    return true;
}

static int serve_static(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const struct weft__http_static *s = arg;
    struct weft__http_exchange *x = weft__http_of_q(q);
    struct weft__http_opened o;
    if (x->ahead != NULL || serve_ready(x, arg)) {
        const struct ahead *a = ahead_of(x->ahead);
        return send_regular(x, s, &a->o, a->data, a->path);
    }
    const char *path = weft__http_param(q, "file");
    if (path == NULL)
        return -ENOMEM;
    if (is_doubled(path) || (!s->hidden && has_hidden(path)))
        return refuse(r, -ENOENT);
    int err = weft__http_opened_get(x, &s->keep, s->dirfd, path[0] != '\0' ? path : ".", &o);
    if (err < 0)
        return refuse(r, err);
    size_t len = strlen(path);
    if (S_ISDIR(o.st.st_mode))
        err = send_directory(x, s, o.fd, path);
    else if (S_ISREG(o.st.st_mode) && len > 0 && path[len - 1] != '/')
        err = send_regular(x, s, &o, NULL, path);
    else
        err = refuse(r, -ENOENT);
    weft__http_opened_put(&o);
    return err;
}

int weft_http_file(struct weft_http_response *r, const char *path)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    struct weft__http_file f = {.name = path};
    if (weft__sim_proc != NULL)
        return weft__fail(WEFT_EOUTSIDE, "a file of the real system");
    f.fd = weft__http_open(x, AT_FDCWD, path, false);
    if (f.fd < 0)
        return refuse(r, f.fd);
    int err = fstat(f.fd, &f.st) == 0 && S_ISREG(f.st.st_mode) ? weft__http_send_file(x, &f)
                                                               : refuse(r, -ENOENT);
    close(f.fd);
    return err;
}

/* --- Adding ----------------------------------------------------------------------------------- */

static void static_free(struct weft__http_owned *o)
{
    struct weft__http_static *s = WEFT__CONTAINER_OF(o, struct weft__http_static, owned);
    if (s->dirfd >= 0)
        close(s->dirfd);
    weft__free(s->index);
    weft__free(s->cache_control);
    weft__free(s);
}

static int static_open(struct weft__http_static **ret, const struct weft_http_static_options *o)
{
    struct weft__http_static *s = weft__calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->owned.free = static_free;
    s->list = o->list;
    s->hidden = o->hidden;
    s->precompressed = o->precompressed;
    s->keep.max = o->keep_open;
    s->keep.for_ns = (o->keep_ms > 0 ? o->keep_ms : 1000) * 1000000;
    s->index = weft__strdup(o->index != NULL ? o->index : "index.html");
    s->cache_control = o->cache_control != NULL ? weft__strdup(o->cache_control) : NULL;
    s->dirfd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = 0;
    if (s->dirfd < 0)
        err = weft__fail(-errno, "directory '%s'", o->dir);
    else if ((err = weft__http_open_works(s->dirfd)) < 0)
        err = weft__fail(err, "openat2(2) of the directory '%s'", o->dir);
    else if (s->index == NULL || (s->cache_control == NULL && o->cache_control != NULL))
        err = -ENOMEM;
    else if (strchr(s->index, '/') != NULL)
        err = weft__fail(-EINVAL, "the index '%s' is not a plain name", s->index);
    if (err < 0)
        static_free(&s->owned);
    else
        *ret = s;
    return err;
}

int weft_http_static(struct weft_http_app *app, const char *prefix,
                     const struct weft_http_static_options *o)
{
    struct weft__http_static *s = NULL;
    char below[512], itself[512];
    size_t len = prefix != NULL ? strlen(prefix) : 0;
    if (o == NULL || o->dir == NULL || len == 0 || prefix[0] != '/')
        return weft__fail(-EINVAL, "files need a directory and a prefix that begins with '/'");
    if (o->keep_open < 0 || o->keep_open > 100000 || o->keep_ms < 0 || o->keep_ms > 86400000)
        return weft__fail(-EINVAL, "at most 100,000 files can be kept open, for a day at most");
    if (weft__sim_proc != NULL)
        return weft__fail(WEFT_EOUTSIDE, "a directory of the real system");
    bool slash = prefix[len - 1] == '/';
    int n = snprintf(below, sizeof below, "GET %s%s*file", prefix, slash ? "" : "/");
    int m = snprintf(itself, sizeof itself, "GET %s", prefix);
    if (n >= (int)sizeof below || m >= (int)sizeof itself)
        return weft__fail(-EINVAL, "the prefix is too long");
    int err = static_open(&s, o);
    if (err < 0)
        return err;
    s->owned.next = app->owned; /* from here on it is the application's, whatever comes */
    app->owned = &s->owned;
    err = weft_http_route(app, below, serve_static, s);
    if (err == 0)
        app->router.last->ready = serve_ready;
    if (err == 0 && !slash)
        err = weft_http_route(app, itself, serve_static, s);
    return err;
}
