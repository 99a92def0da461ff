/**
 * Applications that speak to a running agent, under Node and Deno: what was answered is in the log, once, although the
 * agent is killed then; who it was comes from the kernel; all ways in lead to events.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runSource } from "../../src/edge-agent/source-runner.ts";
import { SOURCE_NAMES } from "../../src/edge-agent/sources.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import type { Producer } from "../../src/producer/producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { type AgentProcess, startAgent } from "../support/agent-process.ts";
import { connectTo, frame, openApplicationRig, unframed } from "../support/application-rig.ts";
import { type LogStream, openLogStream } from "../support/log-stream.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";
import { requireCapability } from "../support/require.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
const RUNTIMES: readonly (readonly [string, readonly [string, ...string[]]])[] = [
  ["node", [process.execPath]],
  ...(requireCapability("deno", existsSync(DENO), "no deno in node_modules")
    ? [["deno", [DENO, "run", "-q", "-P=agent"]] as const]
    : []),
];
const MESSAGES = 300;
const MIB = 1024 * 1024;

describe.runIf(canRunNats())("an agent that applications speak to", () => {
  let nats: NatsServer;
  let log: LogStream;
  let folder: TemporaryFolder;
  beforeAll(async () => {
    nats = await openNatsServer();
    log = await openLogStream(nats.url);
    folder = await openTemporaryFolder("applications");
  });
  afterAll(async () => {
    await log?.[Symbol.asyncDispose]();
    await nats?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
  });

  it.each(RUNTIMES)("in %s keeps what it answered, and knows who it was", async (name, runtime) => {
    const free = { host: "127.0.0.1", port: 0 };
    const socketPath = join(folder.path, `${name}.sock`);
    const settings = {
      dataDirectory: join(folder.path, name),
      nats: { url: nats.url },
      disabledSources: SOURCE_NAMES,
      collectors: { dropFolder: join(folder.path, `${name}-drop`) },
      listen: free,
      applications: { listen: free, syslog: free, socket: socketPath, service: `svc-${name}` },
    };
    await using agent = await startAgent({ settings, runtime });
    const socket = await connectTo(socketPath);
    const came: Buffer[] = [];
    const answered = Promise.withResolvers<void>();
    socket.on("data", (bytes: Buffer) => {
      came.push(bytes);
      if (unframed(Buffer.concat(came)).length === MESSAGES + 1) answered.resolve();
    });
    const texts = Array.from({ length: MESSAGES }, (_, number) => `acknowledged ${number}`);
    const bytes = Buffer.concat(['{"probity":{"ack":true}}', ...texts].map((each) => frame(each)));
    for (let at = 0; at < bytes.length; at += 13) socket.write(bytes.subarray(at, at + 13));
    await answered.promise;
    await agent.kill();
    socket.destroy();
    expect(unframed(Buffer.concat(came)).slice(0, 3)).toEqual([
      '{"probity":{"ack":true}}',
      '{"ack":1}',
      '{"ack":2}',
    ]);

    await using again = await startAgent({ settings, runtime });
    const topic = `app/svc-${name}/message`;
    const found = await log.waitFor((line) => line.topic === topic, { count: MESSAGES });
    expect(found.map(({ line }) => line["message"])).toEqual(texts);
    expect(found[0]?.line).toMatchObject({
      ...{ uid: process.getuid?.(), pid: process.pid, exe: process.execPath },
      process_id: expect.stringContaining(`-${process.pid}-`),
      service: `svc-${name}`,
    });

    // Collectors read what the kernel makes up in both runtimes.
    const stateOf = (source: string) =>
      again.status.sources.find((each) => each.name === source)?.status.state;
    expect([stateOf("host"), stateOf("packages"), stateOf("commands")]).toEqual(["on", "on", "on"]);
    await writeFile(join(folder.path, `${name}-drop`, "new", "one"), `dropped in ${name}\n`);
    await log.waitFor((line) => line["message"] === `dropped in ${name}`, { count: 1 });

    await sendOtherWays(again, name);
    const others = await log.waitFor(
      (line) => String(line["message"]).startsWith(`other way of ${name}`),
      { count: 4 },
    );
    expect(others.map(({ line }) => [line.topic, line["protocol"]]).toSorted()).toEqual([
      [`app/logger-${name}/ID1`, "tcp"],
      [`app/logger-${name}/ID1`, "udp"],
      [`app/svc-${name}/ingested`, "tcp"],
      [`app/svc-${name}/over/tcp`, "tcp"],
    ]);
    expect(others.every(({ line }) => line["pid"] === undefined)).toBe(true);
    await again.stop();
  });
});

describe.runIf(canRunNats())("a spool that is full", () => {
  it("stops the reading, gives nothing up, and goes on when the archive has taken some", async () => {
    await using nats = await openNatsServer();
    await using folder = await openTemporaryFolder("full-spool");
    await using rig = await openApplicationRig();
    const options = { directory: folder.path, host: "h", shard: "0", spoolBytesMax: 16 * MIB };
    const quiet = createLog({ level: "error" });
    const feeding = (producer: Producer) => {
      const stop = new AbortController();
      const running = runSource({
        ...{ source: rig.source, producer, clock: systemClock, log: quiet },
        ...{ onGap: () => undefined, onState: () => undefined },
      }, stop.signal);
      return async () => {
        stop.abort();
        await running;
      };
    };
    const socket = await connectTo(rig.source);
    const sent = 24 * 1024;
    for (let number = 0; number < sent; number += 1) {
      socket.write(frame(`${number} ${randomBytes(768).toString("base64")}`));
    }
    let kept = 0;
    {
      // Without a broker nothing leaves the spool.
      await using producer = await openProducer({ ...options, flushMs: 100, log: quiet });
      const stop = feeding(producer);
      for (let before = -1; before !== kept || kept === 0;) {
        before = kept;
        await delay(500);
        kept = producer.counters().eventsAppended;
      }
      await stop();
      expect(producer.counters()).toMatchObject({ eventsVoided: 0, eventsLost: 0 });
      expect(producer.counters().spoolBytes).toBeLessThan(16 * MIB);
    }
    expect(kept).toBeLessThan(sent);
    await using log = await openLogStream(nats.url);
    const access = { nats: { url: nats.url } };
    await using producer = await openProducer({ ...options, ...access, flushMs: 100, log: quiet });
    const stop = feeding(producer);
    const found = await log.waitFor(({ topic }) => topic === "app/unnamed/message", {
      count: sent,
    });
    expect(found.map(({ line }) => Number.parseInt(String(line["message"]), 10)))
      .toEqual(Array.from({ length: sent }, (_, number) => number));
    expect(producer.counters()).toMatchObject({ eventsVoided: 0, eventsLost: 0 });
    await stop();
    socket.destroy();
  });
});

/** Over TCP, as syslog by the program that everybody has, and over HTTP. */
async function sendOtherWays(agent: AgentProcess, name: string): Promise<void> {
  const status = agent.status.sources.find((source) => source.name === "applications")?.status;
  const hooks = status?.state === "on" ? status.hooks ?? [] : [];
  const portOf = (kind: string): string =>
    hooks.find((hook) => hook.name.startsWith(`${kind} `))?.name.split(":").at(-1) ?? "";
  const message = `other way of ${name}`;
  const socket = await connectTo({ port: Number(portOf("tcp")) });
  socket.end(frame(JSON.stringify({ topic: "over/tcp", message })));
  socket.resume();
  await once(socket, "close");
  for (const transport of ["--tcp", "--udp"]) {
    const words = [transport, "--server", "127.0.0.1", "--port", portOf("syslog tcp")];
    const rest = ["--rfc5424", "--tag", `logger-${name}`, "--msgid", "ID1", message];
    await run("logger", [...words, ...rest]);
  }
  const answer = await fetch(`http://127.0.0.1:${agent.status.listen?.port}/v1/ingest`, {
    method: "POST",
    headers: { "content-type": "application/cloudevents+json" },
    body: JSON.stringify({
      ...{ specversion: "1.0", id: "1", source: "/any", type: "ingested" },
      data: { message },
    }),
  });
  expect([answer.status, await answer.json()]).toEqual([200, { accepted: 1 }]);
}
