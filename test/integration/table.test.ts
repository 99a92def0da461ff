import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { readVersion } from "../../src/storage/delta-entry.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { writeDataFiles } from "../../src/storage/parquet.ts";
import type { DataFile, Table } from "../../src/storage/table.ts";
import { sqlTypeOf } from "../../src/storage/typed-read.ts";
import { clockAt, openDataTable } from "../support/data-table.ts";
import { openLosingProxy } from "../support/losing-proxy.ts";
import { openStoreAt, STORE_KINDS, type StorePlace } from "../support/real-stores.ts";
import { type ScriptProcess, startScript } from "../support/script-process.ts";
import { shardWork } from "../support/shard-work.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const log = createLog({ level: "error" });
const ROUNDS = 12;

interface Said {
  readonly name: string;
  readonly first: number;
  readonly version?: number;
}

for (const kind of STORE_KINDS) {
  describe.runIf(kind.isPresent)(`a table in ${kind.name}`, () => {
    let place: StorePlace;
    const saved = { ...process.env };

    beforeAll(async () => {
      place = await kind.open();
      Object.assign(process.env, place.environment);
    });
    afterAll(async () => {
      process.env = saved;
      await place?.[Symbol.asyncDispose]();
    });

    function tableOf(store: ObjectStore): Table {
      return openTable({ store, clock: systemClock, log });
    }

    test("is kept whole by processes that race, stall and are killed", async () => {
      const url = place.newUrl();
      const start = (shard: string, name: string) =>
        startScript("shard-committer.ts", [url, shard, name, String(ROUNDS)]);
      const racers = await Promise.all([
        start("a", "a1"),
        start("a", "a2"),
        start("b", "b1"),
        start("b", "b2"),
      ]);
      const victim = await start("a", "victim");
      for (const racer of [...racers, victim]) racer.go();
      const [stalled] = racers;
      await delay(60);
      stalled?.pause();
      await delay(60);
      await victim.kill();
      stalled?.resume();
      await Promise.all(racers.map((racer) => racer.ended()));

      const said = [...racers, victim].flatMap(saidBy);
      expect(said.length).toBeGreaterThanOrEqual(4 * ROUNDS);
      expect(said.filter(({ version }) => version === undefined).length).toBeGreaterThan(0);
      await using store = await openStoreAt(url, place.endpoint);
      await expectChains(store, said);
    });

    test("written with DuckDB is read back by DuckDB, through its paths alone", async () => {
      await using folder = await openTemporaryFolder("readback");
      await using store = await openStoreAt(place.newUrl(), place.endpoint);
      await using database = await openDatabase({
        memoryLimitBytes: 300_000_000,
        threads: 2,
        tempDirectory: join(folder.path, "spill"),
        tempLimitBytes: 100_000_000,
      });
      const connection = await database.connect();
      const table = tableOf(store);
      let startedFrom: number | undefined;
      for (const round of [0, 1, 2]) {
        const range = { incarnation: "0a1b2c3d", first: round * 10 + 1, last: round * 10 + 10 };
        const scratch = join(folder.path, `round-${round}`);
        await mkdir(scratch);
        const written = await writeDataFiles(connection, {
          select: eventsOf(range.first, range.last),
          folder: scratch,
          range,
        });
        for (const { file, path } of written) {
          const key = dataFileKey(file.path);
          expect(await store.putFileIfAbsent(key, path)).toBe("created");
        }
        const files = written.map(({ file }) => file);
        const result = await table.commit(shardWork({ ...range, startedFrom, files }));
        expect(result.kind).toBe("committed");
        startedFrom = result.kind === "committed" ? result.version : undefined;
      }

      const { files } = await tableOf(store).refresh();
      expect(files.size).toBe(6);
      const local = await Promise.all([...files.values()].map((file) => localCopy(store, file)));
      const list = local.map((path) => `'${path}'`).join(", ");
      const { rows } = await connection.query(
        `SELECT count(*) AS events, sum(seq) AS sequences, count(DISTINCT event_date) AS days,
           min(time) AS first, max(user) AS user
         FROM read_parquet([${list}], hive_partitioning = true)`,
      );
      expect(rows).toEqual([{
        events: 3000,
        sequences: 46500,
        days: 2,
        first: "2026-06-15T22:00:00.000001Z",
        user: "user-9",
      }]);
      for (const file of files.values()) {
        expect(file.minimum["time"]).toMatch(new RegExp(`^${file.eventDate}T.*Z$`));
        expect(file.nullCount).toMatchObject({ path: file.rows, seq: 0 });
      }

      async function localCopy(from: ObjectStore, file: DataFile): Promise<string> {
        const key = dataFileKey(file.path);
        const standing = from.localPath(key);
        if (standing !== undefined) return standing;
        const path = join(folder.path, file.path);
        await mkdir(join(path, ".."), { recursive: true });
        expect(await from.download(key, path)).toBe(true);
        return path;
      }
    });

    if (kind.name !== "S3") return;
    test("is compacted to files of the size that is asked for, with the same rows", async () => {
      await using store = await openStoreAt(place.newUrl(), place.endpoint);
      await using data = await openDataTable(store);
      const sizes = { smallFileBytes: 60_000, groupBytes: 160_000, groupBytesMax: 240_000 };
      await using context = await data.context({ clock: clockAt("2026-03-10T00:00:00Z"), sizes });
      for (let minute = 10; minute < 22; minute++) {
        await data.addRound({ rows: 2_000, start: `2026-03-02T10:${minute}:00Z` });
      }
      const before = await data.content();
      const { filesAdded, filesRemoved } = await compactTable(context);
      expect(filesRemoved).toBe(12);
      expect(filesAdded).toBeGreaterThan(1);
      const { files } = await data.snapshot();
      expect(files.size).toBe(filesAdded);
      for (const { path, sha256, sizeBytes } of files.values()) {
        const { body } = await store.get(dataFileKey(path)) ?? {};
        expect(body?.length).toBe(sizeBytes);
        expect(createHash("sha256").update(body ?? "").digest("hex")).toBe(sha256);
      }
      expect(await data.content()).toEqual(before);
    });

    test("survives answers that are lost on the way", async () => {
      let puts = 0;
      await using proxy = await openLosingProxy(place.endpoint ?? "", {
        isLost: (method, path) =>
          method === "PUT" && path.includes("_delta_log") && ++puts % 3 === 0,
      });
      const url = place.newUrl();
      await using shaky = await openStoreAt(url, proxy.endpoint);
      const tables = [tableOf(shaky), tableOf(shaky)];
      const said: Said[] = [];
      await Promise.all(tables.map(async (table, at) => {
        const shard = at === 0 ? "a" : "b";
        let startedFrom: number | undefined;
        for (let round = 0; round < ROUNDS; round++) {
          const first = round * 3 + 1;
          const result = await table.commit(
            shardWork({ shard, startedFrom, first, last: first + 2 }),
          );
          expect(result.kind).toBe("committed");
          if (result.kind !== "committed") continue;
          startedFrom = result.version;
          said.push({ name: shard, first, version: result.version });
        }
      }));
      expect(proxy.lost()).toBeGreaterThan(5);
      expect(said.map(({ version }) => version).toSorted(byNumber)).toEqual(
        Array.from({ length: 2 * ROUNDS }, (_, at) => at + 1),
      );
      await using store = await openStoreAt(url, place.endpoint);
      const snapshot = await tableOf(store).refresh();
      expect(snapshot.version).toBe(2 * ROUNDS);
      expect(snapshot.files.size).toBe(2 * ROUNDS);
    });
  });
}

