import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { REPORT_NAMES } from "../../src/query/reports/kinds.ts";
import { openServer, type TestServer } from "../client/test-server.ts";
import { runCli, runCliOnTerminal } from "./run-cli.ts";

let data: string;
let server: TestServer;
let asked: string[] = [];
let isCut = false;

const report = {
  ...{ report: "files", title: "Watched files", from: "a", to: "b", hosts: ["web-1"] },
  ...{ no_change: false, watched: true, statements: ["All was watched."] },
  tables: [{
    ...{ table: "events", title: "Events", total: 1 },
    columns: [
      { name: "path", title: "File" },
      { name: "command", title: "Command" },
      { name: "session", title: "Session" },
      { name: "count", title: "Count" },
    ],
    rows: [{ path: "/etc/\x1b[2J", command: "x".repeat(400), count: 3 }],
  }, { table: "coverage_gaps", title: "Gaps", total: 0, columns: [], rows: [] }],
  evidence: {
    events: 3,
    archived: 3,
    statements: ["Archived."],
    not_yet_verifiable: ["Unsigned."],
  },
};

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "probity-cli-"));
  server = await openServer((request, response) => {
    const accept = request.headers.accept ?? "";
    asked.push(`${request.url} ${accept}`);
    response.setHeader("Probity-Truncated", String(isCut));
    const isJson = accept === "application/json";
    response.end(isJson ? JSON.stringify({ ...report, whole: !isCut }) : `as ${accept}`);
  });
  await writeFile(join(data, "server.url"), `${server.url}\n`);
  await writeFile(join(data, "admin.token"), "secret\n", { mode: 0o600 });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(data, { recursive: true });
});

it("prints a row a line when piped, after what all rows share", async () => {
  asked = [];
  const words = ["report", "files", "--from", "7d", "--host", "web-*", "--data", data];
  const { code, stdout } = await runCli(words);
  expect(code).toBe(0);
  expect(asked).toEqual(["/v1/reports/files?from=7d&host=web-* application/json"]);
  expect(stdout.trimEnd().split("\n").map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({ table: "report", report: "files", statements: ["All was watched."] }),
    { table: "events", path: "/etc/\x1b[2J", command: "x".repeat(400), count: 3 },
  ]);
});

it("prints tables on a terminal, which no data can speak to", async () => {
  const { stdout } = await runCliOnTerminal([
    "report",
    "files",
    "--data",
    data,
    "--color",
    "never",
  ]);
  const [heading, row] = stdout.split("\n").slice(stdout.split("\n").indexOf("Events") + 1);
  // Nothing of the column without a value, and not so much of a long one that the next is out of sight.
  expect(heading).toBe(`FILE          COMMAND${" ".repeat(73)}  COUNT`);
  expect(row).toBe(`/etc/\\x1b[2J  ${"x".repeat(79)}…      3`);
  expect(stdout).toContain("Unsigned.");
  expect(stdout).not.toContain("\x1b[2J");
});

it.each([["csv", "text/csv"], ["markdown", "text/markdown"], ["html", "text/html"]])(
  "gives %s as the service wrote it",
  async (format, type) => {
    const { code, stdout } = await runCli(["report", "gaps", "--format", format, "--data", data]);
    expect([code, stdout]).toEqual([0, `as ${type}`]);
  },
);

it("ends in exit 5 when rows were left out, and in 2 for a report that there is not", async () => {
  isCut = true;
  for (const format of ["html", "json"]) {
    const { code } = await runCli(["report", "gaps", "--format", format, "--data", data]);
    expect(code).toBe(5);
  }
  isCut = false;
  const { code, stderr } = await runCli(["report", "everything", "--data", data]);
  expect(code).toBe(2);
  for (const name of REPORT_NAMES) expect(stderr).toContain(name);
});
