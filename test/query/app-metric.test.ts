import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import { clockAt, type DataTable, openDataTable } from "../support/data-table.ts";
import { topicTree } from "../../src/query/routes/figures.ts";
import { openQueryFixture, type QueryFixture, TOKEN, VIEWER } from "../support/query-fixture.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

let data: DataTable;
let query: QueryFixture;

/** Two days; every third event belongs to the topics `a` and `b`, too. */
beforeAll(async () => {
  query = await openQueryFixture({
    tallyIntervalMs: 20,
    async write(store) {
      data = await openDataTable(store);
      const hosts = ["db-1", "web-1", "web-2"];
      const topics = ["file/write", "file", "files/write", "process/exec", "a/x"];
      for (
        const start of ["2026-03-02T10:00:00Z", "2026-03-02T11:00:00Z", "2026-03-03T23:59:59Z"]
      ) {
        await data.addRound({ rows: 1_500, start, hosts, topics });
      }
    },
  });
});

afterAll(async () => {
  await query?.[Symbol.asyncDispose]();
  await data?.[Symbol.asyncDispose]();
});

const MARCH = "from=2026-03-01&to=2026-04-01";
const read = async (path: string, token = TOKEN) => {
  const answer = await query.ask(`/v1/metrics/${path}`, { token });
  if (!answer.ok) throw new Error(await answer.text());
  return { value: await answer.json(), scanned: answer.headers.get("probity-scanned-files") };
};

/** All files have tallies: a question over all of them reads none. */
async function untilTallied(): Promise<void> {
  for (let round = 0; round < 200; round++) {
    if ((await read(`*?${MARCH}`)).scanned === "0") return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("The tallies were never made");
}

async function counted(filter: string, token: string): Promise<number> {
  const answer = await query.ask(`/v1/events?${filter}`, { method: "HEAD", token });
  return Number(answer.headers.get("probity-count"));
}

const TIMES = [
  "2026-03-01T00:00:00Z",
  "2026-04-01T00:00:00Z",
  "2026-03-02T10:00:00.000001Z",
  "2026-03-02T10:00:00.7Z",
  "2026-03-02T10:00:01.499Z",
  "2026-03-02T11:00:01.5Z",
  "2026-03-03T23:59:59.5Z",
  "2026-03-04T00:00:00Z",
] as const;

/** Metrics of random topics, hosts and ranges against a count of the same events. */
async function agreesWithCounts(seed: number, questions: number): Promise<void> {
  const random = createSeededRandom(seed);
  for (let question = 0; question < questions; question++) {
    const topic = random.pick(["*", "file", "file/write", "files", "fil", "process", "a", "b/c"]);
    const host = random.pick(["", "web-*", "!web-1", "web-1,db-1", ">web-1", "<=web-1", "?b-1"]);
    const times = [random.pick(TIMES), random.pick(TIMES)].sort();
    const filter = `from=${times[0]}&to=${times[1]}` +
      (host === "" ? "" : `&host=${encodeURIComponent(host)}`);
    const token = random.pick([TOKEN, VIEWER]);
    const { value } = await read(`${topic}?${filter}`, token);
    const expected = await counted(topic === "*" ? filter : `${filter}&topic=${topic}`, token);
    expect({ topic, filter, token, total: value.total })
      .toEqual({ topic, filter, token, total: expected });
    if (question % 2 === 0) {
      const more = random.pick(["", "topic=file", "topic=!a", "topic=file/*", "pid=>1000700"]);
      await topicsAgree(`${filter}&${more}`, token);
    }
  }
}

/** SQL that counts by topic and host against the same over a list of the events, which is always read. */
async function sqlAgrees(token: string, files: number): Promise<void> {
  for (const view of ["events", "file", "app"]) {
    const counted = (from: string) =>
      `SELECT topic, count(*) AS n FROM ${from} WHERE host <> 'web-1' GROUP BY topic ORDER BY topic`;
    const fromTallies = await query.sql(counted(view), {}, { token });
    const read = await query.sql(counted(`(SELECT * FROM ${view})`), {}, { token });
    expect(fromTallies.headers.get("probity-scanned-files")).toBe(String(files));
    expect(await fromTallies.json()).toEqual(await read.json());
  }
}

/** Topics against the values of the column, which are always counted by reading. */
async function topicsAgree(filter: string, token: string): Promise<void> {
  const json = async (path: string) => await (await query.ask(path, { token })).json();
  const { topics } = await json(`/v1/topics?${filter}`);
  const { facets: [{ values }] } = await json(`/v1/facets?${filter}&by=topic`);
  const rows = values.map(({ value, count }: { value: string; count: number }) => (
    { topic: value, rows: count }
  ));
  expect({ filter, token, topics }).toEqual({ filter, token, topics: topicTree(rows) });
}

describe("GET /v1/metrics/{topic}", () => {
  test(
    "equals a count: read, from tallies, after a restart, compacted, and with late events",
    async () => {
      await agreesWithCounts(1, 8);
      await untilTallied();
      await agreesWithCounts(2, 20);
      await sqlAgrees(TOKEN, 0);
      await sqlAgrees(VIEWER, 0);
      await query.reopen();
      // What is on disk is enough: nothing is counted before the first look.
      expect(await read(`*?${MARCH}`)).toMatchObject({ value: { total: 4_500 }, scanned: "0" });
      const topics = await query.ask(`/v1/topics?${MARCH}`);
      expect(topics.headers.get("probity-scanned-files")).toBe("0");
      await query.reopen(async () => {
        await data.addRound({
          rows: 600,
          start: "2026-03-02T10:00:00.5Z",
          topics: ["file", "late"],
        });
        await using context = await data.context({ clock: clockAt("2026-03-10T00:00:00Z") });
        expect(await compactTable(context)).toMatchObject({ filesRemoved: 3 });
      });
      await agreesWithCounts(3, 6);
      await untilTallied();
      expect((await read(`*?${MARCH}`)).value.total).toBe(5_100);
      await agreesWithCounts(4, 12);
    },
    60_000,
  );

  test("gives averages over the range, and the first and last event", async () => {
    const { value } = await read("process?from=2026-03-02&to=2026-03-04");
    expect(value).toEqual({
      topic: "process",
      from: "2026-03-02T00:00:00.000000Z",
      to: "2026-03-04T00:00:00.000000Z",
      total: value.total,
      rate_per_second: value.total / (2 * 86_400),
      average_per_minute: value.total / (2 * 1_440),
      average_per_hour: value.total / 48,
      average_per_day: value.total / 2,
      first: "2026-03-02T10:00:00.003000Z",
      last: "2026-03-03T23:59:59.998000Z",
    });
    expect(value.total).toBeGreaterThan(600);
    expect((await read("nothing/here?from=1h")).value)
      .toMatchObject({ total: 0, rate_per_second: 0, first: null, last: null });
    expect((await read("*?from=2026-03-02&to=2026-03-02")).value)
      .toMatchObject({ total: 0, rate_per_second: 0, average_per_day: 0 });
  });

  test("takes a topic that ends in tail", async () => {
    expect((await read(`app%2Ftail?${MARCH}`)).value).toMatchObject({
      topic: "app/tail",
      total: 0,
    });
  });

  test.each([
    ["process/?", "topic"],
    ["%00?", "topic"],
    [`${"x".repeat(300)}?`, "topic"],
    ["*?topic=file", "topic"],
    ["*?host=", "host"],
    ["*?from=soon", "from"],
    ["*?from=2026-03-02&to=2026-03-01", "from"],
    ["*/tail?to=now", "to"],
  ])("names what is wrong: %s", async (path, parameter) => {
    const answer = await query.ask(`/v1/metrics/${path}`);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ parameter });
  });

  test("is told to the audit with its topic", async () => {
    const before = query.lines.length;
    await read(`file?${MARCH}`);
    const [said] = query.lines.slice(before).filter((line) => line.includes("audit/query"));
    expect(said).toContain("admin read 1 row by GET /v1/metrics/{topic}");
  });
});

