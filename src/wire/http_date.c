/* SPDX-License-Identifier: MIT */
/*
 * Dates (RFC 9110 section 5.6.7); see http_field.h.
 *
 * Floor 0. No locale, no time zone and no static buffer of the C library's: dates are of the
 * proleptic Gregorian calendar, counted by hand.
 */
#include <string.h>

#include "wire/cursor.h"
#include "wire/http_field.h"

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

#define DAY INT64_C(86400)

/* Days since 1970 of a date; the year begins in March, so that the leap day is its last. */
static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void civil_from_days(int64_t z, int64_t *year, unsigned *month, unsigned *day)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t of_era = z - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t shifted = (5 * of_year + 2) / 153;
    *day = (unsigned)(of_year - (153 * shifted + 2) / 5 + 1);
    *month = (unsigned)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = y + era * 400 + (*month <= 2);
}

/* A number with leading zeroes. */
static void digits(struct weft__writer *w, int64_t value, unsigned count)
{
    char text[4];
    for (unsigned i = count; i > 0; i--) {
        text[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    weft__writer_bytes(w, text, count);
}

bool weft__http_date_format(int64_t unix_s, char buf[30])
{
    struct weft__writer w = weft__writer_of(buf, 30);
    int64_t year;
    unsigned month;
    unsigned day;
    if (unix_s < INT64_C(-62167219200) || unix_s > INT64_C(253402300799))
        return false;
    int64_t second = unix_s % DAY;
    int64_t date = unix_s / DAY;
    if (second < 0) {
        second += DAY;
        date--;
    }
    int64_t weekday = ((date + 4) % 7 + 7) % 7; /* 1970 began on a Thursday */
    civil_from_days(date, &year, &month, &day);
    weft__writer_bytes(&w, &days[3 * weekday], 3);
    weft__writer_text(&w, ", ");
    digits(&w, day, 2);
    weft__writer_u8(&w, ' ');
    weft__writer_bytes(&w, &months[3 * (month - 1)], 3);
    weft__writer_u8(&w, ' ');
    digits(&w, year, 4);
    weft__writer_u8(&w, ' ');
    digits(&w, second / 3600, 2);
    weft__writer_u8(&w, ':');
    digits(&w, second / 60 % 60, 2);
    weft__writer_u8(&w, ':');
    digits(&w, second % 60, 2);
    weft__writer_text(&w, " GMT");
    weft__writer_u8(&w, '\0');
    WEFT__ASSERT(!w.full);
    return true;
}

/* What a date was read into, before it is judged. */
struct moment {
    int64_t year;
    unsigned month;
    unsigned day;
    unsigned hour;
    unsigned minute;
    unsigned second;
};

/* `count` digits; with `pad`, the first may be a space (asctime). */
static bool number(struct weft__reader *r, unsigned count, bool pad, unsigned *value)
{
    unsigned v = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned char c;
        if (!weft__reader_u8(r, &c))
            return false;
        if (pad && i == 0 && c == ' ')
            continue;
        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (unsigned)(c - '0');
    }
    *value = v;
    return true;
}

static bool text(struct weft__reader *r, const char *wanted)
{
    return weft__reader_match(r, wanted, strlen(wanted));
}

static bool month_name(struct weft__reader *r, unsigned *month)
{
    for (unsigned m = 0; m < 12; m++) {
        if (weft__reader_match(r, &months[3 * m], 3)) {
            *month = m + 1;
            return true;
        }
    }
    return false;
}

static bool clock_time(struct weft__reader *r, struct moment *m)
{
    return number(r, 2, false, &m->hour) && text(r, ":") && number(r, 2, false, &m->minute) &&
           text(r, ":") && number(r, 2, false, &m->second);
}

/* "06 Nov 1994 08:49:37 GMT" */
static bool imf_fixdate(struct weft__reader *r, struct moment *m)
{
    unsigned year;
    if (!number(r, 2, false, &m->day) || !text(r, " ") || !month_name(r, &m->month) ||
        !text(r, " ") || !number(r, 4, false, &year) || !text(r, " ") || !clock_time(r, m))
        return false;
    m->year = year;
    return text(r, " GMT");
}

/* "06-Nov-94 08:49:37 GMT": a year that seems to be more than 50 ahead is of the past century. */
static bool rfc850_date(struct weft__reader *r, struct moment *m, int64_t now_s)
{
    unsigned year;
    unsigned ignored;
    int64_t now;
    if (!number(r, 2, false, &m->day) || !text(r, "-") || !month_name(r, &m->month) ||
        !text(r, "-") || !number(r, 2, false, &year) || !text(r, " ") || !clock_time(r, m))
        return false;
    civil_from_days(now_s / DAY, &now, &ignored, &ignored);
    m->year = now - now % 100 + (int64_t)year;
    if (m->year > now + 50)
        m->year -= 100;
    else if (m->year <= now - 50)
        m->year += 100;
    return text(r, " GMT");
}

/* "Nov  6 08:49:37 1994" */
static bool asctime_date(struct weft__reader *r, struct moment *m)
{
    unsigned year;
    if (!month_name(r, &m->month) || !text(r, " ") || !number(r, 2, true, &m->day) ||
        !text(r, " ") || !clock_time(r, m) || !text(r, " ") || !number(r, 4, false, &year))
        return false;
    m->year = year;
    return true;
}

/* The weekday's rest after its first three letters, or none. A wrong weekday is let pass. */
static bool weekday(struct weft__reader *r, bool *long_name)
{
    static const char *const rests[] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
    for (unsigned d = 0; d < 7; d++) {
        if (!weft__reader_match(r, &days[3 * d], 3))
            continue;
        *long_name = weft__reader_match(r, rests[d], strlen(rests[d]));
        return true;
    }
    return false;
}

static bool exists(const struct moment *m)
{
    static const unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (m->year % 4 == 0 && m->year % 100 != 0) || m->year % 400 == 0;
    unsigned last = lengths[m->month - 1] + (m->month == 2 && leap ? 1u : 0u);
    return m->day >= 1 && m->day <= last && m->hour < 24 && m->minute < 60 && m->second <= 60;
}

static int64_t seconds(const struct moment *m)
{
    return days_from_civil(m->year, m->month, m->day) * DAY + (int64_t)m->hour * 3600 +
           (int64_t)m->minute * 60 + m->second;
}

bool weft__http_date_of(int64_t year, unsigned month, unsigned day, unsigned hour, unsigned minute,
                        unsigned second, int64_t *unix_s)
{
    struct moment m = {year, month, day, hour, minute, second};
    if (year < 0 || year > 9999 || month < 1 || month > 12 || !exists(&m))
        return false;
    *unix_s = seconds(&m);
    return true;
}

bool weft__http_date_parse(struct weft__slice value, int64_t now_s, int64_t *unix_s)
{
    struct weft__reader r = weft__reader_of(value.at, value.len);
    struct moment m = {0};
    bool long_name;
    if (!weekday(&r, &long_name))
        return false;
    bool read = !text(&r, ",") ? !long_name && text(&r, " ") && asctime_date(&r, &m)
                               : text(&r, " ") &&
                                     (long_name ? rfc850_date(&r, &m, now_s) : imf_fixdate(&r, &m));
    if (!read || !weft__reader_at_end(&r) || !exists(&m))
        return false;
    *unix_s = seconds(&m);
    return true;
}
