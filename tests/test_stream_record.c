/* SPDX-License-Identifier: MIT */
/* Records over streams: every framing, records of all sizes in pieces of all sizes. */
#include "stream_kit.h"

#define MAX_RECORD 100000u

static const struct weft_framing framings[] = {
    {.kind = WEFT_FRAMING_LINE, .max = MAX_RECORD},
    {.kind = WEFT_FRAMING_LINE, .max = MAX_RECORD, .crlf_only = true},
    {.kind = WEFT_FRAMING_NETSTRING, .max = MAX_RECORD},
    {.kind = WEFT_FRAMING_INT8},
    {.kind = WEFT_FRAMING_INT16},
    {.kind = WEFT_FRAMING_INT32, .max = MAX_RECORD},
    {.kind = WEFT_FRAMING_DELIMITER, .max = MAX_RECORD, .delimiter = "<end>", .delimiter_len = 5},
};
#define FRAMINGS (sizeof framings / sizeof framings[0])

static size_t max_of(const struct weft_framing *f)
{
    return f->kind == WEFT_FRAMING_INT8 ? 255 : f->kind == WEFT_FRAMING_INT16 ? 65535 : MAX_RECORD;
}

/* The length of the i-th record: the edges first, then random ones. */
static size_t length_of(const struct weft_framing *f, size_t i, uint64_t *seed)
{
    static const size_t edges[] = {0, 1, 255, 16383, 16384, 16385, 32769, 65535, 99999, 100000};
    size_t max = max_of(f);
    if (i < sizeof edges / sizeof edges[0])
        return edges[i] > max ? max : edges[i];
    return stream_kit_size(seed, max) - 1;
}

#define RECORDS 60

static void record_text(char *text, size_t from, size_t len)
{
    stream_kit_fill(text, from, len);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\n' || text[i] == '<')
            text[i] = '.';
}

static int write_records(void *arg)
{
    struct weft_stream *s = arg;
    char *text = malloc(MAX_RECORD);
    uint64_t seed = 3;
    for (size_t f = 0; f < FRAMINGS; f++)
        for (size_t i = 0; i < RECORDS; i++) {
            size_t len = length_of(&framings[f], i, &seed);
            record_text(text, i * 31, len);
            CHECK_EQ(weft_write_record(s, &framings[f], text, len, weft_after_s(60)), 0);
        }
    free(text);
    return weft_shutdown(s, weft_after_s(60));
}

static int read_records(void *arg)
{
    struct weft_stream *s = arg;
    char *text = malloc(MAX_RECORD);
    uint64_t seed = 3;
    const void *record;
    size_t len;
    for (size_t f = 0; f < FRAMINGS; f++)
        for (size_t i = 0; i < RECORDS; i++) {
            size_t want = length_of(&framings[f], i, &seed);
            record_text(text, i * 31, want);
            CHECK_EQ(weft_read_record(s, &framings[f], &record, &len, weft_after_s(60)), 1);
            CHECK_EQ(len, want);
            CHECK(memcmp(record, text, len) == 0);
        }
    CHECK_EQ(weft_read_record(s, &framings[0], &record, &len, weft_after_s(60)), 0);
    free(text);
    return 0;
}

static void all_framings(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    stream_kit_both(&p, write_records, read_records);
    CHECK_EQ(weft_stream_bytes_in(p.b), weft_stream_bytes_out(p.a));
    stream_kit_close(&p);
}

/* --- A byte at a time, with time-outs between ------------------------------------------------ */

static void in_crumbs(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    static const char *const texts[FRAMINGS] = {"hello\r\n", "hello\r\n", "5:hello,",  "\5hello",
                                                "",          "",          "hello<end>"};
    const void *record;
    size_t len;
    for (size_t f = 0; f < FRAMINGS; f++) {
        char text[16] = {0};
        size_t n = strlen(texts[f]);
        memcpy(text, texts[f], n);
        if (n == 0) { /* a length with zeros in it */
            n = framings[f].kind == WEFT_FRAMING_INT16 ? 2 : 4;
            text[n - 1] = 5;
            memcpy(text + n, "hello", 5);
            n += 5;
        }
        for (size_t i = 0; i < n; i++) {
            CHECK_EQ(weft_read_record(p.b, &framings[f], &record, &len, WEFT_NOW), -ETIMEDOUT);
            CHECK_EQ(weft_write(p.a, text + i, 1, WEFT_NEVER), 0);
            CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
        }
        CHECK_EQ(weft_read_record(p.b, &framings[f], &record, &len, weft_after_s(60)), 1);
        CHECK_EQ(len, 5);
        CHECK(memcmp(record, "hello", 5) == 0);
    }
    stream_kit_close(&p);
}

