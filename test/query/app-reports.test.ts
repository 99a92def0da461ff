import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import { REPORT_NAMES } from "../../src/query/reports/kinds.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  START_US,
  VIEWER,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const RANGE = "from=2026-06-01&to=2026-06-01T01:00:00Z";
const HOSTILE = `=cmd|'/C calc'!A0`;
const MARKUP =
  `</td><script>alert(1)</script>|[x](javascript:1) \u202egnp.exe\n# http://evil.example`;
const at = (second: number): string => formatTime(START_US + second * 1_000_000);
const event = (second: number, topic: string, more: Partial<AuditEvent> = {}): AuditEvent => ({
  timeUs: START_US + second * 1_000_000,
  topic,
  severity: "info",
  ...more,
});
const beats = (from: number, to: number, ...names: readonly string[]): AuditEvent[] =>
  Array.from(
    { length: (to - from) / 30 + 1 },
    (_, each) =>
      event(from + each * 30, "agent/heartbeat", {
        detail: {
          ...{ version: "1", boot: "aaaa0001" },
          sources: names.map((name) => ({ name, state: "on" })),
        },
      }),
  );
const crypto = (second: number, key: string, value: string | number, exe = "/usr/bin/curl") =>
  event(second, `crypto/${key.replace("::", "/")}`, {
    exe,
    context: "00",
    process_id: `p${second % 2}`,
    detail: {
      ...{ key, value, type: typeof value === "string" ? "string" : "word" },
      ...{ origin: "ab12", library: "/usr/lib/libtls.so" },
    },
  });

const WEB: readonly AuditEvent[] = [
  ...beats(-60, 3_690, "process", "control", "integrity", "packages", "logins", "crypto"),
  event(10, "package/install", {
    user: "root",
    auid_user: "ann",
    exe: "/usr/bin/dpkg",
    detail: { name: "nginx", version: "1.24-1", arch: "amd64" },
  }),
  event(20, "package/update", {
    user: "root",
    detail: { name: "openssl", old_version: "3.0.1", version: "3.0.2", arch: "amd64" },
  }),
  event(30, "package/remove", { detail: { name: HOSTILE, version: MARKUP } }),
  event(40, "service/stop", {
    unit: "nginx.service",
    detail: { old_state: "active", result: "exit-code", exit_code: 1, restarts: 3, noticed: true },
  }),
  event(50, "auth/login", { user: "ann", session: "7", detail: { remote: "198.51.100.7" } }),
  event(51, "auth/failure", { user: "root", outcome: "failure", src_ip: "198.51.100.9" }),
  event(52, "auth/failure", { user: "root", outcome: "failure", src_ip: "198.51.100.9" }),
  event(60, "auth/sudo", { user: "ann", detail: { target: "root" } }),
  event(61, "process/exec", { exe: "/usr/bin/ping", detail: { caps_gained: ["net_raw"] } }),
  event(62, "process/exec", { exe: "/usr/bin/ls" }),
  event(63, "account/user/add", { detail: { target: "eve", after: "x:1001" } }),
  event(70, "file/change", {
    path: "/etc/passwd",
    user: "root",
    detail: { kind: "accounts", sha256_before: "aa", sha256_after: "bb", offline: true },
  }),
  event(71, "file/change", { path: "/etc/hosts" }),
  crypto(80, "tls::protocol_version", 0x0302),
  crypto(81, "tls::group", 29),
  crypto(82, "tls::protocol_version", 0x0304, "/usr/bin/firefox"),
  crypto(83, "tls::group", 4588, "/usr/bin/firefox"),
  event(3_700, "package/install", { detail: { name: "late" } }),
];

/** Without a source for packages, dropping for a while, then killed. */
const DB: readonly AuditEvent[] = [
  ...beats(-60, 1_800, "process", "integrity"),
  event(100, "agent/gap", {
    severity: "high",
    detail: {
      ...{ class: "ring_full", count: 12, reason: "no room", sources: ["process"] },
      ...{ from: at(90), to: at(99) },
    },
  }),
  event(110, "file/write", { path: "/etc/x" }),
  // What an agent does each minute to prove that it sees.
  event(120, "file/change", { path: "/var/lib/probity/canary", detail: { canary: true } }),
  event(120, "process/ptrace", {
    ...{ outcome: "failure", process_id: "a-1-1", detail: { target_process_id: "a-1-1" } },
  }),
];