function saidBy(process: ScriptProcess): Said[] {
  return process.said.map((value) => {
    const said: Said = JSON.parse(JSON.stringify(value));
    return said;
  });
}

function byNumber(left: number | undefined, right: number | undefined): number {
  return (left ?? 0) - (right ?? 0);
}

/** Every shard's commits follow one another, and everyone's word is kept. */
async function expectChains(store: ObjectStore, said: readonly Said[]): Promise<void> {
  const { version, files, shards } = await openTable({ store, clock: systemClock, log }).refresh();
  expect(files.size).toBe(version);
  const sequences = new Map<string, number>();
  for (let each = 1; each <= version; each++) {
    const actions = await readVersion(store, each) ?? [];
    const file = actions.find((action) => action.kind === "add")?.file;
    const match = /\/([ab])-([0-9]+)-([0-9]+)-([a-z0-9]+)\.parquet$/.exec(file?.path ?? "");
    const [, shard = "", first, last, name] = match ?? [];
    expect(Number(first)).toBe((sequences.get(shard) ?? 0) + 1);
    sequences.set(shard, Number(last));
    const claims = said.filter((claim) => claim.version === each);
    expect(claims.length).toBeLessThan(2);
    for (const claim of claims) expect(claim).toMatchObject({ name, first: Number(first) });
    // Only the one that was killed may have committed without saying so.
    if (claims.length === 0) expect(name).toBe("victim");
  }
  for (const claim of said) expect(claim.version ?? 0).toBeLessThanOrEqual(version);
  for (const [shard, position] of shards) {
    expect(position.sequence).toBe(sequences.get(shard));
  }
}

/** SELECT of 100 events per sequence, half of them before and half after a midnight. */
function eventsOf(first: number, last: number): string {
  const expressions: Readonly<Record<string, string>> = {
    time: "TIMESTAMPTZ '2026-06-15 22:00:00.000001+00' + to_seconds(range * 144 // 10)",
    incarnation: "'0a1b2c3d'",
    seq: `${first} + range % ${last - first + 1}`,
    idx: `range // ${last - first + 1}`,
    topic: "'process/exec'",
    user: "'user-' || range % 10",
    logged_at: "TIMESTAMPTZ '2026-06-16 02:00:00+00'",
    event_date: "NULL",
  };
  const columns = COLUMNS.map((column) =>
    `CAST(${expressions[column.name] ?? "NULL"} AS ${sqlTypeOf(column)}) AS "${column.name}"`
  );
  return `SELECT ${columns.join(", ")} FROM range(1000)`;
}
