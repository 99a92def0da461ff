import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type AgentReport, HEARTBEAT_INTERVAL_MS } from "../../src/edge-agent/agent-events.ts";
import { PRESENCE_INTERVAL_MS } from "../../src/edge-agent/presence.ts";
import type {
  CounterPart,
  Source,
  SourceChunk,
  SourceLoss,
  Throttling,
} from "../../src/edge-agent/source.ts";
import { watch } from "../../src/edge-agent/watch.ts";
import { lineFields } from "../../src/event/event.ts";
import type { RingPosition } from "../../src/producer/producer.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createRecordingProducer } from "../support/recording-producer.ts";
import type { Line } from "../support/source-run.ts";

const COUNTERS = {
  attempted: 0,
  submitted: 0,
  ringFull: 0,
  filtered: 0,
  throttled: 0,
  readFault: 0,
  truncated: 0,
};

interface FastClock extends Clock {
  /** Sets the time of day on or back. */
  set(byUs: number): void;
}

/** A clock that runs `factor` times as fast as the real one. */
function createFastClock(factor: number): FastClock {
  const beganMs = performance.now();
  let offsetUs = 1e15;
  const elapsedMs = (): number => (performance.now() - beganMs) * factor;
  return {
    set: (byUs) => void (offsetUs += byUs),
    elapsedMs,
    nowUs: () => Math.floor(offsetUs + elapsedMs() * 1000),
    sleep: (ms, signal) => delay(ms / factor, undefined, signal === undefined ? {} : { signal }),
  };
}

interface Script {
  readonly name?: string;
  /** Chunks of each start; `fail` throws, the end of a list waits for the signal. */
  readonly starts: readonly (readonly (SourceChunk | "fail" | "end")[])[];
  readonly losses?: SourceLoss[];
}