let query: QueryFixture;
beforeAll(async () => {
  query = await openQueryFixture({
    shards: [],
    write: async (store, folder) => {
      const web = createMessageMaker({ agent: "w", host: "web-1" });
      const db = createMessageMaker({ agent: "d", host: "db-1", firstSequence: 3 });
      const messages = [
        await web.next(WEB.slice(0, 20)),
        await web.next(WEB.slice(20)),
        await db.next([...DB]),
      ];
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  });
});

afterAll(() => query?.[Symbol.asyncDispose]());

interface Table {
  readonly table: string;
  readonly total: number;
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

const ask = (name: string, accept: string, more = "") =>
  query.ask(`/v1/reports/${name}?${RANGE}${more}`, { headers: { accept } });
const textOf = async (name: string, accept: string, more = "") => {
  const answer = await ask(name, accept, more);
  expect(answer.status).toBe(200);
  return await answer.text();
};
const read = async (name: string, more = "") =>
  JSON.parse(await textOf(name, "application/json", more));
const rowsOf = ({ tables }: { tables: readonly Table[] }, name: string) =>
  tables.find(({ table }) => table === name)?.rows ?? [];
const without = (row: Readonly<Record<string, unknown>> = {}, ...names: readonly string[]) =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)));

describe("GET /v1/reports/{name}", () => {
  test("tells of packages what, when and by whom, with counts", async () => {
    const report = await read("packages", "&host=web-1");
    expect(report).toMatchObject({
      ...{ report: "packages", from: at(0), to: at(3_600), hosts: ["web-1"] },
      ...{ sees: { topics: "all", hosts: "all" }, no_change: false, watched: true, whole: true },
      statements: ["All hosts were watched for this all the time."],
    });
    expect(rowsOf(report, "events").map((row) => without(row, "id"))).toEqual([
      {
        ...{ time: at(10), host: "web-1", change: "install", name: "nginx", arch: "amd64" },
        ...{ version: "1.24-1", by: "ann", exe: "/usr/bin/dpkg" },
      },
      {
        ...{ time: at(20), host: "web-1", change: "update", name: "openssl", arch: "amd64" },
        ...{ old_version: "3.0.1", version: "3.0.2", by: "root" },
      },
      { time: at(30), host: "web-1", change: "remove", name: HOSTILE, version: MARKUP },
    ]);
    expect(rowsOf(report, "events")[0]?.["id"]).toMatch(/^0a1b2c3d-[0-9]+-[0-9]+$/);
    expect(rowsOf(report, "counts")).toEqual(
      [["install", 10], ["remove", 30], ["update", 20]].map(([change, second]) => ({
        ...{ host: "web-1", change, count: 1, first: at(Number(second)), last: at(Number(second)) },
      })),
    );
    expect(rowsOf(report, "coverage_gaps")).toEqual([]);
  });

  test.each<[string, string, readonly Readonly<Record<string, unknown>>[]]>([
    ["services", "events", [{
      ...{ service: "nginx.service", change: "stop", old_state: "active", result: "exit-code" },
      ...{ exit_code: "1", restarts: "3", noticed: "true" },
    }]],
    ["logins", "events", [
      { what: "login", user: "ann", remote: "198.51.100.7", session: "7" },
      { what: "failure", user: "root", remote: "198.51.100.9", outcome: "failure" },
      { what: "failure" },
      { what: "sudo", user: "ann", target: "root" },
    ]],
    ["logins", "counts", [
      { what: "failure", user: "root", remote: "198.51.100.9", count: 2, last: at(52) },
      { what: "login" },
      { what: "sudo" },
    ]],
    ["privilege", "events", [
      { what: "auth/sudo", user: "ann", target: "root" },
      { what: "process/exec", exe: "/usr/bin/ping", after: '["net_raw"]' },
      { what: "account/user/add", target: "eve", after: "x:1001" },
    ]],
    ["files", "events", [
      { path: "/etc/passwd", kind: "accounts", by: "root", sha256_after: "bb", offline: "true" },
      { path: "/etc/hosts" },
    ]],
    ["crypto", "findings", [
      {
        ...{ finding: "TLS below 1.2", exe: "/usr/bin/curl", library: "/usr/lib/libtls.so" },
        ...{ build_id: "ab12", value: "770", meaning: "TLS 1.1", processes: 1, count: 1 },
      },
      { finding: "no post-quantum group", exe: "/usr/bin/curl", value: "29", count: 1 },
    ]],
    ["crypto", "summary", [
      { finding: "signature with SHA-1", hosts: 0, programs: 0, count: 0 },
      { finding: "TLS below 1.2", hosts: 1, programs: 1, count: 1 },
      { finding: "key exchange by RSA", programs: 0 },
      { finding: "no post-quantum group", programs: 1 },
    ]],
    ["crypto", "uses", [
      { exe: "/usr/bin/curl", key: "tls::group", value: "29", meaning: "x25519" },
      { exe: "/usr/bin/curl", key: "tls::protocol_version" },
      ...["group", "protocol_version"].map((key) => ({
        exe: "/usr/bin/firefox",
        key: `tls::${key}`,
      })),
    ]],
    ["gaps", "losses", [{ host: "db-1", cause: "dropped", class: "ring_full", missing: 12 }]],
  ])("tells of %s its %s", async (name, table, wanted) => {
    expect(rowsOf(await read(name), table)).toMatchObject(wanted);
  });

  test("lists what was not watched with its cause, and only what concerns the report", async () => {
    const gaps = (name: string) => read(name).then((report) => rowsOf(report, "coverage_gaps"));
    const reason = "the agent was not heard of";
    const silent = { host: "db-1", sources: "all", state: "unwatched", cause: "silent", reason };
    expect(await gaps("gaps")).toEqual([
      {
        ...{ host: "db-1", from: at(90), to: at(99), sources: "process", state: "partial" },
        ...{ cause: "dropped", missing: 12, reason: "no room" },
      },
      { ...silent, from: at(1_800), to: at(3_600) },
    ]);
    expect(await gaps("files")).toMatchObject([silent]);
    expect(await gaps("packages")).toMatchObject([
      {
        host: "db-1",
        from: at(0),
        to: at(3_600),
        ...{ cause: "off", sources: "packages" },
        reason: expect.stringMatching(/no such source/),
      },
      silent,
    ]);
  });

  test("states that nothing changed, and how far that holds", async () => {
    const report = await read("packages", "&host=db-1");
    expect(report).toMatchObject({ no_change: true, watched: false });
    expect(report.statements).toEqual([
      "No package was installed, updated or removed.",
      "That holds only as far as it was watched: the gaps are listed below.",
    ]);
    expect(rowsOf(report, "events")).toEqual([]);
    const whole = await read("gaps", "&host=web-1");
    expect(whole).toMatchObject({ no_change: true, watched: true });
    expect(whole.statements[0]).toMatch(/^All hosts were watched all the time/);
  });

  test.each(["files", "privilege"])(
    "takes an agent's proofs for no change of %s",
    async (name) => expect(await read(name, "&host=db-1")).toMatchObject({ no_change: true }),
  );

  test("covers a host that is asked for by name although nothing is known of it", async () => {
    const report = await read("files", "&host=web-1,nobody");
    expect(report).toMatchObject({ hosts: ["nobody", "web-1"], watched: false });
    expect(rowsOf(report, "coverage_gaps")).toMatchObject([
      { host: "nobody", state: "unknown", from: at(0), to: at(3_600) },
    ]);
    const none = await read("files", "&host=x*");
    expect(none).toMatchObject({ hosts: [], watched: false, no_change: false });
    expect(none.statements).toEqual([
      "No event of this kind is visible.",
      "No host is known in this range: nothing was watched.",
    ]);
    const gaps = await read("gaps", "&host=x*");
    expect(gaps).toMatchObject({ hosts: [], watched: false, no_change: false });
    expect(gaps.statements).toEqual([
      "No gap is visible.",
      "No host is known in this range: nothing was watched.",
    ]);
    expect(await textOf("gaps", "text/markdown", "&host=x*")).not.toMatch(/no change/);
  });

  test("says which batches are archived, and what cannot be verified yet", async () => {
    const { evidence, ...report } = await read("packages");
    const rows = rowsOf(report, "batches");
    expect(rows).toMatchObject([
      { host: "db-1", agent: "d", first_batch: 1, batches: 1, archived_to: 1, chain: "unbroken" },
      { host: "web-1", agent: "w", epoch: "e1", first_batch: 1, last_batch: 2, batches: 2 },
    ]);
    const total = rows.reduce((sum, row) => sum + Number(row["events"]), 0);
    expect(evidence).toMatchObject({ events: total, archived: total });
    expect(evidence.not_yet_verifiable).toEqual([expect.stringMatching(/not signed yet/)]);
  });

  test("is the same each time, in every form", async () => {
    const day = new Date().toISOString().slice(0, 10);
    const forms = ["text/csv", "text/markdown", "text/html"];
    const all = [
      ...REPORT_NAMES.map((name) => [name, "application/json"] as const),
      ...forms.map((accept) => ["packages", accept] as const),
    ];
    for (const [name, accept] of all) {
      const first = await textOf(name, accept);
      expect(await textOf(name, accept)).toBe(first);
      expect(first).not.toContain(day);
    }
  });

  test("says what a token does not see, and shows nothing beyond it", async () => {
    const answer = await query.ask(`/v1/reports/packages?${RANGE}`, { token: VIEWER });
    const report = await answer.json();
    expect(report).toMatchObject({
      ...{ sees: { topics: ["file"], hosts: ["db-1"] }, watched: false, no_change: false },
    });
    expect(report.statements).toEqual([
      "No event of this kind is visible.",
      "Not all of it was watched: the gaps are listed below.",
      "The token does not see all events of package: they may be missing here.",
      "The token does not see what agents say of themselves: gaps are not known here.",
      "The token does not see all hosts.",
    ]);
    expect(JSON.stringify(report)).not.toMatch(/nginx|web-1|ring_full/);
    const gaps = await (await query.ask(`/v1/reports/gaps?${RANGE}`, { token: VIEWER })).json();
    expect(gaps).toMatchObject({ watched: false, no_change: false });
    expect(JSON.stringify(gaps)).not.toMatch(/web-1|ring_full|silent/);
  });

  test("is told to the audit with its name", async () => {
    await read("packages");
    expect(query.lines.some((line) => line.includes("GET /v1/reports/{name}"))).toBe(true);
  });

  test.each([
    [`/v1/reports/everything?${RANGE}`, 404, "name"],
    [`/v1/reports/packages?${RANGE}&topic=file`, 400, "topic"],
    [`/v1/reports/packages?from=2026-07-01&to=2026-06-01`, 400, "from"],
  ])("refuses %s", async (path, status, parameter) => {
    const answer = await query.ask(path);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ parameter });
    expect((await ask("packages", "application/pdf")).status).toBe(406);
  });
});

