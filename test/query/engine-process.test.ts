/** A process for people's SQL, as if the gate had let everything pass. */
import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type EngineProcess,
  openEngineProcess,
} from "../../src/query/sql/engine/engine-process.ts";
import { startScript } from "../support/script-process.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const SECRET = "a-variable-of-the-service";

let folder: TemporaryFolder;
let engine: EngineProcess;
const faults: string[] = [];

beforeAll(async () => {
  process.env["PROBITY_ENGINE_CANARY"] = SECRET;
  folder = await openTemporaryFolder("engine");
  engine = await openEngineProcess({
    memoryLimitBytes: 60_000_000,
    tempLimitBytes: 10_000_000,
    threads: 1,
    directory: join(folder.path, "own"),
    readable: [],
    onFault: (what) => faults.push(what),
  });
});

afterAll(async () => {
  delete process.env["PROBITY_ENGINE_CANARY"];
  await engine?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

async function answer(sql: string, signal = AbortSignal.timeout(20_000)): Promise<string> {
  const bounds = { rowsMax: 10, bytesMax: 10_000 };
  const request = {
    do: "answer",
    isExplained: false,
    format: "ndjson",
    bounds,
    sql,
    parameters: [],
  } as const;
  return new TextDecoder().decode((await engine.ask(request, signal)).body);
}

/** Keeps this whole process waiting until a file is there, and for a moment more. */
function holdUntilFile(directory: string, name: RegExp): string {
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  for (let look = 0; look < 200; look++) {
    const found = readdirSync(directory).find((each) => name.test(each));
    Atomics.wait(nothing, 0, 0, found === undefined ? 50 : 200);
    if (found !== undefined) return join(directory, found);
  }
  throw new Error("The file never appeared");
}

describe("a process for SQL", () => {
  test("answers as of the moment of the explanation before it, and else of its own", async () => {
    const now = { sql: "SELECT epoch_us(now()) AS us", parameters: [] };
    const bounds = { rowsMax: 10, bytesMax: 10_000 };
    const signal = AbortSignal.timeout(20_000);
    const ask = async (isExplained: boolean): Promise<number> => {
      const { body } = await engine.ask(
        { do: "answer", isExplained, format: "ndjson", bounds, ...now },
        signal,
      );
      return JSON.parse(new TextDecoder().decode(body)).us;
    };
    const explain = async (): Promise<number> => {
      await engine.ask({ do: "explain", ...now }, signal);
      const explainedUs = Date.now() * 1_000;
      await new Promise((resolve) => setTimeout(resolve, 30));
      return explainedUs;
    };
    const first = await explain();
    expect(await ask(true)).toBeLessThanOrEqual(first + 999);
    // Of one that was never answered, neither an answer nor the next explanation is.
    const second = await explain();
    expect(await ask(false)).toBeGreaterThan(second);
    const left = await explain();
    const again = await explain();
    const answered = await ask(true);
    expect(answered).toBeGreaterThan(left);
    expect(answered).toBeLessThanOrEqual(again + 999);
  });

  test("parses and explains the next statement after one that could not be explained", async () => {
    const signal = AbortSignal.timeout(20_000);
    const explain = async (sql: string) =>
      await engine.ask({ do: "explain", sql, parameters: [] }, signal);
    for (const sql of ["SELECT 1 WHERE 'a' ~ '('", "SELECT 1 LIMIT 'x'::INTEGER"]) {
      await expect(explain(sql)).rejects.toThrow();
      const { text } = await engine.ask({ do: "parse", sql: "SELECT 1 AS a" }, signal);
      expect(JSON.parse(text ?? "")).toMatchObject({ error: false });
      await explain("SELECT 1 AS a");
    }
  });

  test("has nothing of the service's environment, and no file within reach", async () => {
    const environment = await readFile(`/proc/${engine.pid}/environ`, "utf8");
    expect(environment).toContain("LANG=");
    expect(environment).not.toContain(SECRET);
    for (const path of ["/etc/passwd", "/proc/self/environ"]) {
      await expect(answer(`SELECT * FROM read_text('${path}')`)).rejects.toMatchObject({
        kind: "Permission",
      });
    }
    await expect(answer("SET threads = 8")).rejects.toThrow(/locked/);
    await expect(answer("SET memory_limit = '9GB'")).rejects.toThrow(/locked/);
  });

  test("answers again after what took too much", async () => {
    const bomb = "SELECT list(repeat('x', 1000)) FROM range(100000000)";
    await expect(answer(bomb)).rejects.toMatchObject({ kind: "Out of Memory" });
    expect(await answer("SELECT 1 AS a")).toBe('{"a":1}\n');
  });

  test("ends with a service that is killed, whatever runs", async () => {
    await using owner = await startScript("engine-owner.ts", [join(folder.path, "owned")]);
    const { pid } = owner.said[0] as { readonly pid: number };
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    await owner.kill();
    try {
      await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 5_000 }).toBe(false);
    } finally {
      if (existsSync(`/proc/${pid}`)) process.kill(pid, "SIGKILL");
    }
  });

  test("hears a cancel that comes with its statement", async () => {
    const stop = new AbortController();
    // Both lie in the pipe when the process looks into it.
    process.kill(engine.pid, "SIGSTOP");
    const asked = answer("SELECT count(*) FROM range(1000000000000)", stop.signal);
    stop.abort(new Error("left"));
    process.kill(engine.pid, "SIGCONT");
    await expect(asked).rejects.toThrow("left");
    await engine.settled();
    expect(await answer("SELECT 1 AS a")).toBe('{"a":1}\n');
  });

  test("leaves no file of an answer that nobody waits for any more", async () => {
    const stop = new AbortController();
    const bounds = { rowsMax: 10, bytesMax: 10_000 };
    const sql = "SELECT 1 AS a";
    const request = {
      do: "answer",
      isExplained: false,
      format: "parquet",
      bounds,
      sql,
      parameters: [],
    } as const;
    const asked = engine.ask(request, stop.signal);
    // The answer comes while nothing is read here, and so after the abort.
    const path = holdUntilFile(join(folder.path, "own"), /^answer-.*parquet$/);
    stop.abort(new Error("left"));
    await expect(asked).rejects.toThrow("left");
    await engine.settled();
    expect(existsSync(path)).toBe(false);
  });

  test("is killed when it does not end what was cancelled; who asked hears at once", async () => {
    process.kill(engine.pid, "SIGSTOP");
    await expect(answer("SELECT 1", AbortSignal.timeout(50))).rejects.toThrow(/timeout/);
    // Who asked did not wait for its end.
    expect([engine.hasEnded, faults]).toEqual([false, []]);
    await engine.settled();
    await expect.poll(() => engine.hasEnded).toBe(true);
    expect(faults).toEqual([expect.stringMatching(/^SIGKILL/)]);
  });
});
