import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openServer, type TestServer } from "../client/test-server.ts";
import { runCli } from "./run-cli.ts";

let data: string;
let server: TestServer;
let asked: string[] = [];
let isCut = false;
/** Of which list there is more than is given. */
let cutList = "";

const RANGE = { from: "2026-06-01T00:00:00.000000Z", to: "2026-06-02T00:00:00.000000Z" };
const hosts = [
  {
    ...{ host: "web-1\x1b[2J", last_seen: RANGE.to, count: 7, gaps: 1, state: "silent" },
    ...{ since: RANGE.from, version: "1.2", off: ["file", "flow"] },
  },
  { host: "web-2", last_seen: null, count: 0, gaps: 0, state: "unknown" },
];
const ranges = (...values: readonly object[]) => ({ total: values.length, values });

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "probity-cli-"));
  server = await openServer((request, response) => {
    asked.push(request.url ?? "");
    const one = {
      ...{ ...RANGE, ...hosts[0], host: "web-1", agents_visible: true, cut: isCut },
      presence: ranges({ ...RANGE, state: "here" }),
      sources: [{
        source: "process",
        ranges: ranges({ ...RANGE, state: "partial", cause: "dropped", count: 15, reason: "full" }),
      }],
      ...{ gaps: ranges(), changes: ranges() },
      ...(cutList === "" ? {} : { [cutList]: { total: 1_001, values: [] } }),
    };
    const isOne = request.url?.startsWith("/v1/hosts/") === true;
    response.end(JSON.stringify(isOne ? one : { ...RANGE, cut: isCut, hosts }));
  });
  await writeFile(join(data, "server.url"), `${server.url}\n`);
  await writeFile(join(data, "admin.token"), "secret\n", { mode: 0o600 });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(data, { recursive: true });
});

const run = (...args: string[]) => {
  asked = [];
  return runCli(["host", ...args, "--data", data]);
};

it("lists hosts, one a line when piped", async () => {
  const { code, stdout } = await run("--from", "7d");
  expect(code).toBe(0);
  expect(asked).toEqual(["/v1/hosts?from=7d"]);
  expect(stdout.trimEnd().split("\n").map((line) => JSON.parse(line))).toMatchObject([
    { host: "web-1\x1b[2J", state: "silent", off: "file flow", count: 7 },
    { host: "web-2", state: "unknown" },
  ]);
});

it("tells the ranges of one host, the agent's first", async () => {
  const { code, stdout } = await run("web-1", "--to", "now");
  expect(code).toBe(0);
  expect(asked).toEqual(["/v1/hosts/web-1?to=now"]);
  expect(stdout.trimEnd().split("\n").map((line) => JSON.parse(line))).toEqual([
    { host: "web-1", source: "agent", ...RANGE, state: "here" },
    expect.objectContaining({ source: "process", cause: "dropped", count: 15, reason: "full" }),
  ]);
});

it("ends in exit 5 when there is more than one answer gives", async () => {
  isCut = true;
  for (const args of [[], ["web-1"]]) {
    const { code, stderr } = await run(...args);
    expect([code, stderr]).toEqual([5, expect.stringContaining("use a shorter range")]);
  }
  isCut = false;
});

it.each(["presence", "gaps", "changes"])("ends in exit 5 when %s are cut", async (list) => {
  cutList = list;
  expect((await run("web-1")).code).toBe(5);
  cutList = "";
});
