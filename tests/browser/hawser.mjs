// A `hawser demo` process.

import { spawn } from "node:child_process";
import { join } from "node:path";

import { eventually } from "./eventually.mjs";

const BINARY = join(process.env.CARGO_TARGET_DIR ?? "target", "debug", "hawser");

/** Starts a demo without waiting for it. */
export function demo(args) {
  return new Demo(spawn(BINARY, ["demo", ...args], { stdio: ["ignore", "pipe", "pipe"] }));
}

class Demo {
  /** What it printed so far. */
  out = "";
  err = "";
  /** Its exit code. */
  exited;
  #child;
  #running = true;

  constructor(child) {
    this.#child = child;
    child.stdout.setEncoding("utf8").on("data", (text) => (this.out += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (this.err += text));
    // `close` comes once everything that it printed was read.
    this.exited = new Promise((resolve, reject) => {
      child.once("close", resolve);
      child.once("error", reject);
    });
    this.exited.then(() => (this.#running = false), () => (this.#running = false));
  }

  /** Waits until it prints something and returns the match. */
  printed(pattern) {
    return eventually(
      `hawser prints ${pattern}`,
      () => {
        const match = this.out.match(pattern);
        if (!match && !this.#running) throw new Error(`hawser has ended: ${this.err}`);
        return match;
      },
      () => this.out + this.err,
    );
  }

  /** Presses Ctrl-C and returns the exit code. */
  interrupt() {
    this.#child.kill("SIGINT");
    return this.exited;
  }

  kill() {
    if (this.#running) this.#child.kill("SIGKILL");
  }
}