describe("GET /v1/metrics/{topic}/tail", () => {
  test("gives the present state at once, to each by what they may see, and again in silence", async () => {
    for (const token of [TOKEN, VIEWER]) {
      const { value } = await read(`file?${MARCH}`, token);
      const accept = { accept: "text/event-stream" };
      const answer = await query.ask("/v1/metrics/file/tail?from=2026-03-01", {
        token,
        headers: accept,
      });
      expect(answer.headers.get("content-type")).toContain("text/event-stream");
      const states: unknown[] = [];
      const decoder = new TextDecoder();
      for await (const chunk of answer.body ?? []) {
        const data = /event: metric\ndata: (.*)\n/.exec(decoder.decode(chunk))?.[1];
        states.push(JSON.parse(data ?? "null"));
        if (states.length === 2) break;
      }
      const { topic, from, total, first, last } = value;
      for (const state of states) expect(state).toMatchObject({ topic, from, total, first, last });
    }
  });

  test("waits where no count can be made now, and goes on", async () => {
    const one = { size: 1, share: 1, waitingMax: 1, guaranteedMs: 10_000 };
    await using busy = await openQueryFixture({ poolLimits: { pages: one, backlogs: one } });
    const first = async (): Promise<unknown> => {
      const headers = { accept: "text/event-stream" };
      const path = "/v1/metrics/process/tail?from=2026-06-01";
      const answer = await busy.ask(path, { headers });
      for await (const chunk of answer.body ?? []) {
        return JSON.parse(/\ndata: (.*)\n/.exec(new TextDecoder().decode(chunk))?.[1] ?? "null");
      }
      return answer.status;
    };
    const states = await Promise.all(Array.from({ length: 6 }, first));
    for (const state of states) expect(state).toMatchObject({ total: 200 });
  });

  test("has no other form, and no length", async () => {
    const path = "/v1/metrics/file/tail";
    expect((await query.ask(path, { headers: { accept: "application/json" } })).status).toBe(406);
    expect((await query.ask(path, { method: "HEAD" })).status).toBe(405);
  });
});
