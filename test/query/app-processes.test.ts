import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import { planDeeds, planFamily, planMembers } from "../../src/query/planner/processes.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
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

const BOOT = "8975aece";
const id = (pid: number, start = pid * 10): string => `${BOOT}-${pid}-${start}`;
const CHILDREN = 1_003;

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture({
    write: async (store, folder) => {
      const db = createMessageMaker({ host: "db-1" });
      const web = createMessageMaker({ agent: "a2", firstSequence: 3 });
      const messages = [
        await db.next(session()),
        await db.next(family()),
        await web.next([event(0, "process/exec", { ...of(7, 1), exe: "/bin/other" })]),
        await web.next(rebooted()),
      ];
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  });
});

afterAll(() => query?.[Symbol.asyncDispose]());

function event(second: number, topic: string, more: Partial<AuditEvent>): AuditEvent {
  return { timeUs: START_US + second * 1_000_000, topic, severity: "info", ...more };
}

function of(pid: number, ppid: number): Partial<AuditEvent> {
  const parent = { ppid, parent_process_id: id(ppid) };
  return { pid, process_id: id(pid), ...parent, user: "root", uid: 0 };
}

/** 100 (bash, of 50, of 1) runs 200 (curl) by way of 150, of which no event tells; 100 goes to 1 when 50 ends. */
function session(): AuditEvent[] {
  const ancestors = (...pids: number[]) =>
    pids.map((pid) => ({ pid, process_id: id(pid), exe: `/bin/p${pid}` }));
  return [
    event(1, "process/fork", { ...of(100, 50), exe: "/usr/sbin/sshd" }),
    event(2, "process/exec", {
      ...of(100, 50),
      exe: "/bin/bash",
      cmdline: "bash -l",
      detail: { ancestors: ancestors(50, 1) },
    }),
    event(5, "process/exec", {
      ...of(200, 150),
      exe: "/usr/bin/curl",
      cmdline: "curl x",
      detail: { ancestors: ancestors(150, 100, 50, 1) },
    }),
    event(6, "network/connect", {
      ...of(100, 1),
      src_ip: "10.0.0.1",
      dst_ip: "10.0.0.2",
      dst_port: 443,
      protocol: "tcp",
    }),
    event(7, "network/close", {
      ...of(100, 1),
      src_ip: "10.0.0.1",
      dst_ip: "10.0.0.2",
      dst_port: 443,
      protocol: "tcp",
      detail: { ends: "connect", bytes_in: 10, bytes_out: 20 },
    }),
    event(7, "network/accept", {
      ...of(100, 1),
      src_ip: "10.0.0.9",
      src_port: 40_000,
      dst_ip: "10.0.0.1",
      dst_port: 22,
      protocol: "tcp",
    }),
    event(8, "file/create", { ...of(100, 1), path: "/etc/a'b" }),
    event(9, "file/write", { ...of(100, 1), path: "/etc/a'b" }),
    event(9, "file/write", { ...of(100, 1), path: "/etc/c" }),
    // The same number again: another process.
    event(10, "process/exec", { ...of(100, 50), process_id: id(100, 5_000), exe: "/bin/other" }),
    event(12, "process/exit", {
      ...of(200, 1),
      exe: "/usr/bin/curl",
      detail: { exit_code: 3, duration_ms: 8_000 },
    }),
    event(20, "process/exit", {
      ...of(100, 1),
      exe: "/bin/bash",
      detail: { signal: 9, core: false, duration_ms: 19_000 },
    }),
  ];
}

/** Ann's shell ends with its host, which says nothing of it; after that Otto has the session's number. */
function rebooted(): AuditEvent[] {
  const shell = { ...of(900, 1), user: "ann", session: "9", exe: "/bin/bash" };
  return [
    event(20, "process/exec", shell),
    event(21, "auth/login", { user: "ann", session: "9", outcome: "success" }),
    event(30, "file/write", { ...shell, path: "/etc/motd" }),
    event(600, "auth/login", { user: "otto", session: "9", outcome: "success" }),
  ];
}

