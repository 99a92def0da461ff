import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import {
  EVENTS,
  INCARNATION,
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

const SORTED = Array.from({ length: EVENTS }, (_, at) => at);

describe("GET /v1/events", () => {
  test("gives events as the record has them, id first, without absent fields", async () => {
    const answer = await query.ask(`/v1/events?${RANGE}&topic=network`);
    expect(answer.headers.get("content-type")).toBe("application/json");
    const text = await answer.text();
    const { events, next } = JSON.parse(text);
    expect(next).toBeNull();
    expect(events).toEqual([{
      id: `${INCARNATION}-4-0`,
      time: "2026-06-01T00:00:03.000000Z",
      incarnation: INCARNATION,
      seq: 4,
      idx: 0,
      host: "db-1",
      topic: "network/connect",
      logged_at: "2026-06-01T00:00:03.001000Z",
      severity: "high",
      message: 'says "hello", and\nmore — ünïcode 🦀',
      dst_port: 443,
      detail: { nested: { big: 12345678901, none: null }, text: 'q"uote' },
      agent: "a2",
      epoch: "e1",
      batch: 2,
      event_date: "2026-06-01",
    }]);
    expect(Object.keys(events[0])[0]).toBe("id");
  });

  test.each([
    ["", EVENTS],
    ["topic=process", 200],
    ["topic=proc", 0],
    ["topic=process/exec,network", 201],
    ["topic=!process", 50],
    ["topic=app", 49],
    ["topic=app/shop", 49],
    ["topic=app/*", 49],
    ["topic=*/write", 49],
    ["topics=app/shop", 49],
    ["host=db-1", 50],
    ["host=db-1&topic=file", 49],
    ["user=root", 125],
    ["user=!root", 124],
    ["user=root,www", 249],
    ["pid=7", 1],
    ["pid=>=10&pid=<20", 10],
    ["pid=0,>=240", 10],
    ["path=/etc/*", 49],
    ["path=/etc/pass\\,wd", 49],
    ["path=/etc/pass?wd", 49],
    ["path=!/etc/*", 0],
    ["cmdline=ls 1?", 10],
    ["cmdline=ls 1%", 0],
    ["severity=high", 1],
    ['detail=*q\\\\"uote*', 1],
    ["event_date=2026-06-01", EVENTS],
    ["event_date=>2026-06-01", 0],
    ["time=<2026-06-01T00:00:01Z", 100],
    ["logged_at=>=2026-06-01T00:00:03Z", 1],
    ["seq=1", 100],
    ["incarnation=ffffffff", 0],
    ["batch=2&agent=a1", 100],
  ])("filters by %s", async (filters, count) => {
    expect(await query.search(encodeURI(filters))).toHaveLength(count);
    const head = await query.ask(`/v1/events?${RANGE}&${encodeURI(filters)}`, { method: "HEAD" });
    expect(head.headers.get("probity-count")).toBe(String(count));
    expect(await head.text()).toBe("");
  });

  test.each(["asc", "desc"])("pages through everything once, %s", async (order) => {
    const seen: unknown[] = [];
    let cursor = "";
    let pages = 0;
    do {
      const path = `/v1/events?${RANGE}&order=${order}&limit=37${cursor}`;
      const answer = await query.ask(path);
      const page = await answer.json();
      seen.push(...page.events.map((event: { pid?: number; seq: number }) => event.pid ?? 249));
      expect(page.events.length).toBe(pages < 6 ? 37 : EVENTS - 6 * 37);
      cursor = page.next === null ? "" : `&cursor=${encodeURIComponent(page.next)}`;
      pages += 1;
    } while (cursor !== "");
    expect(seen).toEqual(order === "asc" ? SORTED : SORTED.toReversed());
    expect(pages).toBe(7);
  });

  test("has 100 events in a page unless told, newest first", async () => {
    const { events, next } = await (await query.ask(`/v1/events?${RANGE}`)).json();
    expect(events).toHaveLength(100);
    expect(events[0].topic).toBe("network/connect");
    expect(typeof next).toBe("string");
  });

  test("takes the last 24 hours when no range is given", async () => {
    const { events } = await (await query.ask("/v1/events")).json();
    expect(events).toEqual([]);
    const whole = await (await query.ask("/v1/events?to=2026-06-02T00:00:00Z")).json();
    expect(whole.events).toHaveLength(100);
  });

  test("has a range that holds its begin and not its end", async () => {
    const from = "2026-06-01T00:00:00.000010Z";
    const to = "2026-06-01T00:00:00.000020Z";
    const answer = await query.ask(`/v1/events?from=${from}&to=${to}&order=asc`);
    const { events } = await answer.json();
    expect(events.map(({ pid }: { pid: number }) => pid)).toEqual(SORTED.slice(10, 20));
  });

  test("says what it read, and leaves out files that cannot matter", async () => {
    const all = await query.ask(`/v1/events?${RANGE}`);
    expect(all.headers.get("probity-scanned-files")).toBe("2");
    expect(Number(all.headers.get("probity-scanned-bytes"))).toBeGreaterThan(1_000);
    const few = await query.ask(`/v1/events?${RANGE}&host=db-1`);
    expect(few.headers.get("probity-scanned-files")).toBe("1");
    expect(few.headers.get("probity-pruned-files")).toBe("1");
    const none = await query.ask(`/v1/events?${RANGE}&pid=%3E100000`);
    expect(none.headers.get("probity-scanned-files")).toBe("0");
    expect(none.headers.get("probity-pruned-files")).toBe("2");
  });

  test("says that without a hot table it ends at the last commit", async () => {
    const answer = await query.ask(`/v1/events?${RANGE}`);
    expect(answer.headers.get("probity-complete")).toBe("false");
    expect(answer.headers.get("probity-missing")).toContain("last commit");
  });

  test("streams NDJSON, in order and without a limit of its own", async () => {
    const path = `/v1/events?${RANGE}&order=asc`;
    const answer = await query.ask(path, { headers: { accept: "application/x-ndjson" } });
    expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
    expect(answer.headers.get("probity-scanned-files")).toBe("2");
    const text = await answer.text();
    expect(text.endsWith("\n")).toBe(true);
    const events = text.trimEnd().split("\n").map((line) => JSON.parse(line));
    expect(events.map(({ pid }) => pid ?? 249)).toEqual(SORTED);
    const limited = await query.ask(`${path}&limit=3`, {
      headers: { accept: "application/jsonl" },
    });
    expect((await limited.text()).split("\n")).toHaveLength(4);
  });

  test("gives back what a stream holds when the client leaves", async () => {
    for (let round = 0; round < 40; round++) {
      const headers = { accept: "application/x-ndjson" };
      const answer = await query.ask(`/v1/events?${RANGE}`, { headers });
      await answer.body?.cancel();
    }
    const metrics = await (await query.ask("/metrics")).text();
    expect(metrics).toContain("probity_event_streams 0");
  });

  test("writes CSV that reads back", async () => {
    const answer = await query.ask(`/v1/events?${RANGE}&topic=network,file`, {
      headers: { accept: "text/csv" },
    });
    expect(answer.headers.get("content-type")).toContain("text/csv");
    const text = await answer.text();
    const [header, ...rest] = parseCsv(text);
    expect(header).toEqual(["id", ...COLUMNS.map(({ name }) => name)]);
    expect(rest).toHaveLength(50);
    const column = (name: string): number => header?.indexOf(name) ?? -1;
    const [first, second] = rest;
    expect(first?.[column("message")]).toBe('says "hello", and\nmore — ünïcode 🦀');
    expect(JSON.parse(first?.[column("detail")] ?? "").text).toBe('q"uote');
    expect(first?.[column("path")]).toBe("");
    expect(second?.[column("path")]).toBe("/etc/pass,wd");
    expect(second?.[column("topics")]).toBe('["app/shop"]');
    expect(second?.[column("time")]).toBe("2026-06-01T00:00:02.000048Z");
  });

  test.each([
    `${RANGE}&topic=file`,
    "from=2026-06-01&to=2026-06-01T01:00:00Z&host=db-1&limit=10",
  ])("writes Parquet of %s", async (asked) => {
    const answer = await query.ask(`/v1/events?${asked}`, {
      headers: { accept: "application/vnd.apache.parquet" },
    });
    expect(answer.status).toBe(200);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    expect(new TextDecoder().decode(bytes.subarray(0, 4))).toBe("PAR1");
    expect(new TextDecoder().decode(bytes.subarray(-4))).toBe("PAR1");
  });

  test("shows a principal nothing beyond their scopes", async () => {
    const token = VIEWER;
    expect(await query.search("", { token })).toHaveLength(49);
    expect(await query.search("topic=network", { token })).toHaveLength(0);
    const head = await query.ask(`/v1/events?${RANGE}`, { method: "HEAD", token });
    expect(head.headers.get("probity-count")).toBe("49");
    expect((await query.ask(`/v1/events/${INCARNATION}-4-0`, { token })).status).toBe(404);
    expect((await query.ask(`/v1/events/${INCARNATION}-3-0`, { token })).status).toBe(200);
  });
});

describe("GET /v1/events/{id}", () => {
  test("writes each event as a page, a long page and an endless answer do", async () => {
    const path = `/v1/events?${RANGE}&order=asc`;
    const headers = { accept: "application/x-ndjson" };
    const lines = (await (await query.ask(path, { headers })).text()).trimEnd().split("\n");
    expect(lines).toHaveLength(EVENTS);
    for (const limit of [1_000, 10_000]) {
      const page = await (await query.ask(`${path}&limit=${limit}`)).text();
      expect(page).toBe(`{"events":[${lines.join(",")}],"next":null}\n`);
    }
    for (const line of [...lines.slice(0, 5), ...lines.slice(-60)]) {
      const answer = await query.ask(`/v1/events/${JSON.parse(line).id}`);
      expect(await answer.text()).toBe(`${line}\n`);
    }
  });

  test("gives that event", async () => {
    const answer = await query.ask(`/v1/events/${INCARNATION}-1-42`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ id: `${INCARNATION}-1-42`, pid: 42, idx: 42 });
    expect(answer.headers.get("probity-scanned-files")).toBe("1");
  });

  test.each([`${INCARNATION}-1-100`, `${INCARNATION}-9-0`, "ffffffff-1-0"])(
    "knows none of id %s",
    async (id) => expect((await query.ask(`/v1/events/${id}`)).status).toBe(404),
  );
});

/** RFC 4180, by a reader of its own. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const match of text.matchAll(/("(?:[^"]|"")*"|[^",\r\n]*)(,|\r\n)/g)) {
    const [, field = "", end] = match;
    row.push(field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field);
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}
