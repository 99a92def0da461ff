/**
 * The archive that questions are put to, as roll-up and compaction leave one: a sorted file of each day, written by what
 * compaction writes with, of rows that come in the order of the log.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { systemClock } from "../src/runtime/clock.ts";
import { createLog } from "../src/runtime/log.ts";
import { putContentFile } from "../src/storage/content-object.ts";
import { openTable } from "../src/storage/delta-table.ts";
import { type Connection, type Database, openDatabase } from "../src/storage/duckdb.ts";
import { dataFileKey } from "../src/storage/layout.ts";
import type { ObjectStore } from "../src/storage/object-store.ts";
import { FIELD_IDS, type LocalDataFile } from "../src/storage/parquet.ts";
import { PIECE_ROWS, type SourceFile, writeSortedFile } from "../src/storage/sorted-file.ts";
import { literalOf } from "../src/storage/sql-text.ts";
import { dataFile, shardWork } from "../test/support/shard-work.ts";
import {
  DAYS,
  FIRST_DAY,
  RECORDED_BYTES,
  rowsOfDay,
  rowsSql,
  sequencesOf,
} from "./query-events.ts";

export interface Place {
  readonly folder: string;
  readonly events: number;
}

export interface ArchiveOptions extends Place {
  readonly seed: number;
}

export const THREADS = 2;
export const MEMORY_BYTES = 1024 ** 3;
/** Rows of one file of a roll-up. */
const ROUND_ROWS = PIECE_ROWS / 4;
/** Rows by which the sizes of topics are compared: of a few hosts, as one host was recorded. */
const SAMPLE_ROWS = 140_800;
/** An invented topic may be so much larger or smaller than the recorded one, as a part of it. */
const BYTES_DIFFER_MAX = 0.2;
const log = createLog({ level: "error" });

export interface OpenedConnection extends AsyncDisposable {
  readonly database: Database;
  readonly connection: Connection;
}

export async function openConnection(folder: string): Promise<OpenedConnection> {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(
    await openDatabase({
      memoryLimitBytes: 2 * MEMORY_BYTES,
      threads: THREADS,
      tempDirectory: join(folder, "spill"),
      tempLimitBytes: 20e9,
    }),
  );
  const connection = stack.use(await database.connect());
  const resources = stack.move();
  return { database, connection, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** Goes on where an earlier run ended: what is committed is not made again. */
export async function makeArchive(store: ObjectStore, { folder, events, seed }: ArchiveOptions) {
  const started = performance.now();
  const table = openTable({ store, clock: systemClock, log });
  const perDay = rowsOfDay(events);
  await using opened = await openConnection(folder);
  let { shards } = await table.refresh();
  for (let from = 0; from < events; from += perDay) {
    const to = Math.min(events, from + perDay);
    const { first, last } = sequencesOf({ from, to });
    if ((shards.get("0")?.sequence ?? 0) >= last) continue;
    const scratch = join(folder, "scratch-rows");
    await mkdir(scratch, { recursive: true });
    const written = await writeDay(opened, { seed, from, to, total: events, scratch });
    await putContentFile(store, { key: dataFileKey(written.file.path), path: written.path });
    const startedFrom = shards.get("0")?.version;
    await table.commit(shardWork({ startedFrom, first, last, files: [written.file] }));
    await rm(scratch, { recursive: true });
    ({ shards } = await table.refresh());
    process.stderr.write(`\r${to} events`);
  }
  const { files } = await table.refresh();
  const bytes = [...files.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    files: files.size,
    megabytes: Math.round(bytes / 1e6),
    bytes_per_event: Number((bytes / events).toFixed(1)),
    made_s: Math.round((performance.now() - started) / 1000),
  };
}

interface DayRows {
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  readonly total: number;
  readonly scratch: string;
}

async function writeDay({ database, connection }: OpenedConnection, rows: DayRows) {
  const sources: SourceFile[] = [];
  for (let from = rows.from; from < rows.to; from += ROUND_ROWS) {
    const to = Math.min(rows.to, from + ROUND_ROWS);
    sources.push(await writeRound(connection, { ...rows, from, to }));
  }
  return await sorted(database, { sources, where: undefined, folder: rows.scratch });
}

/** Rows in order of the log, as nobody reads them but whoever sorts them. */
async function writeRound(
  connection: Connection,
  { seed, from, to, total, scratch }: DayRows,
): Promise<SourceFile> {
  const path = join(scratch, `round-${from}.parquet`);
  await connection.run(
    `COPY (${rowsSql({ seed, from, to, total })}) TO ${literalOf(path)}
     (FORMAT parquet, COMPRESSION lz4, FIELD_IDS {${FIELD_IDS}})`,
  );
  const eventDate = dayOf(Math.floor(from / rowsOfDay(total)));
  return { file: { ...dataFile(`event_date=${eventDate}/${from}`, to - from), eventDate }, path };
}

function dayOf(place: number): string {
  const dayMs = Date.parse(FIRST_DAY) + Math.min(place, DAYS - 1) * 86_400_000;
  return new Date(dayMs).toISOString().slice(0, 10);
}

let names = 0;

async function sorted(
  database: Database,
  { sources, where, folder }: {
    readonly sources: readonly SourceFile[];
    readonly where: string | undefined;
    readonly folder: string;
  },
): Promise<LocalDataFile> {
  const id = `invented-${process.pid}-${++names}`;
  const file = await writeSortedFile(database, { sources, where, folder, id, threads: THREADS });
  if (file === undefined) throw new RangeError("Cannot make a file of no rows");
  return file;
}

/**
 * Bytes of an event of each topic in a sorted file of its own beside what was recorded, of as many events. Throws where
 * they differ by more than {@link BYTES_DIFFER_MAX}.
 */
export async function bytesBesideRecorded({ folder, seed }: ArchiveOptions) {
  const scratch = join(folder, "scratch-topics");
  await mkdir(scratch, { recursive: true });
  await using opened = await openConnection(folder);
  const { database, connection } = opened;
  const rows = { seed, from: 0, to: SAMPLE_ROWS, total: 100e6, scratch };
  const source = await writeRound(connection, rows);
  const figures: Record<string, { invented: number; recorded: number }> = {};
  for (const [topic, { events, bytes }] of Object.entries(RECORDED_BYTES)) {
    const { file } = await sorted(database, {
      sources: [source],
      where: `topic = ${literalOf(topic)}`,
      folder: scratch,
    });
    const invented = Number((file.sizeBytes / file.rows).toFixed(1));
    if (Math.abs(file.rows - events) > events / 5) {
      throw new RangeError(`Cannot compare ${file.rows} events "${topic}" with ${events}`);
    }
    if (Math.abs(invented - bytes) > bytes * BYTES_DIFFER_MAX) {
      throw new RangeError(`Cannot use events "${topic}": ${invented} bytes each, not ${bytes}`);
    }
    figures[topic] = { invented, recorded: bytes };
  }
  await rm(scratch, { recursive: true });
  return figures;
}
