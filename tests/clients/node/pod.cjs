// A container of a Pod in the tests: an HTTP server that tells about its Pod, on port 8080.
//   GET /          its name, user, arguments and environment as JSON
//   GET /file/PATH content of the file /PATH
//   GET /ready     200, or 503 after GET /ready/off (until GET /ready/on)
//   a WebSocket    on any path: `who` is answered with its name, all else comes back
// SIGTERM ends it; with IGNORE_TERM=1 it only says so.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');

let ready = true;
const say = (text) => fs.writeSync(1, `${Date.now()} ${text}\n`);
const server = http.createServer((request, response) => {
  const path = request.url;
  if (path === '/') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ name: process.env.HOSTNAME, uid: process.getuid(), arguments: process.argv.slice(2), env: process.env }));
  } else if (path.startsWith('/file/')) {
    fs.readFile(path.slice('/file'.length), (error, content) => {
      response.statusCode = error ? 404 : 200;
      response.end(error ? String(error) : content);
    });
  } else if (path === '/ready') {
    response.statusCode = ready ? 200 : 503;
    response.end();
  } else if (path === '/ready/off' || path === '/ready/on') {
    ready = path === '/ready/on';
    response.end();
  } else {
    response.statusCode = 404;
    response.end();
  }
});
// Just enough of RFC 6455 for short messages: a container has no libraries.
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
server.on('upgrade', (request, socket, head) => {
  const key = crypto.createHash('sha1').update(request.headers['sec-websocket-key'] + GUID).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\n\r\n`,
  );
  const send = (opcode, content) => socket.write(Buffer.concat([Buffer.from([0x80 | opcode, content.length]), content]));
  let buffer = head;
  const read = (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= 6) {
      const length = buffer[1] & 0x7f;
      if (length > 125) return socket.destroy();
      if (buffer.length < 6 + length) return;
      const opcode = buffer[0] & 0x0f;
      const content = Buffer.from(buffer.subarray(6, 6 + length).map((byte, index) => byte ^ buffer[2 + (index % 4)]));
      buffer = buffer.subarray(6 + length);
      if (opcode === 1 && content.toString() === 'who') send(1, Buffer.from(process.env.HOSTNAME));
      else if (opcode === 9) send(10, content);
      else if (opcode !== 10) send(opcode, content);
      if (opcode === 8) return socket.end();
    }
  };
  socket.on('error', () => {});
  socket.on('data', read);
  read(Buffer.alloc(0));
});
// Connections of tests stay open as long as they like.
server.keepAliveTimeout = 0;
process.on('SIGTERM', () => {
  say('SIGTERM');
  if (process.env.IGNORE_TERM !== '1') process.exit(0);
});
server.listen(8080, () => say('listening'));