describe("a report's forms", () => {
  test("as CSV have one header, as many cells in each line, and no formula", async () => {
    const lines = parseCsv(await textOf("packages", "text/csv"));
    const [header = []] = lines;
    expect(header.slice(0, 4)).toEqual(["table", "text", "host", "change"]);
    expect(new Set(lines.map((cells) => cells.length))).toEqual(new Set([header.length]));
    for (const cells of lines) {
      for (const each of cells) expect(each).not.toMatch(/^[\s"]*[=+\-@]/);
    }
    const names = header.indexOf("name");
    expect(lines.map((cells) => cells[names])).toContain(`'${HOSTILE}`);
    const tables = new Set(lines.map(([table]) => table));
    for (const each of ["events", "coverage_gaps", "batches", "not_yet_verifiable", "statement"]) {
      expect(tables).toContain(each);
    }
  });

  test("as Markdown keep markup of data text", async () => {
    const text = await textOf("packages", "text/markdown");
    expect(text).not.toMatch(/(?<!\\)<script|(?<!\\)\[x|http:\/\/|\u202e|\n# http/);
    const row = text.split("\n").find((line) => line.includes("calc"));
    expect(row?.match(/(?<!\\)\|/g)).toHaveLength(14);
    expect(text).toContain("\\<script\\>");
    expect(text).toContain("\\\\u\\{202e\\}");
  });

  test("as a page keep data out of the markup, and let the page do nothing", async () => {
    const answer = await ask("packages", "text/html");
    const page = await answer.text();
    const policy = answer.headers.get("content-security-policy") ?? "";
    expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; /);
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    expect(page).not.toMatch(
      /<script|javascript:1\)"|\son[a-z]+=|\sstyle=|<(img|link|iframe)|src=/,
    );
    expect(page).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
    expect(page).toMatch(/^<!DOCTYPE html>\n<html lang="en">/);
    expect(page).toContain(`<meta http-equiv="Content-Security-Policy"`);
    expect(page.match(/<h1>/g)).toHaveLength(1);
    const count = (pattern: RegExp): number => page.match(pattern)?.length ?? 0;
    expect(count(/<table>/g)).toBe(count(/<caption>/g));
    expect(count(/<th /g)).toBe(count(/<th scope="(col|row)"/g));
    for (const [, name] of page.matchAll(/href="#([a-z_]+)"/g)) {
      expect(page).toContain(`<h2 id="${name}">`);
    }
  });
});

/** Cells of lines (RFC 4180); line ends inside cells do not occur. */
function parseCsv(text: string): string[][] {
  return text.trimEnd().split("\r\n").map((line) =>
    [...`${line},`.matchAll(/(?:"((?:[^"]|"")*)"|([^",]*)),/g)].map(([, quoted, plain]) =>
      quoted?.replaceAll('""', '"') ?? plain ?? ""
    )
  );
}
