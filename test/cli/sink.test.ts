import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openServer, type TestServer } from "../client/test-server.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { type CliOptions, runCli, runCliOnTerminal } from "./run-cli.ts";

let server: TestServer;
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  server = await openServer((request, response) => answer(request, response));
});
beforeEach(() => {
  server.requests.length = 0;
});
afterAll(() => server[Symbol.asyncDispose]());

const INFO = {
  name: "siem",
  type: "webhook",
  topics: ["auth", "account"],
  filters: { severity: ["!info"] },
  state: "failing",
  reason: "the server answered 503",
  last_id: "0123abcd-1-0",
  created: "2026-01-01T00:00:00.000000Z",
  lag: { messages: 17, seconds: 691.6 },
  delivered: 1234,
  retries: 8,
  dead: 2,
  gaps: [{
    ...{ from: "0123abcd-2-0", before: "2026-01-05T00:00:00.000000Z", count: null },
    ...{ reason: "retention", time: "2026-01-09T00:00:00.000000Z", told: false },
  }],
} as const;
const LETTER = { id: "0123abcd-7-0", time: "2026-01-02T03:04:05.123456Z", reason: "answered 422" };
const HOSTILE = "\u001b[31mred";

const json = (value: unknown): typeof answer => (_request, response) => {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
};
const words = (line: string): string[] => [
  ...["sink", ...line.split(" ")],
  ...["--server", server.url],
];
const run = (line: string, options: CliOptions = {}) => runCli(words(line), options);
const asked = (): readonly string[] =>
  server.requests.map(({ method, url }) => `${method} ${decodeURIComponent(url ?? "")}`);

test("sinks are NDJSON when piped", async () => {
  const other = { ...INFO, name: "file" };
  answer = json({ sinks: [INFO, other] });
  const listed = await run("list");
  expect(listed).toMatchObject({ code: 0, stderr: "" });
  expect(listed.stdout.trimEnd().split("\n").map((line) => JSON.parse(line))).toEqual([
    ...[INFO, other],
  ]);
  answer = json(INFO);
  expect(JSON.parse((await run("status siem")).stdout)).toEqual(INFO);
  expect(asked()).toEqual(["GET /v1/sinks", "GET /v1/sinks/siem"]);
});

test("sinks are a table and fields on a terminal, without control characters of data", async () => {
  answer = json({ sinks: [INFO, { ...INFO, name: "all", topics: [], type: HOSTILE }] });
  const { code, stdout } = await runCliOnTerminal(words("list"));
  expect(code).toBe(0);
  expect(stdout).toMatch(/^NAME +TYPE +STATE +BEHIND +DELIVERED +RETRIES +DEAD +GAPS +TOPICS/);
  expect(stdout).toMatch(/\nsiem +webhook +failing +17 +1234 +8 +2 +1 +auth, account\n/);
  expect(stdout).toMatch(/\nall +\\x1b\[31mred +failing +17 +1234 +8 +2 +1 +all\n/);
  expect(stdout).toMatch(/2 sinks\n$/);
  answer = json({ ...INFO, reason: HOSTILE });
  const shown = (await runCliOnTerminal(words("status siem"))).stdout;
  expect(shown).toMatch(/reason +\\x1b\[31mred\n/);
  expect(shown).toMatch(/behind +17 messages, 692 s\n/);
  expect(shown).toMatch(/last event +0123abcd-1-0\n/);
  expect(shown).toMatch(/dead +2\n/);
  expect(shown).toMatch(
    /gap +2026-01-09\S+: from 0123abcd-2-0 to what was logged before 2026-01-05\S+: retention; its/,
  );
});

test("a skip says how many events were left out, where that is known", async () => {
  answer = json({ skipped: 1, sink: INFO });
  const one = await run("skip siem --to 1h");
  expect({ ...one, stdout: JSON.parse(one.stdout) })
    .toEqual({ code: 0, stdout: INFO, stderr: "1 event skipped\n" });
  answer = json({ skipped: null, sink: INFO });
  expect((await run("skip siem")).stderr).toBe("an unknown number of events skipped\n");
  expect(asked()).toEqual(["POST /v1/sinks/siem/skip?to=1h", "POST /v1/sinks/siem/skip"]);
});

test("dead letters are printed, and forgotten only when asked for", async () => {
  answer = (request, response) => {
    if (request.method === "DELETE") response.writeHead(204).end();
    else json({ dead_letters: [LETTER] })(request, response);
  };
  const listed = await run("dead-letters siem");
  expect({ ...listed, stdout: JSON.parse(listed.stdout) })
    .toEqual({ code: 0, stdout: LETTER, stderr: "" });
  expect(asked()).toEqual(["GET /v1/sinks/siem/dead-letters"]);
  const { stdout } = await runCliOnTerminal(words("dead-letters siem --clear"));
  expect(stdout).toMatch(/^ID +TIME +REASON *\n0123abcd-7-0 +2026-01-02\S+ +answered 422\n/);
  expect(asked().slice(1)).toEqual([
    "GET /v1/sinks/siem/dead-letters",
    "DELETE /v1/sinks/siem/dead-letters",
  ]);
});

test("a sink that is not there ends with the service's own words", async () => {
  answer = (_request, response) => {
    response.writeHead(404, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ title: "Not Found", detail: 'There is no sink "siem"' }));
  };
  const { code, stdout, stderr } = await run("status siem");
  expect({ stdout, isError: code !== 0 }).toEqual({ stdout: "", isError: true });
  expect(stderr).toContain('There is no sink "siem"');
});

test.each([
  ["agent", "Cannot use [[sinks]] on an agent: sinks belong to the server"],
  ["up", 'Cannot use a sink of type "stdout" with "up": only "serve" has an output'],
])("sinks that %s cannot have end it, before it makes anything", async (command, said) => {
  await using folder = await openTemporaryFolder("sink");
  const [config, data] = [join(folder.path, "agent.toml"), join(folder.path, "data")];
  await writeFile(config, '[[sinks]]\nname = "a"\ntype = "stdout"\n');
  const { code, stderr } = await runCli([command, "--config", config, "--data", data]);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(said) });
  expect(existsSync(data)).toBe(false);
});
