/**
 * How many messages of applications a second reach the spool, over four connections from another process, half JSON and
 * half text, and does memory stay flat? Then: how long until a message is answered, at 5,000 a second. Baseline in the
 * same run: rsyslogd into a plain file, where it is installed. Arguments: --messages (default 3,000,000), --size
 * (default 200 bytes), --framing (frames or lines), --rate (default 5,000; 0: no answers).
 */
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
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
const ANSWERED_SECONDS = 5;
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
  await send(source.port ?? 0, ["--messages", "200000", ...size]);
  await producer.flush();
  const before = durable;
  const rss: { readonly part: number; readonly mib: number }[] = [];
  const sampler = setInterval(() => {
    rss.push({ part: (durable - before) / messages, mib: process.memoryUsage.rss() / 2 ** 20 });
  }, 100);
  const cpuBefore = process.cpuUsage();
  const beganMs = performance.now();
  const sent = await send(source.port ?? 0, ["--messages", String(messages), ...size]);
  while (durable - before < messages) {
    await producer.flush();
    await delay(5);
  }
  const seconds = (performance.now() - beganMs) / 1000;
  clearInterval(sampler);
  const cpu = process.cpuUsage(cpuBefore);
  const counted = producer.counters();
  const arrived = durable - before;
  const mostMib = (from: number, to: number): number =>
    Math.round(
      Math.max(0, ...rss.filter(({ part }) => part >= from && part < to).map(({ mib }) => mib)),
    );
  const answered = rate === 0 ? undefined : await send(source.port ?? 0, [
    ...["--messages", String(rate * ANSWERED_SECONDS), "--rate", String(rate)],
  ]);
  stop.abort();
  await running;
  const perSecond = messages / seconds;
  const rsyslog = await rsyslogPerSecond();
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
    answer_p50_ms: answered?.p50_ms,
    answer_p99_ms: answered?.p99_ms,
    answer_max_ms: answered?.max_ms,
    rsyslog: typeof rsyslog === "string" ? rsyslog : {
      messages_per_second: Math.round(rsyslog),
      ratio: Number((perSecond / rsyslog).toFixed(2)),
    },
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** rsyslogd with its TCP input into a plain file, lines of the same messages. */
async function rsyslogPerSecond(): Promise<number | string> {
  try {
    execFileSync("rsyslogd", ["-v"], { stdio: "ignore" });
  } catch {
    return "not installed";
  }
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
  const child = spawn("rsyslogd", ["-n", "-f", config, "-i", join(folder, "rsyslog.pid")], {
    stdio: "ignore",
  });
  try {
    await delay(1_000);
    const beganMs = performance.now();
    const lines = ["--messages", String(messages), "--size", values.size, "--framing", "lines"];
    await send(port, lines);
    const bytes = messages * Number(values.size);
    const untilMs = performance.now() + 60_000;
    while (statSync(file).size < bytes && performance.now() < untilMs) await delay(20);
    if (statSync(file).size < bytes) return `only ${statSync(file).size} of ${bytes} bytes came`;
    return messages / ((performance.now() - beganMs) / 1000);
  } finally {
    child.kill();
    await once(child, "exit");
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}