/* --- Records that are none ------------------------------------------------------------------- */

static void feed(struct weft_stream *s, const char *text, size_t len)
{
    CHECK_EQ(weft_write(s, text, len, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(s, WEFT_NEVER), 0);
}

static void too_long(const struct stream_kit *k)
{
    static const struct weft_framing small[] = {
        {.kind = WEFT_FRAMING_LINE, .max = 100},
        {.kind = WEFT_FRAMING_NETSTRING, .max = 100},
        {.kind = WEFT_FRAMING_INT32, .max = 100},
        {.kind = WEFT_FRAMING_DELIMITER, .max = 100, .delimiter = "||", .delimiter_len = 2},
    };
    for (size_t f = 0; f < 4; f++) {
        struct stream_pair p = stream_kit_pair(k);
        char text[300];
        const void *record = NULL;
        size_t len = 77;
        memset(text, 'x', sizeof text);
        if (f == 1)
            memcpy(text, "101:", 4);
        if (f == 2)
            memcpy(text, "\0\0\0\145", 4);
        CHECK_EQ(weft_write_record(p.a, &small[f], text, 101, WEFT_NEVER), WEFT_ETOOLONG);
        CHECK_EQ(weft_stream_bytes_out(p.a), 0);
        feed(p.a, text, sizeof text);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(weft_read_record(p.b, &small[f], &record, &len, weft_after_s(60)),
                     WEFT_ETOOLONG);
        CHECK(record == NULL && len == 77);
        stream_kit_close(&p);
    }
}

static void not_a_record(const struct stream_kit *k)
{
    static const struct {
        struct weft_framing f;
        const char *text;
    } bad[] = {
        {{.kind = WEFT_FRAMING_LINE, .crlf_only = true}, "abc\n"},
        {{.kind = WEFT_FRAMING_NETSTRING}, "x:abc,"},
        {{.kind = WEFT_FRAMING_NETSTRING}, "3:abc;"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct stream_pair p = stream_kit_pair(k);
        const void *record;
        size_t len;
        feed(p.a, bad[i].text, strlen(bad[i].text));
        CHECK_EQ(weft_read_record(p.b, &bad[i].f, &record, &len, weft_after_s(60)), WEFT_EPROTOCOL);
        stream_kit_close(&p);
    }
    struct stream_pair p = stream_kit_pair(k);
    CHECK_EQ(weft_write_record(p.a, &bad[0].f, "a\r\nb", 4, WEFT_NEVER), -EINVAL);
    stream_kit_close(&p);
}

/* A record is taken off by the next reading call of any kind. */
static void records_and_bytes(const struct stream_kit *k)
{
    static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE};
    struct stream_pair p = stream_kit_pair(k);
    const void *record, *data;
    size_t len;
    char buf[8];
    feed(p.a, "one\ntwo\nthree\nfour\nfive", 23);
    CHECK_EQ(weft_read_record(p.b, &line, &record, &len, WEFT_NEVER), 1);
    CHECK(len == 3 && memcmp(record, "one", 3) == 0);
    CHECK_EQ(weft_read(p.b, buf, 4, WEFT_NEVER), 4);
    CHECK(memcmp(buf, "two\n", 4) == 0);
    CHECK_EQ(weft_read_record(p.b, &line, &record, &len, WEFT_NEVER), 1);
    CHECK(len == 5 && memcmp(record, "three", 5) == 0);
    CHECK_EQ(weft_peek_min(p.b, &data, 9, weft_after_s(60)), 9);
    CHECK(memcmp(data, "four\nfive", 9) == 0);
    CHECK_EQ(weft_read_until(p.b, buf, sizeof buf, '\n', WEFT_NEVER), 5);
    CHECK_EQ(weft_read_full(p.b, buf, 4, WEFT_NEVER), 0);
    CHECK(memcmp(buf, "five", 4) == 0);
    stream_kit_close(&p);
}

static const struct stream_case cases[] = {
    STREAM_CASE(all_framings, 0), STREAM_CASE(in_crumbs, 0),         STREAM_CASE(too_long, 0),
    STREAM_CASE(not_a_record, 0), STREAM_CASE(records_and_bytes, 0),
};
STREAM_KIT_MAIN(cases)
