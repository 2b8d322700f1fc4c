// Chromium over the DevTools protocol on a pipe: no package, no port.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { eventually } from "./eventually.mjs";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  // Nothing but the pages under test.
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Two windows, of which only one can be in front: both must run.
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
  "--window-size=1180,760",
  "--remote-debugging-pipe",
];

export async function launch() {
  const profile = await mkdtemp(join(tmpdir(), "hawser-chromium-"));
  const child = spawn(process.env.CHROMIUM ?? "chromium", [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    // 3 and 4: the pipe that it reads commands from and writes answers to.
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
  });
  return new Browser(child, profile);
}

class Browser {
  #child;
  #profile;
  #exited;
  #waiting = new Map();
  #pages = new Map();
  #nextId = 1;

  constructor(child, profile) {
    this.#child = child;
    this.#profile = profile;
    this.#exited = new Promise((resolve) => {
      child.once("exit", resolve);
      child.once("error", resolve);
    });
    // It may die at any time; then the commands that wait fail, and not the test runner.
    child.stdio[3].on("error", () => {});
    this.#exited.then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error("Chromium has ended"));
      this.#waiting.clear();
    });
    let rest = "";
    child.stdio[4].setEncoding("utf8").on("data", (data) => {
      const messages = (rest + data).split("\0");
      rest = messages.pop();
      for (const message of messages) this.#receive(JSON.parse(message));
    });
  }

  #receive(message) {
    if (message.id === undefined) {
      this.#pages.get(message.sessionId)?.event(message.method, message.params);
      return;
    }
    const { resolve, reject } = this.#waiting.get(message.id) ?? {};
    this.#waiting.delete(message.id);
    if (message.error) reject?.(new Error(`Chromium: ${message.error.message}`));
    else resolve?.(message.result);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  /** Opens a window with a profile of its own, as another person would have. */
  async open(url) {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId);
    this.#pages.set(sessionId, page);
    for (const domain of ["Page", "Runtime", "Log"]) await page.send(`${domain}.enable`);
    await page.send("Page.navigate", { url });
    return page;
  }

  async close() {
    this.#child.kill("SIGKILL");
    await this.#exited;
    // Its helper processes may write for a moment longer.
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

class Page {
  /** Exceptions of the page, and what its security policy blocked. */
  problems = [];
  #browser;
  #sessionId;

  constructor(browser, sessionId) {
    this.#browser = browser;
    this.#sessionId = sessionId;
  }

  send(method, params) {
    return this.#browser.send(method, params, this.#sessionId);
  }

  event(method, params) {
    if (method === "Runtime.exceptionThrown") {
      this.problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    }
    if (method === "Log.entryAdded" && params.entry.source === "security") this.problems.push(params.entry.text);
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  }

  /** The text of the element with this id. */
  text(id) {
    return this.evaluate(`document.getElementById(${JSON.stringify(id)})?.innerText ?? null`);
  }

  /** Waits until `expression` is true in the page; while it loads, elements are missing. */
  until(what, expression) {
    return eventually(
      what,
      () => this.evaluate(`(() => { try { return ${expression}; } catch { return false; } })()`),
      () => this.evaluate("document.body.innerText"),
    );
  }

  /** Types into the element with this id and presses Enter, as a person does. */
  async type(id, words) {
    await this.evaluate(`document.getElementById(${JSON.stringify(id)}).focus()`);
    await this.send("Input.insertText", { text: words });
    const enter = { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: "\r" };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...enter });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...enter });
  }

  async screenshot(file) {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    await writeFile(file, Buffer.from(data, "base64"));
  }
}
