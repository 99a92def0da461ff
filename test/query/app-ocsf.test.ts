/** `GET /v1/events` in OCSF, over a real table. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EVENTS,
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  RANGE,
  START_US,
  VIEWER,
} from "../support/query-fixture.ts";

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture();
});

afterAll(() => query?.[Symbol.asyncDispose]());

const PAGE = "application/json; profile=ocsf";
const LINES = "application/x-ndjson; profile=ocsf";
const ask = (path: string, accept: string, token?: string): Promise<Response> =>
  query.ask(path, { headers: { accept }, ...(token === undefined ? {} : { token }) });

describe("GET /v1/events in OCSF", () => {
  test("gives events of OCSF 1.8 in a page", async () => {
    const answer = await ask(`/v1/events?${RANGE}&topic=network`, PAGE);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; profile=ocsf");
    expect(answer.headers.get("vary")).toContain("Accept");
    expect(answer.headers.get("probity-scanned-files")).toBe("2");
    const { events, next } = await answer.json();
    expect(next).toBeNull();
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({
      class_uid: 4001,
      type_uid: 400101,
      severity_id: 4,
      time: START_US / 1000 + 3000,
      time_dt: "2026-06-01T00:00:03.000000Z",
      message: 'says "hello", and\nmore — ünïcode 🦀',
      metadata: {
        uid: `${INCARNATION}-4-0`,
        event_code: "network/connect",
        sequence: 4,
        product: { name: "Probity", version: "0.0.0" },
      },
      device: { hostname: "db-1" },
      dst_endpoint: { name: "unknown", port: 443 },
      unmapped: {
        agent: "a2",
        detail: { nested: { big: 12345678901, none: null }, text: 'q"uote' },
      },
    });
  });

  test("pages through the same events as without", async () => {
    const idsOf = async (accept: string): Promise<unknown[]> => {
      const ids: unknown[] = [];
      for (let cursor: string | null = ""; cursor !== null;) {
        const more = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
        const answer = await ask(`/v1/events?${RANGE}&limit=60${more}`, accept);
        const { events, next } = await answer.json();
        expect(events.length).toBe(next === null ? EVENTS % 60 : 60);
        for (const event of events) ids.push(event.metadata?.uid ?? event.id);
        cursor = next;
      }
      return ids;
    };
    const ids = await idsOf(PAGE);
    expect(ids).toHaveLength(EVENTS);
    expect(ids).toEqual(await idsOf("application/json"));
    const empty = await ask(`/v1/events?${RANGE}&pid=%3E100000`, PAGE);
    expect(await empty.json()).toEqual({ events: [], next: null });
  });

  test("streams all of them, one a line", async () => {
    const answer = await ask(`/v1/events?${RANGE}&order=asc`, LINES);
    expect(answer.headers.get("content-type")).toBe("application/x-ndjson; profile=ocsf");
    const text = await answer.text();
    expect(text.endsWith("}\n")).toBe(true);
    const events = text.trimEnd().split("\n").map((line) => JSON.parse(line));
    const classes = events.map(({ class_uid }) => class_uid);
    expect(classes).toEqual([
      ...Array(200).fill(1007),
      ...Array(49).fill(1001),
      4001,
    ]);
    expect(events[0]).toMatchObject({ process: { pid: 0, cmd_line: "ls 0" }, launch_type: "Exec" });
    expect(events[200].metadata.labels).toEqual(["app/shop"]);
    const few = await ask(`/v1/events?${RANGE}&limit=3`, "application/jsonl;profile=ocsf");
    expect((await few.text()).split("\n")).toHaveLength(4);
  });

  test("gives back what a stream holds when the client leaves", async () => {
    for (let round = 0; round < 40; round++) {
      await (await ask(`/v1/events?${RANGE}`, LINES)).body?.cancel();
    }
    expect(await (await query.ask("/metrics")).text()).toContain("probity_event_streams 0");
  });

  test("shows a principal nothing beyond their scopes", async () => {
    const answer = await ask(`/v1/events?${RANGE}&limit=1000`, PAGE, VIEWER);
    const { events } = await answer.json();
    expect(events).toHaveLength(49);
    expect(new Set(events.map((event: { class_uid: number }) => event.class_uid))).toEqual(
      new Set([1001]),
    );
  });

  test.each(["application/json; profile=ecs", "text/csv; profile=ocsf"])(
    "is refused as %s, naming what is there",
    async (accept) => {
      const answer = await ask(`/v1/events?${RANGE}`, accept);
      expect(answer.status).toBe(406);
      expect(await answer.json()).toMatchObject({
        parameter: "Accept",
        accepted: expect.stringContaining(`${PAGE}, ${LINES}`),
      });
    },
  );

  test("is in the description", async () => {
    const api = await (await query.ask("/openapi.json")).json();
    const { content } = api.paths["/v1/events"].get.responses["200"];
    const { schemas } = api.components;
    const event = { $ref: "#/components/schemas/OcsfEvent" };
    expect(content[PAGE].schema.properties.events.items).toEqual(event);
    expect(content[LINES].schema).toEqual(event);
    expect(schemas.OcsfEvent.required).toContain("class_uid");
    expect(content["application/json"].schema.properties.events.items)
      .toEqual({ $ref: "#/components/schemas/Event" });
    expect(schemas.Event.required).toEqual(["id"]);
  });
});
