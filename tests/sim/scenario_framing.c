/* SPDX-License-Identifier: MIT */
/*
 * Records of every framing over streams that the network, and the sender, cut up anywhere.
 *
 * Holds: records arrive whole, in order and none twice, whatever the segments; the end of the
 * stream is clean exactly when the last record was whole.
 */
#include "scenario.h"

#define RECORDS 40
#define RECORD_MAX 3000

static const struct weft_framing framings[] = {
    {.kind = WEFT_FRAMING_LINE, .max = RECORD_MAX},
    {.kind = WEFT_FRAMING_LINE, .max = RECORD_MAX, .crlf_only = true},
    {.kind = WEFT_FRAMING_NETSTRING, .max = RECORD_MAX},
    {.kind = WEFT_FRAMING_INT8, .max = 255},
    {.kind = WEFT_FRAMING_INT16, .max = RECORD_MAX},
    {.kind = WEFT_FRAMING_INT32, .max = RECORD_MAX},
    {.kind = WEFT_FRAMING_DELIMITER, .max = RECORD_MAX, .delimiter = "--\r\n-", .delimiter_len = 5},
};
#define FRAMINGS (int64_t)(sizeof framings / sizeof framings[0])

static struct {
    struct weft_sim *sim;
    const struct weft_framing *framing;
    size_t lengths[RECORDS];
    bool broken_off; /* the sender stops within the last record */
    int received;
} all;

/* Byte at place `at` of record `number`: printable, so that it suits every framing. */
static char byte_of(int number, size_t at)
{
    return (char)('a' + ((size_t)number * 7 + at * 3 + (at >> 6)) % 26);
}

/* --- The receiver -------------------------------------------------------------------------- */

static int look_at(const char *record, size_t len)
{
    int number = all.received++;
    if (number >= RECORDS)
        return weft_sim_fail(NULL, "one record more than was sent");
    if (len != all.lengths[number])
        return weft_sim_fail(NULL, "record %d has %zu bytes, not %zu", number, len,
                             all.lengths[number]);
    for (size_t i = 0; i < len; i++)
        if (record[i] != byte_of(number, i))
            return weft_sim_fail(NULL, "record %d is wrong at byte %zu", number, i);
    return 0;
}

static int receive(struct weft_stream *s)
{
    const void *record;
    size_t len;
    int got;
    do {
        /* A reader that gives up now and then loses nothing. */
        got =
            weft_read_record(s, all.framing, &record, &len, weft_after_us(pick(all.sim, 0, 3000)));
        if (got > 0) {
            int err = look_at(record, len);
            if (err < 0)
                return err;
        }
    } while (got > 0 || got == -ETIMEDOUT);
    if (got != (all.broken_off ? WEFT_EEOF : 0))
        return weft_sim_fail(NULL, "the stream ends with %s", weft_error_name(got));
    if (all.received != RECORDS - all.broken_off)
        return weft_sim_fail(NULL, "%d of %d records came", all.received, RECORDS);
    return 0;
}

static int receiver(void *arg)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    (void)arg;
    int err = weft_listen(&l, "tcp://*:80", NULL);
    if (err == 0)
        err = weft_accept(l, &s, WEFT_NEVER);
    if (err == 0)
        err = receive(s);
    (void)weft_close(&s, weft_after_s(60));
    weft_listener_close(&l);
    return err;
}

/* --- The sender ---------------------------------------------------------------------------- */

/* In pieces, each of which the network may see alone. */
static int write_cut(struct weft_stream *s, const char *bytes, size_t len)
{
    int err = 0;
    for (size_t at = 0; err == 0 && at < len;) {
        size_t n = (size_t)pick(all.sim, 1, (int64_t)(len - at));
        err = weft_write(s, bytes + at, n, WEFT_NEVER);
        at += n;
        if (err == 0 && one_in(all.sim, 2))
            err = one_in(all.sim, 2) ? weft_flush(s, WEFT_NEVER) : weft_sleep_ms(1);
    }
    return err;
}

static int send_record(struct weft_stream *s, int number)
{
    char head[WEFT_FRAMING_OVERHEAD], tail[WEFT_FRAMING_OVERHEAD], record[RECORD_MAX];
    size_t head_len, tail_len, len = all.lengths[number];
    for (size_t i = 0; i < len; i++)
        record[i] = byte_of(number, i);
    if (number == RECORDS - 1 && all.broken_off) {
        int err = weft_framing_encode(all.framing, len, head, &head_len, tail, &tail_len);
        if (err == 0 && head_len > 0)
            err = weft_write(s, head, head_len, WEFT_NEVER);
        return err == 0 ? weft_write(s, record, len - 1, WEFT_NEVER) : err;
    }
    if (one_in(all.sim, 2))
        return weft_write_record(s, all.framing, record, len, WEFT_NEVER);
    int err = weft_framing_encode(all.framing, len, head, &head_len, tail, &tail_len);
    if (err == 0)
        err = write_cut(s, head, head_len);
    if (err == 0)
        err = write_cut(s, record, len);
    return err == 0 ? write_cut(s, tail, tail_len) : err;
}

static int sender(void *arg)
{
    struct weft_stream *s = NULL;
    (void)arg;
    int err;
    while ((err = weft_dial(&s, "tcp://receiver:80", NULL, WEFT_NEVER)) == -ECONNREFUSED)
        if (weft_sleep_ms(10) < 0) /* it does not listen yet */
            return -ECANCELED;
    for (int i = 0; err == 0 && i < RECORDS; i++)
        err = send_record(s, i);
    int closed = weft_close(&s, WEFT_NEVER);
    return err < 0 ? err : closed;
}

int main(void)
{
    struct weft_sim *sim = scene();
    all.sim = sim;
    all.framing = &framings[pick(sim, 0, FRAMINGS - 1)];
    all.broken_off = one_in(sim, 3);
    for (int i = 0; i < RECORDS; i++)
        all.lengths[i] = (size_t)pick(sim, 0, one_in(sim, 4) ? (int64_t)all.framing->max : 40);
    if (all.broken_off && all.lengths[RECORDS - 1] < 2)
        all.lengths[RECORDS - 1] = 2;
    MUST(weft_sim_host(sim, "receiver", receiver, NULL));
    MUST(weft_sim_host(sim, "sender", sender, NULL));
    struct weft_link l = {0};
    l.jitter_us = pick(sim, 0, 2000);
    l.loss = one_in(sim, 2) ? 0.02 : 0;
    l.mtu = (uint32_t)pick(sim, 68, 600);
    MUST(weft_sim_link(sim, "*", "*", &l));
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.3, .again = 0.1}));
    return play(sim, weft_s(3600), NULL);
}
