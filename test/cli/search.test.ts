import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { accessOf, DEFAULT_SERVER } from "../../src/cli/connect.ts";
import { formatEventLine } from "../../src/cli/event-line.ts";
import { openServer, type TestServer } from "../client/test-server.ts";
import { runCli, runCliOnTerminal } from "./run-cli.ts";

let data: string;
let server: TestServer;
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "probity-cli-"));
  server = await openServer((request, response) => answer(request, response));
  await writeFile(join(data, "server.url"), `${server.url}\n`);
  await writeFile(join(data, "admin.token"), "secret\n", { mode: 0o600 });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(data, { recursive: true });
});

function eventOf(number: number) {
  return {
    id: `0123abcd-${number}-0`,
    time: `2026-01-02T03:04:${String(number).padStart(2, "0")}.123456Z`,
    host: "web-1",
    topic: "process/exec",
    user: "root",
    pid: number,
    message: `root ran ls number ${number}`,
  };
}

/** Answers with as many events as asked for, newest or oldest first as asked for. */
function events(count: number, headers: Readonly<Record<string, string>> = {}): typeof answer {
  return (request, response) => {
    const asked = new URL(request.url ?? "", "http://x").searchParams;
    const all = Array.from({ length: count }, (_, number) => eventOf(number));
    const ordered = asked.get("order") === "desc" ? all.reverse() : all;
    const given = ordered.slice(0, Number(asked.get("limit") ?? Infinity));
    response.writeHead(200, headers).end(given.map((each) => `${JSON.stringify(each)}\n`).join(""));
  };
}

const parametersOf = () => [
  ...new URL(server.requests.at(-1)?.url ?? "", "http://x").searchParams,
];

