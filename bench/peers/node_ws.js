// SPDX-License-Identifier: MIT

// Node with the package `ws`, as Debian has it, without compression: what comes is sent back, or
// to all. The faster idiom for many: the frame is the library's to build for each of them.
'use strict';

const http = require('http');
const { WebSocketServer } = require('ws');

function option(name, fallback) {
    const at = process.argv.indexOf(name);
    return at >= 0 ? process.argv[at + 1] : fallback;
}

const broadcast = option('--mode', 'echo') === 'broadcast';
const server = http.createServer();
const all = new WebSocketServer({ server, perMessageDeflate: false });

all.on('connection', (ws) => {
    ws.on('error', () => {});
    ws.on('message', (data, binary) => {
        if (!broadcast) {
            ws.send(data, { binary });
            return;
        }
        for (const one of all.clients)
            if (one.readyState === 1 && one.bufferedAmount < 1 << 20)
                one.send(data, { binary });
    });
});

server.listen(Number(option('--port', '0')), '127.0.0.1', 4096, () => {
    console.log(`listening tcp://127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));
