# SPDX-License-Identifier: MIT
"""The HTTP/1 request parser beside Node's (strict) on thousands of damaged requests from one seed.

What both accept they must read as the same requests: method, target, version, body, and where the
next one begins. Where only Weft refuses, the reason must be one of STRICTER, each with the section
that it follows; where only Node refuses, its code must be one of NODE_STRICTER. Everything else is
a failure, and so is a stricter rule that no input needed: the list must not grow stale.

WEFT_DIFFERENTIAL_SEED and WEFT_DIFFERENTIAL_COUNT choose other inputs."""
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT", HERE.parents[1] / "build"))
VERDICT = BUILD / "tests" / "http1_verdict"
SEED = int(os.environ.get("WEFT_DIFFERENTIAL_SEED", "9112"))
COUNT = int(os.environ.get("WEFT_DIFFERENTIAL_COUNT", "12000"))

# Weft refuses what Node reads: Weft's sentence, and why it is right.
STRICTER = {
    "there are two Host fields": "RFC 9112 section 3.2: 400; Node takes the first",
    "the Host field is not valid": "RFC 9112 section 3.2: 400; Node does not look at its value",
    "there is no Host field": "RFC 9112 section 3.2: 400; Node answers 400, too, and reads on",
    "CONNECT has no valid host and port": "RFC 9112 section 3.2.3",
    "a target has no valid host": "RFC 9110 section 4.2.1: http has a host that is not empty",
    "a target has none of the four forms": "RFC 9112 section 3.2",
    "the target * is for OPTIONS alone": "RFC 9112 section 3.2.4",
    "a target has a character that none may have":
        "RFC 9112 section 3: one space, and RFC 3986: visible ASCII; Node skips spaces, takes '<'",
    "there is a backslash in a path": "RFC 3986 section 3.3; others read it as a slash",
    "a request line ends after its method": "RFC 9112 section 2.2: one empty line before; Node skips any",
    "a request line ends after its target": "RFC 9112 section 3: no HTTP/0.9",
    "a request line has no version at its end": "RFC 9112 section 3: one space before the version",
    "the version is not 1.0 or 1.1": "RFC 9110 section 15.6.6: 505; Node reads 2.0 and 0.9 as if 1.x",
    "a line ends in LF without CR": "RFC 9112 section 2.2, MAY: Node takes it before a request",
    "there is a CR without LF": "RFC 9112 section 2.2: never; Node takes it before a request",
    "the Connection field is not a list of tokens": "RFC 9110 section 7.6.1",
    "there is a transfer coding besides chunked": "RFC 9112 section 6.1: 501 for what is not understood",
    "there is Transfer-Encoding in HTTP/1.0": "RFC 9112 section 6.1: the framing is faulty",
    "the Transfer-Encoding does not end in chunked": "RFC 9112 section 6.3: 400; Node lets an empty one pass",
    "there are two Transfer-Encoding fields": "one list, of one coding, is all that is sent honestly",
    "there is a body with CONNECT or TRACE": "RFC 9110 sections 9.3.6 and 9.3.8",
    "a chunk's size has more than 16 digits": "RFC 9112 section 7.1: sizes that overflow; no one pads so far",
    "there is a field that must not be a trailer": "RFC 9110 section 6.5.1",
}

# Node refuses what Weft reads: its code, and why Weft need not.
NODE_STRICTER = {
    "HPE_INVALID_METHOD": "RFC 9110 section 9.1: any token is a method; Weft's server answers 501 to it",
    "HPE_INVALID_VERSION": "RFC 9110 section 2.5: 1.2 is read as 1.1",
    "HPE_INVALID_CONTENT_LENGTH": "RFC 9112 section 5: a tab may stand behind a value",
    "HPE_INVALID_URL": "RFC 3986 section 3.1: digits, '+', '-' and '.' may stand in a scheme",
}

NEXT = b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n"

SEEDS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /p/q?x=1&y=%41 HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\n\r\n",
    b"GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\nhello world",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n06\r\n world\r\n0\r\nT: u\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-Two:  2 \r\nConnection: close\r\n\r\n",
]

BYTES = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b";", b",", b"\x7f", b"\x80",
         b"\xff", b"\x01", b"0", b"5", b"+", b"-", b"0x", b"_", b"\"", b"\\", b"#", b"?", b"/", b"@",
         b"[", b"]", b"(", b"%", b"\x0b", b"\x0c", b"=", b"<", b"{", b"~", b"a", b"Z"]
LINES = [b"Host: a\r\n", b"Host: b\r\n", b"Host:\r\n", b"Host: a, b\r\n", b"Host: u@a\r\n",
         b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Content-Length: 5, 5\r\n",
         b"Content-Length: +5\r\n", b"Content-Length:\r\n", b"Content-Length: 0x5\r\n",
         b"Content-Length: 99999999999999999999\r\n", b"Content-Length : 5\r\n",
         b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
         b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n",
         b"Transfer-Encoding:\tchunked\r\n", b"Transfer-Encoding: chunked, chunked\r\n",
         b"Transfer-Encoding:\r\n", b"Transfer_Encoding: chunked\r\n", b"TE: trailers\r\n",
         b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Connection: a b\r\n",
         b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n",
         b"Expect: other\r\n", b" folded\r\n", b"\tfolded\r\n", b"No colon\r\n", b": no name\r\n",
         b"X: y\n", b"X: y\r", b"X : y\r\n", b"Trailer: T\r\n"]