describe("search", () => {
  it("gives NDJSON when piped, all of it, oldest first, with the folder's token", async () => {
    answer = events(150);
    const { code, stdout, stderr } = await runCli(["search", "--data", data]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    expect(lines).toHaveLength(150);
    expect(lines[0]).toEqual(eventOf(0));
    expect(parametersOf()).toEqual([["order", "asc"]]);
    expect(server.requests.at(-1)?.headers.authorization).toBe("Bearer secret");
  });

  it("passes conditions and range on", async () => {
    answer = events(0);
    const words = "search --src-ip 10.* --topic file --topic !file/write --from 1h --to now"
      .split(" ");
    // A column whose own flag would be that of the server's name.
    words.push("--context-id", "00ff");
    const { code } = await runCli([...words, "--order", "desc", "--data", data]);
    expect(code).toBe(0);
    expect(parametersOf()).toEqual([
      ["topic", "file"],
      ["topic", "!file/write"],
      ["src_ip", "10.*"],
      ["context", "00ff"],
      ["from", "1h"],
      ["to", "now"],
      ["order", "desc"],
    ]);
  });

  it("gives the newest so many, oldest first, with a limit", async () => {
    answer = events(9);
    const { stdout } = await runCli(["search", "--limit", "3", "--data", data]);
    const pids = stdout.trimEnd().split("\n").map((line) => JSON.parse(line).pid);
    expect(pids).toEqual([6, 7, 8]);
  });

  it("gives lines and a notice on a terminal", async () => {
    answer = events(150);
    const { code, stdout } = await runCliOnTerminal(["search", "--data", data]);
    const lines = stdout.trimEnd().split("\n");
    expect(code).toBe(0);
    expect(lines).toHaveLength(101);
    expect(lines[0]).toBe(
      "2026-01-02T03:04:50.123Z web-1 process/exec     root          50 root ran ls number 50",
    );
    expect(lines.at(-1)).toBe("only 100 events are shown; --limit N shows more");
  });

  it("ends in 5 and says so when the answer is incomplete", async () => {
    answer = events(1, { "Probity-Complete": "false" });
    const { code, stdout, stderr } = await runCli(["search", "--data", data]);
    expect(code).toBe(5);
    expect(JSON.parse(stdout)).toEqual(eventOf(0));
    expect(stderr).toMatch(/incomplete/);
  });

  it("ends in 3 when the token is not taken, in 2 when a parameter is wrong", async () => {
    const refuse = (status: number, problem: object): typeof answer => (_request, response) => {
      response.writeHead(status, { "content-type": "application/problem+json" });
      response.end(JSON.stringify(problem));
    };
    answer = refuse(401, { title: "Unauthorized", detail: "The token is unknown" });
    const unknown = await runCli(["search", "--data", data]);
    expect(unknown).toMatchObject({ code: 3, stdout: "" });
    expect(unknown.stderr).toMatch(/^probity: The token is unknown \(.*--token-file/);
    answer = refuse(400, {
      title: "Bad Request",
      detail: "It is no time",
      parameter: "from",
      accepted: "RFC 3339",
    });
    const wrong = await runCli(["search", "--from", "x", "--data", data]);
    expect(wrong).toMatchObject({ code: 2, stdout: "" });
    expect(wrong.stderr).toBe("probity: from: It is no time; accepted: RFC 3339\n");
  });

  it("ends in 3 when nothing listens", async () => {
    const { code, stderr } = await runCli(["search", "--server", "http://127.0.0.1:9"]);
    expect(code).toBe(3);
    expect(stderr).toMatch(/^probity: Cannot reach http:\/\/127\.0\.0\.1:9\/: .*probity up/);
  });
});

describe("tail", () => {
  it("gives NDJSON, says gaps and outages on standard error, ends in 130", async () => {
    let turn = 0;
    answer = (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const number = ++turn;
      response.write(`retry: 1\n\nevent: audit\nid: p${number}\n`);
      response.write(`data: ${JSON.stringify(eventOf(number))}\n\n`);
      if (turn === 1) response.end('event: gap\nid: p1\ndata: {"count":7}\n\n');
    };
    const until = (stdout: string) => stdout.split("\n").length === 3;
    const words = ["tail", "--since", "1h", "--host", "web-*", "--data", data];
    const { code, stdout, stderr } = await runCli(words, { until });
    expect(code).toBe(130);
    expect(stdout.trimEnd().split("\n").map((line) => JSON.parse(line).pid)).toEqual([1, 2]);
    expect(stderr).toMatch(/^gap: 7 events were not delivered\n.*ended the stream; trying again/);
    expect(server.requests.at(-2)?.url).toBe("/v1/tail?host=web-*&since=1h");
  });
});

describe("search --follow", () => {
  it("begins in the past and goes on live", async () => {
    answer = (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`event: audit\nid: p1\ndata: ${JSON.stringify(eventOf(1))}\n\n`);
    };
    const until = (stdout: string) => stdout.endsWith("\n");
    const words = ["search", "--since", "1h", "--follow", "--host", "web-1", "--data", data];
    const { stdout } = await runCli(words, { until });
    expect(JSON.parse(stdout)).toEqual(eventOf(1));
    expect(server.requests.at(-1)?.url).toBe("/v1/tail?host=web-1&since=1h");
  });

  it.each([
    [["--follow", "--to", "now"], "it has no end"],
    [["--from", "1h", "--since", "1h"], "they mean the same"],
  ])("refuses %j", async (words, reason) => {
    const { code, stderr } = await runCli(["search", ...words, "--data", data]);
    expect([code, stderr]).toEqual([2, expect.stringContaining(reason)]);
  });
});

describe("export", () => {
  const change = {
    ...eventOf(1),
    topic: "file/change",
    path: "/etc/x",
    detail: { kind: "digest", sha256_after: "bb" },
  };

  it("gives all events as lines, the oldest first, and ends in 5 when some are missing", async () => {
    answer = events(3, { "probity-complete": "false" });
    const words = ["export", "--from", "1h", "--to", "now", "--user", "root", "--data", data];
    const { code, stdout, stderr } = await runCli(words);
    expect([code, stderr]).toEqual([5, expect.stringContaining("incomplete")]);
    expect(stdout.trimEnd().split("\n").map((line) => JSON.parse(line)))
      .toEqual([0, 1, 2].map(eventOf));
    expect(parametersOf()).toEqual([["user", "root"], ["from", "1h"], ["to", "now"], [
      "order",
      "asc",
    ]]);
  });

  it("gives bpfink's lines, asking for changes of files alone", async () => {
    answer = (_request, response) => response.end(`${JSON.stringify(change)}\n`);
    const words = ["export", "--format", "bpfink", "--topic", "file", "--data", data];
    const { code, stdout } = await runCli(words);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      level: "warn",
      generic: { current: "", next: "bb" },
      message: "generic file created",
    });
    expect(parametersOf()).toEqual([["topic", "file"], ["topic", "file/change"], ["order", "asc"]]);
  });

  it("gives them live, too", async () => {
    answer = (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`event: audit\nid: p1\ndata: ${JSON.stringify(change)}\n\n`);
    };
    const until = (stdout: string) => stdout.endsWith("\n");
    const words = ["tail", "--format", "bpfink", "--data", data];
    const { stdout } = await runCli(words, { until });
    expect(JSON.parse(stdout)).toMatchObject({ file: "/etc/x", message: "generic file created" });
    expect(server.requests.at(-1)?.url).toBe("/v1/tail?topic=file%2Fchange");
  });
});

