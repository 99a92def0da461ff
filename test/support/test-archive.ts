/** Commits messages to a real table as a roll-up would: same acceptance, same read, same files; only without a broker. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AcceptanceState, createAcceptance } from "../../src/event/acceptance.ts";
import { readArrival } from "../../src/event/arrival.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import type { StreamMessage } from "../../src/runtime/stream-message.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { writeDataFiles } from "../../src/storage/parquet.ts";
import { placeReadable } from "../../src/storage/placed-message.ts";
import { putState, readState } from "../../src/storage/state-object.ts";
import {
  createMessageTable,
  gapFileName,
  messageRow,
  payloadFileName,
  typedRead,
} from "../../src/storage/typed-read.ts";

export interface CommitMessagesOptions {
  readonly store: ObjectStore;
  readonly shard?: string;
  readonly incarnation: string;
  readonly messages: readonly StreamMessage[];
  /** Scratch space. */
  readonly folder: string;
}

let commits = 0;

/** The table's version after the commit. */
export async function commitMessages(options: CommitMessagesOptions): Promise<number> {
  const { store, shard = "0", incarnation, messages } = options;
  const table = openTable({ store, clock: systemClock, log: createLog({ level: "error" }) });
  const before = (await table.refresh()).shards.get(shard);
  const known: AcceptanceState | undefined = before && await readState(store, before.state);
  const start = known?.incarnation === incarnation
    ? known
    : { agents: {}, ...known, incarnation, sequence: 0, digest: "" };
  const acceptance = createAcceptance(start);
  const folder = join(options.folder, `commit-${++commits}`);
  await mkdir(folder, { recursive: true });
  await using database = await openDatabase({
    memoryLimitBytes: 500_000_000,
    threads: 2,
    tempDirectory: join(folder, "spill"),
    tempLimitBytes: 100_000_000,
  });
  await using connection = await database.connect();
  await connection.run(createMessageTable("messages"));
  const files: string[] = [];
  for (const message of messages) {
    const { sequence, storedAtUs: loggedAtUs, payload } = message;
    const { agent, header, arrival } = readArrival(message, shard);
    const { verdict, gaps } = acceptance.decide(arrival);
    const placed = placeReadable({
      ...{ incarnation, sequence, loggedAtUs, agent, header, verdict, gaps },
    });
    await connection.append("messages", [messageRow(placed.message)]);
    const path = join(folder, payloadFileName(sequence));
    const gapPath = join(folder, gapFileName(sequence));
    if (verdict === "accepted") files.push(path);
    if (placed.gapText !== "") files.push(gapPath);
    await writeFile(path, payload);
    await writeFile(gapPath, placed.gapText);
  }
  const state = acceptance.state();
  const first = messages[0]?.sequence ?? 0;
  const range = { incarnation, first, last: state.sequence };
  const select = `${typedRead({ files, messages: "messages" })} ORDER BY topic, host, time`;
  const written = await writeDataFiles(connection, { select, folder, range });
  for (const { file, path } of written) await store.putFileIfAbsent(dataFileKey(file.path), path);
  const result = await table.commit({
    shard,
    startedFrom: before?.version,
    position: {
      incarnation,
      sequence: state.sequence,
      digest: state.digest,
      state: await putState(store, state, { shard, nowMs: Date.now() }),
    },
    firstSequence: first,
    notAfterMs: Date.now() + 3_600_000,
    evidence: [],
    files: written.map(({ file }) => file),
    counts: { messages: messages.length },
  });
  if (result.kind !== "committed") throw new Error("Cannot commit: another came first");
  return result.version;
}
