// The demo as a person uses it: two windows, a route file in an editor, Ctrl-C, and again.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { launch } from "./chromium.mjs";
import { eventually } from "./eventually.mjs";
import { demo } from "./hawser.mjs";

const EDITS = 20;
const shots = join(process.env.CARGO_TARGET_DIR ?? "target", "browser");

let folder, browser, hawser, address, route;
let pages = [];

before(async () => {
  await mkdir(shots, { recursive: true });
  folder = await mkdtemp(join(tmpdir(), "hawser-demo-"));
  browser = await launch();
  hawser = demo(["--http", "127.0.0.1:0", "--manifests", join(folder, "routes")]);
  address = (await hawser.printed(/http:\/\/([\d.]+:\d+)\/ /))[1];
  route = (await hawser.printed(/Route +(\S+\.yaml)/))[1];
});

after(async () => {
  hawser?.kill();
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

const connected = (page) => page.until("the page is connected", "document.getElementById('status').dataset.state === 'connected'");
const survived = async (page) => Number(await page.text("survived"));
const heard = (page, words) =>
  page.until(
    `the page shows ${words}`,
    `[...document.querySelectorAll('#messages .text')].some((text) => text.innerText === ${JSON.stringify(words)})`,
  );

/** Saves the route file: in place as some editors do, or by rename as others do. */
async function save(text, inPlace) {
  if (inPlace) return writeFile(route, text);
  await writeFile(`${route}.new`, text);
  await rename(`${route}.new`, route);
}

/** Edits the route file and waits until every page has counted the change. */
async function edit(change, inPlace) {
  const before = await Promise.all(pages.map(survived));
  const old = await readFile(route, "utf8");
  const text = change(old);
  assert.notEqual(text, old);
  await save(text, inPlace);
  for (const [i, page] of pages.entries()) {
    await page.until("the change is counted", `Number(document.getElementById('survived').innerText) > ${before[i]}`);
  }
}

test("two pages chat through Hawser", async () => {
  for (const name of ["Ann", "Bob"]) {
    const page = await browser.open(`http://${address}/`);
    await connected(page);
    await page.evaluate(`document.getElementById('name').select()`);
    await page.type("name", name);
    pages.push(page);
  }
  const [ann, bob] = pages;
  await bob.until("both are listed", "document.querySelectorAll('#people li').length === 2");
  await bob.until("names are known", "document.getElementById('people').innerText.includes('Ann')");
  assert.match(await ann.text("replica"), /^[AB]$/);
  assert.equal(await ann.text("topic"), "Harbour talk");

  await ann.type("text", "Ahoy, is anybody there?");
  await heard(bob, "Ahoy, is anybody there?");
  await bob.type("text", "Aye. I am here to stay.");
  await heard(ann, "Aye. I am here to stay.");
});

test(`${EDITS} edits of the route file reconnect nobody`, async () => {
  for (let i = 1; i <= EDITS; i++) {
    await edit((text) => text.replace(/idle: .*/, `idle: ${60 + i}m`), i % 2 === 0);
  }
  for (const page of pages) {
    assert.ok((await survived(page)) >= EDITS);
    assert.equal(await page.text("reconnects"), "0");
  }
  const [ann, bob] = pages;
  await ann.type("text", "Twenty changes and still the same connection.");
  await heard(bob, "Twenty changes and still the same connection.");
});

test("a broken file changes nothing and is reported", async () => {
  const good = await readFile(route, "utf8");
  await save(good.replace("spec:", "spec: ["), true);
  await eventually("the error is printed", () => hawser.err.includes("route.yaml"), () => hawser.err);
  const [ann, bob] = pages;
  await bob.type("text", "Did anybody notice?");
  await heard(ann, "Did anybody notice?");
  await save(good, true);
});

test("a connection keeps the route that it was opened with", async () => {
  await edit((text) => text.replace("value: Harbour talk", "value: Open sea"), false);
  const late = await browser.open(`http://${address}/`);
  await late.until("the new topic is shown", "document.getElementById('topic').innerText === 'Open sea'");
  assert.equal(await late.text("survived"), "0");
  for (const page of pages) assert.equal(await page.text("topic"), "Harbour talk");
  await late.send("Page.close");
  await pages[0].until("the late window has left", "document.querySelectorAll('#people li').length === 2");
  await pages[0].screenshot(join(shots, "1-chat.png"));
});

const rule = (name, policy) => `
  - {name: ${name}, matches: [{path: {type: Exact, value: /${name}}}], backendRefs: [{name: chat, port: 80}],
     rewrite: {prefix: /ws}, ${policy}}`;

const ENDS = `apiVersion: hawser.dev/v1alpha1
kind: WebSocketRoute
metadata: {name: ends}
spec:
  ingressClassName: hawser
  rules:${rule("idle", "upgrade: {mode: Require}, timeouts: {idle: 1s}")}${rule(
    "lifetime",
    "upgrade: {mode: Require}, timeouts: {maxLifetime: 2s}",
  )}${rule("limited", "upgrade: {mode: Require, maxMessageBytes: 1000}")}
`;

test("the browser is told why Hawser ends a connection", async () => {
  const file = join(folder, "routes", "ends.yaml");
  await writeFile(file, ENDS);
  await eventually("the routes are live", async () => (await fetch(`http://${address}/limited`)).status === 426);
  const [page] = pages;
  await page.evaluate(`window.ended = {};
    for (const path of ['/idle', '/lifetime', '/limited']) {
      const socket = new WebSocket('ws://' + location.host + path);
      socket.onopen = () => { if (path === '/limited') socket.send('x'.repeat(2000)); };
      socket.onclose = ({ code, reason, wasClean }) => { window.ended[path] = [code, reason, wasClean]; };
    }`);
  await page.until("all have ended", "Object.keys(window.ended).length === 3");
  assert.deepEqual(await page.evaluate("window.ended"), {
    "/idle": [1001, "idle_timeout: idle for too long", true],
    "/lifetime": [1012, "max_lifetime: open for as long as allowed, please reconnect", true],
    "/limited": [1009, "message_too_big: a message is over the limit", true],
  });
  await rm(file);
  for (const page of pages) assert.equal(await page.text("reconnects"), "0");
});

const compressed = (port) => `apiVersion: v1
kind: Service
metadata: {name: compressing}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: compressing-1, labels: {kubernetes.io/service-name: compressing}}
addressType: IPv4
ports: [{name: http, port: ${port}}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: hawser.dev/v1alpha1
kind: WebSocketRoute
metadata: {name: compressed}
spec:
  ingressClassName: hawser
  rules:
  - {name: compressed, matches: [{path: {type: Exact, value: /compressed}}],
     backendRefs: [{name: compressing, port: 80}], upgrade: {mode: Require, strict: true}}
`;

test("messages that browser and server compress pass as they are, and the end is told all the same", async () => {
  const modules = join(process.env.CARGO_TARGET_DIR ?? "target", "clients", "node_modules");
  const server = spawn(process.execPath, ["tests/clients/node/ws_server.cjs"], {
    env: { ...process.env, NODE_PATH: modules },
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const [line] = await once(server.stdout.setEncoding("utf8"), "data");
    const file = join(folder, "routes", "compressed.yaml");
    await writeFile(file, compressed(line.match(/listening (\d+)/)[1]));
    await eventually("the route is live", async () => (await fetch(`http://${address}/compressed`)).status === 426);
    const [page] = pages;
    await page.evaluate(`
      window.heard = [];
      (() => {
        const socket = new WebSocket('ws://' + location.host + '/compressed');
        socket.onopen = () => { window.heard.push(socket.extensions.split(';')[0]); socket.send('a'.repeat(100000)); };
        socket.onmessage = ({ data }) => { window.heard.push(data.length); socket.send('close 4321 as asked'); };
        socket.onclose = ({ code, reason, wasClean }) => { window.heard.push([code, reason, wasClean]); };
      })()`);
    await page.until("it is closed", "window.heard.length === 3");
    assert.deepEqual(await page.evaluate("window.heard"), ["permessage-deflate", 100000, [4321, "as asked", true]]);
    await rm(file);
  } finally {
    server.kill();
  }
});

const revocable = (mode) => `apiVersion: hawser.dev/v1alpha1
kind: WebSocketRoute
metadata: {name: revocable}
spec:
  ingressClassName: hawser
  rules:${rule("revocable", `upgrade: {mode: ${mode}}, drain: {window: 0s}`)}
`;

test("with Deny an open window is closed, a new one refused, and nobody else is disturbed", async () => {
  const file = join(folder, "routes", "revocable.yaml");
  await writeFile(file, revocable("Require"));
  await eventually("the route is live", async () => (await fetch(`http://${address}/revocable`)).status === 426);
  const [page] = pages;
  const open = (name) => page.evaluate(`
    window.${name} = "opening";
    (() => {
      const socket = new WebSocket('ws://' + location.host + '/revocable');
      socket.onopen = () => { window.${name} = "open"; };
      socket.onclose = ({ code, reason, wasClean }) => { window.${name} = [code, reason, wasClean]; };
    })()`);
  await open("early");
  await page.until("it is open", "window.early === 'open'");
  await writeFile(file, revocable("Deny"));
  await page.until("it is closed", "Array.isArray(window.early)");
  assert.deepEqual(await page.evaluate("window.early"), [1012, "route_removed: the route was removed", true]);
  await open("late");
  await page.until("it is refused", "Array.isArray(window.late)");
  assert.deepEqual(await page.evaluate("window.late"), [1006, "", false]);
  // The browser complains about every refused handshake, and about nothing else.
  for (const problem of page.problems.splice(0)) assert.match(JSON.stringify(problem), /\/revocable/);
  await rm(file);
  for (const page of pages) assert.equal(await page.text("reconnects"), "0");
});

test("a busy port is one line that says what to do", async () => {
  const second = demo(["--http", address, "--manifests", join(folder, "other")]);
  assert.equal(await second.exited, 64);
  assert.match(second.err, /^hawser: demo: .*in use.*--http.*\n$/);
  assert.equal(second.out, "");
});

test("Ctrl-C closes with a code and a reason that the pages show", async () => {
  assert.equal(await hawser.interrupt(), 0);
  for (const page of pages) {
    await page.until("the Close is shown", "!document.getElementById('closed').hidden");
    assert.equal(await page.text("code"), "1012");
    assert.match(await page.text("reason"), /\w/);
  }
  await pages[0].screenshot(join(shots, "2-closed.png"));
});

test("the pages reconnect when the demo starts again", async () => {
  hawser = demo(["--http", address, "--manifests", join(folder, "routes")]);
  await hawser.printed(/Chat/);
  for (const page of pages) {
    await connected(page);
    assert.equal(await page.text("reconnects"), "1");
  }
  const [ann, bob] = pages;
  await ann.type("text", "Back again.");
  await heard(bob, "Back again.");
  await bob.screenshot(join(shots, "3-back.png"));
  assert.equal(await hawser.interrupt(), 0);
  for (const page of pages) assert.deepEqual(page.problems, []);
});
