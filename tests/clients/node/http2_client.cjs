// A client with Node's own HTTP/2 (nghttp2); in its tunnels the `ws` library speaks WebSocket.
// Usage: http2_client.cjs URL SCENARIO...
"use strict";

const assert = require("node:assert/strict");
const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const http2 = require("node:http2");
const path = require("node:path");
const WebSocket = require("ws");

// What `ws` does not export it has in files of its own.
const lib = path.join(path.dirname(require.resolve("ws")), "lib");
const { format, parse } = require(path.join(lib, "extension.js"));
const PerMessageDeflate = require(path.join(lib, "permessage-deflate.js"));

// Milliseconds; a script that hangs must not outlive its test by much.
const DEADLINE = 60_000;
const LARGE = "0123456789abcdef".repeat(65536);

/** A connection, once the server has said that it takes extended CONNECT. */
async function session(url) {
  const session = http2.connect(`http://${new URL(url).host}`);
  await once(session, "remoteSettings");
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  return session;
}

/** Opens a WebSocket on a stream of a session. */
async function open(session, url, headers = {}) {
  const stream = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": new URL(url).pathname,
    "sec-websocket-version": "13",
    ...headers,
  });
  const [answer] = await once(stream, "response");
  assert.equal(answer[":status"], 200);
  assert.equal(answer["sec-websocket-accept"], undefined);
  // `ws` makes a client of a stream only by its own handshake.
  const ws = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30_000 });
  ws._isServer = false;
  ws._protocol = answer["sec-websocket-protocol"] ?? "";
  const extensions = answer["sec-websocket-extensions"];
  if (extensions) {
    const deflate = new PerMessageDeflate({ threshold: 0 }, false);
    deflate.accept(parse(extensions)[PerMessageDeflate.extensionName]);
    ws._extensions[PerMessageDeflate.extensionName] = deflate;
  }
  ws.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 27, skipUTF8Validation: false });
  return ws;
}

/** Opens a WebSocket on a connection of its own, runs `talk` on it and closes it. */
async function connect(url, headers, talk) {
  const connection = await session(url);
  const ws = await open(connection, url, headers);
  const closed = once(ws, "close");
  await talk(ws);
  ws.close(1000);
  await closed;
  connection.close();
}

/** The next message: text as a string, binary as a Buffer. */
async function receive(ws) {
  const [data, isBinary] = await once(ws, "message");
  return isBinary ? data : data.toString();
}

/** Sends a message and gives the answer. */
async function ask(ws, message) {
  const answer = receive(ws);
  ws.send(message);
  return answer;
}

const scenarios = {
  async text(url) {
    await connect(url, {}, async (ws) => {
      assert.equal(await ask(ws, "grüße"), "grüße");
    });
  },

  async binary(url) {
    await connect(url, {}, async (ws) => {
      for (const size of [0, 1, 125, 126, 65535, 65536]) {
        const data = randomBytes(size);
        assert.deepEqual(await ask(ws, data), data);
      }
    });
  },

  async fragmented(url) {
    await connect(url, {}, async (ws) => {
      const echo = receive(ws);
      ws.send("one ", { fin: false });
      ws.send("two ", { fin: false });
      ws.send("three", { fin: true });
      assert.equal(await echo, "one two three");
      assert.equal(await ask(ws, "fragments abc"), "abc");
    });
  },

  async large(url) {
    await connect(url, {}, async (ws) => {
      assert.ok((await ask(ws, LARGE)) === LARGE, "the echo differs");
    });
  },

  async ping(url) {
    await connect(url, {}, async (ws) => {
      const pong = once(ws, "pong");
      ws.ping("payload");
      const [data] = await pong;
      assert.equal(data.toString(), "payload");
      assert.equal(await ask(ws, "ping"), "pong");
    });
  },

  async "client-close"(url) {
    const connection = await session(url);
    const ws = await open(connection, url);
    await ask(ws, "hello");
    const closed = once(ws, "close");
    ws.close(4001, "going home");
    const [code] = await closed;
    assert.notEqual(code, 1006, "the server did not answer the Close");
    connection.close();
  },

  async "server-close"(url) {
    const connection = await session(url);
    const ws = await open(connection, url);
    const closed = once(ws, "close");
    ws.send("close 4002 because I said so");
    const [code, reason] = await closed;
    assert.deepEqual([code, reason.toString()], [4002, "because I said so"]);
    connection.close();
  },

  async subprotocol(url) {
    await connect(url, { "sec-websocket-protocol": "chat.v9, chat.v1" }, async (ws) => {
      assert.equal(ws.protocol, "chat.v1");
      assert.equal(await ask(ws, "protocol"), "chat.v1");
    });
  },

  async deflate(url) {
    const deflate = new PerMessageDeflate({ threshold: 0 }, false);
    const offer = format({ [PerMessageDeflate.extensionName]: deflate.offer() });
    await connect(url, { "sec-websocket-extensions": offer }, async (ws) => {
      assert.match(ws.extensions, /permessage-deflate/);
      assert.equal(await ask(ws, "extensions"), "permessage-deflate");
      assert.ok((await ask(ws, LARGE)) === LARGE, "the echo differs");
    });
  },

  async "no-deflate"(url) {
    await connect(url, {}, async (ws) => {
      assert.equal(ws.extensions, "");
      assert.equal(await ask(ws, "extensions"), "none");
    });
  },

  /** Many tunnels and plain requests side by side on one connection. */
  async "one-connection"(url) {
    const connection = await session(url);
    const sockets = await Promise.all(
      Array.from({ length: 20 }, () => open(connection, url)),
    );
    const texts = await Promise.all(sockets.map((ws, number) => ask(ws, `from ${number}`)));
    assert.deepEqual(texts, sockets.map((_, number) => `from ${number}`));
    await Promise.all(
      sockets.map((ws) => {
        const closed = once(ws, "close");
        ws.close(1000);
        return closed;
      }),
    );
    connection.close();
    await once(connection, "close");
  },

  async "http-get"(url) {
    const connection = await session(url);
    for (const [path, status, body] of [
      ["/hello?name=a%20b", 200, "hello a b"],
      ["/nothing", 404, "404: Not Found"],
    ]) {
      const stream = connection.request({ ":path": path });
      const [answer] = await once(stream, "response");
      assert.equal(answer[":status"], status);
      assert.equal(Buffer.concat(await stream.toArray()).toString(), body);
    }
    connection.close();
  },

  async "http-post"(url) {
    const connection = await session(url);
    const stream = connection.request({ ":method": "POST", ":path": "/echo" });
    stream.end(LARGE);
    const [answer] = await once(stream, "response");
    assert.equal(answer[":status"], 200);
    assert.ok(Buffer.concat(await stream.toArray()).toString() === LARGE, "the echo differs");
    connection.close();
  },
};

async function main() {
  const [url, ...names] = process.argv.slice(2);
  setTimeout(() => {
    console.error(`not done after ${DEADLINE} ms`);
    process.exit(1);
  }, DEADLINE).unref();
  for (const name of names) {
    try {
      await scenarios[name](url);
    } catch (error) {
      console.error(`${name}: ${error.stack}`);
      process.exit(1);
    }
    console.log(`ok ${name}`);
  }
}

main();
