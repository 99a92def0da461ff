import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAIN_FILE, runProbity } from "../support/command-line.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "probity-cli-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("exit codes", () => {
  it.each([
    [["--help"], 0, ""],
    [["--version"], 0, ""],
    [["help", "search"], 0, ""],
    [["completion", "bash"], 0, ""],
    [["nope"], 2, "unknown command 'nope'"],
    [["search", "--nope"], 2, "unknown option '--nope'"],
    [["completion", "tcsh"], 2, "Allowed choices are bash, zsh, fish"],
    [["search", "--limit", "many"], 2, 'Cannot use --limit "many": accepted: a whole number'],
    [["config", "check", "/nonexistent.toml"], 2, 'Cannot read configuration "/nonexistent.toml"'],
    [["config", "check"], 2, "neither an argument nor --config"],
    [["search", "--server", "http://127.0.0.1:1"], 3, "Cannot reach"],
  ])("probity %j is %d", async (words, code, message) => {
    const result = await runProbity(["--data", join(folder, "none"), ...words]);
    expect(result.code, result.stderr).toBe(code);
    expect(result.stderr).toContain(message);
    expect(result.stderr).not.toMatch(/\n\s+at /);
    if (code === 0) expect(result.stderr).toBe("");
    else expect(result.stdout).toBe("");
  });

  it("takes variables, and names a wrong one", async () => {
    const environment = { PROBITY_SERVER: "ftp://x" };
    const { code, stderr } = await runProbity(["search"], { environment });
    expect(code).toBe(2);
    expect(stderr).toContain('PROBITY_SERVER "ftp://x": accepted: a URL');
  });
});

describe("a command that waits", () => {
  let server: Server;
  beforeAll(async () => {
    server = createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it.each(["SIGINT", "SIGTERM"] as const)("is interrupted by %s: 130", async (signal) => {
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const asked = once(server, "request");
    const { code } = await runProbity(["tail", "--server", `http://127.0.0.1:${port}`], {
      whileRunning: async (child) => {
        await asked;
        child.kill(signal);
      },
    });
    expect(code).toBe(130);
  });
});

describe("output", () => {
  it("ends quietly when its reader has gone", async () => {
    const line =
      `"${process.execPath}" "${MAIN_FILE}" completion bash | head -c 1; echo " \${PIPESTATUS[0]}"`;
    const child = spawn("bash", ["-c", line], { stdio: ["ignore", "pipe", "pipe"] });
    expect(await text(child.stdout)).toBe("# 0\n");
    expect(await text(child.stderr)).toBe("");
  });

  it("is JSON lines when piped, and says what it is about on standard error", async () => {
    const path = join(folder, "good.toml");
    await writeFile(path, '[agent]\nflush = "250ms"\n');
    const environment = { PROBITY_ROLLUP_SHARDS: "3", PROBITY_TYPO: "1" };
    const { stdout, stderr } = await runProbity(["config", "check", path], { environment });
    const rows = stdout.trim().split("\n").map((line) => JSON.parse(line));
    expect(rows).toContainEqual({ key: "agent.flush", value: 250, source: "file", line: 2 });
    expect(rows).toContainEqual({ key: "rollup.shards", value: 3, source: "variable" });
    expect(stderr).toBe(
      `warning: the variable PROBITY_TYPO is no option of probity\n${path}: ok\n`,
    );
    const quiet = await runProbity(["config", "check", path, "--quiet"], { environment });
    expect(quiet.stderr).toBe("");
  });

  it.each([
    ["auto", {}, true],
    ["auto", { NO_COLOR: "1" }, false],
    ["never", {}, false],
    ["always", { NO_COLOR: "1" }, true],
  ])(
    "on a terminal with --color %s and %j has color: %s",
    async (color, environment, isColored) => {
      const path = join(folder, "color.toml");
      await writeFile(path, "[rollup]\nshards = 2\n");
      const line = `"${process.execPath}" "${MAIN_FILE}" config check ${path} --color ${color}`;
      const child = spawn("script", ["-qec", line, "/dev/null"], {
        stdio: ["ignore", "pipe", "pipe"],
        env: { PATH: process.env["PATH"], TERM: "xterm", ...environment },
      });
      const shown = await text(child.stdout);
      expect(shown).toMatch(/KEY +VALUE +FROM/);
      expect(shown.includes("\x1b[")).toBe(isColored);
    },
  );
});
