import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import { type Move, namesOf } from "../../src/query/planner/file-history.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  RANGE,
  START_US,
  VIEWER,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

let query: QueryFixture;

function event(second: number, topic: string, more: Partial<AuditEvent>): AuditEvent {
  return { timeUs: START_US + second * 1_000_000, topic, severity: "info", ...more };
}

beforeAll(async () => {
  const write: Parameters<typeof openQueryFixture>[0] = {
    write: async (store, folder) => {
      const db = createMessageMaker({ host: "db-1" });
      const web = createMessageMaker({ agent: "a2", firstSequence: 2 });
      const messages = [
        await db.next([
          event(1, "file/write", { path: "/b", message: "another file" }),
          event(2, "file/rename", { path: "/gone", old_path: "/b" }),
          event(3, "file/create", { path: "/a" }),
          event(4, "file/rename", { path: "/b", old_path: "/a" }),
          event(5, "file/change", {
            path: "/b",
            detail: { diff: "-x\n+y\n", inode: 1 },
          }),
          event(6, "file/rename", { path: "/c", old_path: "/b", outcome: "success" }),
          event(7, "file/write", { path: "/b", message: "a later file" }),
          event(8, "file/write", { path: "/c" }),
          event(9, "file/rename", { path: "/d", old_path: "/c", outcome: "failure" }),
          event(10, "file/link", { path: "/e", old_path: "/c" }),
          event(11, "file/write", { path: "/e" }),
          event(12, "process/exec", { path: "/c" }),
        ]),
        await web.next([
          event(4, "file/write", { path: "/a" }),
          event(5, "file/write", { path: "/c" }),
        ]),
      ];
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  };
  query = await openQueryFixture(write);
});

afterAll(() => query?.[Symbol.asyncDispose]());

const read = async (more: string, token?: string) => {
  const answer = await query.ask(
    `/v1/files/history?${RANGE}&${more}`,
    token === undefined ? {} : { token },
  );
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
};

const secondsOf = ({ events }: { events: { time: string }[] }): number[] =>
  events.map(({ time }) => Math.round((Date.parse(time) * 1000 - START_US) / 1_000_000));
const at = (second: number): string => formatTime(START_US + second * 1_000_000);

describe("GET /v1/files/history", () => {
  test("follows a file back over its names, each only while it was the file's", async () => {
    const history = await read("path=/c&host=db-1&order=asc");
    expect(secondsOf(history)).toEqual([3, 4, 5, 6, 8, 9, 10, 11]);
    expect(history.names).toEqual([
      { host: "db-1", path: "/b", from: formatTime(START_US + 2_000_001), to: at(6) },
      { host: "db-1", path: "/e", from: at(10), to: formatTime(START_US + 86_400_000_000) },
      { host: "db-1", path: "/a", from: formatTime(START_US), to: at(4) },
    ]);
    expect(history).toMatchObject({ path: "/c", cut: false, names_cut: false });
    expect(history.events[2].detail.diff).toBe("-x\n+y\n");
  });

  test("follows it forward", async () => {
    const history = await read("path=/a&host=db-1&order=asc");
    expect(secondsOf(history)).toEqual([3, 4, 5, 6, 8, 9, 10, 11]);
  });

  test("keeps hosts apart, and gives the newest first unless told", async () => {
    expect(secondsOf(await read("path=/c&host=web-1"))).toEqual([5]);
    const all = await read("path=/c");
    expect(secondsOf(all)).toEqual([11, 10, 9, 8, 6, 5, 5, 4, 3]);
    const web = all.events.filter(({ host }: { host: string }) => host === "web-1");
    expect(web.map(({ path }: { path: string }) => path)).toEqual(["/c"]);
  });

  test("says when there is more than the limit", async () => {
    const part = await read("path=/c&host=db-1&limit=2&order=asc");
    expect([secondsOf(part), part.cut]).toEqual([[3, 4], true]);
    expect((await read("path=/c&host=db-1&limit=8")).cut).toBe(false);
  });

  test("takes a path as it is, whatever its characters", async () => {
    for (const path of ["/*", "!/c", "/c'; DROP TABLE hot; --"]) {
      expect((await read(`path=${encodeURIComponent(path)}`)).events).toEqual([]);
    }
  });

  test("shows nothing beyond a principal's scopes", async () => {
    const { events } = await read("path=/c", VIEWER);
    expect(new Set(events.map(({ host }: { host: string }) => host))).toEqual(new Set(["db-1"]));
    expect((await read("path=/c&host=web-1", VIEWER)).events).toEqual([]);
  });

  test.each([
    ["", "path"],
    ["path=", "path"],
    ["path=/a&path=/b", "path"],
    ["path=/a&order=up", "order"],
    ["path=/a&limit=0", "limit"],
    ["path=/a&limit=10001", "limit"],
    ["path=/a&cursor=x", "cursor"],
    ["path=/a&from=2027-01-01", "from"],
  ])("refuses %s", async (more, parameter) => {
    const range = more.includes("from=") ? "to=2026-06-02" : RANGE;
    const answer = await query.ask(`/v1/files/history?${range}&${more}`);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ parameter });
  });
});

describe("names of a file", () => {
  const move = (timeUs: number, from: string, to: string): Move => ({
    ...{ host: "h", isLink: false, from, to, timeUs },
  });

  test("come to an end in a circle, and at a limit", () => {
    const circle = [move(1, "/a", "/b"), move(2, "/b", "/a"), move(3, "/a", "/b")];
    expect(namesOf("/a", circle).isCut).toBe(false);
    const long = Array.from({ length: 100 }, (_, at) => move(at, `/${at}`, `/${at + 1}`));
    const { names, isCut } = namesOf("/0", long);
    expect([names.length, isCut]).toEqual([64, true]);
  });

  test("of what is replaced again and again are one for each time", () => {
    const saved = [move(5, "/f.tmp", "/f"), move(9, "/f.tmp", "/f")];
    expect(namesOf("/f", saved).names).toEqual([
      { host: "h", path: "/f.tmp", fromUs: 0, toUs: 5 },
      { host: "h", path: "/f.tmp", fromUs: 6, toUs: 9 },
    ]);
  });
});
