// SPDX-License-Identifier: MIT
// The other end of tests/cli/test_http_node.py: HTTP/2 by Node's own module.
//
// usage: node http2_peer.js client URL [CA] | node http2_peer.js server [CERT KEY]
'use strict';
const http2 = require('http2');
const fs = require('fs');
const assert = require('assert');

function pattern(n) {
  const b = Buffer.alloc(n);
  for (let i = 0; i < n; i++) b[i] = i * 31 + Math.floor(i / 251);
  return b;
}

// --- As a client of tests/support/site.c

function ask(session, headers, body, trailers) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
    const reply = { pieces: [] };
    stream.on('response', (h) => { reply.head = h; });
    stream.on('trailers', (h) => { reply.trailers = h; });
    stream.on('data', (d) => reply.pieces.push(d));
    stream.on('error', reject);
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('end', () => resolve({ ...reply, body: Buffer.concat(reply.pieces) }));
    if (body !== undefined) stream.end(body);
  });
}

// Reads some of an endless answer, then resets the stream: 8 is CANCEL.
function give_up(session) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':path': '/endless' });
    stream.once('data', () => stream.close(http2.constants.NGHTTP2_CANCEL));
    stream.on('error', reject);
    stream.on('close', () => resolve(stream.rstCode));
  });
}

// Sends half of a body, then resets the stream: close() would end the body first. 2 is INTERNAL_ERROR.
function break_off(session) {
  return new Promise((resolve) => {
    const stream = session.request({ ':path': '/echo', ':method': 'POST' });
    stream.on('error', () => {});
    stream.once('data', () => stream.destroy(new Error('as meant')));
    stream.on('close', () => resolve(stream.rstCode));
    stream.write(Buffer.alloc(1000));
  });
}

async function client(url, ca) {
  const session = http2.connect(url, ca ? { ca: fs.readFileSync(ca) } : {});
  await new Promise((resolve, reject) => { session.once('connect', resolve); session.once('error', reject); });
  const big = pattern(5_000_000);
  let r = await ask(session, { ':path': '/bytes/5000000' });
  assert.ok(r.head[':status'] === 200 && r.body.equals(big));
  r = await ask(session, { ':path': '/echo', ':method': 'POST' }, big, { 'x-sum': 'from node' });
  assert.ok(r.body.equals(big));
  assert.strictEqual(r.trailers['x-len'], '5000000');
  assert.strictEqual(r.trailers['x-got'], 'from node');
  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => ask(session, { ':path': `/bytes/${i * 100}` })));
  many.forEach((m, i) => assert.ok(m.body.equals(big.subarray(0, i * 100)), `stream ${i}`));
  for (let i = 0; i < 10; i++) {
    assert.strictEqual(await give_up(session), 8);
    assert.strictEqual(await break_off(session), 2);
  }
  const seen = async () => Number((await ask(session, { ':path': '/seen' })).body.toString().split(' ')[0]);
  while (await seen() < 20); // each of them has been told
  await new Promise((resolve, reject) => session.ping((e) => (e ? reject(e) : resolve())));
  // GOAWAY: what is under way is answered, and the server ends the connection.
  const goaway = new Promise((resolve) => session.once('goaway', (code) => resolve(code)));
  const closed = new Promise((resolve) => session.once('close', resolve));
  const last = ask(session, { ':path': '/bytes/5000000' });
  console.log('stop');
  assert.strictEqual(await goaway, 0);
  assert.ok((await last).body.equals(big));
  await closed;
  console.log('all is well');
}

// --- As the server of tests/support/fetch.c

function server(cert, key) {
  const maxSessionMemory = 100; // MB: it counts what bodies are queued
  const s = cert
    ? http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), maxSessionMemory })
    : http2.createServer({ maxSessionMemory });
  const sessions = new Set();
  const body = pattern(3_000_000);
  let resets = 0;
  s.on('session', (session) => { sessions.add(session); session.on('close', () => sessions.delete(session)); });
  s.on('stream', (stream, headers) => {
    const path = headers[':path'];
    stream.on('error', () => {});
    stream.on('close', () => { if (stream.rstCode === http2.constants.NGHTTP2_CANCEL) resets++; });
    if (path === '/bytes') {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'node' }));
      stream.end(body);
    } else if (path === '/echo') {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'node' }));
      stream.pipe(stream);
    } else if (path === '/count') {
      let n = 0;
      stream.on('data', (d) => { n += d.length; });
      stream.on('end', () => { stream.respond({ ':status': 200 }); stream.end(`${n}`); });
    } else if (path === '/early') { // answers without having read, and wants no more
      stream.respond({ ':status': 413 });
      stream.end('too much');
    } else if (path === '/reset') {
      stream.respond({ ':status': 200 });
      stream.write('some', () => stream.destroy(new Error('as asked')));
    } else if (path === '/refuse') { // RFC 9113 section 8.7: safe to repeat
      if (headers['x-try'] === undefined && resets >= 0 && !server.refused) {
        server.refused = true;
        stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      } else {
        stream.respond({ ':status': 200 });
        stream.end('taken');
      }
    } else if (path === '/goaway') { // this one is answered, those after it go elsewhere
      stream.session.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id);
      stream.respond({ ':status': 200 });
      stream.end('last');
    } else {
      stream.respond({ ':status': 200 });
      stream.end(`${resets}`);
    }
  });
  s.listen(0, '127.0.0.1', () => console.log(`port ${s.address().port}`));
}

if (process.argv[2] === 'client') {
  client(process.argv[3], process.argv[4]).catch((e) => { console.error(e); process.exit(1); });
} else {
  server(process.argv[3], process.argv[4]);
}
