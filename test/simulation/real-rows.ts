/**
 * The real row maker in a simulation: DuckDB writes Parquet from payloads that are taken off the simulated disk. Time
 * stands still meanwhile. What it wrote is read back once the run is over.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Round } from "../../src/pipeline/round.ts";
import { type RowMaker, writeRoundRows } from "../../src/pipeline/round-rows.ts";
import { type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { literalOf } from "../../src/storage/sql-text.ts";
import type { SimulatedBucket } from "./bucket.ts";
import { readSimulated } from "./file-modules.ts";
import type { LedgerRow } from "./ledger.ts";
import { compareRows, type ExpectedFiles } from "./referee.ts";
import { stage } from "./stage.ts";

export interface RealRows extends AsyncDisposable {
  readonly maker: RowMaker;
  /** Throws where a commit's files hold other rows than its messages make. */
  check(bucket: SimulatedBucket, expected: readonly ExpectedFiles[]): Promise<void>;
}

const MEMORY_BYTES = 512 * 1024 * 1024;
const PAYLOADS = "payloads";

export async function openRealRows(): Promise<RealRows> {
  const root = mkdtempSync(join(tmpdir(), "probity-simulation-"));
  const tempDirectory = join(root, "spill");
  const database = await openDatabase({
    memoryLimitBytes: MEMORY_BYTES,
    threads: 1,
    tempDirectory,
    tempLimitBytes: MEMORY_BYTES,
  });
  let rounds = 0;
  return {
    maker: {
      database: { connect: () => stage().time.hold(database.connect()) },
      async write(connection, { round }) {
        rounds += 1;
        const folder = join(root, String(rounds));
        const real = onRealDisk(round, folder);
        return await stage().time.hold(writeRoundRows(connection, { round: real, tempDirectory }));
      },
    },
    async check(bucket, expected) {
      for (const each of expected) {
        const found = await readBack(database, { bucket, keys: each.keys, folder: root });
        const rows = each.rows.map(readable);
        compareRows({ ...each, rows }, found.map(readable));
      }
      for (; rounds > 0; rounds--) {
        rmSync(join(root, String(rounds)), { recursive: true, force: true });
      }
    },
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

function onRealDisk(round: Round, folder: string): Round {
  mkdirSync(join(folder, PAYLOADS), { recursive: true });
  const messages = round.messages.map((message) => {
    const { payload } = message;
    if (payload === undefined) return message;
    const path = join(folder, PAYLOADS, basename(payload.path));
    writeFileSync(path, readSimulated(payload.path));
    return { ...message, payload: { ...payload, path } };
  });
  return { ...round, folder, messages };
}

async function readBack(
  database: Database,
  { bucket, keys, folder }: {
    readonly bucket: SimulatedBucket;
    readonly keys: readonly string[];
    readonly folder: string;
  },
): Promise<readonly LedgerRow[]> {
  if (keys.length === 0) return [];
  const paths = keys.map((key) => {
    // A name of its own: DuckDB remembers files by their paths.
    const path = join(folder, basename(key));
    writeFileSync(path, bucket.at(key)?.body ?? new Uint8Array());
    return literalOf(path);
  });
  await using connection = await database.connect();
  const { rows } = await connection.query(
    `SELECT to_json(r)::VARCHAR AS row FROM (
       SELECT * EXCLUDE (time) REPLACE (
         epoch_us(logged_at) AS logged_at, detail::JSON AS detail
       ), epoch_us(time) AS time_us
       FROM read_parquet([${paths.join()}])) r`,
  );
  return rows.map(({ row }): LedgerRow => JSON.parse(String(row)));
}

/** A row alike whether it was read from lines or from a table. */
function readable({ time, time_us: timeUs, ...row }: LedgerRow): LedgerRow {
  const fields = Object.entries(row).filter(([, value]) => value !== null);
  return { ...Object.fromEntries(fields), time_us: timeUs ?? microsecondsOf(String(time)) };
}

function microsecondsOf(text: string): number {
  const [, whole = "", fraction = ""] = /^([^.]*)\.?(\d*)Z$/.exec(text) ?? [];
  return Date.parse(`${whole}Z`) * 1000 + Number(fraction.padEnd(6, "0"));
}
