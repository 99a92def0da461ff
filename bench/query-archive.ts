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
  HOSTS,
  HOSTS_POWER,
  rowsOfDay,
  rowsSql,
  sequencesOf,
} from "./query-events.ts";
import { RECORDED, type RecordedTopic } from "./query-recorded.ts";
import { figuresByTopic, type TopicFigures } from "./topic-figures.ts";

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
/** Hosts by whose rows topics are compared with what was recorded of one. */
const SAMPLE_HOSTS = 5;
/** An invented topic may be so much larger or smaller than the recorded one, as a part of it. */
const BYTES_DIFFER_MAX = 0.2;
/** Of fewer recorded events nothing can be said. */
const RECORDED_EVENTS_MIN = 400;
/** And may have so many times more or fewer different values of a column. */
const DIFFERENT_TIMES_MAX = 2;
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

/** The first events of so many. Goes on where an earlier run ended: what is committed is not made again. */
export async function makeArchive(
  store: ObjectStore,
  { folder, events, total, seed }: ArchiveOptions & { readonly total: number },
) {
  const started = performance.now();
  const table = openTable({ store, clock: systemClock, log });
  const perDay = rowsOfDay(total);
  await using opened = await openConnection(folder);
  let { shards } = await table.refresh();
  for (let from = 0; from < events; from += perDay) {
    const to = Math.min(events, from + perDay);
    const { first, last } = sequencesOf({ from, to });
    if ((shards.get("0")?.sequence ?? 0) >= last) continue;
    const scratch = join(folder, "scratch-rows");
    await mkdir(scratch, { recursive: true });
    const written = await writeDay(opened, { seed, from, to, total, scratch });
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
  readonly hosts?: number;
  readonly scratch: string;
}

/** Its rows are made by one connection for each thread, since DuckDB makes a range with one. */
async function writeDay({ database }: OpenedConnection, rows: DayRows) {
  await using stack = new AsyncDisposableStack();
  const starts: number[] = [];
  for (let from = rows.from; from < rows.to; from += ROUND_ROWS) starts.push(from);
  const sources: SourceFile[] = [];
  const write = async (connection: Connection): Promise<void> => {
    for (let place = next++; place < starts.length; place = next++) {
      const from = starts[place] ?? rows.to;
      const to = Math.min(rows.to, from + ROUND_ROWS);
      sources[place] = await writeRound(connection, { ...rows, from, to });
    }
  };
  let next = 0;
  const connections = Array.from({ length: THREADS }, () => database.connect());
  await Promise.all(connections.map(async (each) => await write(stack.use(await each))));
  return await sorted(database, { sources, where: undefined, folder: rows.scratch });
}

/** Rows in order of the log, as nobody reads them but whoever sorts them. */
async function writeRound(
  connection: Connection,
  { scratch, ...rows }: DayRows,
): Promise<SourceFile> {
  const { from, to, total } = rows;
  const path = join(scratch, `round-${from}.parquet`);
  await connection.run(
    `COPY (${rowsSql(rows)}) TO ${literalOf(path)}
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

/** About as many rows as are asked for, by which invented events are compared with recorded ones: of a few hosts. */
export async function inventedSample(
  { connection }: OpenedConnection,
  { folder, events, seed }: ArchiveOptions,
): Promise<SourceFile> {
  const part = (SAMPLE_HOSTS / HOSTS) ** (1 / HOSTS_POWER);
  const to = Math.round(events / part);
  return await writeRound(connection, {
    seed,
    from: 0,
    to,
    total: 100e6,
    hosts: SAMPLE_HOSTS,
    scratch: folder,
  });
}

/**
 * Bytes of an event of each topic in a sorted file of its own beside what was recorded, of as many events. Throws where
 * they differ by more than {@link BYTES_DIFFER_MAX}, and where a column has many more or fewer different values.
 */
export async function bytesBesideRecorded({ folder, seed }: Omit<ArchiveOptions, "events">) {
  const scratch = join(folder, "scratch-topics");
  // An earlier run may have been broken off, or have refused.
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true });
  await using opened = await openConnection(folder);
  const events = Object.values(RECORDED).reduce((sum, topic) => sum + topic.events, 0);
  const source = await inventedSample(opened, { folder: scratch, events, seed });
  const invented = await figuresByTopic(opened, {
    source,
    topics: Object.keys(RECORDED),
    folder: scratch,
    threads: THREADS,
  });
  const figures: Record<string, { invented: number; recorded: number }> = {};
  for (const [topic, recorded] of Object.entries(RECORDED)) {
    const found = invented[topic];
    if (found === undefined) throw new RangeError(`Cannot compare events "${topic}": none`);
    refuseDifferent(topic, found, recorded);
    figures[topic] = { invented: found.bytes, recorded: recorded.bytes };
  }
  await rm(scratch, { recursive: true });
  return figures;
}

function refuseDifferent(topic: string, invented: TopicFigures, recorded: RecordedTopic): void {
  if (recorded.events < RECORDED_EVENTS_MIN) return;
  if (Math.abs(invented.events - recorded.events) > recorded.events / 3) {
    throw new RangeError(
      `Cannot compare ${invented.events} events "${topic}" with ${recorded.events}`,
    );
  }
  if (Math.abs(invented.bytes - recorded.bytes) > recorded.bytes * BYTES_DIFFER_MAX) {
    throw new RangeError(
      `Cannot use events "${topic}": ${invented.bytes} bytes each, not ${recorded.bytes}`,
    );
  }
  for (const [column, different] of Object.entries(recorded.different)) {
    const times = (invented.columns[column]?.different ?? 0) / different;
    if (times > DIFFERENT_TIMES_MAX || times < 1 / DIFFERENT_TIMES_MAX) {
      throw new RangeError(
        `Cannot use events "${topic}": ${times} times as many different "${column}"`,
      );
    }
  }
}
