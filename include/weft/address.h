/* SPDX-License-Identifier: MIT */
#ifndef WEFT_ADDRESS_H
#define WEFT_ADDRESS_H
/*
 * Addresses and endpoint strings.
 *
 *   tcp://127.0.0.1:80   tcp://[fe80::1%eth0]:80   tcp://localhost:80   tcp://:80   tcp://[::]:80
 *   udp://...            the same
 *   unix:/run/x.sock     unix:name (relative)      unix:@name (Linux abstract name)
 *   fd:3                 an inherited socket, for example of sd_listen_fds(3)
 *   sim://server:80      inside a simulation only (sim.h): tcp://, as which it is printed
 *
 * A host is a number, `localhost` (127.0.0.1), or empty or `*` for every address of the machine
 * ([::], which takes IPv4, too). Other names need the resolver; inside a simulation they are those
 * of its hosts, and a scope is an index. An IPv6 host stands in brackets;
 * its scope is the name of an interface or its index. Ports and descriptors are decimal, without
 * sign or leading zeros. In a Unix path or name a backslash and the bytes below 0x20 and 0x7f are
 * written \xHH, so that an abstract name with any byte in it can be printed and read back.
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

/* Room for any address or endpoint that we print, with the terminating NUL. */
#define WEFT_ENDPOINT_MAX 448

enum weft_endpoint_kind {
    WEFT_ENDPOINT_TCP = 1,
    WEFT_ENDPOINT_UDP,
    WEFT_ENDPOINT_UNIX,
    WEFT_ENDPOINT_FD,
};

struct weft_endpoint {
    enum weft_endpoint_kind kind;
    int fd;   /* of fd:N, else -1 */
    bool any; /* the host was empty or *: the address is [::]; 0.0.0.0 does where IPv6 is off */
    struct weft_address address; /* of the others */
};

/* Reads an endpoint string. Returns 0; WEFT_EENDPOINT; WEFT_ENAME for a host that is a name. */
WEFT_API WEFT_MUST_CHECK int weft_endpoint_parse(struct weft_endpoint *ret, const char *text);

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