describe("sql", () => {
  const columns = [{ name: "topic", type: "VARCHAR" }, { name: "n", type: "BIGINT" }];
  const rows = [{ topic: "process/exec", n: 12 }, { topic: "file\x1b[31m", n: "9007199254740993" }];
  const result = (more: object = {}): typeof answer => (_request, response) => {
    response.end(JSON.stringify({ columns, rows, truncated: false, ...more }));
  };

  it("gives NDJSON when piped, from an argument and from standard input", async () => {
    answer = result();
    const given = await runCli(["sql", "select 1", "--data", data]);
    const piped = await runCli(["sql", "--data", data], { input: "select 1\n" });
    expect(given.stdout.trimEnd().split("\n").map((line) => JSON.parse(line))).toEqual(rows);
    expect(piped).toEqual(given);
    expect(given.code).toBe(0);
  });

  it("gives a table on a terminal, without the data's control characters", async () => {
    answer = result();
    const { stdout } = await runCliOnTerminal(["sql", "select 1", "--data", data]);
    expect(stdout.split("\n")).toEqual([
      "TOPIC                        N",
      "process/exec                12",
      "file\\x1b[31m  9007199254740993",
      "2 rows",
      "",
    ]);
  });

  it("prompts on a terminal, and answers all that was typed before the end of input", async () => {
    let asked = 0;
    answer = (request, response) => {
      if (++asked === 2) {
        response.writeHead(422, { "content-type": "application/problem+json" });
        response.end('{"title":"Unprocessable Content","detail":"It is no SELECT"}');
      } else result()(request, response);
    };
    const input = "select\n1;\ndrop x;\n\nselect 2;\n";
    const { code, stdout } = await runCliOnTerminal(["sql", "--data", data], { input });
    expect(code).toBe(0);
    expect(asked).toBe(3);
    expect(stdout.match(/2 rows/g)).toHaveLength(2);
    expect(stdout).toContain("It is no SELECT");
  });

  it("ends in 5 when rows were cut", async () => {
    answer = result({ truncated: true });
    const { code, stderr } = await runCli(["sql", "select 1", "--data", data]);
    expect(code).toBe(5);
    expect(stderr).toMatch(/only the first 2 rows/);
  });

  it("refuses an empty statement", async () => {
    const { code, stderr } = await runCli(["sql", "--data", data], { input: " \n" });
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: "probity: Cannot ask: the statement is empty\n",
    });
  });
});

describe("access", () => {
  const none = { server: undefined, tokenFile: undefined };

  it("takes address and token from the data folder, or the default address", () => {
    expect(accessOf({ ...none, data })).toEqual({ url: server.url, token: "secret" });
    const empty = join(data, "empty");
    expect(accessOf({ ...none, data: empty })).toEqual({ url: DEFAULT_SERVER, token: undefined });
  });

  it("sends the folder's token to this machine only", () => {
    const urls = ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1"];
    for (const url of urls) expect(accessOf({ ...none, data, server: url }).token).toBe("secret");
    for (const url of ["https://example.org", "http://127.0.0.1.example.org", "http://10.0.0.1"]) {
      expect(accessOf({ ...none, data, server: url }).token).toBeUndefined();
    }
  });

  it("takes a token file that is named, for any server, and misses it when it is not there", async () => {
    const tokenFile = join(data, "other.token");
    const options = { server: "https://example.org", data, tokenFile };
    expect(() => accessOf(options)).toThrow(/Cannot read token file ".*other.token"/);
    await writeFile(tokenFile, "other\n");
    expect(accessOf(options).token).toBe("other");
  });
});

describe("an event's line", () => {
  const output = { paint: (_color: string, text: string) => text };

  it("spells control characters out", () => {
    const line = formatEventLine({ ...eventOf(1), host: "a\nb", message: "x\x1b[2Jy" }, output);
    expect(line).toBe(
      "2026-01-02T03:04:01.123Z a\\x0ab process/exec     root           1 x\\x1b[2Jy\n",
    );
  });

  it("shows the arguments of a program that was started, and cuts what is long", () => {
    const exec = { ...eventOf(1), message: "root ran /usr/bin/ls", cmdline: "ls -l /etc" };
    expect(formatEventLine(exec, output)).toMatch(/ root ran \/usr\/bin\/ls: ls -l \/etc\n$/);
    const exit = { ...exec, topic: "process/exit" };
    expect(formatEventLine(exit, output)).toMatch(/ root ran \/usr\/bin\/ls\n$/);
    const { message: _, ...silent } = exec;
    const detail = { amount: 12.5, to: "ann b", state: "done" };
    expect(formatEventLine({ ...silent, topic: "app/bank/transfer", detail }, output))
      .toMatch(/ amount=12.5 to="ann b" state=done\n$/);
    const long = formatEventLine({ ...exec, cmdline: "x".repeat(9_999) }, output);
    expect(long).toMatch(/x…\n$/);
    expect(long.length).toBeLessThan(500);
  });

  it("falls back on other fields when there is no message or user", () => {
    const line = formatEventLine({ id: "0123abcd-1-0", topic: "file/write", path: "/a" }, output);
    expect(line).toMatch(/file\/write +- +- \/a\n$/);
  });

  it("colors what is grave", () => {
    const painted = { paint: (color: string, text: string) => `<${color}>${text}` };
    expect(formatEventLine({ ...eventOf(1), severity: "high" }, painted)).toContain(
      "<red>root ran",
    );
    expect(formatEventLine({ ...eventOf(1), severity: "medium" }, painted)).toContain("<yellow>");
    expect(formatEventLine({ ...eventOf(1), severity: "info" }, painted)).not.toContain("<red>");
  });
});
