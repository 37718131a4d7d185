/* SPDX-License-Identifier: MIT */
/* Notes of what a file is a part of: see part.h. Floor 6. */
#include "part.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".weft-resume"
#define NOTE_MAX 16384
#define CLOCKS_APART_S 60 /* between the server's clock and that of who changed the file */

/* --- What names a version --------------------------------------------------------------------- */

static bool is_strong_etag(const char *text)
{
    size_t len = strlen(text);
    if (len < 2 || len >= PART_VALIDATOR_MAX || text[0] != '"' || text[len - 1] != '"')
        return false;
    for (size_t i = 1; i < len - 1; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == '"' || text[i] == 0x7f)
            return false;
    return true;
}

static bool second_of(const char *text, int64_t *ret)
{
    return text != NULL && weft_http_date_parse(text, strlen(text), 0, ret) == 0;
}

/* A date names a version only where that has not changed twice in its second (section 8.8.2.2). */
static bool is_strong_date(const char *modified, const char *date)
{
    int64_t then, now;
    return second_of(modified, &then) && second_of(date, &now) && now - then >= CLOCKS_APART_S &&
           strlen(modified) < PART_VALIDATOR_MAX;
}

/* NULL: nothing that If-Range may say. A date must not stand in for a weak ETag. */
static const char *validator_of(const struct weft_http_reply *r)
{
    const char *etag = weft_http_reply_field(r, "ETag");
    const char *modified = weft_http_reply_field(r, "Last-Modified");
    if (weft_http_reply_field(r, "Content-Encoding") != NULL)
        return NULL; /* it is of other bytes than the decoded ones in the file */
    if (etag != NULL)
        return is_strong_etag(etag) ? etag : NULL;
    return is_strong_date(modified, weft_http_reply_field(r, "Date")) ? modified : NULL;
}

bool part_is_other(const struct part *p, const struct weft_http_reply *r)
{
    const char *is = weft_http_reply_field(r, p->validator[0] == '"' ? "ETag" : "Last-Modified");
    return p->validator[0] != '\0' && is != NULL && strcmp(is, p->validator) != 0;
}

/* --- The note --------------------------------------------------------------------------------- */

static ssize_t read_note(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, buf, cap) : -1;
    if (fd >= 0)
        close(fd);
    return n;
}

/* "URL\nVALIDATOR\n", or it was not written to its end. */
void part_open(struct part *p, const char *file, const char *url)
{
    char buf[NOTE_MAX + 1];
    *p = (struct part){.url = url};
    if (file == NULL || (size_t)snprintf(p->path, sizeof p->path, "%s" SUFFIX, file) >= PATH_MAX) {
        p->path[0] = '\0';
        return;
    }
    ssize_t n = read_note(p->path, buf, NOTE_MAX);
    size_t url_len = strlen(url);
    if (n < 0 || (size_t)n < url_len + 2 || memcmp(buf, url, url_len) != 0 ||
        buf[url_len] != '\n' || buf[n - 1] != '\n')
        return;
    buf[n - 1] = '\0';
    const char *validator = buf + url_len + 1;
    size_t len = (size_t)n - url_len - 2;
    if (strlen(validator) == len && len < sizeof p->validator && strchr(validator, '\n') == NULL)
        memcpy(p->validator, validator, len + 1);
}

void part_forget(struct part *p)
{
    if (p->path[0] != '\0')
        (void)unlink(p->path);
    p->validator[0] = '\0';
}

/* For its owner alone, as there may be secrets in a URL. */
void part_note(struct part *p, const struct weft_http_reply *r)
{
    char buf[NOTE_MAX];
    const char *validator = weft_http_reply_status(r) == 200 ? validator_of(r) : NULL;
    if (p->path[0] == '\0' || validator == NULL || strchr(p->url, '\n') != NULL)
        return;
    int n = snprintf(buf, sizeof buf, "%s\n%s\n", p->url, validator);
    if (n < 0 || (size_t)n >= sizeof buf)
        return;
    int fd = open(p->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    ssize_t written = write(fd, buf, (size_t)n);
    if (close(fd) < 0 || written != n)
        (void)unlink(p->path);
}
