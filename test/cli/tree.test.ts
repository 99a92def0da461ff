import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatTree } from "../../src/cli/tree-text.ts";
import type { ProcessTree, RecordedProcess } from "../../src/client/process.ts";
import { openServer, type TestServer } from "../client/test-server.ts";
import { runCli } from "./run-cli.ts";

let data: string;
let server: TestServer;
let tree: ProcessTree;

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "probity-cli-"));
  server = await openServer((_request, response) => {
    response.end(JSON.stringify(tree));
  });
  await writeFile(join(data, "server.url"), `${server.url}\n`);
  await writeFile(join(data, "admin.token"), "secret\n", { mode: 0o600 });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(data, { recursive: true });
});

const id = (pid: number): string => `0123abcd-${pid}-1`;

function member(pid: number, more: Partial<RecordedProcess> = {}): RecordedProcess {
  return { process_id: id(pid), pid, user: "root", cmdline: `run ${pid}`, events: 1, ...more };
}

function treeOf(more: Partial<ProcessTree["descendants"]> = {}): ProcessTree {
  return {
    ...{ from: "", to: "", host: "web-1", ancestors_cut: false },
    process: member(5, {
      started: "2026-01-02T03:04:05.123456Z",
      duration_ms: 61_000,
      exit_code: 2,
    }),
    ancestors: [member(2), { process_id: id(1), pid: 1, comm: "init", events: 0 }],
    descendants: {
      total: 3,
      cut: false,
      processes: [
        member(6, { parent_process_id: id(5), depth: 1 }),
        member(8, { parent_process_id: id(5), depth: 1, cmdline: "evil\x1b[2J", signal: 9 }),
        member(7, { parent_process_id: id(6), depth: 2 }),
      ],
      ...more,
    },
    activity: {
      topics: { total: 1, values: [{ topic: "file/write", count: 3, first: "", last: "" }] },
      peers: { total: 0, values: [] },
      files: {
        total: 12,
        values: [{ path: "/etc/a", topics: ["file/write"], count: 3, first: "", last: "" }],
      },
    },
  };
}

describe("tree", () => {
  it("draws ancestors above and descendants below, and says what the process did", () => {
    expect(formatTree(treeOf(), { paint: (_color, text) => text })).toBe(`1 (init)
└─ 2 root run 2
   └─ 5 root run 5 (2026-01-02T03:04:05.123Z, 1 min 1 s, exit code 2)
      ├─ 6 root run 6
      │  └─ 7 root run 7
      └─ 8 root evil\\x1b[2J (signal 9)

${id(5)} on web-1, 1 events
topics:
  file/write 3
files:
  /etc/a 3
  and 11 more
`);
  });

  it("gives a process a line when piped, and asks for range and host as they are given", async () => {
    tree = treeOf();
    const { code, stdout, stderr } = await runCli(
      ["tree", id(5), "--from", "7d", "--host", "a*b", "--data", data],
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    expect(lines.map(({ role, pid }) => [role, pid])).toEqual([
      ["ancestor", 1],
      ["ancestor", 2],
      ["process", 5],
      ["descendant", 6],
      ["descendant", 8],
      ["descendant", 7],
    ]);
    expect(server.requests.at(-1)?.url).toBe(`/v1/processes/${id(5)}?from=7d&host=a%5C*b`);
  });

  it("ends in 5 when the tree is cut", async () => {
    tree = treeOf({ total: 2_000, cut: true });
    const { code, stderr } = await runCli(["tree", id(5), "--data", data]);
    expect({ code, stderr }).toEqual({
      code: 5,
      stderr: "incomplete: 3 of 2000 descendants are shown\n",
    });
  });
});
