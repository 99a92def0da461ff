/**
 * Roll-up and query service as function handlers, and what of them runs in which runtime: Node, Deno with the
 * permissions that `deno.json` names, and Bun.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { delimiter, join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFetch } from "../../infra/functions/query.ts";
import { rollUpOnce, type ShardRound } from "../../infra/functions/rollup.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";
import { requireCapability } from "../support/require.ts";
import { quietLog, until } from "../support/rollup-rig.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BIN = join(ROOT, "node_modules", ".bin");
const SMOKE = join(ROOT, "test/support/runtime-smoke.ts");
const QUERY = join(ROOT, "infra/functions/query.ts");
const TOKEN = "a-token-of-enough-length";

const canRunDeno = requireCapability("deno", existsSync(join(BIN, "deno")), "npm ci brings it");
const canRunBun = requireCapability("bun", existsSync(join(BIN, "bun")), "npm ci brings it");

describe.runIf(canRunNats())("function handlers", () => {
  let server: NatsServer;
  let folder: TemporaryFolder;
  let environment: Readonly<Record<string, string | undefined>>;
  const rounds: ShardRound[] = [];

  beforeAll(async () => {
    server = await openNatsServer();
    folder = await openTemporaryFolder("functions");
    const bucket = join(folder.path, "bucket");
    await mkdir(bucket);
    const tokenFile = join(folder.path, "token");
    await writeFile(tokenFile, TOKEN, { mode: 0o600 });
    environment = {
      PATH: `${BIN}${delimiter}${process.env["PATH"]}`,
      HOME: folder.path,
      PROBITY_DATA: join(folder.path, "scratch"),
      PROBITY_STORE_URL: pathToFileURL(bucket).href,
      PROBITY_NATS_URL: server.url,
      PROBITY_TOKEN_FILE: tokenFile,
    };
    rounds.push(...await rollUpOnce(environment));
    await using producer = await openProducer({
      directory: join(folder.path, "spool"),
      host: "web-1",
      shard: "0",
      nats: { url: server.url },
      log: quietLog,
    });
    producer.emit({ timeUs: Date.now() * 1000, topic: "app/smoke", severity: "info" });
    await producer.flush();
    await until(() => Promise.resolve(producer.counters().batchesPublished === 1));
    rounds.push(...await rollUpOnce(environment));
    rounds.push(...await rollUpOnce(environment));
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
  });

  it("commit what the log holds at each call, and nothing twice", () => {
    expect(rounds.map(({ shard, rows }) => [shard, rows])).toEqual([["0", 0], ["0", 1], ["0", 0]]);
    expect(rounds[2]?.sequence).toBe(rounds[1]?.sequence);
  });

  it("refuse to work without a bucket, a broker or a token, by name", async () => {
    const { PROBITY_NATS_URL: _, ...noBroker } = environment;
    await expect(rollUpOnce({})).rejects.toThrow("PROBITY_STORE_URL is not set");
    await expect(rollUpOnce(noBroker)).rejects.toThrow("Cannot find a broker");
    await expect(rollUpOnce({ ...environment, PROBITY_ROLLUP_SHARDS: "0" })).rejects.toThrow(
      'PROBITY_ROLLUP_SHARDS "0": accepted: a whole number from 1 to 64',
    );
    const noToken = createFetch({ ...environment, PROBITY_TOKEN_FILE: undefined });
    await expect(noToken(new Request("http://localhost/healthz"))).rejects.toThrow(
      "PROBITY_TOKEN_FILE is not set",
    );
  });

  const seen = {
    ...{ libc: [true, 0, -2], health: 200, refused: 401, topics: ["app/smoke"] },
    rpc: {
      refused: true,
      data: {
        ...{ total: 1, averagePerMinute: 1, averagePerHour: 1, averagePerDay: 1, complete: false },
      },
      path: ["app", "smoke"],
      cancelled: -32_800,
      code: 1_000,
    },
  };

  it("answer in Node, where the C library can be called too", async () => {
    expect(await smoke(process.execPath, [])).toEqual(seen);
  });

  it.runIf(canRunDeno)("answer in Deno with named permissions", async () => {
    expect(await smoke(join(BIN, "deno"), ["run", "-q", "-P=serve"])).toEqual(seen);
  });

  it.runIf(canRunBun)("answer in Bun", async () => {
    expect(await smoke(join(BIN, "bun"), ["run"])).toEqual(seen);
  });

  it.runIf(canRunDeno).each([
    ["search", "--help"],
    ["tail", "--help"],
    ["sql", "--help"],
    ["doctor", "--json"],
  ])("have the command line beside them in Deno: %s %s", async (...words) => {
    const child = spawn(join(BIN, "deno"), ["task", "--quiet", ...words], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...environment },
    });
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    expect(stderr).toBe("");
    expect(stdout).toMatch(words[0] === "doctor" ? /"name":"source process"/ : /Usage: probity/);
  });

  it.runIf(canRunDeno)("are served by deno serve", async () => {
    const port = await freePort();
    const words = ["serve", "-q", "-P=serve", "--host", "127.0.0.1", "--port", String(port), QUERY];
    await asked(join(BIN, "deno"), { words, port, variables: {} });
  });

  it.runIf(canRunBun)("are served by Bun from the default export", async () => {
    const port = await freePort();
    const variables = { PORT: String(port) };
    await asked(join(BIN, "bun"), { words: ["run", QUERY], port, variables });
  });

  /** Runs the smoke program and returns what it says. */
  async function smoke(command: string, words: readonly string[]): Promise<unknown> {
    const child = spawn(command, [...words, SMOKE], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...environment },
    });
    const ended = once(child, "close");
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      ended,
    ]);
    expect(code, stderr).toBe(0);
    return JSON.parse(stdout);
  }

  /** Starts a server of a runtime's own, and finds the event through it. */
  async function asked(
    command: string,
    { words, port, variables }: {
      readonly words: readonly string[];
      readonly port: number;
      readonly variables: Readonly<Record<string, string>>;
    },
  ): Promise<void> {
    const child = spawn(command, [...words], {
      cwd: ROOT,
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...environment, ...variables },
    });
    const ended = once(child, "exit");
    try {
      const url = `http://127.0.0.1:${port}/v1/events?from=1h`;
      const headers = { authorization: `Bearer ${TOKEN}`, accept: "application/json" };
      await expect.poll(async () => {
        const answer = await fetch(url, { headers });
        return (await answer.json()).events.length;
      }, { timeout: 30_000 }).toBe(1);
    } finally {
      // A function runtime ends its instances without asking.
      child.kill("SIGKILL");
      await ended;
    }
  }
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}
