// SPDX-License-Identifier: MIT
// The other end of tests/test_ws_interop.c: a WebSocket client or server by the ws package.
//
// usage: node ws_peer.js client URL deflate|plain | node ws_peer.js server deflate|plain
'use strict';
const WebSocket = require('ws');
const assert = require('assert');

const deflate = (mode) => (mode === 'deflate' ? { threshold: 0 } : false);
const sizes = [0, 1, 125, 126, 127, 65535, 65536, 200000];

function next(ws) {
  return new Promise((resolve, reject) => {
    ws.once('message', (data, binary) => resolve([data, binary]));
    ws.once('error', reject);
  });
}

async function client(url, mode) {
  const ws = new WebSocket(url, 'chat', { perMessageDeflate: deflate(mode) });
  await new Promise((resolve, reject) => { ws.once('open', resolve); ws.once('error', reject); });
  assert.strictEqual(ws.protocol, 'chat');
  assert.strictEqual(ws.extensions.includes('permessage-deflate'), mode === 'deflate');
  for (const size of [...sizes, ...sizes]) {
    const bytes = Buffer.alloc(size, 'line of text, ');
    for (const binary of [false, true]) {
      const answer = next(ws);
      ws.send(bytes, { binary });
      const [data, got] = await answer;
      assert.ok(data.equals(bytes) && got === binary, `size ${size}`);
    }
  }
  let answer = next(ws);
  ws.send('\u00e9\u20ac', { fin: false });
  ws.ping('between');
  ws.send('\ud83d\ude00', { fin: true });
  const pong = new Promise((resolve) => ws.once('pong', resolve));
  assert.strictEqual((await answer)[0].toString(), '\u00e9\u20ac\ud83d\ude00');
  ws.ping('hello');
  await pong;
  const closed = new Promise((resolve) => ws.once('close', (code, why) => resolve([code, why])));
  ws.close(4001, 'bye');
  const [code, why] = await closed;
  assert.strictEqual(code, 4001);
  assert.strictEqual(why.toString(), '');
  console.log('all is well');
}

function server(mode) {
  const wss = new WebSocket.Server({
    host: '127.0.0.1', port: 0, perMessageDeflate: deflate(mode),
    handleProtocols: () => 'chat',
  }, () => console.log(`port ${wss.address().port}`));
  wss.on('connection', (ws) => ws.on('message', (data, binary) => {
    if (data.toString() === 'close me') ws.close(4002, 'as asked');
    else if (data.toString() === 'ping me') ws.ping('there?', () => ws.send('sent'));
    else ws.send(data, { binary });
  }));
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'server') server(rest[0]);
else client(...rest).catch((error) => { console.error(error); process.exit(1); });
