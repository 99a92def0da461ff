/**
 * What recorded events are like, by topic, which `query-events.ts` is fitted to (`topic-figures.ts` says what is told).
 *
 * Arguments: the folder of a bucket into which a host was recorded, the host, and from when until when, once or
 * more; or `invented` and how many events, for the same of those that are invented.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { systemClock } from "../src/runtime/clock.ts";
import { createLog } from "../src/runtime/log.ts";
import { openTable } from "../src/storage/delta-table.ts";
import { dataFileKey } from "../src/storage/layout.ts";
import { openStore } from "../src/storage/open-store.ts";
import { rowsOfFiles } from "../src/storage/data-rows.ts";
import type { Connection } from "../src/storage/duckdb.ts";
import { FIELD_IDS } from "../src/storage/parquet.ts";
import type { SourceFile } from "../src/storage/sorted-file.ts";
import { dataFile } from "../test/support/shard-work.ts";
import { literalOf } from "../src/storage/sql-text.ts";
import { inventedSample, openConnection, THREADS } from "./query-archive.ts";
import { printReport } from "./report.ts";
import { figuresByTopic } from "./topic-figures.ts";

const log = createLog({ level: "error" });
const [from = "", ...rest] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "probity-recording-"));
try {
  await using opened = await openConnection(folder);
  const source = from === "invented"
    ? await inventedSample(opened, { folder, events: Number(rest[0]), seed: 1 })
    : await recordedRows(opened.connection, from, rest);
  printReport("recording", {
    by_topic: await figuresByTopic(opened, { source, folder, threads: THREADS }),
  });
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** All rows that are asked for in one file, in the order in which they came. */
async function recordedRows(
  connection: Connection,
  bucket: string,
  [host = "", ...times]: readonly string[],
): Promise<SourceFile> {
  await using store = await openStore({ url: pathToFileURL(bucket).href, log });
  const { files } = await openTable({ store, clock: systemClock, log }).refresh();
  const paths = [...files.values()]
    .toSorted((a, b) => String(a.minimum["time"]) < String(b.minimum["time"]) ? -1 : 1)
    .map((file) => store.localPath(dataFileKey(file.path)) ?? "");
  const ranges = times.flatMap((begin, place) => {
    const end = times[place + 1];
    if (place % 2 === 1 || end === undefined) return [];
    return [`time >= TIMESTAMPTZ ${literalOf(begin)} AND time < TIMESTAMPTZ ${literalOf(end)}`];
  });
  const path = join(folder, "recorded.parquet");
  await connection.run(
    `COPY (SELECT * FROM ${rowsOfFiles(paths)} WHERE host = ${literalOf(host)} AND (${
      ranges.join(" OR ")
    })) TO ${literalOf(path)} (FORMAT parquet, COMPRESSION lz4, FIELD_IDS {${FIELD_IDS}})`,
  );
  return { file: dataFile("event_date=2026-01-02/recorded.parquet"), path };
}
