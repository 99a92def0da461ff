/**
 * How many ring records a second become JSON lines in a batch, on one core, and does memory stay flat?
 * Replays recorded records (test/fixtures/ring-records.bin) from a ring in memory. In each pass every process is a new
 * one, seconds later, so that the process table works as on a busy host. Baseline in the same run: JSON.stringify alone,
 * of the same lines as ready-made objects. Arguments: --events (default 10,000,000).
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { createBootClock } from "../src/edge-agent/boot-clock.ts";
import { createCgroupNames } from "../src/edge-agent/cgroup-names.ts";
import { loadClocks } from "../src/edge-agent/libbpf.ts";
import { createDecoderContext, type LineDecoder } from "../src/edge-agent/line-decoder.ts";
import { createProcessIds } from "../src/edge-agent/process-identity.ts";
import { createProcessTable } from "../src/edge-agent/process-table.ts";
import { u64 } from "../src/edge-agent/decode-record.ts";
import { HEADER, KIND } from "../src/edge-agent/record-layout.ts";
import { type RecordMemory, recordMemory, RingCursor } from "../src/edge-agent/ring-buffer.ts";
import { createFileDecoder } from "../src/edge-agent/sources/file/file-lines.ts";
import { createNetworkDecoder } from "../src/edge-agent/sources/network/network-lines.ts";
import { createProcessDecoder } from "../src/edge-agent/sources/process/process-lines.ts";
import { createRedactor } from "../src/edge-agent/redaction.ts";
import { REDACTION_KEY_BYTES } from "../src/edge-agent/redaction-key.ts";
import { createUserNames } from "../src/edge-agent/user-names.ts";
import { type ClosedLines, createBatcher } from "../src/producer/batcher.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({ options: { events: { type: "string", default: "10000000" } } });
const events = Number(values.events);
const FIXTURE = new URL("../test/fixtures/ring-records.bin", import.meta.url);
/** Process ids go up by this much with each pass, and around. */
const PIDS_PER_PASS = 64;
const PIDS_MAX = 4_000_000;
const WARM_UP_EVENTS = 300_000;
const SECOND_NS = 1_000_000_000n;

const bootClock = createBootClock(loadClocks());
const processes = createProcessTable({
  ids: createProcessIds("00000000-0000"),
  nowNs: () => 0,
  readExe: () => undefined,
});
const context = createDecoderContext({
  processes,
  userNames: createUserNames(),
  cgroupNames: createCgroupNames(() => undefined),
  redactor: createRedactor(new Uint8Array(REDACTION_KEY_BYTES)),
});
const rings = [
  createRing(createProcessDecoder(context), [KIND.fork, KIND.exec, KIND.exit]),
  createRing(createNetworkDecoder(context, () => undefined), [KIND.connect]),
  createRing(createFileDecoder(context, undefined), [KIND.fileOpen]),
];
const recordsPerPass = rings.reduce((sum, ring) => sum + ring.count, 0);

/** Lines of the first passes, as objects, for the baseline. */
const samples: unknown[] = [];
const SAMPLES_MAX = 2_048;
let isEncoding = false;
let jsonBytes = 0;
let linesOut = 0;
const encoder = new TextEncoder();
const batcher = createBatcher({
  lane: "bulk",
  isBacklog: () => false,
  onFull: takeBatch,
  onOpen: () => undefined,
  onRefused: () => undefined,
});

let pass = 0;
run(WARM_UP_EVENTS);
isEncoding = true;
run(WARM_UP_EVENTS);
const encoded = run(events / 5);
isEncoding = false;
const batched = run(events);
const stringified = stringifySamples(events / 5);
printReport("ring-to-line", {
  events: batched.events,
  ...batched.figures,
  json_bytes_per_event: Math.round(jsonBytes / linesOut),
  // The same, and the bytes of the whole batch made of it, which is the producer's part.
  with_bytes: encoded.figures,
  stringify_alone_per_second: Math.round(stringified),
  ratio_to_stringify_alone: Number((batched.figures.events_per_second / stringified).toFixed(2)),
  processes_known: processes.size,
});

/** Events a second of the baseline. */
function stringifySamples(count: number): number {
  let length = 0;
  const startMs = performance.now();
  for (let each = 0; each < count; each += 1) {
    length += JSON.stringify(samples[each % samples.length]).length;
  }
  const seconds = (performance.now() - startMs) / 1e3;
  if (length === 0) throw new Error("Cannot compare: no lines were kept");
  return count / seconds;
}

