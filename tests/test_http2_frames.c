/* SPDX-License-Identifier: MIT */
/*
 * Where the frames of an HTTP/2 client end: what is unfinished behind each byte, and since which,
 * of bytes that come whole, one by one and cut at every point.
 */
#include "rt_kit.h"
#include "wire/http2_frames.h"

#define PREFACE WEFT__HTTP2_PREFACE
#define SETTINGS "\0\0\0\4\0\0\0\0\0"
#define NOTHING WEFT__HTTP2_NOTHING
#define FRAME WEFT__HTTP2_FRAME
#define DATA WEFT__HTTP2_DATA

/* Behind that byte, and those before it. */
struct state {
    size_t to;
    enum weft__http2_open open;
    uint64_t from; /* where something is open */
};

static const struct {
    const char *bytes;
    size_t len;
    struct state states[6];
} cases[] = {
    {PREFACE SETTINGS, 33, {{32, FRAME, 0}, {33, NOTHING, 0}}},
    {PREFACE "\0\0\6\4\0\0\0\0\0abcdef\0", 40, {{38, FRAME, 0}, {39, NOTHING, 0}, {40, FRAME, 39}}},
    {PREFACE SETTINGS "\0\0\x8\6\0\0\0\0\0pingpong",
     50,
     {{32, FRAME, 0}, {33, NOTHING, 0}, {49, FRAME, 33}, {50, NOTHING, 0}}},
    {PREFACE SETTINGS "\0\0\5\0\0\0\0\0\1hello",
     47,
     {{32, FRAME, 0}, {33, NOTHING, 0}, {41, FRAME, 33}, {46, DATA, 33}, {47, NOTHING, 0}}},
    /* DATA without any, and a frame behind it. */
    {PREFACE SETTINGS "\0\0\0\0\0\0\0\0\1" SETTINGS,
     51,
     {{32, FRAME, 0}, {33, NOTHING, 0}, {41, FRAME, 33}, {42, NOTHING, 0}, {50, FRAME, 42}}},
    /* A head in three frames. */
    {PREFACE SETTINGS "\0\0\1\1\0\0\0\0\1a\0\0\1\x9\0\0\0\0\1b\0\0\0\x9\4\0\0\0\1",
     62,
     {{32, FRAME, 0}, {33, NOTHING, 0}, {61, FRAME, 33}, {62, NOTHING, 0}}},
    /* A whole head, and a frame of a type that is not known. */
    {PREFACE SETTINGS "\0\0\1\1\4\0\0\0\1a\0\0\1\x11\0\0\0\0\1b",
     53,
     {{32, FRAME, 0}, {33, NOTHING, 0}, {42, FRAME, 33}, {43, NOTHING, 0}, {52, FRAME, 43}}},
};

static const struct state *state_of(const struct state *s, size_t to)
{
    static const struct state end = {.open = NOTHING};
    while (s->to != 0 && s->to < to)
        s++;
    return s->to != 0 ? s : &end;
}

/* cut 0: one by one. */
static void in_pieces(size_t k, size_t cut)
{
    struct weft__http2_frames f;
    weft__http2_frames_init(&f);
    CHECK_EQ(weft__http2_frames_open(&f), FRAME);
    for (size_t at = 0; at < cases[k].len;) {
        size_t to = cut == 0 ? at + 1 : at < cut ? cut : cases[k].len;
        const struct state *s = state_of(cases[k].states, to);
        bool head;
        while (at < to)
            at += weft__http2_frames_see(&f, (const uint8_t *)cases[k].bytes + at, to - at, &head);
        CHECK_EQ(f.at, to);
        CHECK_EQ(weft__http2_frames_open(&f), s->open);
        if (s->open != NOTHING)
            CHECK_EQ(f.from, s->from);
    }
}

static void pieces(const char *driver)
{
    (void)driver;
    for (size_t k = 0; k < WEFT__ARRAY_LEN(cases); k++)
        for (size_t cut = 0; cut <= cases[k].len; cut++)
            in_pieces(k, cut);
}

static const struct kit_case kit_cases[] = {ON_THREAD(pieces)};
KIT_MAIN(kit_cases)
