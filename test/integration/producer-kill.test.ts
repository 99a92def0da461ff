/** Producers that die at any moment, on disks that fill up. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lineFields } from "../../src/event/event.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import type { Producer } from "../../src/producer/producer.ts";
import { createLog } from "../../src/runtime/log.ts";
import { connectNats, type NatsConnection } from "../../src/runtime/nats.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";
import { requireCapability } from "../support/require.ts";
import { createRollUpStandIn, type RollUpStandIn } from "../support/roll-up-stand-in.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const quiet = createLog({ level: "error", write: () => undefined });
const PROGRAM = fileURLToPath(new URL("../support/numbering-process.ts", import.meta.url));

const RUNTIMES: Readonly<Record<string, readonly string[]>> = {
  node: ["node", "--disable-warning=ExperimentalWarning"],
  deno: ["deno", "run", "--quiet", "--allow-all"],
};

function numbersOf(lines: readonly Record<string, unknown>[]): number[] {
  return lines.flatMap(({ detail }) =>
    typeof detail === "object" && detail !== null && "number" in detail
      ? [Number(detail.number)]
      : []
  );
}

const range = (to: number): number[] => Array.from({ length: to }, (_, place) => place + 1);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A running numbering process and what it said last. */
async function startNumbering(runtime: string, directory: string, url: string) {
  const [command = "", ...flags] = RUNTIMES[runtime] ?? [];
  const child: ChildProcess = spawn(command, [...flags, PROGRAM, directory, url], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said = { agent: "", durable: 0 };
  const heard = Promise.withResolvers<void>();
  if (child.stdout === null) throw new Error("no output");
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [word, value = ""] = line.split(" ");
    if (word === "agent") said.agent = value;
    if (word !== "durable") return;
    said.durable = Number(value);
    heard.resolve();
  });
  await Promise.race([heard.promise, once(child, "exit")]);
  if (child.exitCode !== null) throw new Error(`${runtime} ended with code ${child.exitCode}`);
  return {
    said,
    async kill(): Promise<void> {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
  };
}

describe.runIf(canRunNats())("a producer that is killed", () => {
  let folder: TemporaryFolder;
  let server: NatsServer;
  let connection: NatsConnection;
  let rollUp: RollUpStandIn;
  beforeAll(async () => {
    folder = await openTemporaryFolder("producer-kill");
    server = await openNatsServer();
    connection = await connectNats({ url: server.url, name: "test", log: quiet });
    rollUp = await createRollUpStandIn(connection, "0");
  });
  afterAll(async () => {
    await connection[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  it.each(["node", "deno"])(
    "by SIGKILL again and again under %s goes on where its disk ends",
    async (runtime) => {
      const directory = join(folder.path, runtime);
      let agent = "";
      let durable = 0;
      const stored = watchStored(connection);
      for (let kill = 0; kill < 20; kill++) {
        const running = await startNumbering(runtime, directory, server.url);
        agent = running.said.agent;
        // In turn: right behind a write to disk, right behind the broker's storing, and anywhere.
        if (kill % 3 === 1) await stored.next(agent);
        if (kill % 3 === 2) await sleep(Math.random() * 200);
        await running.kill();
        expect(running.said.durable).toBeGreaterThan(durable);
        durable = running.said.durable;
        if (kill % 4 === 3) await rollUp.round({ isPurging: true });
      }
      stored.end();
      await using producer = await open(directory);
      expect(producer.agent).toBe(agent);
      const last = producer.positions["numbers"]?.position ?? 0;
      expect(last).toBeGreaterThanOrEqual(durable);
      await settle(producer, rollUp);
      expect(numbersOf(await rollUp.lines(agent))).toEqual(range(last));
      expect(rollUp.gaps).toEqual([]);
    },
  );

  const open = (directory: string): Promise<Producer> =>
    openProducer({
      directory,
      host: "web-1",
      shard: "0",
      nats: { url: server.url },
      flushMs: 20,
      log: quiet,
    });
});

async function settle(producer: Producer, rollUp: RollUpStandIn): Promise<void> {
  await producer.flush();
  const end = performance.now() + 60_000;
  while (producer.counters().spoolBatches > 0) {
    if (performance.now() > end) throw new Error("the spool did not empty within a minute");
    await rollUp.round();
    await sleep(100);
  }
}

/** Resolves at the next message of an agent that reaches the broker. */
function watchStored(connection: NatsConnection) {
  const subscription = connection.subscribe("audit.>");
  let waiting: { readonly agent: string; readonly resolve: () => void } | undefined;
  void (async () => {
    for await (const { subject } of subscription) {
      if (waiting !== undefined && subject.endsWith(waiting.agent)) waiting.resolve();
    }
  })();
  return {
    next: (agent: string) => new Promise<void>((resolve) => waiting = { agent, resolve }),
    end: () => subscription.unsubscribe(),
  };
}

const isRoot = process.getuid?.() === 0;

describe.runIf(requireCapability("root", isRoot, "a small filesystem is mounted"))(
  "a producer whose disk is full",
  () => {
    it("pauses, leaves nothing half, and goes on when there is space again", async () => {
      await using folder = await openTemporaryFolder("producer-full");
      const mount = join(folder.path, "disk");
      await mkdir(mount);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", mount]);
      try {
        const directory = join(mount, "spool");
        const lines: string[] = [];
        const log = createLog({ level: "error", write: (line) => lines.push(line) });
        let last = 0;
        {
          await using producer = await openProducer({
            directory,
            host: "web-1",
            shard: "0",
            flushMs: 10,
            log,
          });
          const noise = () =>
            Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))).toString("hex");
          let isFull = false;
          while (!isFull) {
            const detail = { number: ++last, noise: noise() };
            producer.append(
              lineFields({ timeUs: last, topic: "app/test", severity: "info", detail }),
              last,
            );
            producer.mark("numbers", { ring: "r", position: last });
            await sleep(20);
            const limit = AbortSignal.timeout(300);
            isFull = await producer.writable(limit).then(() => false, () => true);
          }
          const durable = producer.positions["numbers"]?.position ?? 0;
          expect(durable).toBeGreaterThan(10);
          expect(durable).toBeLessThan(last);
          expect(lines.filter((line) => line.includes("cannot be written")).length).toBe(1);
          execFileSync("mount", ["-o", "remount,size=32m", mount]);
          await producer.writable(AbortSignal.timeout(10_000));
          await producer.flush();
          expect(producer.positions["numbers"]?.position).toBe(last);
        }
        await using server = await openNatsServer();
        await using connection = await connectNats({ url: server.url, name: "test", log: quiet });
        const rollUp = await createRollUpStandIn(connection, "0");
        await using producer = await openProducer({
          directory,
          host: "web-1",
          shard: "0",
          connection,
          log,
        });
        await settle(producer, rollUp);
        expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(last));
      } finally {
        execFileSync("umount", ["-l", mount]);
      }
    });
  },
);
