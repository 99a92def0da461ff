import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { join } from "node:path";
import { createBudgets } from "../../src/query/budgets.ts";
import {
  type ConnectionLease,
  type ConnectionPool,
  createConnectionPool,
  type PoolLimits,
} from "../../src/query/connection-pool.ts";
import { type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let database: Database;
let narrow: Database;
const { signal } = new AbortController();
const asker = { principal: { name: "ann" }, signal };
const elapsedMs = () => performance.now();

function createPool(limits: Partial<PoolLimits>): ConnectionPool {
  const { size = 1 } = limits;
  const all = { size, share: size, waitingMax: 64, guaranteedMs: 60_000, ...limits };
  return createConnectionPool({
    database,
    narrow,
    budgets: createBudgets({ elapsedMs }),
    elapsedMs,
    ...all,
  });
}

beforeAll(async () => {
  folder = await openTemporaryFolder("pool");
  const open = (threads: number) =>
    openDatabase({
      memoryLimitBytes: 100_000_000,
      threads,
      tempDirectory: join(folder.path, "spill"),
      tempLimitBytes: 0,
    });
  database = await open(2);
  narrow = await open(1);
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await narrow[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

describe("a pool of connections", () => {
  test("lends one of a single thread to whoever needs no more, and counts it as any other", async () => {
    await using pool = createPool({ size: 1 });
    const threads = async (width?: "narrow"): Promise<unknown> => {
      using lease = await pool.acquire(asker, width);
      expect(pool.load.running).toBe(1);
      const sql = "SELECT current_setting('threads')::INT AS n";
      return (await lease.connection.query(sql)).rows[0]?.["n"];
    };
    expect(await Promise.all([threads(), threads("narrow"), threads(), threads("narrow")]))
      .toEqual([2, 1, 2, 1]);
  });

  test("lends as many as it has, each to one at a time, in order of asking", async () => {
    await using pool = createPool({ size: 2 });
    const first = await pool.acquire(asker);
    const second = await pool.acquire(asker);
    expect(first.connection).not.toBe(second.connection);
    const order: number[] = [];
    const waiting = [0, 1, 2].map(async (number) => {
      using _lease = await pool.acquire(asker);
      order.push(number);
    });
    expect(pool.load).toEqual({ running: 2, waiting: 3 });
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    await Promise.all(waiting);
    expect(order).toEqual([0, 1, 2]);
    second[Symbol.dispose]();
    expect(pool.load).toEqual({ running: 0, waiting: 0 });
  });

  test("never lends more than it has when many ask at once", async () => {
    await using pool = createPool({ size: 3 });
    let most = 0;
    let running = 0;
    await Promise.all(Array.from({ length: 40 }, async () => {
      using lease = await pool.acquire(asker);
      most = Math.max(most, ++running);
      await lease.connection.query("SELECT 1");
      running -= 1;
    }));
    expect(most).toBe(3);
  });

  test("refuses when too many wait, and forgets those that leave", async () => {
    await using pool = createPool({ size: 1, waitingMax: 1 });
    const lease: ConnectionLease = await pool.acquire(asker);
    const leaving = new AbortController();
    const waiting = pool.acquire({ ...asker, signal: leaving.signal });
    await expect(pool.acquire(asker)).rejects.toMatchObject({
      problem: { status: 429 },
      headers: { "Retry-After": expect.any(String) },
    });
    leaving.abort();
    await expect(waiting).rejects.toThrow();
    const next = pool.acquire(asker);
    lease[Symbol.dispose]();
    (await next)[Symbol.dispose]();
  });
});
