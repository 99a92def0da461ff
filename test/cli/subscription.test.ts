import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openServer, type TestServer } from "../client/test-server.ts";
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
  state: "paused",
  filters: { topic: ["auth"], uid: [">=1000", "<2000"] },
  owner: "admin",
  created: "2026-01-01T00:00:00.000000Z",
  last_seen: "2026-01-02T03:04:05.123456Z",
  expires: "2026-04-02T03:04:05.123456Z",
  when_behind: "pause",
  lag_max: "7d",
  expire: "90d",
  position: "MX4w",
  lag: { messages: 17, seconds: 691_200 },
  delivered: 1234,
  skipped: 5,
} as const;
const EVENT = {
  id: "0123abcd-1-0",
  time: "2026-01-02T03:04:05.123456Z",
  topic: "auth/login",
  pid: 7,
};

const json = (value: unknown, status = 200): typeof answer => (_request, response) => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
};
const problem = (status: number, value: object): typeof answer => (_request, response) => {
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(JSON.stringify(value));
};
const words = (line: string): string[] => [
  ...["subscription", ...line.split(" ")],
  ...["--server", server.url],
];
const run = (line: string, options: CliOptions = {}) => runCli(words(line), options);
const asked = (): readonly string[] =>
  server.requests.map(({ method, url }) => `${method} ${decodeURIComponent(url ?? "")}`);

