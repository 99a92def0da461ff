import { readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadLibbpf } from "../../src/edge-agent/libbpf.ts";
import { openPinnedPrograms } from "../../src/edge-agent/pinned-programs.ts";
import { producerPermissions } from "../../src/producer/publisher.ts";
import { ensureAgentName } from "../../src/producer/spool-identity.ts";
import { createNatsKey } from "../../src/runtime/nats.ts";
import { type AgentProcess, startAgent } from "../support/agent-process.ts";
import { type LoggedLine, type LogStream, openLogStream } from "../support/log-stream.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";
import { hasBpf, openPinFolder, type PinFolder } from "../support/ring-sources.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const ringBytes = { process: 1 << 20, network: 1 << 20, file: 1 << 20 };

describe.runIf(hasBpf && canRunNats())("an agent's canaries", () => {
  let nats: NatsServer;
  let log: LogStream;
  let folder: TemporaryFolder;
  let pins: PinFolder;
  let agent: AgentProcess;
  beforeAll(async () => {
    folder = await openTemporaryFolder("canary");
    const data = join(folder.path, "data");
    const name = await ensureAgentName(join(data, "spool", "agent"));
    const [admin, own] = [createNatsKey(), createNatsKey()];
    // With what an agent's own key may do, and no more.
    nats = await openNatsServer({
      users: [
        { publicKey: admin.publicKey },
        { publicKey: own.publicKey, ...producerPermissions({ shard: "0", agent: name }) },
      ],
    });
    const [adminFile, credentialsFile] = [join(folder.path, "admin"), join(folder.path, "own")];
    await writeFile(adminFile, admin.seed, { mode: 0o600 });
    await writeFile(credentialsFile, own.seed, { mode: 0o600 });
    log = await openLogStream(nats.url, { credentialsFile: adminFile });
    pins = openPinFolder();
    agent = await startAgent({
      settings: {
        dataDirectory: data,
        nats: { url: nats.url, credentialsFile },
        flushMs: 50,
        canaryMs: 200,
        pinDirectory: pins.path,
        ringBytes,
        listen: { host: "127.0.0.1", port: 0 },
      },
    });
  });
  afterAll(async () => {
    await agent[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
    await nats[Symbol.asyncDispose]();
    pins[Symbol.dispose]();
    await folder[Symbol.asyncDispose]();
  });

  const served = async (path: string): Promise<{ status: number; text: string }> => {
    const response = await fetch(`http://127.0.0.1:${agent.status.listen?.port}${path}`);
    return { status: response.status, text: await response.text() };
  };
  const figure = async (name: string): Promise<number> => {
    const { text } = await served("/metrics");
    return Number(text.split("\n").find((line) => line.startsWith(`${name} `))?.split(" ")[1] ?? 0);
  };
  const blindness = (): readonly LoggedLine["line"][] =>
    log.lines.map(({ line }) => line)
      .filter(({ topic, detail }) => topic === "agent/gap" && detail["class"] === "blind");

  /** Ends the programs of the file source without a trace, or lets them go on. */
  function setBlind(untilNs: bigint): void {
    const name = readdirSync(pins.path).find((each) => each.startsWith("file-")) ?? "";
    using programs = openPinnedPrograms(loadLibbpf(), join(pins.path, name));
    programs.setSettings({ ...programs.settings(), untilNs });
  }

  it("come back from the log, of every source, and can be told from what others do", async () => {
    await until(async () => await figure('probity_agent_canaries_total{outcome="seen"}') >= 8);
    expect(await figure('probity_agent_canaries_total{outcome="missed"}')).toBe(0);
    expect(await served("/healthz")).toMatchObject({ status: 200 });
    const marked = log.lines.filter(({ line }) => JSON.stringify(line).includes("probity-probe-"));
    const topics = new Set(marked.map(({ line }) => line.topic));
    expect([...topics]).toEqual(expect.arrayContaining(["process/exec", "file/create"]));
    expect(blindness()).toEqual([]);
  });

  it("that do not come back make their source blind, until they do again", async () => {
    setBlind(1n);
    await until(() => blindness().length === 1);
    const [begun] = blindness();
    expect(begun).toMatchObject({
      severity: "high",
      detail: {
        count: null,
        sources: ["file"],
        reason: expect.stringMatching(/^the file source is blind: .*open did not come back/),
      },
    });
    expect(await served("/healthz")).toMatchObject({
      status: 503,
      text: expect.stringContaining("source file (blind)"),
    });
    expect(await figure('probity_agent_source_blind{source="file"}')).toBe(1);
    expect(await figure('probity_agent_source_blind{source="process"}')).toBe(0);
    setBlind(0n);
    await until(() => blindness().length === 2);
    const [, ended] = blindness();
    expect(ended?.detail).toMatchObject({
      sources: ["file"],
      reason: "the file source was blind and sees again",
      from: begun?.detail["from"],
    });
    expect(await served("/healthz")).toMatchObject({ status: 200 });
  });

  it("make no source blind while the broker is away", async () => {
    await nats.kill();
    await delay(1500);
    const before = await figure('probity_agent_canaries_total{outcome="seen"}');
    const missed = await figure('probity_agent_canaries_total{outcome="missed"}');
    expect(await served("/healthz")).toMatchObject({ status: 200 });
    await nats.start();
    await until(async () => await figure('probity_agent_canaries_total{outcome="seen"}') > before);
    expect(await figure('probity_agent_canaries_total{outcome="missed"}')).toBe(missed);
    expect(blindness()).toHaveLength(2);
  });
});

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!await holds()) {
    if (performance.now() > endMs) throw new Error("Cannot wait any longer: 30 s are over");
    await delay(50);
  }
}
