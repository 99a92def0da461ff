/** What an answer with trees of contexts reads at most, whoever made them. */
import { expect, test } from "vitest";
import {
  ANSWER_EVENTS_MAX,
  GENERATIONS_MAX,
  readContexts,
} from "../../src/query/contexts/read-contexts.ts";
import type { Executor } from "../../src/query/executor.ts";
import { CONTEXT_EVENTS_MAX } from "../../src/query/planner/contexts.ts";
import type { Call } from "../../src/query/route.ts";
import type { SqlRow } from "../../src/storage/duckdb.ts";

const NOW_US = 1_780_000_000_000_000;
const VIEW = { version: 0, files: [], hot: [], upper: new Map(), missing: [] };

test("generations of many events each are read up to a bound, and what is left out is said", async () => {
  let [rows, asked] = [0, 0];
  /** Each answer as large as it may be, and of contexts in one that is not known yet. */
  const executor = {
    rows: ({ statement }: Parameters<Executor["rows"]>[0]) => {
      const limit = Number(statement.parameters.at(-1));
      asked += 1;
      rows += limit;
      const found = Array.from({ length: limit }, (_, idx): SqlRow => ({
        ...{ host: "h", context: `${asked}-${idx}`, parent: `${asked + 1}-0`, topic: "app/x" },
        ...{ time_us: NOW_US - asked * 1_000_000 + idx, incarnation: "0a1b2c3d", seq: asked, idx },
      }));
      return Promise.resolve({ columns: [], rows: found });
    },
  };
  // as: of the executor and the call only these are used
  const call = {
    principal: { name: "a", scopes: { actions: new Set(["read"]), hosts: "all", topics: "all" } },
    signal: new AbortController().signal,
  } as unknown as Call;
  const page = await readContexts(call, {
    executor: executor as unknown as Executor,
    view: VIEW,
    request: {
      ...{ fromUs: 0, toUs: NOW_US, conditions: [], order: "asc", limit: undefined },
      ...{ after: undefined, upper: undefined },
    },
    limit: 1_000,
  });
  expect(page.isCut).toBe(true);
  expect(asked).toBeLessThan(GENERATIONS_MAX);
  expect(rows).toBeGreaterThan(2 * CONTEXT_EVENTS_MAX);
  expect(rows).toBeLessThanOrEqual(ANSWER_EVENTS_MAX + asked);
});
