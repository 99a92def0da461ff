/** `sql` as people use it: at a prompt on a real terminal, and over a bucket without a server. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { complete } from "../../src/cli/sql/words.ts";
import { openHistory, STATEMENTS_MAX } from "../../src/cli/sql/history.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker, numberedEvents } from "../support/test-messages.ts";
import { runCli } from "./run-cli.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

let folder: TemporaryFolder;
let server: Server;
/** Statements that came, and those that were broken off. */
const asked: string[] = [];
const brokenOff: string[] = [];

beforeAll(async () => {
  folder = await openTemporaryFolder("sql");
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => body += String(chunk));
    request.on("end", () => {
      const { sql } = JSON.parse(body);
      asked.push(sql);
      response.on("close", () => {
        if (!response.writableEnded) brokenOff.push(sql);
      });
      if (sql.includes("slow")) return;
      const columns = [{ name: "n", type: "BIGINT" }];
      response.end(JSON.stringify({ columns, rows: [{ n: 7 }], truncated: false }));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await folder[Symbol.asyncDispose]();
});

/** Each step waits for what the terminal must show (from where the last one was found), then types. */
type Step = readonly [shown: RegExp | (() => boolean), typed: string];

async function atPrompt(steps: readonly Step[]): Promise<{ shown: string; code: number | null }> {
  const { port } = server.address() as AddressInfo; // as: a TCP server's
  const words = ["sql", "--server", `http://127.0.0.1:${port}`, "--data", folder.path];
  const line = [process.execPath, MAIN, ...words].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", line, "/dev/null"], {
    env: {
      PATH: process.env["PATH"],
      TERM: "xterm",
      NO_COLOR: "1",
      HOME: folder.path,
      XDG_CACHE_HOME: join(folder.path, "cache"),
    },
  });
  let shown = "";
  child.stdout.on("data", (chunk) => shown += String(chunk));
  const closed = once(child, "close");
  let from = 0;
  try {
    for (const [pattern, typed] of steps) {
      const isShown = (): boolean =>
        typeof pattern === "function" ? pattern() : pattern.test(shown.slice(from));
      await expect.poll(isShown, { timeout: 30_000, message: String(pattern) }).toBe(true);
      from = shown.length;
      child.stdin.write(typed);
    }
    const [code] = await closed;
    return { shown: shown.replaceAll("\r\n", "\n"), code };
  } finally {
    child.kill("SIGKILL");
  }
}

describe("the prompt", { timeout: 120_000 }, () => {
  test("takes lines until ;, tells of tables, times, and remembers", async () => {
    const { shown, code } = await atPrompt([
      [/sql> /, "\\d process_exec\r"],
      [/argv_bytes +BIGINT[^]*sql> /, "\\timing\r"],
      [/timing is on[^]*sql> /, "\\dt\r"],
      [/network_connect +events of network\/connect[^]*sql> /, "\\nope\r"],
      [/no command "\\nope"[^]*sql> /, "select count(*)\r"],
      [/\.\.\.> /, "from process_exe"],
      [/process_exe/, "\t"],
      [/c/, ";\r"],
      [/1 row[^]*time: \d+ ms[^]*sql> /, "\\q\r"],
    ]);
    expect(code).toBe(0);
    expect(asked.at(-1)).toBe("select count(*)\nfrom process_exec;");
    expect(shown).toMatch(/N\n7\n/);
    const path = join(folder.path, ".local", "state", "probity", "sql_history");
    expect(await readFile(path, "utf8")).toBe("select count(*) from process_exec;\n");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(path, ".."))).mode & 0o777).toBe(0o700);
    // The arrow key brings it back in the next session.
    await atPrompt([[/sql> /, "\x1b[A\r"], [/1 row[^]*sql> /, "\x04"]]);
    expect(asked.at(-1)).toBe("select count(*) from process_exec;");
  });

  test("shows wide rows as blocks of lines, and knows the words that others end by", async () => {
    const { shown, code } = await atPrompt([
      [/sql> /, "\\x\r"],
      [/blocks of lines[^]*sql> /, "select 1;\r"],
      [/1 row[^]*sql> /, "HELP\r"],
      [/A statement ends with ; and Tab[^]*sql> /, "exit;\r"],
    ]);
    expect(shown).toMatch(/-- row 1\nn {2}7\n1 row\n/);
    expect(code).toBe(0);
  });

  test("ends what runs at Ctrl-C, drops what is typed, and goes on", async () => {
    const { shown, code } = await atPrompt([
      [/sql> /, "select half a\r"],
      [/\.\.\.> /, "thought\x03"],
      [/\^C[^]*sql> /, "select 'slow';\r"],
      [() => asked.includes("select 'slow';"), "\x03"],
      [/cancelled[^]*sql> /, "select 2;\r"],
      [/1 row[^]*sql> /, "\x04"],
    ]);
    expect(asked.slice(-2)).toEqual(["select 'slow';", "select 2;"]);
    await expect.poll(() => brokenOff).toEqual(["select 'slow';"]);
    expect(shown).toContain("cancelled");
    expect(code).toBe(0);
  });
});

