/** The questions of docs/sql.md and their answers, over a day that does not change; `vitest -u` writes them anew. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createOutput } from "../../src/cli/output.ts";
import { printResult } from "../../src/cli/sql/ask.ts";
import { sqlResult } from "../../src/client/sql-result.ts";
import { writeAuditDay } from "../support/audit-day.ts";
import { openQueryFixture, type QueryFixture } from "../support/query-fixture.ts";

const PAGE = "../../docs/sql.md";
const QUESTION = /(### \d+\. .+\n\n```sql\n)([^]*?)(\n```\n\n```text\n)([^]*?)(```\n)/g;
const QUESTIONS = 30;

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture({ write: writeAuditDay });
});
afterAll(() => query?.[Symbol.asyncDispose]());

/** What a terminal shows. */
async function shown(sql: string): Promise<string> {
  const answer = await query.sql(sql);
  expect(answer.status, `${sql}\n${await answer.clone().text()}`).toBe(200);
  const facts = { scannedFiles: 0, scannedBytes: 0, prunedFiles: 0, missing: undefined };
  const result = sqlResult(await answer.json(), { isComplete: true, ...facts });
  let text = "";
  const sink = {
    isTTY: true,
    write(part: string) {
      text += part;
      return true;
    },
  };
  const output = createOutput({
    ...{ json: false, quiet: false, color: "never", environment: {} },
    ...{ stdout: sink, stderr: sink },
  });
  await printResult(result, output);
  return text;
}

describe("docs/sql.md", () => {
  test("shows what each of its questions is answered", async () => {
    const page = await readFile(new URL(PAGE, import.meta.url), "utf8");
    const questions = [...page.matchAll(QUESTION)];
    expect(questions.length).toBeGreaterThanOrEqual(QUESTIONS);
    expect(questions.length).toBe(page.match(/^### \d+\. /gm)?.length);
    let written = page;
    for (const [whole, title, sql = "", between, , end] of questions) {
      const text = await shown(sql);
      expect(text, `${sql} finds something`).not.toMatch(/^0 rows$/m);
      written = written.replace(whole, () => [title, sql, between, text, end].join(""));
    }
    await expect(written).toMatchFileSnapshot(PAGE);
  });
});
