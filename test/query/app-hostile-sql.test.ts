/** Statements that mean harm, as somebody who may see little, against the real thing with small limits. */
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ProblemError } from "../../src/query/problem.ts";
import { memoryAllowanceBytes } from "../../src/query/sql/engine/engine-process.ts";
import { passGate } from "../../src/query/sql/gate.ts";
import { TABLES } from "../../src/query/sql/views.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { openQueryFixture, type QueryFixture, VIEWER } from "../support/query-fixture.ts";

interface Hostile {
  readonly why: string;
  /** `answered`: it fails if it looks at what it must not see. */
  readonly outcome: "refused" | "limited" | "harmless" | "answered";
  /** `CANARY` is the path of a file that stands there; `{{x*100}}` is a hundred times x. */
  readonly sql: string;
  readonly parameters?: readonly string[];
}

const FIXTURE = new URL("../fixtures/hostile-sql.json", import.meta.url);
const statements: readonly Hostile[] = JSON.parse(await readFile(FIXTURE, "utf8"));
const groups = Map.groupBy(statements, ({ why }) => why);

const CANARY = "canary-in-a-file-7d1f";
const VARIABLE = "canary-in-a-variable-93bc";
/** What the viewer's scopes leave out, as it stands in events. */
const BEYOND_SCOPE = /web-1|process\/exec|network\/connect|ünïcode/;

const COUNT = "SELECT count(*)::INT AS n FROM events";
/** Of a statement that is not to take long, and did. */
const RETRIES = 5;
const MEMORY_BYTES = 60_000_000;
/** Answers on their way, and garbage that nobody has needed to collect. */
const SERVICE_GROWTH_MAX_BYTES = 300_000_000;
/** What a process for SQL has before it runs anything, at most. */
const ENGINE_IDLE_BYTES = 200_000_000;

let query: QueryFixture;
let rssBytes = 0;
let canaryPath: string;

beforeAll(async () => {
  query = await openQueryFixture({
    // Rows that the viewer may and may not see lie side by side.
    isOneFile: true,
    sqlLimits: { rowsMax: 1_000, bytesMax: 1_000_000, timeMs: 250, memoryBytes: MEMORY_BYTES },
  });
  canaryPath = join(query.folder, "canary.csv");
  await writeFile(canaryPath, `a,b\n${CANARY},1\n`);
  process.env["PROBITY_HOSTILE_CANARY"] = VARIABLE;
  rssBytes = process.memoryUsage().rss;
});

afterAll(async () => {
  delete process.env["PROBITY_HOSTILE_CANARY"];
  await query?.[Symbol.asyncDispose]();
});

function expanded(text: string): string {
  return text.replaceAll(
    "CANARY",
    (name, at: number) => text.slice(0, at).endsWith("HOSTILE_") ? name : canaryPath,
  )
    .replaceAll(
      /\{\{(.+?)\*(\d+)\}\}/g,
      (_all, part: string, times: string) => part.repeat(Number(times)),
    );
}

/** The most memory that each process for SQL has had, in bytes. */
async function enginesOf(parent: number): Promise<number[]> {
  const peaks: number[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^[0-9]+$/.test(name))) {
    const [status, command] = await Promise.allSettled([
      readFile(`/proc/${pid}/status`, "utf8"),
      readFile(`/proc/${pid}/cmdline`, "utf8"),
    ]);
    if (status.status === "rejected" || command.status === "rejected") continue;
    const of = (name: string) =>
      Number(new RegExp(`^${name}:\\s+([0-9]+)`, "m").exec(status.value)?.[1]);
    if (of("PPid") !== parent || !command.value.includes("sql/engine/main.ts")) continue;
    peaks.push(of("VmHWM") * 1024);
  }
  return peaks;
}

type Outcome = "refused" | "limited" | "harmless" | "failed";

const ACCEPTED: Readonly<Record<Hostile["outcome"], readonly Outcome[]>> = {
  refused: ["refused"],
  limited: ["limited"],
  harmless: ["harmless", "refused", "limited"],
  answered: ["harmless"],
};

