/** Reports over what the collectors tell on an ordinary day, and who did it. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  START_US,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const RANGE = "from=2026-06-01&to=2026-06-01T01:00:00Z";
const BOOT = "8975aece";
const at = (second: number): string => formatTime(START_US + second * 1_000_000);
const event = (second: number, topic: string, more: Partial<AuditEvent> = {}): AuditEvent => ({
  ...{ timeUs: START_US + second * 1_000_000, topic, severity: "info", ...more },
});

/** Ann comes from outside, becomes root by sudo and then postgres by su: session and auid stay hers. */
const ANN = { session: "7", auid: 1001, auid_user: "ann" } as const;
const AS_ROOT = { ...ANN, user: "root", uid: 0 } as const;
const SSH = { source: "wtmp", remote: "198.51.100.7", tty: "pts/0" } as const;
const failed = (second: number) =>
  event(second, "auth/failure", {
    ...{ severity: "medium", outcome: "failure", user: "ann", src_ip: "198.51.100.7" },
    detail: { ...SSH, source: "btmp", method: "password" },
  });
const process = (pid: number, ppid: number) => ({
  ...{ pid, process_id: `${BOOT}-${pid}-1`, parent_process_id: `${BOOT}-${ppid}-1` },
});
const nginx = { source: "dpkg", name: "nginx", arch: "amd64" } as const;

const WEB: readonly AuditEvent[] = [
  ...Array.from({ length: 126 }, (_, each) =>
    event(each * 30 - 60, "agent/heartbeat", {
      detail: {
        ...{ version: "1", boot: BOOT },
        sources: ["process", "packages", "services", "logins", "integrity"]
          .map((name) => ({ name, state: "on" })),
      },
    })),
  ...[failed(100), failed(104)],
  // A session of the same number, of an earlier boot.
  event(50, "auth/login", { user: "otto", session: "7", outcome: "success", detail: SSH }),
  event(110, "auth/login", {
    ...{ ...ANN, user: "ann", outcome: "success", detail: { ...SSH, method: "publickey" } },
  }),
  event(111, "process/exec", {
    ...{ ...ANN, ...process(70, 60), user: "ann", exe: "/usr/bin/bash", cmdline: "-bash" },
  }),
  event(120, "auth/sudo", {
    ...{ ...ANN, user: "ann", outcome: "success" },
    detail: { source: "audit", tty: "pts/0", target: "root" },
  }),
  event(121, "process/exec", {
    ...{
      ...AS_ROOT,
      ...process(71, 70),
      exe: "/usr/bin/apt-get",
      cmdline: "apt-get install nginx",
    },
  }),
  event(130, "package/install", {
    ...{ ...AS_ROOT, exe: "/usr/bin/dpkg" },
    detail: { ...nginx, version: "1.24-1", command: "apt-get install nginx" },
  }),
  event(140, "package/update", {
    ...{ ...AS_ROOT, exe: "/usr/bin/dpkg" },
    detail: { ...nginx, old_version: "1.24-1", version: "1.24-2", command: "apt-get upgrade" },
  }),
  event(150, "package/remove", {
    detail: { ...nginx, name: "telnet", version: "0.17", noticed: true },
  }),
  event(160, "service/enable", {
    ...{ ...AS_ROOT, unit: "nginx.service", detail: { source: "systemd", enabled: true } },
  }),
  event(170, "service/stop", {
    ...{ unit: "nginx.service", severity: "high", outcome: "failure" },
    detail: { source: "systemd", old_state: "active", state: "failed", enabled: true },
  }),
  ...[171, 173].map((second) =>
    event(second, "service/start", {
      unit: "nginx.service",
      detail: { source: "systemd", old_state: "failed", state: "active", enabled: true },
    })
  ),
  event(180, "auth/su", {
    ...{ ...AS_ROOT, outcome: "success" },
    detail: { source: "audit", tty: "pts/1", target: "postgres" },
  }),
  event(181, "process/exec", {
    ...{ ...ANN, ...process(72, 71), user: "postgres", exe: "/usr/bin/psql", cmdline: "psql -l" },
  }),
  event(185, "file/change", {
    path: "/etc/group",
    detail: {
      semantic: [
        { what: "group/add", who: "audit", before: null, after: "gid=994" },
        { what: "group/members", who: "wheel", before: "ann", after: "ann,eve" },
        { what: "group/remove", who: "old", before: "gid=7" },
        { what: "order" },
      ],
    },
  }),
  event(186, "file/change", { path: "/etc/hosts", message: "/etc/hosts was changed" }),
  event(190, "auth/logout", { ...ANN, user: "ann", detail: SSH }),
];

