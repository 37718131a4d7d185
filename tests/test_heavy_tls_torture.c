/* SPDX-License-Identifier: MIT */
/* TLS while OpenSSL runs out of memory: each of its some 3,400 allocations in one exchange fails.
 */
#define TLS_TORTURE_OPENSSL 1
#include "test_tls_torture.c"
