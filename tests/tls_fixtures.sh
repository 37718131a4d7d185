#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes the certificates that the tests of TLS use, in a directory that exists.
#
# usage: tests/tls_fixtures.sh DIRECTORY
set -eu

cd "$1"
exec >log 2>&1
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
authority="-addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign,cRLSign"

# root NAME COMMON-NAME
root() {
    # shellcheck disable=SC2086
    openssl req -x509 $new -keyout "$1.key" -out "$1.pem" -subj "/CN=$2" -days 30 $authority
}

# issue NAME ISSUER COMMON-NAME EXTENSION DAYS
issue() {
    # shellcheck disable=SC2086
    openssl req $new -keyout "$1.key" -out "$1.csr" -subj "/CN=$3" -addext "$4"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial \
        -copy_extensions copyall -days "$5" -out "$1.pem"
}

root ca "Weft test root"
root other "Another root"
issue server ca server.test "subjectAltName=DNS:server.test,DNS:localhost,IP:127.0.0.1" 30
issue wild ca wild.test "subjectAltName=DNS:*.wild.test,DNS:exact.test" 30
issue exact ca exact "subjectAltName=DNS:a.wild.test" 30
issue expired ca server.test "subjectAltName=DNS:server.test" -1
issue stranger other server.test "subjectAltName=DNS:server.test" 30
issue inter ca "Weft test intermediate" "basicConstraints=critical,CA:TRUE,pathlen:0" 30
issue deep inter deep.test "subjectAltName=DNS:deep.test" 30
cat deep.pem inter.pem >deep_chain.pem
issue client ca "a client" "subjectAltName=DNS:client.test,email:client@client.test" 30
issue bad_client other "a stranger" "subjectAltName=DNS:stranger.test" 30
issue revoked ca server.test "subjectAltName=DNS:server.test" 30
issue bad_guest ca "a guest" "subjectAltName=DNS:guest.test" 30

# crl NAME ISSUER OPTIONS CERTIFICATE...: a list of those
crl() {
    list=$1 by=$2 options=$3
    shift 3
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s.index\ncrlnumber=%s.number\ndefault_md=sha256\n' \
        "$list" "$list" >"$list.conf"
    : >"$list.index"
    echo 01 >"$list.number"
    for cert in "$@"; do
        openssl ca -config "$list.conf" -cert "$by.pem" -keyfile "$by.key" -revoke "$cert.pem"
    done
    # shellcheck disable=SC2086
    openssl ca -config "$list.conf" -cert "$by.pem" -keyfile "$by.key" -gencrl $options \
        -out "$list.crl"
}

crl ca ca "-crldays 10" revoked bad_guest
crl old ca "-crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z" revoked
crl inter inter "-crldays 10"
cat ca.crl inter.crl >both.crl
cat server.pem server.key >both.pem
openssl req -x509 -newkey rsa:512 -nodes -keyout weak.key -out weak.pem -subj /CN=weak.test \
    -days 30 -addext subjectAltName=DNS:weak.test
cat weak.pem weak.key >weak_both.pem
openssl ec -in server.key -aes128 -passout pass:secret -out locked.key
# shellcheck disable=SC2086
openssl req -x509 $new -keyout self.key -out self.pem -subj /CN=server.test -days 30 \
    -addext subjectAltName=DNS:server.test
