// A client with the `ws` library. Usage: ws_client.cjs URL SCENARIO...
"use strict";

const assert = require("node:assert/strict");
const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const { setTimeout: sleep } = require("node:timers/promises");
const WebSocket = require("ws");

// Milliseconds; a script that hangs must not outlive its test by much.
const DEADLINE = 60_000;
const LARGE = "0123456789abcdef".repeat(65536);
// Milliseconds between two messages of `busy`: many clients share the machine.
const PACE = 10;

/** Opens a connection, runs `talk` on it and closes it. */
async function connect(url, protocols, options, talk) {
  const ws = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
  const closed = once(ws, "close");
  await once(ws, "open");
  await talk(ws);
  ws.close(1000);
  return closed;
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

/** Opens a connection with permessage-deflate, runs `talk` on it and says how the other side closed. */
async function untilTheEnd(url, talk) {
  const ws = new WebSocket(url, [], { perMessageDeflate: { threshold: 0 } });
  const closed = once(ws, "close");
  await once(ws, "open");
  assert.match(ws.extensions, /permessage-deflate/);
  await talk(ws);
  const [code, reason] = await closed;
  // 1006 is no Close frame but the want of one.
  console.log(code === 1006 ? "ended without a Close" : `ended ${code} ${reason}`);
}

const scenarios = {
  async text(url) {
    await connect(url, [], {}, async (ws) => {
      assert.equal(await ask(ws, "grüße"), "grüße");
    });
  },

  async binary(url) {
    await connect(url, [], {}, async (ws) => {
      for (const size of [0, 1, 125, 126, 65535, 65536]) {
        const data = randomBytes(size);
        assert.deepEqual(await ask(ws, data), data);
      }
    });
  },

  async fragmented(url) {
    await connect(url, [], {}, async (ws) => {
      const echo = receive(ws);
      ws.send("one ", { fin: false });
      ws.send("two ", { fin: false });
      ws.send("three", { fin: true });
      assert.equal(await echo, "one two three");
      assert.equal(await ask(ws, "fragments abc"), "abc");
    });
  },

  async large(url) {
    await connect(url, [], {}, async (ws) => {
      assert.ok((await ask(ws, LARGE)) === LARGE, "the echo differs");
    });
  },

  async ping(url) {
    await connect(url, [], {}, async (ws) => {
      const pong = once(ws, "pong");
      ws.ping("payload");
      const [data] = await pong;
      assert.equal(data.toString(), "payload");
      assert.equal(await ask(ws, "ping"), "pong");
    });
  },

  async "client-close"(url) {
    const ws = new WebSocket(url);
    await once(ws, "open");
    await ask(ws, "hello");
    const closed = once(ws, "close");
    ws.close(4001, "going home");
    const [code] = await closed;
    assert.notEqual(code, 1006, "the server did not answer the Close");
  },

  async "server-close"(url) {
    const ws = new WebSocket(url);
    await once(ws, "open");
    const closed = once(ws, "close");
    ws.send("close 4002 because I said so");
    const [code, reason] = await closed;
    assert.deepEqual([code, reason.toString()], [4002, "because I said so"]);
  },

  async subprotocol(url) {
    await connect(url, ["chat.v9", "chat.v1"], {}, async (ws) => {
      assert.equal(ws.protocol, "chat.v1");
      assert.equal(await ask(ws, "protocol"), "chat.v1");
    });
  },

  async deflate(url) {
    const options = { perMessageDeflate: { threshold: 0 } };
    await connect(url, [], options, async (ws) => {
      assert.match(ws.extensions, /permessage-deflate/);
      assert.equal(await ask(ws, "extensions"), "permessage-deflate");
      assert.ok((await ask(ws, LARGE)) === LARGE, "the echo differs");
    });
  },

  async pinged(url) {
    await connect(url, [], {}, async (ws) => {
      const pings = [];
      const pongs = [];
      ws.on("pong", (data) => pongs.push(data.toString()));
      await new Promise((second) => {
        ws.on("ping", (data) => {
          pings.push(data);
          if (pings.length === 2) second();
        });
      });
      assert.deepEqual(pongs, []);
      const pong = once(ws, "pong");
      ws.ping("payload");
      await pong;
      assert.equal(await ask(ws, "ping"), "pong");
      assert.equal(await ask(ws, "last"), "last");
      assert.deepEqual(pongs, ["payload"]);
      for (const data of pings) if (data.toString() !== "server") assert.equal(data.length, 8);
    });
  },

  async quiet(url) {
    await untilTheEnd(url, async (ws) => {
      for (const number of [0, 1, 2]) {
        const message = `message ${number} `.repeat(50);
        assert.equal(await ask(ws, message), message);
      }
    });
  },

  async busy(url) {
    await untilTheEnd(url, async (ws) => {
      const messages = [0, 1, 2].map((number) => `message ${number} `.repeat(50));
      const over = once(ws, "close").then(() => true);
      while (ws.readyState === WebSocket.OPEN) {
        const heard = [];
        const all = new Promise((done) => {
          ws.on("message", function listen(data) {
            if (heard.push(data.toString()) < messages.length) return;
            ws.off("message", listen);
            done(false);
          });
        });
        for (const message of messages) ws.send(message);
        if (await Promise.race([over, all])) break;
        assert.deepEqual(heard, messages);
        await sleep(PACE);
      }
    });
  },

  async big(url) {
    await untilTheEnd(url, async (ws) => {
      // Far over the limit, but not on the wire.
      assert.ok((await ask(ws, LARGE)) === LARGE, "the echo differs");
      ws.send(randomBytes(100_000));
    });
  },

  async rude(url) {
    await untilTheEnd(url, async (ws) => {
      assert.equal(await ask(ws, "hello"), "hello");
      // Opcode 11 has no meaning.
      ws._socket.write(Buffer.from([0x8b, 0x80, 0, 0, 0, 0]));
    });
  },

  async slow(url) {
    await connect(url, [], {}, async (ws) => {
      const start = performance.now();
      assert.ok((await ask(ws, LARGE)) === LARGE, "the echo differs");
      const took = performance.now() - start;
      assert.ok(took > 900, `two seconds' share took ${took} ms`);
    });
  },

  async "no-deflate"(url) {
    await connect(url, [], {}, async (ws) => {
      assert.equal(ws.extensions, "");
      assert.equal(await ask(ws, "extensions"), "none");
    });
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
      const [scenario, path] = name.split("@");
      await scenarios[scenario](path ? new URL(path, url).href : url);
    } catch (error) {
      console.error(`${name}: ${error.stack}`);
      process.exit(1);
    }
    console.log(`ok ${name}`);
  }
}

main();
