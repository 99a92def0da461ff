/**
 * How many messages of applications a second reach the spool, over four connections from another process, half JSON and
 * half text, and does memory stay flat? Then: how long until a message is answered, at 5,000 a second. Baseline in the
 * same run: rsyslogd into a plain file, where it is installed, by time and by processor time, and how long a message would
 * wait for nothing but a sync of this disk. Arguments: --messages (default 3,000,000), --size (default 200 bytes),
 * --framing (frames or lines), --rate (default 5,000; 0: no answers).
 */
import { execFile, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { setTimeout as delay } from "node:timers/promises";
import { openApplicationsSource } from "../src/edge-agent/sources/applications/applications-source.ts";
import { runSource } from "../src/edge-agent/source-runner.ts";
import { openProducer } from "../src/producer/open-producer.ts";
import { systemClock } from "../src/runtime/clock.ts";
import { createLog } from "../src/runtime/log.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    messages: { type: "string", default: "3000000" },
    size: { type: "string", default: "200" },
    framing: { type: "string", default: "frames" },
    rate: { type: "string", default: "5000" },
  },
});
const messages = Number(values.messages);
const rate = Number(values.rate);
const SENDER = fileURLToPath(new URL("intake-sender.ts", import.meta.url));
const WARM_MESSAGES = 200_000;
const ANSWERED_SECONDS = 5;
const SYNC_EACH_MS = 3;
/** Before this part of the messages the heap is still growing to its size. */
const WARM_PART = 0.3;
const run = promisify(execFile);

interface Sent {
  readonly seconds: number;
  readonly cpu_seconds: number;
  readonly p50_ms: number | null;
  readonly p99_ms: number | null;
  readonly max_ms: number | null;
}

async function send(port: number, more: readonly string[]): Promise<Sent> {
  const { stdout } = await run(process.execPath, [SENDER, "--port", String(port), ...more]);
  return JSON.parse(stdout);
}

