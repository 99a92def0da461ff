import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EVENTS,
  openQueryFixture,
  type QueryFixture,
  RANGE,
  VIEWER,
} from "../support/query-fixture.ts";

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture();
});

afterAll(() => query?.[Symbol.asyncDispose]());

const read = async (path: string, token?: string) => {
  const answer = await query.ask(path, token === undefined ? {} : { token });
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
};

describe("GET /v1/hits", () => {
  test("counts by time, every bucket of the range in its place", async () => {
    const hits = await read(
      "/v1/hits?from=2026-06-01T00:00:00.5Z&to=2026-06-01T00:00:05Z&step=1s",
    );
    expect(hits).toEqual({
      from: "2026-06-01T00:00:00.500000Z",
      to: "2026-06-01T00:00:05.000000Z",
      step_seconds: 1,
      total: 150,
      times: [0, 1, 2, 3, 4].map((second) => `2026-06-01T00:00:0${second}.000000Z`),
      series: [{ total: 150, counts: [0, 100, 49, 1, 0] }],
    });
  });

  test("counts by the values of a column, the most frequent first, others together", async () => {
    const path = `/v1/hits?${RANGE}&step=1d`;
    const { series } = await read(`${path}&by=topic`);
    expect(series).toEqual([
      { value: "process/exec", total: 200, counts: [200] },
      { value: "file/write", total: 49, counts: [49] },
      { value: "network/connect", total: 1, counts: [1] },
    ]);
    expect((await read(`${path}&by=topic&limit=1`)).series).toEqual([
      { value: "process/exec", total: 200, counts: [200] },
      { others: true, total: 50, counts: [50] },
    ]);
    expect((await read(`${path}&by=dst_port`)).series).toEqual([
      { value: null, total: EVENTS - 1, counts: [EVENTS - 1] },
      { value: "443", total: 1, counts: [1] },
    ]);
  });

  test("agrees with the events themselves", async () => {
    const events = await query.search("");
    const { times, series } = await read(
      "/v1/hits?from=2026-06-01&to=2026-06-01T00:00:10Z&step=1s&by=user&pid=%3E%3D7",
    );
    for (const { value, counts } of series) {
      for (const [place, time] of times.entries()) {
        const expected = events.filter((event) =>
          Number(event["pid"]) >= 7 && (event["user"] ?? null) === value &&
          String(event["time"]).slice(0, 19) === time.slice(0, 19)
        );
        expect(counts[place]).toBe(expected.length);
      }
    }
    expect(series).toHaveLength(2);
  });

  test("takes a step that people read well when none is given", async () => {
    expect((await read(`/v1/hits?${RANGE}`)).step_seconds).toBe(900);
    expect((await read("/v1/hits?from=2026-06-01&to=2026-06-01T00:01:00Z")).step_seconds).toBe(1);
    expect((await read("/v1/hits?from=2025-06-01&to=2026-06-01")).step_seconds).toBe(4 * 86_400);
  });

  test("has no bucket in an empty range, and no series without events", async () => {
    const empty = await read("/v1/hits?from=2026-06-01&to=2026-06-01");
    expect(empty).toMatchObject({ total: 0, times: [], series: [] });
    const before = await read("/v1/hits?from=2026-05-01&to=2026-05-02&step=12h");
    expect(before).toMatchObject({ total: 0, series: [] });
    expect(before.times).toHaveLength(2);
  });

  test.each([
    ["step=0s", "step"],
    ["step=fast", "step"],
    ["step=1ms", "step"],
    ["step=1m&by=pid&limit=100", "step"],
    ["by=detail", "by"],
    ["by=nothing", "by"],
    ["by=topic&by=host", "by"],
    ["limit=0", "limit"],
    ["limit=101", "limit"],
    ["order=asc", "order"],
  ])("refuses %s", async (parameters, parameter) => {
    const answer = await query.ask(`/v1/hits?${RANGE}&${parameters}`);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ parameter });
  });

  test("counts nothing beyond a principal's scopes", async () => {
    const { series, total } = await read(`/v1/hits?${RANGE}&by=topic`, VIEWER);
    expect(total).toBe(49);
    expect(series.map(({ value }: { value: string }) => value)).toEqual(["file/write"]);
  });
});

describe("GET /v1/facets", () => {
  test("gives the most frequent values of columns", async () => {
    const { facets } = await read(`/v1/facets?${RANGE}&by=user,topic,dst_port,container&limit=2`);
    const events = await query.search("");
    const users = Object.entries(Object.groupBy(events, ({ user }) => String(user ?? "")))
      .map(([value, those]) => ({ value, count: those?.length ?? 0 }))
      .filter(({ value }) => value !== "")
      .toSorted((a, b) => b.count - a.count || (a.value < b.value ? -1 : 1));
    expect(facets).toEqual([
      { column: "user", distinct: 2, present: 249, values: users },
      {
        column: "topic",
        distinct: 3,
        present: EVENTS,
        values: [{ value: "process/exec", count: 200 }, { value: "file/write", count: 49 }],
      },
      { column: "dst_port", distinct: 1, present: 1, values: [{ value: "443", count: 1 }] },
      { column: "container", distinct: 0, present: 0, values: [] },
    ]);
  });

  test("knows of one column alone, of each once, and of some by default", async () => {
    const one = await read(`/v1/facets?${RANGE}&by=host,host&topic=process`);
    expect(one.facets).toEqual([
      { column: "host", distinct: 1, present: 200, values: [{ value: "web-1", count: 200 }] },
    ]);
    const { facets } = await read(`/v1/facets?${RANGE}`);
    expect(facets.map(({ column }: { column: string }) => column)).toContain("severity");
  });

  test("counts nothing beyond a principal's scopes", async () => {
    const { facets } = await read(`/v1/facets?${RANGE}&by=host,topic`, VIEWER);
    expect(facets.map(({ present }: { present: number }) => present)).toEqual([49, 49]);
  });

  test.each(["by=topics", "by=", "by=host,", "limit=1001"])("refuses %s", async (parameters) => {
    expect((await query.ask(`/v1/facets?${RANGE}&${parameters}`)).status).toBe(400);
  });

  test("is told to the audit", async () => {
    await read(`/v1/facets?${RANGE}&by=host`);
    expect(query.lines.some((line) => line.includes("GET /v1/facets"))).toBe(true);
  });
});