/** 300 has more children than an answer gives; 7 and 8 claim to be each other's parents. */
function family(): AuditEvent[] {
  const children = Array.from(
    { length: CHILDREN },
    (_, at) => event(30, "process/fork", of(1_000 + at, 300)),
  );
  return [
    ...children,
    event(40, "process/fork", of(7, 8)),
    event(40, "process/fork", of(8, 7)),
    event(41, "process/fork", of(9, 9)),
  ];
}

const read = async (of: string, { more = "", token }: { more?: string; token?: string } = {}) => {
  const answer = await query.ask(
    `/v1/processes/${of}?${RANGE}${more}`,
    token === undefined ? {} : { token },
  );
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
};

describe("GET /v1/processes/{process_id}", () => {
  test("says what the process was, from its fork to its end", async () => {
    const { host, process } = await read(id(100));
    expect(host).toBe("db-1");
    expect(process).toEqual({
      process_id: id(100),
      pid: 100,
      parent_process_id: id(50),
      ppid: 50,
      started: formatTime(START_US + 1_000_000),
      ended: formatTime(START_US + 20_000_000),
      duration_ms: 19_000,
      signal: 9,
      exe: "/bin/bash",
      cmdline: "bash -l",
      user: "root",
      uid: 0,
      execs: 1,
      events: 9,
    });
  });

  test("follows ancestors over events and over what others name, the forking parent first", async () => {
    const { ancestors } = await read(id(200));
    expect(ancestors.map(({ process_id: each }: { process_id: string }) => each))
      .toEqual([id(150), id(100), id(50), id(1)]);
    expect(ancestors[0]).toMatchObject({ pid: 150, exe: "/bin/p150", events: 0 });
    expect(ancestors[1]).toMatchObject({ exe: "/bin/bash", ended: expect.any(String) });
    expect(ancestors[3]).not.toHaveProperty("parent_process_id");
  });

  test("follows descendants through a process that no event tells of", async () => {
    const { descendants } = await read(id(50));
    expect(descendants).toMatchObject({ total: 4, cut: false });
    expect(
      descendants.processes.map((each: Record<string, unknown>) => [
        each["process_id"],
        each["depth"],
        each["parent_process_id"],
      ]),
    ).toEqual([
      [id(100), 1, id(50)],
      [id(100, 5_000), 1, id(50)],
      [id(150), 2, id(100)],
      [id(200), 3, id(150)],
    ]);
    expect(descendants.processes[3]).toMatchObject({
      exit_code: 3,
      started: formatTime(START_US + 4_000_000),
    });
  });

  test("counts what it did: topics, peers, files", async () => {
    const { activity } = await read(id(100));
    const first = formatTime(START_US + 6_000_000);
    expect(activity.topics.total).toBe(8);
    expect(activity.topics.values[0]).toEqual({
      topic: "file/write",
      count: 2,
      first: formatTime(START_US + 9_000_000),
      last: formatTime(START_US + 9_000_000),
    });
    expect(activity.peers).toEqual({
      total: 2,
      values: [
        {
          direction: "out",
          address: "10.0.0.2",
          port: 443,
          protocol: "tcp",
          bytes_in: 10,
          bytes_out: 20,
          count: 2,
          first,
          last: formatTime(START_US + 7_000_000),
        },
        expect.objectContaining({ direction: "in", address: "10.0.0.9", port: 22, count: 1 }),
      ],
    });
    expect(activity.files).toMatchObject({
      total: 2,
      values: [
        { path: "/etc/a'b", topics: ["file/create", "file/write"], count: 2 },
        { path: "/etc/c", count: 1 },
      ],
    });
  });

  test("keeps a number that was given again apart", async () => {
    const { process, activity } = await read(id(100, 5_000));
    expect(process).toMatchObject({ exe: "/bin/other", events: 1 });
    expect(activity.topics.total).toBe(1);
  });

  test("gives so many descendants, and says how many there are", async () => {
    const { process, descendants } = await read(id(300));
    expect(process).toEqual({ process_id: id(300), pid: 300, events: 0 });
    expect(descendants).toMatchObject({ total: CHILDREN, cut: true });
    expect(descendants.processes).toHaveLength(1_000);
  });

  test("comes to an end when events claim a circle", async () => {
    const seven = await read(id(7), { more: "&host=db-1" });
    expect(seven.ancestors.map(({ pid }: { pid: number }) => pid)).toEqual([8]);
    expect(seven.descendants).toMatchObject({ total: 1, cut: false });
    const nine = await read(id(9));
    expect([nine.ancestors, nine.descendants.total]).toEqual([[], 0]);
  });

  test("never mixes hosts that tell of the same id", async () => {
    const answer = await query.ask(`/v1/processes/${id(7)}?${RANGE}`);
    expect(answer.status).toBe(409);
    expect(await answer.json()).toMatchObject({ parameter: "host" });
    const { process, ancestors } = await read(id(7), { more: "&host=web-1" });
    expect(process.exe).toBe("/bin/other");
    expect(ancestors.map(({ pid }: { pid: number }) => pid)).toEqual([1]);
  });

  test("shows nothing beyond a principal's scopes", async () => {
    const { process, ancestors, descendants, activity } = await read(id(100), { token: VIEWER });
    expect(process).toMatchObject({ events: 3, user: "root", parent_process_id: id(1) });
    expect(process).not.toHaveProperty("exe");
    expect(ancestors).toEqual([{ process_id: id(1), pid: 1, events: 0 }]);
    expect(descendants.total).toBe(0);
    expect(activity.topics.values.map(({ topic }: { topic: string }) => topic))
      .toEqual(["file/write", "file/create"]);
    expect(activity.peers.total).toBe(0);
    for (const hidden of [id(200), id(300)]) {
      const answer = await query.ask(`/v1/processes/${hidden}?${RANGE}`, { token: VIEWER });
      expect(answer.status).toBe(404);
    }
    const web = await query.ask(`/v1/processes/${id(7)}?${RANGE}`, { token: VIEWER });
    expect(web.status).toBe(404);
  });

  test.each([
    ["1", "", 400, "process_id"],
    [`${BOOT}-1`, "", 400, "process_id"],
    [`${BOOT}-1-2'%20OR%201=1`, "", 400, "process_id"],
    [id(1_000_000), "", 404, "process_id"],
    [id(100), "&from=2026-06-01", 400, "from"],
    [id(100), "&topic=file", 400, "topic"],
    [id(100), "&host=nobody", 404, "process_id"],
  ])("refuses %s%s", async (of, more, status, parameter) => {
    const answer = await query.ask(`/v1/processes/${of}?${RANGE}${more}`);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ parameter });
  });

  test("knows nothing outside of the range, the day before now unless given", async () => {
    expect((await query.ask(`/v1/processes/${id(100)}?to=2026-05-01`)).status).toBe(404);
    const { activity } = await (await query.ask(
      `/v1/processes/${id(100)}?to=2026-06-01T00:00:08.5Z`,
    )).json();
    expect(activity.files.total).toBe(1);
  });

  test("is told to the audit with the process", async () => {
    await read(id(100));
    expect(query.lines.some((line) => line.includes("GET /v1/processes/{process_id}"))).toBe(true);
  });
});

test("a process that ended with its host goes back to its own login, not to the next one of that session", async () => {
  const { login, process } = await read(id(900));
  expect(process).not.toHaveProperty("ended");
  expect(process).not.toHaveProperty("told");
  expect(login).toMatchObject({ user: "ann", session: "9" });
});

test("plans hold values as parameters only, and nothing for somebody of no topic", () => {
  const hostile = "x'; DROP TABLE hot; --";
  const request = {
    ...{ fromUs: 0, toUs: 1, order: "desc" as const, conditions: [] },
    ...{ limit: undefined, after: undefined, upper: undefined },
    ...{ processId: `${BOOT}-${hostile}`, host: hostile, members: [hostile] },
  };
  const view = { version: 1, files: [], hot: [], upper: new Map(), missing: [] };
  const principal = { name: "nobody", scopes: { ...ADMIN_SCOPES, topics: [] } };
  for (const plan of [planFamily, planMembers, planDeeds]) {
    for (const { statement: { sql, parameters } } of plan(request, principal, view).steps) {
      expect(sql).not.toContain("DROP");
      expect(sql).toContain("false");
      expect(parameters.some((each) => String(each).includes(hostile))).toBe(true);
    }
  }
});
