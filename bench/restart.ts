/**
 * How long does a roll-up take from its start to its first new commit, when there is much behind it: a million versions
 * before the newest checkpoint, `--files` live files (100,000) and `--agents` agents (100,000)?
 *
 * The bucket is a folder. Its log has a real file for every version; all but the last are empty, as nobody may read
 * them. Baseline in the same run: the same start on a table of one version and one agent.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs, promisify } from "node:util";
import type { AcceptanceState } from "../src/event/acceptance.ts";
import { systemClock } from "../src/runtime/clock.ts";
import { writeCheckpoint } from "../src/storage/delta-checkpoint-write.ts";
import { encodeLogEntry, parseLogEntry } from "../src/storage/delta-actions.ts";
import { createReplay, EMPTY_LOG, shardAppId } from "../src/storage/delta-replay.ts";
import { openTable } from "../src/storage/delta-table.ts";
import { deltaLogKey } from "../src/storage/layout.ts";
import { putState, readState } from "../src/storage/state-object.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../test/support/batches.ts";
import { openRollupRig, quietLog, type RollupRig } from "../test/support/rollup-rig.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    versions: { type: "string", default: "1000000" },
    files: { type: "string", default: "100000" },
    agents: { type: "string", default: "100000" },
  },
});
/** A file may have so many names on ext4; the next version begins another. */
const LINKS_MAX = 60_000;
const PROGRAM = join(import.meta.dirname, "../src/cli/main.ts");

await using rig = await openRollupRig();
const agent = createBatchAgent("a");
const [before, after] = [await nextCommit(rig, 1), await prepare(rig)];
printReport("restart", {
  versions: Number(values.versions),
  files: Number(values.files),
  agents: Number(values.agents),
  state_bytes: after.stateBytes,
  first_commit_ms: await nextCommit(rig, 2),
  first_commit_alone_ms: before,
});

/** Publishes one batch, and runs the program until it is committed; milliseconds from the start to the end. */
async function nextCommit(on: RollupRig, number: number): Promise<number> {
  await publishAll(on.connection, [await agent.batch([numberedEvent(number)])]);
  const { version } = await on.snapshot();
  const startedMs = performance.now();
  await promisify(execFile)(process.execPath, [
    ...[PROGRAM, "rollup", "--once", `--nats=${on.server.url}`],
    ...[`--store-url=${on.store.url}`, `--data=${join(on.folder, "data")}`],
  ]);
  const tookMs = Math.round(performance.now() - startedMs);
  if ((await on.snapshot()).version <= version) throw new Error("nothing was committed");
  return tookMs;
}

/** Puts the history behind the table's one commit: it becomes the newest of so many. */
async function prepare({ store }: RollupRig): Promise<{ readonly stateBytes: number }> {
  const last = Number(values.versions);
  const table = await openTable({ store, clock: systemClock, log: quietLog }).refresh();
  const [position] = table.shards.values();
  const [file] = table.files.values();
  if (position === undefined || file === undefined) throw new Error("there is no commit");
  const state = withMoreAgents(await readState(store, position.state));
  const key = await putState(store, state, { shard: "0", nowMs: Date.now() });

  const entry = await store.get(deltaLogKey(position.version));
  const text = new TextDecoder().decode(entry?.body)
    .replaceAll(position.state, key)
    .replace(`"version":${position.version}`, `"version":${last}`);
  fillLog(dirname(store.localPath(deltaLogKey(0)) ?? ""), position.version + 1, last);
  await store.put(deltaLogKey(last), new TextEncoder().encode(text));

  const replay = createReplay(EMPTY_LOG);
  for (let version = 0; version <= position.version; version++) {
    const found = await store.get(deltaLogKey(version));
    replay.apply(version, parseLogEntry(new TextDecoder().decode(found?.body)));
  }
  const files = Array.from({ length: Number(values.files) }, (_, place) => ({
    ...file,
    path: `event_date=${file.eventDate}/invented-${place}.parquet`,
  }));
  const transactions = new Map([["0", {
    appId: shardAppId("0"),
    version: last,
    lastUpdatedMs: 0,
  }]]);
  await writeCheckpoint(store, {
    ...replay.state(),
    version: last,
    transactions,
    files: new Map([file, ...files].map((each) => [each.path, each])),
  }, { nowMs: Date.now() });
  return { stateBytes: (await store.head(key))?.sizeBytes ?? 0 };
}

function withMoreAgents(state: AcceptanceState): AcceptanceState {
  const more = Array.from({ length: Number(values.agents) }, () => {
    const epoch = randomBytes(8).toString("hex");
    const standing = { number: 1_000, digest: randomBytes(32).toString("hex") };
    const standings = { current: epoch, epochs: { [epoch]: standing }, fork: undefined };
    return [randomBytes(8).toString("hex"), standings] as const;
  });
  return { ...state, agents: { ...state.agents, ...Object.fromEntries(more) } };
}

/** Entries of the versions before the last that are not there yet. */
function fillLog(folder: string, from: number, last: number): void {
  mkdirSync(folder, { recursive: true });
  let first = "";
  let links = LINKS_MAX;
  for (let version = from; version < last; version++) {
    const path = join(folder, `${String(version).padStart(20, "0")}.json`);
    if (links < LINKS_MAX) {
      linkSync(first, path);
      links += 1;
      continue;
    }
    writeFileSync(path, encodeLogEntry([]));
    [first, links] = [path, 1];
  }
}
