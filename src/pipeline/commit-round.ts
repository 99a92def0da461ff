/**
 * Makes a round part of the archive: evidence, quarantine, state and data files first, then the one log entry that
 * names them.
 *
 * Invariant: nothing is visible before the log entry, and everything the entry names is durable before it. All objects
 * are named by their content, so every step may run again, and what a crash leaves behind is harmless.
 */
import { readFile } from "node:fs/promises";
import type { Log } from "../runtime/log.ts";
import {
  putContent,
  putForCommit,
  REUSE_AGE_MAX_MS,
  type ReuseRule,
} from "../storage/content-object.ts";
import { dataFileKey, evidenceKey, otherFilePath, quarantineKey } from "../storage/layout.ts";
import { AmbiguousWriteError, type ObjectStore } from "../storage/object-store.ts";
import { putState } from "../storage/state-object.ts";
import type { LocalDataFile } from "../storage/parquet.ts";
import type { CommitResult, DataFile, ShardCommit, Table } from "../storage/table.ts";
import type { Quarantined, Round } from "./round.ts";
import type { RoundRows } from "./round-rows.ts";

export interface CommitRoundOptions extends ReuseRule {
  readonly store: ObjectStore;
  readonly table: Table;
  readonly shard: string;
  /** The shard's version that the round's state was read from. */
  readonly startedFrom: number | undefined;
  readonly round: Round;
  readonly rows: RoundRows;
  /** What {@link putEvidence} made of the round. */
  readonly evidence: string;
  readonly log: Log;
  readonly signal?: AbortSignal;
}

/** Of one round at most this many payloads get an object of their own; all of them are in the evidence. */
export const QUARANTINE_OBJECTS_MAX = 100;

/** Puts the round's evidence, which needs no rows to be made before; its key. Throws when the store does. */
export async function putEvidence(
  options: Pick<CommitRoundOptions, "store" | "round" | "signal">,
): Promise<string> {
  const { round } = options;
  const key = evidenceKey(round.range, round.segment.sha256);
  await putOnce(options, key, round.segment.path);
  return key;
}

/** Puts the rest and commits. Throws when the store does; safe to call again with the same work. */
export async function commitRound(options: CommitRoundOptions): Promise<CommitResult> {
  const { store, table, shard, startedFrom, round, rows, evidence, signal } = options;
  const { nowMs, reuseAgeMaxMs = REUSE_AGE_MAX_MS } = options;
  const request = signal === undefined ? {} : { signal };
  await putQuarantined(options, [...round.quarantined, ...rows.quarantined]);
  const files: DataFile[] = [];
  for (const each of rows.files) files.push(await putDataFile(options, each));
  const state = await putState(store, round.state, {
    shard,
    nowMs,
    reuseAgeMaxMs,
    ...request,
  });
  const { incarnation, sequence, digest } = round.state;
  const work: ShardCommit = {
    shard,
    startedFrom,
    position: { incarnation, sequence, digest, state },
    firstSequence: round.range.first,
    evidence: [evidence],
    files,
    notAfterMs: nowMs + reuseAgeMaxMs,
    counts: countsOf(round, rows),
  };
  return await table.commit(work, signal);
}

/** Figures of a round for the log entry. */
export function countsOf(round: Round, rows: RoundRows): Readonly<Record<string, number>> {
  return {
    messages: round.messages.length,
    rows: rows.rows,
    gapRows: rows.gapRows,
    holes: round.holes,
    unreadable: round.messages.filter(({ unreadable }) => unreadable !== undefined).length +
      rows.quarantined.length,
    quarantined: round.quarantined.length + rows.quarantined.length,
    contentBytes: round.contentBytes,
    evidenceBytes: round.segment.sizeBytes,
    ...round.verdicts,
  };
}

/** Puts a data file; what it is called in the table. */
async function putDataFile(
  { store, nowMs, reuseAgeMaxMs, signal }:
    & Pick<CommitRoundOptions, "store" | "signal">
    & ReuseRule,
  { file, path }: LocalDataFile,
): Promise<DataFile> {
  const request = signal === undefined ? {} : { signal };
  const name = await putForCommit(store, {
    nameAt: (place) => otherFilePath(file.path, place),
    keyOf: dataFileKey,
    write: (key) => store.putFileIfAbsent(key, path, request),
  }, { ...request, nowMs, reuseAgeMaxMs });
  return { ...file, path: name };
}

/** Puts a file under a key that only this content can have. */
async function putOnce(
  { store, signal }: Pick<CommitRoundOptions, "store" | "signal">,
  key: string,
  path: string,
): Promise<void> {
  const request = signal === undefined ? {} : { signal };
  try {
    await store.putFileIfAbsent(key, path, request);
  } catch (cause) {
    if (!(cause instanceof AmbiguousWriteError)) throw cause;
    if (await store.head(key, request) === undefined) throw cause;
  }
}

async function putQuarantined(
  { store, round, log, signal }: CommitRoundOptions,
  quarantined: readonly Quarantined[],
): Promise<void> {
  const request = signal === undefined ? {} : { signal };
  for (const { path, note } of quarantined.slice(0, QUARANTINE_OBJECTS_MAX)) {
    const key = quarantineKey(round.range.incarnation, note.sequence);
    await putContent(store, { key, body: await readFile(path) }, request);
    const text = `${JSON.stringify(note, undefined, 2)}\n`;
    await putContent(store, { key: `${key}.json`, body: new TextEncoder().encode(text) }, request);
  }
  const left = quarantined.length - QUARANTINE_OBJECTS_MAX;
  if (left > 0) log.warn("payloads are quarantined in the evidence segment only", { count: left });
}
