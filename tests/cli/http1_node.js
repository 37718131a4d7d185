// SPDX-License-Identifier: MIT
// What Node's http server makes of streams of bytes. For test_http_differential.py: reads records
// from stdin (length in 4 bytes, big endian, then the bytes), gives each to a server of its own
// connection, and prints a line of JSON for each: the requests that were read to their end, as
// [method, target, minor version, body in hex], and the error, if any.
'use strict';
const http = require('http');
const { Duplex } = require('stream');

let current; // the record that is being served

function handle(request, response) {
    const mine = current;
    const body = [];
    request.on('data', (piece) => body.push(piece));
    request.on('error', () => {});
    request.on('end', () => {
        mine.requests.push([request.method, request.url, request.httpVersionMinor,
                            Buffer.concat(body).toString('hex')]);
        response.end();
    });
}

const server = http.createServer({ insecureHTTPParser: false, requireHostHeader: true,
                                   maxHeaderSize: 65536, keepAliveTimeout: 0 }, handle);
server.on('checkExpectation', handle);
server.on('checkContinue', handle);
server.on('connect', (request, socket) => {
    current.requests.push([request.method, request.url, request.httpVersionMinor, '']);
    socket.destroy();
});
server.on('clientError', (error, socket) => {
    current.error = current.error || error.code || String(error);
    // requests before the damage are still to come to their end
    setImmediate(() => setImmediate(() => setImmediate(() => socket.destroy())));
});

function serve(bytes) {
    return new Promise((resolve) => {
        const mine = { requests: [], error: null };
        let written = '';
        current = mine;
        const socket = new Duplex({
            read() {},
            write(piece, encoding, done) { written += piece.toString('latin1'); done(); },
            allowHalfOpen: true,
        });
        const timer = setTimeout(() => { mine.error = 'STUCK'; socket.destroy(); }, 5000);
        socket.setTimeout = () => socket;
        socket.setNoDelay = socket.setKeepAlive = socket.ref = socket.unref = () => socket;
        socket.on('error', () => {});
        socket.on('close', () => {
            clearTimeout(timer);
            // a 400 that the server sends without an event: no Host
            if (mine.error === null && written.includes('HTTP/1.1 400'))
                mine.error = 'BAD_REQUEST';
            resolve(mine);
        });
        server.emit('connection', socket);
        socket.push(bytes);
        socket.push(null);
    });
}

async function main() {
    const pieces = [];
    for await (const piece of process.stdin)
        pieces.push(piece);
    const all = Buffer.concat(pieces);
    for (let at = 0; at + 4 <= all.length;) {
        const length = all.readUInt32BE(at);
        const result = await serve(all.subarray(at + 4, at + 4 + length));
        process.stdout.write(JSON.stringify(result) + '\n');
        at += 4 + length;
    }
}

main();
