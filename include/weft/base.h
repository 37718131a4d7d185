/* SPDX-License-Identifier: MIT */
/*
 * What every public header of Weft starts from: visibility, C++ linkage, compiler attributes and
 * the version.
 *
 * Invariants: compiles alone, as C17 and as C++17; defines nothing without a WEFT_ or weft_ prefix.
 */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define WEFT_BEGIN_DECLS extern "C" {
#define WEFT_END_DECLS }
#else
#define WEFT_BEGIN_DECLS
#define WEFT_END_DECLS
#endif

/* Marks what the shared library exports; everything else is hidden. */
#define WEFT_API __attribute__((visibility("default")))

/* Ignoring the result of a function marked so is a compiler warning. */
#define WEFT_MUST_CHECK __attribute__((warn_unused_result))

/* The function takes a printf format as argument `fmt` and its values from argument `first` on. */
#define WEFT_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/* "file.c:12", where it stands: spawn sites for the tree. */
#define WEFT_SITE__TEXT(line) #line
#define WEFT_SITE__LINE(line) WEFT_SITE__TEXT(line)
#define WEFT_SITE __FILE__ ":" WEFT_SITE__LINE(__LINE__)

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0
#define WEFT_VERSION "0.1.0"

WEFT_BEGIN_DECLS

/*
 * The version of the library that is running, "major.minor.patch"; it may be newer than
 * WEFT_VERSION, which is that of the headers the caller was compiled with.
 * Never waits; any thread; the string is static.
 */
WEFT_API const char *weft_version(void);

WEFT_END_DECLS

#endif