describe("completion", () => {
  test.each<[line: string, before: string, some: readonly string[], none: readonly string[]]>([
    ["select ho", "", ["host", "hour("], ["events"]],
    ["select * from pro", "", ["process", "process_exec"], ["protocol"]],
    ["where argv", "select * from process_exec", ["argv", "argv_bytes"], []],
    ["where argv", "select * from network", [], ["argv"]],
    ["SEL", "", ["SELECT"], ["select"]],
    ["sel", "", ["select"], ["SELECT"]],
    ["\\d net", "", ["network", "network_connect"], []],
    ["\\t", "", ["\\timing"], ["\\d"]],
    ["select getenv", "", [], ["getenv("]],
  ])("of %j after %j", (line, before, some, none) => {
    const [found] = complete(line, before);
    expect(found).toEqual(expect.arrayContaining([...some]));
    for (const word of none) expect(found).not.toContain(word);
  });
});

describe("the history", () => {
  test("is bounded, has each statement once, and leaves out what one line cannot hold", () => {
    const path = join(folder.path, "history", "sql_history");
    const history = openHistory(path);
    for (let each = 0; each <= STATEMENTS_MAX; each += 1) history.add(`select ${each};`);
    history.add("select\n  5;");
    history.add("select 5 -- five\n + 1;");
    history.add("x".repeat(10_001));
    expect(history.save()).toBeUndefined();
    const again = openHistory(path);
    expect(again.entries).toHaveLength(STATEMENTS_MAX);
    expect(again.entries.slice(0, 2)).toEqual(["select 5;", `select ${STATEMENTS_MAX};`]);
    expect(again.entries).not.toContain("select 0;");
  });

  test("that cannot be kept costs nothing else", async () => {
    const file = join(folder.path, "no-folder");
    await writeFile(file, "");
    const history = openHistory(join(file, "sql_history"));
    history.add("select 1;");
    expect(history.save()).toMatch(/Cannot keep the history .*ENOTDIR|EEXIST/);
  });
});

describe("--local", { timeout: 120_000 }, () => {
  let bucket: string;

  beforeAll(async () => {
    bucket = join(folder.path, "data", "bucket");
    await mkdir(bucket, { recursive: true });
    await using store = await openDirectoryStore({ directory: bucket });
    const message = await createMessageMaker().next(
      numberedEvents(0, 9, { timeUs: Date.UTC(2026, 5, 1) * 1000 }),
    );
    const scratch = join(folder.path, "scratch");
    await commitMessages({
      ...{ store, incarnation: "0a1b2c3d", folder: scratch },
      messages: [message],
    });
  });

  const local = (place: string, ...words: string[]) => runCli(["sql", "--local", place, ...words]);

  test("asks a bucket or a data folder, by the same views, macros, gate and parameters", async () => {
    const sql = "SELECT argv[2] AS second FROM process_exec WHERE user = $who AND pid < $below " +
      "AND time < ago('1d') ORDER BY pid";
    const parameters = ["--parameter", "who=root", "--parameter", "below=3"];
    const found = await local(bucket, sql, ...parameters);
    expect(found).toEqual({ code: 0, stdout: '{"second":"0"}\n{"second":"2"}\n', stderr: "" });
    const csv = await local(join(folder.path, "data"), sql, ...parameters, "--format", "csv");
    expect(csv.stdout).toBe("second\r\n0\r\n2\r\n");
    const refused = await local(bucket, "SELECT * FROM read_text('/etc/passwd')");
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/calls "read_text", which is not allowed/);
    const files = await local(bucket, "FROM process_exec", "--format", "parquet");
    expect(files.stdout).toMatch(/^PAR1/);
  });

  test("says what is not there, and leaves nothing", async () => {
    const none = await local(join(folder.path, "scratch"), "SELECT 1");
    expect(none.code).toBe(2);
    expect(none.stderr).toMatch(/neither it nor its folder "bucket" has a table/);
    const malformed = await local(bucket, "SELECT 1", "--parameter", "nothing");
    expect(malformed).toMatchObject({ code: 2, stdout: "" });
    expect(existsSync(join(bucket, "registry"))).toBe(false);
  });
});
