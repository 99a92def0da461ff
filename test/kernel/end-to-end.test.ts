/**
 * The whole system as processes, under both runtimes, on real events of this machine: what happens is found by HTTP,
 * SSE and SQL, and nothing is missing or doubled however often any of its processes is killed.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createClient } from "../../src/client/client.ts";
import { isPresent } from "../support/capabilities.ts";
import {
  openProbitySystem,
  type ProbitySystem,
  type Role,
  type Runtime,
} from "../support/probity-system.ts";
import { requireCapability } from "../support/require.ts";

const NUMBERED_EVENTS = 100_000;
const NUMBERED_EVENTS_PER_SECOND = 1_000;
const KILLS_PER_PROCESS = 20;
const CATCH_UP_MS = 180_000;
/** What should appear does within a second or two; a busy machine takes long to start processes. */
const APPEARS_MS = 90_000;
/** An end that waits for nothing; it takes less than a second on an idle machine. */
const STOP_MS = 30_000;

const canRun = [
  requireCapability("bpf", isPresent("bpf"), "needs root, BTF and libbpf1"),
  requireCapability("nats", isPresent("nats"), "needs the Debian package nats-server"),
  requireCapability("deno", isPresent("deno"), "needs the npm package deno"),
].every(Boolean);

const RUNTIMES: readonly Runtime[] = ["node", "deno"];

describe.runIf(canRun).each(RUNTIMES)("the system under %s", (runtime) => {
  let system: ProbitySystem;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "probity-seen-"));
    system = await openProbitySystem(runtime, ["--rollup-interval", "3s"]);
  });

  afterAll(async () => {
    await system?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("shows an exec, a file and a connection by HTTP, SSE and SQL", async () => {
    const client = createClient({ url: system.url, token: system.token });
    const end = new AbortController();
    const streamed: Record<string, unknown>[] = [];
    const tail = (async () => {
      for await (
        const item of client.tail({ topic: "process,file,network" }, { signal: end.signal })
      ) {
        if (item.kind === "event") streamed.push(item.event);
      }
    })();
    await delay(500);

    const startedUs = Date.now() * 1000;
    execFileSync(
      "/usr/bin/env",
      ["ls", "-l", folder, "a word with 'quotes' and ünicode"].slice(0, 3),
    );
    const path = join(folder, "written");
    writeFileSync(path, "content");
    const port = await connectOnce();

    const cmdline = `ls -l ${folder}`;
    const exec = await eventually(() => first(system, { topic: "process/exec", cmdline }));
    expect(exec).toMatchObject({ exe: "/usr/bin/ls", user: "root", uid: 0, outcome: "success" });
    expect(exec["detail"]).toMatchObject({ argv: ["ls", "-l", folder] });
    expect(exec["ppid"]).toBe(process.pid);
    expect((exec["detail"] as { ancestors: unknown[] }).ancestors.length).toBeGreaterThan(0);
    expect(Date.parse(String(exec["time"])) * 1000).toBeGreaterThan(startedUs - 1_000_000);

    const created = await eventually(() => first(system, { topic: "file/create", path }));
    expect(created["pid"]).toBe(process.pid);
    const connected = await eventually(() =>
      first(system, { topic: "network/connect", dst_port: String(port) })
    );
    expect(connected).toMatchObject({ dst_ip: "127.0.0.1", pid: process.pid });
    const accepted = await eventually(() =>
      first(system, { topic: "network/accept", src_port: String(connected["src_port"]) })
    );
    expect(accepted["pid"]).toBe(process.pid);

    await eventually(() => Promise.resolve(streamed.find((each) => each["cmdline"] === cmdline)));
    await eventually(() => Promise.resolve(streamed.find((each) => each["path"] === path)));
    end.abort();
    await tail;

    expect(await countBySql(system, "process_exec", cmdline)).toBe(1);
    await delay(5_000);
    expect(await countBySql(system, "process_exec", cmdline)).toBe(1);
    const again = await first(system, { topic: "process/exec", cmdline });
    expect(again).toEqual(exec);
  });

  it(
    `loses and doubles nothing of ${NUMBERED_EVENTS} events in ${KILLS_PER_PROCESS} kills of each process`,
    async () => {
      const numbered = mkdtempSync(join(tmpdir(), "probity-numbered-"));
      const generator = spawn(process.execPath, [
        resolve(import.meta.dirname, "../support/open-numbered-files.ts"),
        numbered,
        "0",
        String(NUMBERED_EVENTS),
        String(NUMBERED_EVENTS_PER_SECOND),
      ], { stdio: ["ignore", "inherit", "inherit"] });
      using _ended = { [Symbol.dispose]: () => void generator.kill() };
      const generated = once(generator, "exit");

      const kills = await killInTurn(system);
      expect((await generated)[0]).toBe(0);
      for (const count of kills.values()) expect(count).toBe(KILLS_PER_PROCESS);

      const { numbers, ids, lostCount, rows } = await settled(system, numbered);
      const distinct = new Set(numbers);
      expect(ids.size, "every event has an id of its own").toBe(numbers.length);
      expect(doublesOf(rows), "doubled").toEqual([]);
      const missing = NUMBERED_EVENTS - distinct.size;
      expect(missing, "missing beyond what gaps count").toBeLessThanOrEqual(lostCount);
      console.log(`${runtime}: ${distinct.size} events found, ${missing} in counted gaps`);
      rmSync(numbered, { recursive: true, force: true });
    },
    900_000,
  );

  it("ends cleanly and leaves no process behind", async () => {
    const beganMs = performance.now();
    expect(await system.stop()).toBe(0);
    expect(performance.now() - beganMs).toBeLessThan(STOP_MS);
    // Parts of an `up` that was killed end by themselves, and finish what they had begun.
    const stillThere = (): unknown[] =>
      ROLES.flatMap((role) => system.pidsOf(role).map(() => role));
    while (stillThere().length > 0 && performance.now() - beganMs < STOP_MS) await delay(50);
    expect(stillThere()).toEqual([]);
  });
});

