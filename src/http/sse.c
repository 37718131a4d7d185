/* SPDX-License-Identifier: MIT */
/* Server-sent events, as in the HTML standard, section 9.2. Floor 5. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/exchange.h"
#include "wire/cursor.h"

int weft_http_sse_begin(struct weft_http_response *r)
{
    static const char type[] = "text/event-stream", store[] = "no-cache";
    int err = weft__http_set_known(r, "Content-Type", type, sizeof type - 1);
    if (err == 0)
        err = weft__http_set_known(r, "Cache-Control", store, sizeof store - 1);
    r->no_compress = true; /* an event is not to wait in a compressor for others */
    if (err == 0)
        err = weft_http_begin(r);
    return err < 0 ? err : weft_http_flush(r, weft__http_of_r(r)->until);
}

static bool one_line(const char *text)
{
    return text == NULL || strpbrk(text, "\r\n") == NULL;
}

/* "data: " before each line; CR, LF and CRLF end one. */
static void put_data(struct weft__writer *w, const char *data)
{
    for (;;) {
        size_t len = strcspn(data, "\r\n");
        weft__writer_text(w, "data: ");
        weft__writer_bytes(w, data, len);
        weft__writer_u8(w, '\n');
        data += len;
        if (*data == '\0')
            return;
        data += data[0] == '\r' && data[1] == '\n' ? 2 : 1;
    }
}

static size_t lines_of(const char *data)
{
    size_t n = 1;
    for (; *data != '\0'; data++)
        n += *data == '\r' || *data == '\n';
    return n;
}

static void put_line(struct weft__writer *w, const char *name, const char *value)
{
    if (value == NULL)
        return;
    weft__writer_text(w, name);
    weft__writer_text(w, value);
    weft__writer_u8(w, '\n');
}

#define FEW 2048

int weft_http_sse_send(struct weft_http_response *r, const char *event, const char *id,
                       const char *data, weft_deadline d)
{
    char few[FEW];
    if (!one_line(event) || !one_line(id))
        return weft__fail(-EINVAL, "the name and the id of an event are of one line");
    size_t most = 16 + (event != NULL ? strlen(event) + 8 : 0) + (id != NULL ? strlen(id) + 8 : 0) +
                  strlen(data) + 7 * lines_of(data);
    char *buf = most > sizeof few ? weft__alloc(most) : few;
    if (buf == NULL)
        return -ENOMEM;
    struct weft__writer w = weft__writer_of(buf, most);
    put_line(&w, "event: ", event);
    put_line(&w, "id: ", id);
    put_data(&w, data);
    weft__writer_u8(&w, '\n');
    WEFT__ASSERT(!w.full);
    int err = weft_http_write(r, buf, w.pos, d);
    if (buf != few)
        weft__free(buf);
    return err < 0 ? err : weft_http_flush(r, d);
}