let query: QueryFixture;
beforeAll(async () => {
  query = await openQueryFixture({
    shards: [],
    write: async (store, folder) => {
      const web = createMessageMaker({ agent: "w", host: "web-1" });
      const messages = [await web.next(WEB.toSorted((a, b) => a.timeUs - b.timeUs))];
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  });
});
afterAll(() => query?.[Symbol.asyncDispose]());

type Row = Readonly<Record<string, unknown>>;

async function rowsOf(name: string, table: string): Promise<readonly Row[]> {
  const report = await (await query.ask(`/v1/reports/${name}?${RANGE}`)).json();
  expect(report).toMatchObject({ watched: true, whole: true, no_change: false });
  const { rows } = report.tables.find((each: { table: string }) => each.table === table);
  return rows.map(({ host: _host, id: _id, ...row }: Row) => row);
}

test("of packages tells who did it by which command, and what was only noticed later", async () => {
  const by = { by: "ann", exe: "/usr/bin/dpkg", session: "7" };
  expect(await rowsOf("packages", "events")).toEqual([
    {
      ...{ time: at(130), change: "install", name: "nginx", arch: "amd64", version: "1.24-1" },
      ...{ ...by, command: "apt-get install nginx" },
    },
    {
      ...{ time: at(140), change: "update", name: "nginx", arch: "amd64" },
      ...{ old_version: "1.24-1", version: "1.24-2", ...by, command: "apt-get upgrade" },
    },
    {
      ...{ time: at(150), change: "remove", name: "telnet", arch: "amd64", version: "0.17" },
      noticed: "true",
    },
  ]);
});

test("of services tells a failed unit from one that was stopped, and its restarts", async () => {
  expect(await rowsOf("services", "events")).toEqual([
    {
      ...{ time: at(160), change: "enable", service: "nginx.service", enabled: "true" },
      ...{ by: "ann", session: "7" },
    },
    {
      ...{ time: at(170), change: "stop", service: "nginx.service", enabled: "true" },
      ...{ old_state: "active", state: "failed", outcome: "failure" },
    },
    ...[171, 173].map((second) => ({
      ...{ time: at(second), change: "start", service: "nginx.service", enabled: "true" },
      ...{ old_state: "failed", state: "active" },
    })),
  ]);
  expect(await rowsOf("services", "counts")).toContainEqual({
    ...{ service: "nginx.service", change: "start", count: 2, first: at(171), last: at(173) },
  });
});

test("of files tells in words what changed in one", async () => {
  const rows = (await rowsOf("files", "events")).map(({ path, what }) => ({ path, what }));
  expect(rows).toEqual([
    {
      path: "/etc/group",
      what: "group/add audit: gid=994; group/members wheel: ann → ann,eve; " +
        "group/remove old: before gid=7; order",
    },
    { path: "/etc/hosts", what: "/etc/hosts was changed" },
  ]);
});

test("of logins leads from failures over the login to su and sudo, under one name", async () => {
  const rows = (await rowsOf("logins", "events"))
    .map(({ what, user, login, target, session, outcome, method, remote }) =>
      [what, user, login, target, session, outcome, method ?? remote].map((each) => each ?? "")
        .join(" ")
    );
  expect(rows).toEqual([
    "login otto   7 success 198.51.100.7",
    "failure ann    failure password",
    "failure ann    failure password",
    "login ann ann  7 success publickey",
    "sudo ann ann root 7 success ",
    "su root ann postgres 7 success ",
    "logout ann ann  7  198.51.100.7",
  ]);
  expect(await rowsOf("logins", "counts")).toContainEqual(
    expect.objectContaining({ what: "failure", user: "ann", remote: "198.51.100.7", count: 2 }),
  );
});

test("and the process that ran after su shows the login that it goes back to", async () => {
  const answer = await query.ask(`/v1/processes/${BOOT}-72-1?${RANGE}`);
  expect(await answer.json()).toMatchObject({
    login: {
      ...{ time: at(110), user: "ann", session: "7", method: "publickey", tty: "pts/0" },
      ...{ remote: "198.51.100.7", id: expect.stringMatching(/^0a1b2c3d-/) },
    },
    process: { user: "postgres", auid: 1001, auid_user: "ann", session: "7" },
  });
});

test("is the same in every form each time it is made", async () => {
  for (const accept of ["application/json", "text/csv", "text/markdown", "text/html"]) {
    const text = async () =>
      await (await query.ask(`/v1/reports/logins?${RANGE}`, { headers: { accept } })).text();
    const first = await text();
    expect(first).toContain("postgres");
    expect(await text()).toBe(first);
  }
});
