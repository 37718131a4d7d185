/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_PART_H
#define WEFT_APP_PART_H
/*
 * What a file that is fetched is a part of: a note beside it, FILE.weft-resume, which is there from
 * the first byte on until the last has come. It has the URL and what the server called this version
 * of what is there, for If-Range (RFC 9110 section 13.1.5).
 *
 * Floor 6. Invariants: a note is never beside bytes of another version than it names, wherever the
 * program ends; where none can be kept, there is none.
 */
#include <limits.h>
#include <stdbool.h>

#include <weft/http_client.h>

#define PART_VALIDATOR_MAX 512

struct part {
    char path[PATH_MAX];                /* of the note; "": none is kept */
    const char *url;                    /* borrowed */
    char validator[PART_VALIDATOR_MAX]; /* an ETag or a date; "": none is known */
};

/* Looks for the note of a file that came from that URL. file NULL: none is kept. */
void part_open(struct part *p, const char *file, const char *url);
/* Takes the note away: before the file's bytes are, and when all have come. */
void part_forget(struct part *p);
/* Notes what that reply, whose body the file is to be, says of it. The file is empty. */
void part_note(struct part *p, const struct weft_http_reply *r);
/* The reply says that it is of another version than the validator's. */
bool part_is_other(const struct part *p, const struct weft_http_reply *r);

#endif
