import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { openServer, type TestServer } from "../client/test-server.ts";
import { runCli, runCliOnTerminal } from "./run-cli.ts";

let server: TestServer;
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  server = await openServer((request, response) => answer(request, response));
});
beforeEach(() => {
  server.requests.length = 0;
});
afterAll(() => server[Symbol.asyncDispose]());

const TOKEN = "prb_00000000000000000000000000000000000000000002CZclj";
const INFO = {
  name: "ann",
  role: "analyst",
  hosts: ["web-*"],
  topics: [],
  created: "2026-01-01T00:00:00.123Z",
  expires: "2026-04-01T00:00:00.123Z",
  expired: false,
  by: "admin",
} as const;

const json = (value: unknown, status = 200): typeof answer => (_request, response) => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
};
const words = (...more: string[]): string[] => ["token", ...more, "--server", server.url];
const asked = (): readonly string[] =>
  server.requests.map(({ method, url }) => `${method} ${decodeURIComponent(url ?? "")}`);

it("makes one and prints its text alone, so that it can be led into a file", async () => {
  answer = json({ ...INFO, token: TOKEN }, 201);
  const scopes = ["--host", "web-*", "--host", "db-1", "--topic", "file", "--expire", "30d"];
  const made = await runCli(words("create", "ann", "--role", "analyst", ...scopes));
  expect(made).toEqual({
    code: 0,
    stdout: `${TOKEN}\n`,
    stderr: "made ann, analyst, until 2026-04-01T00:00:00Z; it cannot be shown again\n",
  });
  const quiet = await runCli(words("create", "ann", "--role", "viewer", "--quiet", "--json"));
  expect(quiet).toEqual({ code: 0, stdout: `${TOKEN}\n`, stderr: "" });
  expect(asked()).toEqual([
    "PUT /v1/tokens/ann?role=analyst&host=web-*&host=db-1&topic=file&expire=30d",
    "PUT /v1/tokens/ann?role=viewer",
  ]);
});

it("makes none without a role that there is", async () => {
  for (const more of [[], ["--role", "root"]]) {
    const { code, stdout, stderr } = await runCli(words("create", "ann", ...more));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("viewer");
  }
  expect(asked()).toEqual([]);
});

it("prints nothing that could be taken for a token when none was made", async () => {
  answer = (_request, response) => {
    response.writeHead(409, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ detail: `A token "ann" stands; it can be revoked` }));
  };
  const { code, stdout, stderr } = await runCli(words("create", "ann", "--role", "viewer"));
  expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
  expect(stderr).toContain(`A token "ann" stands`);
});

it("lists them as NDJSON, and as a table on a terminal", async () => {
  answer = json({ tokens: [INFO, { ...INFO, name: "bob", expired: true, hosts: ["\u001b[31m"] }] });
  const { code, stdout } = await runCli(words("list"));
  expect(code).toBe(0);
  expect(stdout.trimEnd().split("\n").map((line) => JSON.parse(line).name)).toEqual(["ann", "bob"]);
  const table = (await runCliOnTerminal(words("list"))).stdout;
  expect(table).toMatch(/^NAME +ROLE +HOSTS +TOPICS +CREATED +EXPIRES +BY/);
  expect(table).toMatch(/ann +analyst +web-\* +all +2026-01-01T00:00:00Z +2026-04-01T00:00:00Z +a/);
  expect(table).toMatch(/bob +analyst +\\x1b\[31m .*2026-04-01T00:00:00Z \(over\)/);
  expect(table).toMatch(/2 tokens\n$/);
});

it("revokes one", async () => {
  answer = (_request, response) => response.writeHead(204).end();
  expect(await runCli(words("revoke", "ann"))).toEqual({
    ...{ code: 0, stdout: "", stderr: "revoked\n" },
  });
  expect(asked()).toEqual(["DELETE /v1/tokens/ann"]);
});