const folder = mkdtempSync(join(tmpdir(), "probity-intake-"));
const log = createLog({ level: "warn" });
const clock = systemClock;
try {
  await using producer = await openProducer({
    directory: join(folder, "spool"),
    ...{ host: "bench", shard: "0", log, clock },
  });
  const nobody = () => ({ columns: "", name: "", escaped: [] });
  await using source = openApplicationsSource({
    settings: { listen: { host: "127.0.0.1", port: 0 }, service: "bench" },
    processes: {
      catchUp: () => undefined,
      actorOf: nobody,
      ancestorsOf: () => [],
      isOwn: () => false,
    },
    ...{ clock, log },
  });
  await source.probe();
  let durable = 0;
  producer.onDurable(({ applications }) => {
    if (applications === undefined) return;
    durable = applications.position;
    source.release(applications);
  });
  const stop = new AbortController();
  const nothing = (): void => undefined;
  const running = runSource(
    { source, producer, clock, log, onGap: nothing, onState: nothing },
    stop.signal,
  );
  const size = ["--size", values.size, "--framing", values.framing];
  const until = async (isDone: () => boolean): Promise<void> => {
    for (; !isDone(); await delay(5)) await producer.flush();
  };
  await send(source.port ?? 0, ["--messages", String(WARM_MESSAGES), ...size]);
  await until(() => durable >= WARM_MESSAGES);
  const before = durable;
  const rss: { readonly part: number; readonly mib: number }[] = [];
  const sampler = setInterval(() => {
    rss.push({ part: (durable - before) / messages, mib: process.memoryUsage.rss() / 2 ** 20 });
  }, 100);
  const cpuBefore = process.cpuUsage();
  const beganMs = performance.now();
  const sent = await send(source.port ?? 0, ["--messages", String(messages), ...size]);
  await until(() => durable - before >= messages);
  const seconds = (performance.now() - beganMs) / 1000;
  clearInterval(sampler);
  const cpu = process.cpuUsage(cpuBefore);
  const counted = producer.counters();
  const arrived = durable - before;
  const mostMib = (from: number, to: number): number =>
    Math.round(
      Math.max(0, ...rss.filter(({ part }) => part >= from && part < to).map(({ mib }) => mib)),
    );
  const sync = await waitForSync();
  const answered = rate === 0 ? undefined : await send(source.port ?? 0, [
    ...["--messages", String(rate * ANSWERED_SECONDS), "--rate", String(rate)],
  ]);
  stop.abort();
  await running;
  const perSecond = messages / seconds;
  const rsyslog = await runRsyslog();
  printReport("intake", {
    messages,
    size_bytes: Number(values.size),
    framing: values.framing,
    messages_per_second: Math.round(perSecond),
    lost: messages - arrived + counted.eventsLost + counted.eventsVoided,
    intake_cpu_seconds: Number(((cpu.user + cpu.system) / 1e6).toFixed(2)),
    sender_cpu_seconds: Number(sent.cpu_seconds.toFixed(2)),
    spool_mib: Math.round(counted.spoolBytes / 2 ** 20),
    rss_mib_warm: mostMib(WARM_PART, (1 + WARM_PART) / 2),
    rss_mib_end: mostMib((1 + WARM_PART) / 2, Infinity),
    sync_p50_ms: sync.p50,
    sync_p99_ms: sync.p99,
    answer_p50_ms: answered?.p50_ms,
    answer_p99_ms: answered?.p99_ms,
    answer_max_ms: answered?.max_ms,
    rsyslog: typeof rsyslog === "string" ? rsyslog : {
      messages_per_second: Math.round(messages / rsyslog.seconds),
      cpu_seconds: rsyslog.cpuSeconds,
      ratio: Number((perSecond / (messages / rsyslog.seconds)).toFixed(2)),
      cpu_ratio: Number(((cpu.user + cpu.system) / 1e6 / rsyslog.cpuSeconds).toFixed(2)),
    },
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/**
 * How long a message would wait that comes at any time, if nothing were done but a sync of a few kilobytes at the end of
 * a file each few milliseconds: what the disk alone gives to whoever answers after a sync.
 */
async function waitForSync(): Promise<{ readonly p50: number; readonly p99: number }> {
  const path = join(folder, "syncs");
  const file = openSync(path, "w");
  const bytes = Buffer.alloc(2048, 1);
  const waits: number[] = [];
  const untilMs = performance.now() + ANSWERED_SECONDS * 1000;
  let comesMs = performance.now();
  while (comesMs < untilMs) {
    await delay(SYNC_EACH_MS);
    const beganMs = performance.now();
    writeSync(file, bytes);
    fdatasyncSync(file);
    const endMs = performance.now();
    for (; comesMs < beganMs; comesMs += 1) waits.push(endMs - comesMs);
  }
  closeSync(file);
  waits.sort((left, right) => left - right);
  const part = (share: number): number =>
    Number((waits[Math.floor(waits.length * share)] ?? 0).toFixed(2));
  return { p50: part(0.5), p99: part(0.99) };
}

/** rsyslogd with its TCP input into a plain file, lines of the same messages; or why not. */
async function runRsyslog(): Promise<
  { readonly seconds: number; readonly cpuSeconds: number } | string
> {
  const program = ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"].find((path) => existsSync(path));
  if (program === undefined) return "not installed";
  const file = join(folder, "plain.log");
  const config = join(folder, "rsyslog.conf");
  const port = await freePort();
  writeFileSync(
    config,
    [
      'global(workDirectory="' + folder + '")',
      'module(load="imptcp" threads="2")',
      `input(type="imptcp" port="${port}" address="127.0.0.1")`,
      'template(name="plain" type="string" string="%rawmsg%\\n")',
      `action(type="omfile" file="${file}" template="plain" ioBufferSize="64k" flushOnTXEnd="off")`,
    ].join("\n"),
  );
  const child = spawn(program, ["-n", "-f", config, "-i", join(folder, "rsyslog.pid")], {
    stdio: "ignore",
  });
  const exited = once(child, "exit");
  try {
    const startedMs = performance.now();
    while (!await isListening(port)) {
      if (performance.now() - startedMs > 10_000) return "does not listen";
      await delay(50);
    }
    const beganMs = performance.now();
    const lines = ["--messages", String(messages), "--size", values.size, "--framing", "lines"];
    await send(port, lines);
    const bytes = messages * Number(values.size);
    const untilMs = performance.now() + 60_000;
    while (sizeOf(file) < bytes && performance.now() < untilMs) await delay(20);
    if (sizeOf(file) < bytes) return `only ${sizeOf(file)} of ${bytes} bytes came`;
    return {
      seconds: (performance.now() - beganMs) / 1000,
      cpuSeconds: cpuSecondsOf(child.pid ?? 0),
    };
  } finally {
    child.kill();
    await exited;
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Processor time of a process so far; the kernel counts it in hundredths of a second. */
function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false; // Whoever asked decides how often to ask again.
  } finally {
    socket.destroy();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}
