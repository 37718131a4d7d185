// SPDX-License-Identifier: MIT
'use strict';

// Node's net module: one 'data' listener, write back, pause while the peer does not read.
// Node raises the file limit to its hard limit by itself.
const net = require('net');

const at = process.argv.indexOf('--port');
const port = at > 0 ? Number(process.argv[at + 1]) : 0;

const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('data', (data) => {
        if (!socket.write(data)) {
            socket.pause();
        }
    });
    socket.on('drain', () => socket.resume());
    socket.on('error', () => socket.destroy());
});

server.listen({ port, host: '127.0.0.1', backlog: 4096 }, () => {
    console.log(`listening tcp://127.0.0.1:${server.address().port}`);
});
