/** Statements that mean harm, as somebody who may see little, against the real thing with small limits. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { openQueryFixture, type QueryFixture, VIEWER } from "../support/query-fixture.ts";

interface Hostile {
  readonly why: string;
  readonly outcome: "refused" | "limited" | "harmless";
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

let query: QueryFixture;
let canaryPath: string;

beforeAll(async () => {
  query = await openQueryFixture({
    sqlLimits: { rowsMax: 1_000, bytesMax: 1_000_000, timeMs: 250, memoryBytes: 60_000_000 },
  });
  canaryPath = join(query.folder, "canary.csv");
  await writeFile(canaryPath, `a,b\n${CANARY},1\n`);
  process.env["PROBITY_HOSTILE_CANARY"] = VARIABLE;
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

async function ask({ sql, parameters = [] }: Hostile): Promise<Response> {
  const more = parameters.length === 0 ? {} : { parameters: parameters.map(expanded) };
  return await query.sql(expanded(sql), more, { token: VIEWER });
}

function outcomeOf(status: number, body: string): Hostile["outcome"] | "failed" {
  const answer: { readonly truncated?: boolean; readonly detail?: string } = JSON.parse(body);
  if (status === 200) return answer.truncated === true ? "limited" : "harmless";
  if (/took longer|needs more memory/.test(String(answer.detail))) return "limited";
  return status === 422 || status === 400 ? "refused" : "failed";
}

describe("hostile statements", () => {
  test("are many, and most are one SELECT", async () => {
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
    let selects = 0;
    for (const { sql } of statements) {
      const { rows } = await connection.query("SELECT json_serialize_sql($1::VARCHAR) AS tree", {
        parameters: [expanded(sql)],
      });
      const tree = JSON.parse(String(rows[0]?.["tree"]));
      if (tree.error === false && tree.statements.length === 1) selects += 1;
    }
    expect(selects).toBeGreaterThanOrEqual(200);
  });

  test.each([...groups.keys()])("%s", { timeout: 60_000 }, async (why) => {
    for (const hostile of groups.get(why) ?? []) {
      const name = hostile.sql.slice(0, 200);
      const startedMs = performance.now();
      const answer = await ask(hostile);
      const body = await answer.text();
      expect(performance.now() - startedMs, name).toBeLessThan(5_000);
      for (const secret of [CANARY, VARIABLE, BEYOND_SCOPE]) expect(body, name).not.toMatch(secret);
      const outcome = outcomeOf(answer.status, body);
      const accepted = hostile.outcome === "harmless" ? ["harmless", "refused", "limited"] : [
        hostile.outcome,
      ];
      expect(accepted, `${name}: ${answer.status} ${body.slice(0, 300)}`).toContain(outcome);
    }
    const after = await query.sql("SELECT count(*)::INT AS n FROM events", {}, { token: VIEWER });
    expect((await after.json()).rows).toEqual([{ n: 49 }]);
  });

  test("have written nothing", async () => {
    expect(await readFile(canaryPath, "utf8")).toBe(`a,b\n${CANARY},1\n`);
    for (const suffix of ["out", "d"]) expect(existsSync(`${canaryPath}.${suffix}`)).toBe(false);
  });
});
