/** Long enough for a loaded machine; a condition that is true returns at once. */
const DEADLINE_MS = 30_000;

/** Waits until `condition` gives something true; fails with `what` and what `see` shows. */
export async function eventually(what, condition, see = () => "") {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`did not happen in time: ${what}\n${await see()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