describe("subscription list and show", () => {
  it("give NDJSON when piped", async () => {
    answer = json({ subscriptions: [INFO, { ...INFO, name: "daily" }] });
    const listed = await run("list");
    expect(listed).toMatchObject({ code: 0, stderr: "" });
    expect(listed.stdout.trimEnd().split("\n").map((line) => JSON.parse(line).name))
      .toEqual(["siem", "daily"]);
    answer = json(INFO);
    const shown = await run("show siem");
    expect({ ...shown, stdout: JSON.parse(shown.stdout) })
      .toEqual({ code: 0, stdout: INFO, stderr: "" });
    expect(asked()).toEqual(["GET /v1/subscriptions", "GET /v1/subscriptions/siem"]);
  });

  it("give a table and fields on a terminal, without control characters of data", async () => {
    answer = json({ subscriptions: [{ ...INFO, filters: { user: ["\u001b[31mroot"] } }] });
    const { code, stdout } = await runCliOnTerminal(words("list"));
    expect(code).toBe(0);
    expect(stdout).toMatch(/^NAME +STATE +BEHIND +LAG +LAST SEEN/);
    expect(stdout).toMatch(
      /siem +paused +17 +8\.0 d +2026-01-02T03:04:05Z +1234 +5 +admin +user=\\x1b\[31mroot/,
    );
    expect(stdout).toMatch(/1 subscription\n$/);
    answer = json({ ...INFO, lag: { messages: 0, seconds: 0 }, filters: {} });
    const shown = (await runCliOnTerminal(words("show siem"))).stdout;
    expect(shown).toMatch(/conditions +all events\n/);
    expect(shown).toMatch(/behind +0 messages, 0 s\n/);
    expect(shown).toMatch(/expires +2026-04-02T03:04:05Z \(90d unread\)\n/);
  });
});

describe("subscription put, skip and remove", () => {
  it("pass conditions, beginning and policy on, and say what was done", async () => {
    answer = json(INFO, 201);
    const made = await run(
      "put siem --topic auth --uid >=1000 --uid <2000 --since 1h --lag-max 24h --when-behind skip --expire 7d",
    );
    expect({ ...made, stdout: JSON.parse(made.stdout) })
      .toEqual({ code: 0, stdout: INFO, stderr: "made\n" });
    answer = json(INFO);
    expect((await run("put siem")).stderr).toBe("changed; it goes on where it was\n");
    expect(asked()).toEqual([
      "PUT /v1/subscriptions/siem?topic=auth&uid=>=1000&uid=<2000&since=1h&when_behind=skip" +
      "&lag_max=24h&expire=7d",
      "PUT /v1/subscriptions/siem",
    ]);
  });

  it("skip and say how many", async () => {
    answer = json({ skipped: { count: 1 }, subscription: INFO });
    expect((await run("skip siem --events 1")).stderr).toBe("1 event skipped\n");
    answer = json({ skipped: { count: null }, subscription: INFO });
    const skipped = await run("skip siem --to now-2h");
    expect(skipped).toMatchObject({ code: 0, stderr: "an unknown number of events skipped\n" });
    expect(JSON.parse(skipped.stdout)).toEqual(INFO);
    expect(asked()).toEqual([
      "POST /v1/subscriptions/siem/skip?events=1",
      "POST /v1/subscriptions/siem/skip?to=now-2h",
    ]);
  });

  it("remove without data on standard output", async () => {
    answer = (_request, response) => response.writeHead(204).end();
    expect(await run("remove siem")).toEqual({ code: 0, stdout: "", stderr: "removed\n" });
    expect(asked()).toEqual(["DELETE /v1/subscriptions/siem"]);
  });

  it("end in 2 for what is wrong, in 3 for what is not allowed now", async () => {
    answer = problem(400, {
      detail: "The span cannot be used",
      parameter: "lag_max",
      accepted: "7d",
    });
    expect(await run("put siem --lag-max soon")).toEqual({
      code: 2,
      stdout: "",
      stderr: "probity: lag_max: The span cannot be used; accepted: 7d\n",
    });
    answer = problem(409, { detail: "Somebody else reads", accepted: "take_over=true" });
    expect(await run("read siem")).toMatchObject({ code: 3, stdout: "" });
    answer = problem(403, { detail: "It belongs to somebody else" });
    expect((await run("remove siem")).code).toBe(3);
    answer = problem(404, { detail: "There is none" });
    expect((await run("show siem")).code).toBe(2);
    for (const line of ["show", "skip siem --events 1001", "put siem --when-behind stop"]) {
      expect((await run(line)).code, line).toBe(2);
    }
    expect((await run("read siem --follow --limit 3")).stderr).toMatch(/--follow with --limit/);
  });
});

describe("subscription read", () => {
  it("gives NDJSON up to the present, and passes on how much is wanted", async () => {
    answer = (_request, response) => response.end(`${JSON.stringify(EVENT)}\n`.repeat(3));
    const { code, stdout, stderr } = await run("read siem --limit 3 --wait 30s --take-over");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe(`${JSON.stringify(EVENT)}\n`.repeat(3));
    expect(server.requests[0]?.headers.accept).toBe("application/x-ndjson");
    expect(asked()).toEqual(["GET /v1/subscriptions/siem/events?limit=3&wait=30s&take_over=true"]);
  });

  it("ends in 5 after a gap, and when a part cannot be seen", async () => {
    const gap = { gap: { count: 2, reason: "it broke off", from: "a-1-0", to: "a-1-1" } };
    answer = (_request, response) =>
      response.end(`${JSON.stringify(gap)}\n${JSON.stringify(EVENT)}\n`);
    expect(await run("read siem")).toEqual({
      code: 5,
      stdout: `${JSON.stringify(EVENT)}\n`,
      stderr: "gap: 2 events (a-1-0 to a-1-1): it broke off\n",
    });
    answer = (_request, response) => response.writeHead(200, { "Probity-Complete": "false" }).end();
    expect(await run("read siem")).toMatchObject({
      code: 5,
      stderr: expect.stringMatching(/^incomplete/),
    });
  });

  it("follows until it is interrupted, with lines on a terminal", async () => {
    answer = (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`event: audit\nid: ${EVENT.id}\ndata: ${JSON.stringify(EVENT)}\n\n`);
    };
    const until = (stdout: string) => stdout.includes("\n");
    const { code, stdout } = await run("read siem --follow", { until });
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toEqual(EVENT);
    expect(server.requests[0]?.headers.accept).toBe("text/event-stream");
  });
});
