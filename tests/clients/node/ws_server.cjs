// An echo server with the `ws` library.
"use strict";

const { once } = require("node:events");
const { WebSocketServer } = require("ws");

// Milliseconds; a server that is forgotten must not stay.
const DEADLINE = 300_000;

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  maxPayload: 0,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has("chat.v1") ? "chat.v1" : false),
});

server.on("listening", () => console.log(`listening ${server.address().port}`));

server.on("connection", (ws) => {
  ws.on("message", (data, isBinary) => answer(ws, data, isBinary));
  ws.on("close", (code, reason) => {
    // 1006 is no Close frame but the want of one.
    if (code !== 1006) console.log(`closed ${code} ${reason}`);
  });
  ws.on("error", (error) => console.error(error));
});

async function answer(ws, data, isBinary) {
  const [, word, rest] = isBinary ? [] : data.toString().match(/^(\S*) ?(.*)$/s);
  switch (word) {
    case "close": {
      const [, code, reason] = rest.match(/^(\d+) ?(.*)$/);
      ws.close(Number(code), reason);
      break;
    }
    case "fragments":
      for (let at = 0; at < rest.length; at += 1) {
        ws.send(rest[at], { fin: at === rest.length - 1 });
      }
      break;
    case "ping": {
      const pong = once(ws, "pong");
      ws.ping("server");
      await pong;
      ws.send("pong");
      break;
    }
    case "protocol":
      ws.send(ws.protocol || "none");
      break;
    case "extensions":
      ws.send(ws.extensions.split(";")[0] || "none");
      break;
    default:
      ws.send(data, { binary: isBinary });
  }
}

process.stdin.on("end", () => process.exit(0)).resume();
setTimeout(() => process.exit(0), DEADLINE).unref();