function createScriptedSource({ name = "file", starts, losses = [] }: Script) {
  const released: RingPosition[] = [];
  let started = 0;
  const source: Source = {
    name,
    lane: "bulk",
    probe: () => Promise.resolve({ state: "on", how: "script" }),
    async *start(signal) {
      const script = starts[started] ?? [];
      started += 1;
      for (const each of script) {
        if (each === "fail") throw new Error("it broke");
        if (each === "end") return;
        yield each;
      }
      while (!signal.aborted) await delay(1);
      yield chunk("last");
    },
    release: (position) => void released.push(position),
    losses: () => losses.splice(0),
    counters: () => COUNTERS,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return { source, released, starts: () => started };
}

function chunk(name: string, position?: number): SourceChunk {
  const event = { timeUs: 1, topic: `file/${name}`, severity: "info" } as const;
  return {
    fields: [lineFields(event)],
    timesUs: [1],
    position: position === undefined ? undefined : { ring: "r", position },
  };
}

interface Running {
  readonly recording: ReturnType<typeof createRecordingProducer>;
  readonly touched: readonly number[];
  readonly states: readonly string[];
  readonly clock: FastClock;
  stop(): Promise<void>;
}

function start(
  sources: readonly Source[],
  options: {
    readonly lastUs?: number;
    readonly factor?: number;
    readonly parts?: readonly CounterPart[];
    readonly inherited?: readonly Source[];
    /** What is waited for before the sources are proven. */
    readonly begun?: Promise<void>;
  } = {},
): Running {
  const recording = createRecordingProducer();
  const touched: number[] = [];
  const states: string[] = [];
  const clock = createFastClock(options.factor ?? 100);
  const abort = new AbortController();
  const report = (): AgentReport => ({
    version: "1",
    boot: "8975aece",
    pid: 2,
    configSha256: "c",
    sources: sources.map(({ name }) => ({
      name,
      status: { state: "on", how: "script" },
      counters: { ...COUNTERS, parts: options.parts ?? [] },
    })),
    producer: recording.producer.counters(),
  });
  const running = watch({
    producer: recording.producer,
    inherited: options.inherited ?? [],
    begin: async () => {
      await options.begun;
      if (options.begun !== undefined) recording.told.push("begun");
      return sources;
    },
    presence: { lastUs: options.lastUs, touch: (us) => void touched.push(us) },
    report,
    onGapEvent: () => undefined,
    onState: (name, state) => void states.push(`${name} ${state}`),
    clock,
    log: createLog({ level: "error", write: () => undefined }),
  }, abort.signal);
  return {
    recording,
    touched,
    states,
    clock,
    async stop() {
      abort.abort();
      await running;
    },
  };
}

const gapsIn = (lines: readonly Line[]) => lines.filter(({ topic }) => topic === "agent/gap");

describe("a watching agent", () => {
  it("reads what it inherits before the proof, goes on with it, and ends what is not on", async () => {
    const proven = Promise.withResolvers<void>();
    const kept = createScriptedSource({ starts: [[chunk("write", 8)]] });
    const off = createScriptedSource({ name: "process", starts: [[chunk("create", 8)]] });
    const late = createScriptedSource({ name: "network", starts: [[chunk("rename", 8)]] });
    const { recording, stop } = start([kept.source, late.source], {
      inherited: [kept.source, off.source],
      begun: proven.promise,
    });
    await expect.poll(() => recording.told).toContain("process@8");
    expect(recording.told).toContain("file@8");
    recording.durable({ file: { ring: "r", position: 8 } });
    expect(kept.released).toEqual([{ ring: "r", position: 8 }]);
    expect(late.starts()).toBe(0);
    proven.resolve();
    await expect.poll(() => recording.told).toContain("network@8");
    const { told } = recording;
    const afterBegun = told.slice(told.indexOf("begun"));
    expect(afterBegun, "the end of what is not on").toContain("file/last");
    await stop();
    expect([kept.starts(), off.starts(), late.starts()]).toEqual([1, 1, 1]);
    recording.durable({ process: { ring: "r", position: 8 } });
    expect(off.released).toEqual([]);
  });

  it("stops all that are not on before it waits for the end of any", async () => {
    const stopped: string[] = [];
    const ended = Promise.withResolvers<void>();
    const slow = (name: string): Source => ({
      ...createScriptedSource({ name, starts: [] }).source,
      async *start(signal) {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        stopped.push(name);
        await ended.promise;
        yield chunk("last");
      },
    });
    const { stop } = start([], { inherited: [slow("file"), slow("network")] });
    await expect.poll(() => stopped).toEqual(["file", "network"]);
    ended.resolve();
    await stop();
  });

  it("bounds what was lost before it began by when an agent was last here", async () => {
    const loss = { class: "ring_full", count: 3, reason: "full" };
    const { source } = createScriptedSource({ starts: [], losses: [loss] });
    const { recording, clock, stop } = start([source], { lastUs: 5_000_000 });
    await stop();
    const [gap] = gapsIn(recording.lines);
    expect(gap?.detail).toMatchObject({ count: 3, from: "1970-01-01T00:00:05.000000Z" });
    expect(Date.parse(String(gap?.detail["to"])) * 1000).toBeLessThanOrEqual(clock.nowUs());
  });

  it("takes the times of a loss, its classes and CPUs from who knows them", async () => {
    const known = { classes: { exec: 2 }, cpus: [{ cpu: 1, count: 2 }], fromUs: 7e6, toUs: 8e6 };
    const loss = { class: "throttled", count: 2, reason: "limit", ...known };
    const { source } = createScriptedSource({ starts: [], losses: [loss] });
    const { recording, stop } = start([source]);
    await stop();
    expect(gapsIn(recording.lines)[0]?.detail).toMatchObject({
      classes: { exec: 2 },
      cpus: [{ cpu: 1, count: 2 }],
      from: "1970-01-01T00:00:07.000000Z",
      to: "1970-01-01T00:00:08.000000Z",
    });
  });

  it("says who reached a limit, and that it is kept again, without counting twice", async () => {
    const throttling: Throttling[] = (["begin", "end"] as const).map((phase) => ({
      phase,
      scope: "executable",
      kind: "fork",
      exe: "/bin/bomb",
      id: 42,
      container: undefined,
      unit: undefined,
      pid: 9,
      fromUs: 1e6,
      toUs: 2e6,
      beyond: 700,
      samples: 7,
    }));
    const { source } = createScriptedSource({ starts: [] });
    const { recording, stop } = start([{ ...source, throttling: () => throttling.splice(0) }]);
    await stop();
    const [begin, end] = gapsIn(recording.lines);
    expect(begin).toMatchObject({
      exe: "/bin/bomb",
      severity: "high",
      message: "The executable /bin/bomb goes beyond its limit of events of class fork.",
      detail: { class: "throttle_begin", count: 0, id: 42, first_pid: 9 },
    });
    expect(begin?.detail["beyond"]).toBeUndefined();
    expect(end?.detail).toMatchObject({ class: "throttle_end", count: 0, beyond: 700, samples: 7 });
  });

  it("tells once, at the latest at its end, that counters do not add up", async () => {
    const part = { ...COUNTERS, kind: "exec", cpu: 3, attempted: 100, submitted: 80 };
    const { source } = createScriptedSource({ starts: [] });
    const { recording, stop } = start([source], { parts: [part] });
    await stop();
    const [gap, ...others] = gapsIn(recording.lines);
    expect(others).toEqual([]);
    expect(gap?.detail).toMatchObject({
      class: "ledger",
      count: 20,
      classes: { exec: 20 },
      cpus: [{ cpu: 3, count: 20 }],
    });
  });

  it("marks a position after its lines, and releases what is durable, by source", async () => {
    const files = createScriptedSource({ starts: [[chunk("write", 8), chunk("create", 16)]] });
    const names = createScriptedSource({ name: "filesystem", starts: [[chunk("rename")]] });
    const full = createScriptedSource({ name: "integrity", starts: [[]] });
    full.source.release = () => {
      throw new Error("database or disk is full");
    };
    const { recording, stop } = start([full.source, files.source, names.source]);
    await expect.poll(() => recording.told.filter((each) => !each.includes("rename"))).toEqual([
      "file/write",
      "file@8",
      "file/create",
      "file@16",
    ]);
    const others = { process: { ring: "q", position: 8 }, integrity: { ring: "s", position: 1 } };
    recording.durable({ file: { ring: "r", position: 16 }, ...others });
    expect(files.released).toEqual([{ ring: "r", position: 16 }]);
    expect(names.released).toEqual([]);
    await stop();
    expect(recording.listeners.size).toBe(0);
    const last = ["file/last", "file/last", "file/last", "agent/stop"];
    expect(recording.told.slice(-4)).toEqual(last);
  });

  it("starts a source again that failed or ended, and tells the time between as a gap", async () => {
    const broken = createScriptedSource({
      starts: [[chunk("write", 8), "fail"], ["end"], [chunk("create", 16)]],
    });
    const { recording, states, stop } = start([broken.source]);
    for (let round = 0; round < 300 && !recording.told.includes("file@16"); round += 1) {
      await delay(10);
    }
    await stop();
    expect(broken.starts()).toBe(3);
    expect(states).toEqual(["file failed", "file running", "file failed", "file running"]);
    const gaps = gapsIn(recording.lines);
    expect(gaps.length).toBeGreaterThanOrEqual(1);
    for (const { severity, detail } of gaps) {
      expect(severity).toBe("high");
      expect(detail).toMatchObject({ class: "outage", count: null, sources: ["file"] });
      expect(Date.parse(String(detail["from"]))).toBeLessThan(Date.parse(String(detail["to"])));
    }
  });

  it("tells losses together, once a second, with the time since it last asked", async () => {
    const losses: SourceLoss[] = [];
    const { source } = createScriptedSource({ starts: [[]], losses });
    const { recording, clock, stop } = start([source], { factor: 10 });
    const beganUs = clock.nowUs();
    for (let round = 0; round < 50; round += 1) {
      losses.push({ class: "ring_full", count: 2, reason: "the ring buffer was full" });
      await delay(10);
    }
    await stop();
    const gaps = gapsIn(recording.lines);
    expect(gaps.length).toBeGreaterThanOrEqual(3);
    // One at the beginning, one at the end, one a second between.
    expect(gaps.length).toBeLessThanOrEqual((clock.nowUs() - beganUs) / 1e6 + 2);
    expect(gaps.reduce((sum, { detail }) => sum + Number(detail["count"]), 0)).toBe(100);
    gaps.slice(1).forEach(({ detail }, place) => {
      expect(detail["from"]).toBe(gaps[place]?.detail["to"]);
    });
  });

  it("tells an absence since the agent before it, once per source, and none before the first", async () => {
    const absent = (): SourceLoss => ({ class: "absent", count: null, reason: "nobody was there" });
    const losses = [absent()];
    const later = createScriptedSource({ starts: [[]], losses });
    const { recording, stop } = start([later.source], { lastUs: 5_000_000 });
    await delay(30);
    losses.push(absent());
    await delay(30);
    await stop();
    const gaps = gapsIn(recording.lines);
    expect(gaps.map(({ detail }) => [detail["class"], detail["from"]])).toEqual([
      ["absent", "1970-01-01T00:00:05.000000Z"],
    ]);
    const first = createScriptedSource({ starts: [[]], losses: [absent()] });
    const alone = start([first.source]);
    await delay(30);
    await alone.stop();
    expect(gapsIn(alone.recording.lines)).toEqual([]);
  });

  it("says twice a minute that it is here", async () => {
    const { source } = createScriptedSource({ starts: [[]] });
    const { recording, clock, stop } = start([source], { factor: 2000 });
    const beganUs = clock.nowUs();
    await delay(HEARTBEAT_INTERVAL_MS / 2000 * 3.5);
    await stop();
    const beats = recording.lines.filter(({ topic }) => topic === "agent/heartbeat");
    expect(beats.length).toBeGreaterThanOrEqual(1);
    expect(beats.length).toBeLessThanOrEqual((clock.nowUs() - beganUs) / 30e6);
    expect(beats[0]?.detail).toMatchObject({
      version: "1",
      boot: "8975aece",
      spool_bytes: 5,
      config_sha256: "c",
      sources: [{ name: "file", state: "on" }],
      counters: { sources: { file: { attempted: 0, ring_full: 0 } } },
    });
  });

  it("says that it is here also after the clock was set back", async () => {
    const { source } = createScriptedSource({ starts: [[]] });
    const { touched, clock, recording, stop } = start([source], { factor: 500, lastUs: 1 });
    await delay(PRESENCE_INTERVAL_MS / 500 * 3);
    clock.set(-86_400e6);
    const { length } = touched;
    await delay(HEARTBEAT_INTERVAL_MS / 500 * 2.5);
    await stop();
    expect(recording.lines.some(({ topic }) => topic === "agent/heartbeat")).toBe(true);
    expect(touched.length).toBeGreaterThan(length + 2);
  });

  it("writes down how far it has told only after a flush, for a time before it", async () => {
    const { source } = createScriptedSource({ starts: [[]] });
    const { touched, clock, recording, stop } = start([source], { factor: 500, lastUs: 1 });
    await expect.poll(() => touched.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(2);
    for (const us of touched) expect(us).toBeLessThan(clock.nowUs() - 500_000);
    recording.refuse();
    await delay(20);
    const { length } = touched;
    await delay(PRESENCE_INTERVAL_MS / 500 * 3);
    expect(touched).toHaveLength(length);
    await stop();
    expect(touched).toHaveLength(length);
  });
});
