/** `probity subscription …` as processes, against a real service, broker and roll-up. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type HttpServer, openHttpServer } from "../../src/cli/http-server.ts";
import { type BatchAgent, createBatchAgent } from "../support/batches.ts";
import { MAIN_FILE, runProbity } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  openQueryRig,
  QUERY_TOKEN,
  type QueryRig,
  type RunningQuery,
} from "../support/query-rig.ts";
import { publishNumbers, range, until } from "../support/rollup-rig.ts";

describe.runIf(canRunNats())("probity subscription", () => {
  let rigs: QueryRig;
  let query: RunningQuery;
  let server: HttpServer;
  let agent: BatchAgent;
  let access: readonly string[];
  let published = 0;
  const publish = async (count: number): Promise<void> => {
    await publishNumbers(rigs.rig, agent, range(published, published + count));
    published += count;
  };
  beforeEach(async () => {
    rigs = await openQueryRig();
    query = await rigs.start();
    const address = { host: "127.0.0.1", port: 0 };
    server = await openHttpServer({ fetch: query.service.fetch, address, tls: undefined });
    const tokenFile = join(rigs.rig.folder, "cli-token");
    await writeFile(tokenFile, QUERY_TOKEN, { mode: 0o600 });
    access = ["--server", server.url, "--token-file", tokenFile, "--json"];
    agent = createBatchAgent("a");
    published = 0;
  });
  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    await query[Symbol.asyncDispose]();
    await rigs[Symbol.asyncDispose]();
  });

  const run = (line: string) => runProbity(["subscription", ...line.split(" "), ...access]);
  const linesOf = (text: string) => text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  const numbersOf = (text: string): number[] => linesOf(text).map(({ pid }) => pid);

  test("is made, read on from process to process, skipped, listed and removed", async () => {
    await publish(10);
    await rigs.rig.once();
    await publish(10);
    await query.found(20);
    const made = await run("put daily --since 2026-06-15 --topic app/test");
    expect(made).toMatchObject({ code: 0, stderr: "made\n" });
    expect(numbersOf((await run("read daily --limit 8")).stdout)).toEqual(range(0, 8));
    const skipped = await run("skip daily --events 4");
    expect(skipped.stderr).toBe("4 events skipped\n");
    const rest = await run("read daily");
    expect({ code: rest.code, numbers: numbersOf(rest.stdout) })
      .toEqual({ code: 0, numbers: range(12, 20) });
    expect(await run("read daily")).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect(linesOf((await run("list")).stdout)).toMatchObject([
      { name: "daily", state: "idle", delivered: 16, skipped: 4 },
    ]);
    expect((await run("remove daily")).stderr).toBe("removed\n");
    expect((await run("show daily")).code).toBe(2);
  });

  test("is followed through a restart of the service, and each event comes once", async () => {
    await run("put live --since 2026-06-15 --topic app/test");
    const words = [MAIN_FILE, "subscription", "read", "live", "--follow", ...access];
    const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "pipe"] });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk) => stdout += String(chunk));
    child.stderr.on("data", (chunk) => stderr += String(chunk));
    try {
      await publish(10);
      await until(() => Promise.resolve(numbersOf(stdout).length >= 10));
      expect((await run("read live")).code).toBe(3);
      const port = Number(new URL(server.url).port);
      await server[Symbol.asyncDispose]();
      await query[Symbol.asyncDispose]();
      await publish(10);
      query = await rigs.start();
      server = await openHttpServer({
        fetch: query.service.fetch,
        address: { host: "127.0.0.1", port },
        tls: undefined,
      });
      await until(() => Promise.resolve(numbersOf(stdout).length >= 20), 60_000);
      await publish(10);
      await until(() => Promise.resolve(numbersOf(stdout).length >= 30));
      expect(stderr).toContain("trying again in");
      expect(stderr).not.toContain("gap:");
    } finally {
      const closed = once(child, "close");
      child.kill("SIGINT");
      expect((await closed)[0]).toBe(130);
    }
    expect(numbersOf(stdout)).toEqual(range(0, 30));
  }, 120_000);
});