const ROLES: readonly Role[] = ["agent", "nats-server", "rollup", "serve"];

/** Kills the parts and `up` itself in turn, waiting each time until the part is there again. */
async function killInTurn(system: ProbitySystem): Promise<Map<string, number>> {
  const kills = new Map<string, number>();
  for (let round = 0; round < KILLS_PER_PROCESS; round++) {
    for (const role of ROLES) {
      const [pid] = await eventually(() => {
        const pids = system.pidsOf(role);
        return Promise.resolve(pids.length > 0 ? pids : undefined);
      });
      process.kill(pid ?? 0, "SIGKILL");
      kills.set(role, (kills.get(role) ?? 0) + 1);
      await delay(500);
    }
    await system.killUp();
    await system.startUp();
    kills.set("up", (kills.get("up") ?? 0) + 1);
  }
  return kills;
}

interface Found {
  readonly numbers: readonly number[];
  readonly ids: ReadonlySet<string>;
  /** Events that gaps of a full ring count as lost. */
  readonly lostCount: number;
  readonly rows: readonly Record<string, unknown>[];
}

/** Where the first few doubled events came from. */
function doublesOf(rows: readonly Record<string, unknown>[]): unknown[] {
  const byPath = Map.groupBy(rows, (row) => row["path"]);
  const doubled = [...byPath.values()].filter((same) => same.length > 1);
  return doubled.slice(0, 20).map((same) =>
    same.map(({ id, epoch, batch, pid, time, detail }) => ({ id, epoch, batch, pid, time, detail }))
  );
}

/** What is found once every number is there, or once nothing more arrives. */
async function settled(system: ProbitySystem, folder: string): Promise<Found> {
  const deadline = performance.now() + CATCH_UP_MS;
  let before = -1;
  for (;;) {
    const found = await findOnceUp(system, folder);
    const count = new Set(found?.numbers).size;
    if (found !== undefined && (count === NUMBERED_EVENTS || performance.now() > deadline)) {
      return found;
    }
    if (found !== undefined && found.lostCount > 0 && count === before) return found;
    before = count;
    await delay(5_000);
  }
}

/** What is found now; undefined while the service is on its way up again. */
async function findOnceUp(system: ProbitySystem, folder: string): Promise<Found | undefined> {
  try {
    return await findNumbered(system, folder);
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

async function findNumbered(system: ProbitySystem, folder: string): Promise<Found> {
  const rows = await readNdjson(system, { topic: "file/create", path: `${folder}/*` });
  const gaps = await readNdjson(system, { topic: "agent/gap" });
  const lostCount = gaps
    .map((gap) => gap["detail"] as { class: string; count: number | null })
    .filter((detail) => detail.class === "ring_full")
    .reduce((total, { count }) => total + (count ?? 0), 0);
  return {
    rows,
    numbers: rows.map((row) => Number(String(row["path"]).slice(folder.length + 1))),
    ids: new Set(rows.map((row) => String(row["id"]))),
    lostCount,
  };
}

async function readNdjson(
  system: ProbitySystem,
  filters: Record<string, string>,
): Promise<Record<string, unknown>[]> {
  const query = new URLSearchParams({ ...filters, from: "2h", order: "asc" });
  const answer = await system.fetch(`/v1/events?${query}`, {
    headers: { accept: "application/x-ndjson" },
  });
  if (!answer.ok) throw new Error(`Cannot read events: ${answer.status} ${await answer.text()}`);
  const text = await answer.text();
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

async function first(
  system: ProbitySystem,
  filters: Record<string, string>,
): Promise<Record<string, unknown> | undefined> {
  const [row] = await readNdjson(system, filters);
  return row;
}

async function countBySql(system: ProbitySystem, view: string, cmdline: string): Promise<number> {
  const answer = await system.fetch("/v1/sql", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      sql: `SELECT count(*) AS n FROM ${view} WHERE cmdline = ?`,
      parameters: [cmdline],
    }),
  });
  const body = await answer.json();
  return Number(body.rows[0].n);
}

async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + APPEARS_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`Cannot find what should appear: ${look}`);
    await delay(200);
  }
}

/** Connects to a listener of this process; the port. */
async function connectOnce(): Promise<number> {
  const server = createServer((socket) => socket.end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const socket = connect(port, "127.0.0.1");
  socket.resume();
  await once(socket, "close");
  server.close();
  return port;
}
