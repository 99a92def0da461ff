/**
 * A process that writes to a store, for tests of what many of them do to one another and of what SIGKILL leaves.
 * Arguments: task, URL, name of the writer. It prints `ready`, waits for a line, works, and prints one line of JSON per
 * thing that it was told is done.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createLog } from "../../src/runtime/log.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { AmbiguousWriteError, type ObjectStore } from "../../src/storage/object-store.ts";

const KEYS = 60;
const STEPS = 25;

const [task = "", url = "", writer = ""] = process.argv.slice(2);
const endpoint = process.env["TEST_S3_ENDPOINT"];

await using store = await openStore({
  url,
  ...(endpoint === undefined ? {} : { endpoint, pathStyle: true }),
  log: createLog({ level: "error" }),
});
say("ready");
await once(process.stdin, "data");
if (task === "race") await race(store);
else if (task === "steps") await steps(store);
else if (task === "objects") await objects(store);
else throw new Error(`Cannot run ${task}: no such task`);
process.stdin.destroy();

/** Tries to be the one that creates each of the same keys. */
async function race(target: ObjectStore): Promise<void> {
  for (let at = 0; at < KEYS; at++) {
    if (await creates(target, `race/${at}`)) say(at);
  }
}

/** Whether it is this writer's content that stands under a key now. */
async function creates(target: ObjectStore, key: string): Promise<boolean> {
  try {
    return await target.putIfAbsent(key, Buffer.from(writer)) === "created";
  } catch (error) {
    if (!(error instanceof AmbiguousWriteError)) throw error;
    return Buffer.from((await target.get(key))?.body ?? []).toString() === writer;
  }
}

/** Adds its own steps to the list that all writers share. */
async function steps(target: ObjectStore): Promise<void> {
  for (let at = 0; at < STEPS;) {
    const found = await target.get("steps");
    if (found === undefined) throw new Error("the list is gone");
    const list: unknown[] = JSON.parse(Buffer.from(found.body).toString());
    const body = Buffer.from(JSON.stringify([...list, `${writer}-${at}`]));
    if (await target.replace("steps", body, found.etag) === "replaced") at += 1;
  }
}

/** Writes objects under the digests of their content until it is killed; every third one twice. */
async function objects(target: ObjectStore): Promise<void> {
  for (;;) {
    const body = randomBytes(200_000);
    const key = `objects/${createHash("sha256").update(body).digest("hex")}`;
    await target.putIfAbsent(key, body);
    await target.put("newest", Buffer.from(key.padEnd(100_000)));
    say(key);
  }
}

function say(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
