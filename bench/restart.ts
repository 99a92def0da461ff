/**
 * How long does a roll-up take from its start to its first new commit, when there is much behind it: a million versions
 * before the newest checkpoint, `--files` live files (100,000) and `--agents` agents (100,000)?
 *
 * The bucket is a folder. Its log has a real file for every version; all but the last are empty, as nobody may read
 * them. Baseline in the same run: the same start on a table of one version and one agent. What the start consists of
 * is measured once more, part by part, in this process.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs, promisify } from "node:util";
import type { AcceptanceState } from "../src/event/acceptance.ts";
import { systemClock } from "../src/runtime/clock.ts";
import { writeCheckpoint } from "../src/storage/delta-checkpoint-write.ts";
import { encodeLogEntry, parseLogEntry } from "../src/storage/delta-actions.ts";
import { createReplay, EMPTY_LOG, shardAppId } from "../src/storage/delta-replay.ts";
import { openTable } from "../src/storage/delta-table.ts";
import { WATERMARK_BUCKET } from "../src/event/watermark.ts";
import { readBucket } from "../src/runtime/bucket-reader.ts";
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
const LOOK_EVERY_MS = 20;
const PROGRAM = join(import.meta.dirname, "../src/cli/main.ts");

await using rig = await openRollupRig();
const agent = createBatchAgent("a");
const alone = await nextCommit(rig, 1);
const stateBytes = await prepare(rig);
// Every agent is told of the archive once, as they all were before a restart.
await runProgram(rig).ended;
// A million log entries that the disk still has to write are no part of a restart.
await promisify(execFile)("sync");
const first = await nextCommit(rig, 2);
printReport("restart", {
  versions: Number(values.versions),
  files: Number(values.files),
  agents: Number(values.agents),
  state_bytes: stateBytes,
  first_commit_ms: first.committedMs,
  first_commit_cpu_ms: first.cpuMs,
  every_agent_told_ms: first.endedMs,
  first_commit_alone_ms: alone.committedMs,
  parts: await parts(rig),
});

interface Started {
  /** Milliseconds from the start of the program until its commit. */
  readonly committedMs: number;
  /** How long its threads computed until then. */
  readonly cpuMs: number;
  /** Until its end. */
  readonly endedMs: number;
}

/** Publishes one batch and runs the program. */
async function nextCommit(on: RollupRig, number: number): Promise<Started> {
  await publishAll(on.connection, [await agent.batch([numberedEvent(number)])]);
  const next = deltaLogKey((await on.snapshot()).version + 1);
  const startedMs = performance.now();
  const { pid, ended } = runProgram(on);
  let committed: Omit<Started, "endedMs"> | undefined;
  const watching = setInterval(() => {
    if (committed !== undefined || !existsSync(on.store.localPath(next) ?? "")) return;
    committed = { committedMs: Math.round(performance.now() - startedMs), cpuMs: cpuMsOf(pid) };
  }, LOOK_EVERY_MS);
  await ended.finally(() => clearInterval(watching));
  if (committed === undefined) throw new Error("nothing was committed");
  return { ...committed, endedMs: Math.round(performance.now() - startedMs) };
}

/** Milliseconds of what has to be done before the first commit and by it. */
async function parts({ store, connection }: RollupRig): Promise<Readonly<Record<string, number>>> {
  const { signal } = new AbortController();
  const table = openTable({ store, clock: systemClock, log: quietLog });
  const [readTableMs, { shards }] = await timed(() => table.refresh());
  const key = shards.get("0")?.state ?? "";
  const [readStateMs, state] = await timed(() => readState(store, key));
  const marks = { bucket: WATERMARK_BUCKET, filter: "0.*", clock: systemClock, signal };
  const [readWatermarksMs] = await timed(() => readBucket(connection, marks));
  const next = { ...state, sequence: state.sequence + 1 };
  const [putStateMs] = await timed(() => putState(store, next, { shard: "0", nowMs: Date.now() }));
  return {
    read_table_ms: readTableMs,
    read_state_ms: readStateMs,
    read_watermarks_ms: readWatermarksMs,
    put_state_ms: putStateMs,
  };
}

async function timed<T>(work: () => Promise<T>): Promise<readonly [number, T]> {
  const startedMs = performance.now();
  const result = await work();
  return [Math.round(performance.now() - startedMs), result];
}

/** One run over what the log holds, in a process of its own. */
function runProgram({ server, store, folder }: RollupRig) {
  const ended = promisify(execFile)(process.execPath, [
    ...[PROGRAM, "rollup", "--once", `--nats=${server.url}`],
    ...[`--store-url=${store.url}`, `--data=${join(folder, "data")}`],
  ]);
  return { pid: ended.child.pid, ended };
}

/** Time of a process in user and in kernel mode, fields 14 and 15 of its `stat` in hundredths of a second (proc(5)). */
function cpuMsOf(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** Puts the history behind the table's one commit: it becomes the newest of so many. Bytes of its state. */
async function prepare({ store }: RollupRig): Promise<number> {
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
  return (await store.head(key))?.sizeBytes ?? 0;
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
