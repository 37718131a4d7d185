/* SPDX-License-Identifier: MIT */
/*
 * Framing: how records are told apart in a stream of bytes. Lines, netstrings, length prefixes,
 * and records that end in a delimiter of one's own. Bytes in, records out: no I/O happens here,
 * so the same calls serve a stream, a protocol's callback or a file in memory.
 *
 * Reading, with a buffer that is filled elsewhere:
 *
 *     ssize_t n = weft_framing_decode(&f, data, len, &scanned, &record, &record_len);
 *     n > 0: use record[0 .. record_len), then drop n bytes from the front of the buffer
 *     n = 0: add bytes to the buffer's end and call again
 *     n < 0: the stream cannot be made sense of any more; close it
 *
 * Invariants: the result depends on the bytes alone, not on the pieces in which they arrive; a
 * record is never longer than the maximum, and no call asks for more than weft_framing_room()
 * bytes in one buffer. Nothing here waits or allocates; every function may be called from any
 * thread; a struct weft_framing is only read, and may be shared and const.
 */
#ifndef WEFT_FRAMING_H
#define WEFT_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <weft/base.h>

WEFT_BEGIN_DECLS

enum weft_framing_kind {
    WEFT_FRAMING_LINE,      /* bytes, then LF or CRLF, neither of which is part of the record */
    WEFT_FRAMING_NETSTRING, /* "5:hello," with the length in decimal digits */
    WEFT_FRAMING_INT8,      /* one byte of length, then as many bytes */
    WEFT_FRAMING_INT16,     /* two bytes of length, big endian */
    WEFT_FRAMING_INT32,     /* four bytes of length, big endian */
    WEFT_FRAMING_DELIMITER  /* bytes, then the delimiter, which is not part of the record */
};

/* The maximum of a record when `max` is 0. */
#define WEFT_FRAMING_DEFAULT_MAX ((size_t)65536)

/* What goes around a record is at most so many bytes on each side; so is a delimiter. */
#define WEFT_FRAMING_OVERHEAD 24

/* All zero is a line of at most 64 KiB. */
struct weft_framing {
    enum weft_framing_kind kind;
    size_t max;            /* bytes of a record, without what is around it; 0 = 64 KiB. INT8 and
                              INT16 never carry more than 255 and 65,535. */
    const char *delimiter; /* DELIMITER: 1 to WEFT_FRAMING_OVERHEAD bytes, the caller's */
    size_t delimiter_len;
    bool crlf_only; /* LINE: a line ends in CRLF; LF without CR is WEFT_EPROTOCOL. For protocols
                       in which two readers must never disagree about where a line ends. */
};

/*
 * Looks for one whole record at the start of data.
 *
 * data[0 .. len) stays the caller's; *record points into it. *scanned remembers, for one record,
 * how far an earlier call looked: set it to 0 before the first call and leave it alone; a call that
 * finds a record sets it back to 0. NULL is allowed and costs looking again.
 *
 * Returns how many bytes of data the record takes with all that is around it, with *record and
 * *record_len (0 for an empty record) set; 0 when more bytes are needed; WEFT_ETOOLONG when the
 * record is longer than the maximum; WEFT_EPROTOCOL when the bytes are no such record; -EINVAL for
 * a struct weft_framing that makes no sense. weft_error_detail() says what and at which byte.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_framing_decode(const struct weft_framing *f, const void *data,
                                                     size_t len, size_t *scanned,
                                                     const void **record, size_t *record_len);

/*
 * After a decode that returned 0: how many bytes are needed in all before another call makes
 * sense, counted from the start of data. Exact once a length has arrived, else len + 1; never
 * more than weft_framing_room().
 */
WEFT_API size_t weft_framing_need(const struct weft_framing *f, const void *data, size_t len);

/* The size of a buffer in which every record, with what is around it, has room. 0 for -EINVAL. */
WEFT_API size_t weft_framing_room(const struct weft_framing *f);

/*
 * What to send before and after a record of record_len bytes. A LINE is ended by LF, or by CRLF
 * with crlf_only.
 *
 * Returns 0, with head[0 .. *head_len) and tail[0 .. *tail_len) written; WEFT_ETOOLONG when the
 * record is longer than the maximum; -EINVAL as above.
 */
WEFT_API WEFT_MUST_CHECK int weft_framing_encode(const struct weft_framing *f, size_t record_len,
                                                 char head[WEFT_FRAMING_OVERHEAD], size_t *head_len,
                                                 char tail[WEFT_FRAMING_OVERHEAD],
                                                 size_t *tail_len);

/*
 * Whether a record, encoded, would be decoded as itself: a line must hold no line end, a delimited
 * record must not hold its delimiter (nor end so that the delimiter seems to begin earlier). Check
 * what comes from elsewhere before it is sent, or its author can forge records.
 *
 * Returns 0; -EINVAL when it would not, with the byte in weft_error_detail(); WEFT_ETOOLONG.
 */
WEFT_API WEFT_MUST_CHECK int weft_framing_check(const struct weft_framing *f, const void *record,
                                                size_t record_len);

WEFT_END_DECLS

#endif
