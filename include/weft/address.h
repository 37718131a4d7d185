/* SPDX-License-Identifier: MIT */
#ifndef WEFT_ADDRESS_H
#define WEFT_ADDRESS_H
/*
 * Addresses and endpoint strings.
 *
 *   tcp://127.0.0.1:80   tcp://[fe80::1%eth0]:80   tcp://example.org:80   tcp://:80   tcp://[::]:80
 *   tls://...            the same, secured by TLS (tls.h)
 *   udp://...            the same, datagrams
 *   unix:/run/x.sock     unix:name (relative)      unix:@name (Linux abstract name)
 *   fd:3                 an inherited socket, for example of sd_listen_fds(3)
 *   sim://server:80      inside a simulation only (sim.h): tcp://, as which it is printed
 *
 * A host is a number, a name, or empty or `*` for every address of the machine ([::], which takes
 * IPv4, too). An IPv6 host stands in brackets; its scope is the name of an interface or its index
 * (inside a simulation an index). What has nothing but digits and dots is no name. Ports and
 * descriptors are decimal, without sign or leading zeros. In a Unix path or name a backslash, '?'
 * and the bytes below 0x20 and 0x7f are written \xHH, so that an abstract name with any byte in it
 * can be printed and read back.
 *
 * Behind it there may be options, which mean what those of the same name in stream.h and server.h
 * mean, and go before them: "tcp://example.org:80?family=4&keepalive=60". In a value, blanks,
 * control characters, '&' and '%' are written %HH.
 *
 *   dialling (tcp, tls)   bind=ENDPOINT  family=4|6  attempt-delay=MS
 *                         keepalive=S  user-timeout=MS  nagle=on|off  fast-open=on|off
 *                         interface=NAME  proxy=URL  send-proxy=1|2
 *   dialling (tls)        server-name=NAME  ca=FILE  cert=FILE  key=FILE  alpn=A,B  ciphers=A:B
 *   serving (tls)         cert=FILE  key=FILE  alpn=A,B  ciphers=A:B; for HTTP alpn is h2,http/1.1
 *                         if not said
 *   serving (all)         proxy-from=ADDRESSES
 *
 * Thread rule: any thread; nothing waits. On failure out-parameters are untouched and
 * weft_error_detail says which part is wrong and at which character, counted from 1.
 */
#include <stddef.h>
#include <sys/socket.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

/* A socket address by value. len is 0 for none. */
struct weft_address {
    socklen_t len;
    struct sockaddr_storage sa;
};

/* Bytes of a host's name and of an endpoint's options, at most. */
#define WEFT_HOST_MAX 254
#define WEFT_QUERY_MAX 320

/* Room for any address or endpoint that we print, with the terminating NUL. */
#define WEFT_ENDPOINT_MAX 768

enum weft_endpoint_kind {
    WEFT_ENDPOINT_TCP = 1,
    WEFT_ENDPOINT_UDP,
    WEFT_ENDPOINT_UNIX,
    WEFT_ENDPOINT_FD,
    WEFT_ENDPOINT_TLS,
};

struct weft_endpoint {
    enum weft_endpoint_kind kind;
    int fd;   /* of fd:N, else -1 */
    int port; /* of tcp, tls and udp, else -1 */
    bool any; /* the host was empty or *: the address is [::]; 0.0.0.0 does where IPv6 is off */
    char host[WEFT_HOST_MAX + 1]; /* a name, which the resolver knows (dns.h); "" for all others */
    struct weft_address address;  /* len 0 where the host is a name, and of fd:N */
    char query[WEFT_QUERY_MAX + 1]; /* the options, as they were written, without the '?' */
};

/* Reads an endpoint string. Returns 0 or WEFT_EENDPOINT. */
WEFT_API WEFT_MUST_CHECK int weft_endpoint_parse(struct weft_endpoint *ret, const char *text);

/*
 * The value of one of its options, decoded, with a terminating NUL, which cap counts. Returns its
 * length; -ENOENT when it is not given; -ENOSPC, with nothing written.
 */
WEFT_API int weft_endpoint_option(const struct weft_endpoint *e, const char *key, char *buf,
                                  size_t cap);

/*
 * Prints it so that weft_endpoint_parse reads it back; cap counts the terminating NUL. Returns the
 * length; -ENOSPC, with nothing written; -EINVAL for an address that is not of the endpoint's kind.
 */
WEFT_API int weft_endpoint_print(const struct weft_endpoint *e, char *buf, size_t cap);

/*
 * Host and port alone ("127.0.0.1:80", "[::1%lo]:80", "/run/x.sock", "@name"), for logs: any
 * address has a text, "none" if its len is 0, "unnamed" for a Unix socket without a name, as the
 * connecting side's mostly is. Returns the length or -ENOSPC, with nothing written.
 */
WEFT_API int weft_address_print(const struct weft_address *a, char *buf, size_t cap);

/* Numeric IPv4 or IPv6 host (no brackets, %scope allowed) and a port. Returns 0 or WEFT_EENDPOINT.
 */
WEFT_API WEFT_MUST_CHECK int weft_address_ip(struct weft_address *ret, const char *host, int port);

/*
 * A Unix path as the file system has it (no \xHH), or with a leading @ an abstract name. Returns 0,
 * or WEFT_EENDPOINT when it is empty or longer than 107 bytes, the @ not counted.
 */
WEFT_API WEFT_MUST_CHECK int weft_address_unix(struct weft_address *ret, const char *path);

/* The port of an IP address, else -1. */
WEFT_API int weft_address_port(const struct weft_address *a);

/*
 * Equal family, host, scope and port, or equal path; unnamed Unix sockets equal none, not even
 * themselves. weft_address_same_host leaves out the port; all Unix sockets are of one host. An IPv4
 * address and its IPv6 form, ::ffff:1.2.3.4, are two.
 */
WEFT_API bool weft_address_equal(const struct weft_address *a, const struct weft_address *b);
WEFT_API bool weft_address_same_host(const struct weft_address *a, const struct weft_address *b);

WEFT_END_DECLS
#endif