/** Replays until so many events have become lines. */
function run(count: number) {
  const passes = Math.ceil(count / recordsPerPass);
  let wallMs = 0;
  let residentMax = 0;
  let residentEarly = 0;
  const cpu = process.cpuUsage();
  for (let each = 0; each < passes; each += 1, pass += 1) {
    for (const ring of rings) shiftIdentities(ring, pass);
    const startMs = performance.now();
    for (const ring of rings) runPass(ring);
    wallMs += performance.now() - startMs;
    if (each === Math.floor(passes / 10)) residentEarly = residentMib();
    if (each % 256 === 0) residentMax = Math.max(residentMax, residentMib());
  }
  const { user, system } = process.cpuUsage(cpu);
  const replayed = passes * recordsPerPass;
  return {
    events: replayed,
    figures: {
      events_per_second: Math.round(replayed / (wallMs / 1e3)),
      // What a core does that is not shared: garbage collection on other threads counts, and the replay itself.
      events_per_cpu_second: Math.round(replayed / ((user + system) / 1e6)),
      resident_mib_after_tenth: Math.round(residentEarly),
      resident_mib_max: Math.round(residentMax),
      resident_mib_end: Math.round(residentMib()),
    },
  };
}

/** Numbers the lines and makes their bytes, as the producer does before it compresses them. */
function takeBatch({ fields }: ClosedLines): void {
  if (!isEncoding) return;
  for (const each of fields) {
    if (samples.length < SAMPLES_MAX) samples.push(JSON.parse(`{${each}`));
  }
  let text = "";
  for (let idx = 0; idx < fields.length; idx += 1) text += `{"idx":${idx},${fields[idx]}\n`;
  jsonBytes += encoder.encode(text).byteLength;
  linesOut += fields.length;
}

interface MemoryRing {
  readonly decoder: LineDecoder;
  readonly memory: RecordMemory;
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly count: number;
  /** Words that hold a pid, and low words of times. */
  readonly pidWords: readonly number[];
  readonly timeWords: readonly number[];
  readonly firstPids: Uint32Array;
}

function runPass({ decoder, memory, sizeBytes, usedBytes, timeWords }: MemoryRing): void {
  const ring = { sizeBytes, position: 0 };
  const learning = new RingCursor(memory, ring);
  for (let at = learning.next(usedBytes); at >= 0; at = learning.next(usedBytes)) {
    decoder.learn({ memory, offset: at, length: learning.length, timeUs: 0 });
  }
  const cursor = new RingCursor(memory, ring);
  for (let offset = cursor.next(usedBytes); offset >= 0; offset = cursor.next(usedBytes)) {
    const time = (offset + HEADER.time_ns) >> 2;
    const timeUs = bootClock.wallUs(memory.words[time] ?? 0, memory.words[time + 1] ?? 0);
    const line = decoder.line({ memory, offset, length: cursor.length, timeUs });
    if (line === undefined) throw new Error(`Cannot decode record at ${offset}: it makes no sense`);
    batcher.append(line, timeUs);
  }
  processes.passed("bench", u64(memory.words, 4 * (timeWords.at(-1) ?? 0)));
}

/** A ring that holds the fixture's records of some kinds, each with the kernel's 8-byte header. */
function createRing(decoder: LineDecoder, kinds: readonly number[]): MemoryRing {
  const bytes = readFileSync(FIXTURE);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const padded = 8 + Math.ceil(bytes.readUInt32LE(at) / 8) * 8;
    if (kinds.includes(bytes[at + 8 + HEADER.kind] ?? 0)) {
      parts.push(bytes.subarray(at, at + padded));
    }
    at += padded;
  }
  const usedBytes = parts.reduce((sum, part) => sum + part.length, 0);
  const sizeBytes = 2 ** Math.ceil(Math.log2(usedBytes + 8));
  const buffer = new ArrayBuffer(2 * sizeBytes);
  const target = new Uint8Array(buffer);
  const pidWords: number[] = [];
  const timeWords: number[] = [];
  let offset = 0;
  for (const part of parts) {
    target.set(part, offset);
    const record = offset + 8;
    pidWords.push((record + HEADER.pid) >> 2);
    timeWords.push((record + HEADER.start_ns) >> 2, (record + HEADER.time_ns) >> 2);
    offset += part.length;
  }
  const memory = recordMemory(buffer, 0);
  const firstPids = Uint32Array.from(pidWords, (word) => memory.words[word] ?? 0);
  return {
    decoder,
    memory,
    sizeBytes,
    usedBytes,
    count: parts.length,
    pidWords,
    timeWords,
    firstPids,
  };
}

function shiftIdentities(
  { memory, pidWords, timeWords, firstPids }: MemoryRing,
  pass: number,
): void {
  for (const [place, word] of pidWords.entries()) {
    memory.words[word] = ((firstPids[place] ?? 0) + PIDS_PER_PASS * pass) % PIDS_MAX;
  }
  for (const word of timeWords) {
    const low = BigInt(memory.words[word] ?? 0);
    const high = BigInt(memory.words[word + 1] ?? 0);
    const next = ((high << 32n) | low) + SECOND_NS;
    memory.words[word] = Number(next & 0xffffffffn);
    memory.words[word + 1] = Number(next >> 32n);
  }
}

function residentMib(): number {
  return process.memoryUsage().rss / 2 ** 20;
}