WORDS = [(b"HTTP/1.1", [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ",
                        b"HTTP/01.1", b"HTTP/1.10", b""]),
         (b"GET", [b"get", b"PURGE", b"TRACE", b"CONNECT", b"OPTIONS", b"M-SEARCH", b"NOSUCH", b"G T"]),
         (b"POST", [b"CONNECT", b"TRACE", b"GET", b"PATCH"]),
         (b" / ", [b" * ", b" a ", b" //a/../b ", b" /\xc3\xa4 ", b" http:// ", b"  / ", b" /a#b ", b" "]),
         (b"5\r\n", [b"05\r\n", b"5 \r\n", b"5\t\r\n", b" 5\r\n", b"+5\r\n", b"5;\r\n", b"5\n", b"\r\n", b"5x\r\n",
                     b"FFFFFFFFFFFFFFFF5\r\n", b"0000000000000000005\r\n", b"5;a=\"\n\"\r\n", b"5;a\x01\r\n"]),
         (b"0\r\n\r\n", [b"0\r\n", b"00\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\r\nContent-Length: 5\r\n\r\n",
                         b"0\r\nHost: a\r\n\r\n", b"0\r\n x\r\n\r\n", b"0;\r\n\r\n"]),
         (b": ", [b":", b" : ", b":\t", b":  "]),
         (b"\r\n", [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n", b"\r\n "])]


def mutate(chance, data):
    """One change."""
    kind = chance.randrange(7)
    at = chance.randrange(len(data) + 1)
    if kind == 0:
        return data[:at] + chance.choice(BYTES) + data[at:]
    if kind == 1:
        return data[:at] + data[at + 1 + chance.randrange(3):]
    if kind == 2:
        return data[:at] + chance.choice(BYTES) + data[at + 1:]
    if kind in (3, 4):
        ends = [i + 2 for i in range(len(data) - 1) if data[i:i + 2] == b"\r\n"] or [0]
        at = chance.choice(ends)
        return data[:at] + chance.choice(LINES) + data[at:]
    word, others = chance.choice(WORDS)
    places = [i for i in range(len(data)) if data.startswith(word, i)]
    if not places:
        return mutate(chance, data)
    at = chance.choice(places)
    return data[:at] + chance.choice(others) + data[at + len(word):]


def inputs():
    """Every seed as it is, then damaged ones; a sound request follows each."""
    chance = random.Random(SEED)
    for seed in SEEDS:
        yield seed + NEXT
    for _ in range(COUNT):
        data = chance.choice(SEEDS)
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
            data = mutate(chance, data)
        yield data + NEXT


def ask(command, records):
    """What a program says to each record."""
    stdin = b"".join(struct.pack(">I", len(record)) + record for record in records)
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True, timeout=280)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(records):
        raise RuntimeError(f"{command[0]}: {len(answers)} answers to {len(records)} records")
    return answers


def compare(ours, node, used):
    """A complaint, or None. `used` collects the rules that were needed."""
    a, b = ours["requests"], node["requests"]
    for mine, theirs in zip(a, b):
        if mine != theirs:
            return "the same bytes are read as different requests"
    if len(b) > len(a):
        if ours["stopped"] == "closed":
            return None  # Node had read on before it closed
        if ours["stopped"] != "refused":
            return f"Node read more than Weft, which stopped with {ours['stopped']}"
        if ours["why"] not in STRICTER:
            return f"only Weft refuses: {ours['status']} {ours['why']}"
        used.add(ours["why"])
    if len(a) > len(b):
        if node["error"] == "HPE_CLOSED_CONNECTION":
            return None  # after "keep-alive" and a tab, RFC 9112 section 5, Node closes
        if node["error"] not in NODE_STRICTER:
            return f"only Node refuses: {node['error']}"
        used.add(node["error"])
    return None


def main():
    node = shutil.which("node")
    if node is None or not VERDICT.is_file():
        print("1..0 # SKIP node or http1_verdict is not there")
        return 77
    records = list(inputs())
    ours = ask([str(VERDICT)], records)
    theirs = ask([node, str(HERE / "http1_node.js")], records)
    used = set()
    failures = []
    accepted = 0
    for record, mine, other in zip(records, ours, theirs):
        accepted += len(mine["requests"]) > 1
        complaint = compare(mine, other, used)
        if complaint:
            failures.append((complaint, record, mine, other))
    stale = sorted((set(STRICTER) | set(NODE_STRICTER)) - used)
    if "WEFT_DIFFERENTIAL_SEED" in os.environ or "WEFT_DIFFERENTIAL_COUNT" in os.environ:
        stale = []
    for name, wrong in (
            (f"{len(records)} requests from seed {SEED} are read alike, or refused for a reason that is listed",
             bool(failures)),
            (f"some are accepted ({accepted}) and some are not",
             not len(records) // 20 < accepted < len(records) * 19 // 20),
            ("every listed difference occurred", bool(stale))):
        print(f"{'not ok' if wrong else 'ok'} - {name}")
    shown = {}
    for failure in failures:
        shown.setdefault(failure[0], failure) # one of each kind
    for complaint, record, mine, other in shown.values():
        print(f"# {complaint}\n#   {record!r}\n#   Weft: {mine}\n#   Node: {other}")
    for rule in stale:
        print(f"# not needed: {rule}")
    print("1..3")
    return 1 if failures or stale else 0


if __name__ == "__main__":
    sys.exit(main())