async function ask({ sql, parameters = [] }: Hostile): Promise<Response> {
  const more = parameters.length === 0 ? {} : { parameters: parameters.map(expanded) };
  return await query.sql(expanded(sql), more, { token: VIEWER });
}

function outcomeOf(status: number, body: string): Outcome {
  const answer: { readonly truncated?: boolean; readonly detail?: string } = JSON.parse(body);
  if (status === 200) return answer.truncated === true ? "limited" : "harmless";
  if (/took longer|needs more memory/.test(String(answer.detail))) return "limited";
  return status === 422 || status === 400 ? "refused" : "failed";
}

function isPassed(tree: unknown, values: ReadonlyMap<string, string>): boolean {
  try {
    passGate(tree, { tables: TABLES, values });
    return true;
  } catch (error) {
    if (error instanceof ProblemError) return false;
    throw error;
  }
}

describe("hostile statements", () => {
  test("are many, and of what passes the gate there are many too", async () => {
    expect(statements.length).toBeGreaterThanOrEqual(300);
    expect(new Set(statements.map(({ sql, parameters }) => `${sql} ${parameters}`)).size)
      .toBe(statements.length);
    await using database = await openDatabase({
      memoryLimitBytes: 100_000_000,
      threads: 1,
      tempDirectory: join(query.folder, "spill"),
      tempLimitBytes: 1_000_000,
    });
    await using connection = await database.connect();
    let passed = 0;
    for (const { sql, parameters } of statements) {
      const { rows } = await connection.query("SELECT json_serialize_sql($1::VARCHAR) AS tree", {
        parameters: [expanded(sql)],
      });
      const values = new Map(parameters?.map((each, at) => [String(at + 1), expanded(each)]));
      if (isPassed(JSON.parse(String(rows[0]?.["tree"])), values)) passed += 1;
    }
    expect(passed).toBeGreaterThanOrEqual(200);
  });

  /** What comes of a statement, asked once. */
  async function tried(hostile: Hostile): Promise<{ outcome: Outcome; body: string }> {
    const name = hostile.sql.slice(0, 200);
    const startedMs = performance.now();
    const answer = await ask(hostile);
    const body = await answer.text();
    expect(performance.now() - startedMs, name).toBeLessThan(5_000);
    for (const secret of [CANARY, VARIABLE, BEYOND_SCOPE]) expect(body, name).not.toMatch(secret);
    return { outcome: outcomeOf(answer.status, body), body };
  }

  /** On a busy machine the time of a statement may be over before it was looked at: then it is asked again. */
  async function resultOf(hostile: Hostile): ReturnType<typeof tried> {
    let result = await tried(hostile);
    const isLimited = () => result.outcome === "limited" && result.body.includes("took longer");
    for (let again = 0; again < RETRIES && isLimited(); again++) {
      if (ACCEPTED[hostile.outcome].includes("limited")) break;
      result = await tried(hostile);
    }
    return result;
  }

  test.each([...groups.keys()])("%s", { timeout: 60_000 }, async (why) => {
    for (const hostile of groups.get(why) ?? []) {
      const { outcome, body } = await resultOf(hostile);
      expect(ACCEPTED[hostile.outcome], `${hostile.sql.slice(0, 200)}: ${body.slice(0, 300)}`)
        .toContain(outcome);
    }
    const after = await resultOf({ why, outcome: "answered", sql: COUNT });
    expect(JSON.parse(after.body).rows).toEqual([{ n: 49 }]);
  });

  test("have left the service and its processes within their bounds", async () => {
    expect(process.memoryUsage().rss - rssBytes).toBeLessThan(SERVICE_GROWTH_MAX_BYTES);
    const engines = await enginesOf(process.pid);
    expect(engines.length).toBeGreaterThan(0);
    expect(engines.length).toBeLessThanOrEqual(2);
    for (const peakBytes of engines) {
      expect(peakBytes).toBeLessThan(ENGINE_IDLE_BYTES + memoryAllowanceBytes(MEMORY_BYTES));
    }
  });

  test("have written nothing", async () => {
    expect(await readFile(canaryPath, "utf8")).toBe(`a,b\n${CANARY},1\n`);
    for (const suffix of ["out", "d"]) expect(existsSync(`${canaryPath}.${suffix}`)).toBe(false);
  });
});
