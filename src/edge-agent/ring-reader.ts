/**
 * Reads the rings of a family one after the other, from the place that is durable, and keeps their books: positions,
 * losses, counters.
 *
 * Invariants: a chunk never mixes rings; a ring is left only when its programs have ended and it is read to its end,
 * and removed only when a position of a later ring is durable. What it lost and nobody reported moves on with it.
 */
import type { RingPosition } from "../producer/producer.ts";
import type { Log } from "../runtime/log.ts";
import { timeNsOf, u32 } from "./decode-record.ts";
import { noteExecutable } from "./executable-names.ts";
import { createThrottleWatch } from "./buckets.ts";
import { classNameOf, totalCounters } from "./class-counters.ts";
import { createHandoverEdge, EDGE_NS } from "./handover-edge.ts";
import type { KernelContext } from "./kernel-context.ts";
import {
  createDecoderContext,
  type LineDecoder,
  type LocatedRecord,
  withSample,
} from "./line-decoder.ts";
import { HEADER } from "./record-layout.ts";
import { addCounted, type Counted, countedOf } from "./ring-counters.ts";
import { type OpenRing, openRing, positionOf } from "./open-ring.ts";
import type { RingChain } from "./ring-chain.ts";
import { MOVED, OVERWRITTEN } from "./ring-watch.ts";
import type { EncodedRules } from "./rules.ts";
import type { RingCursor } from "./ring-buffer.ts";
import { type Learned, learnedFrom, learnFrom, learningEndMs } from "./ring-learning.ts";
import type { SourceChunk, SourceCounters, SourceLoss, Throttling } from "./source.ts";
import type { ExecDigests } from "./sources/process/digest/exec-digests.ts";
import { describeThrottling } from "./throttling.ts";
import type { RingFamily } from "./sources/ring-family.ts";

/** Lines and characters in one chunk, at most (the last line may go beyond). */
const CHUNK_LINES_MAX = 1024;
const CHUNK_CHARACTERS_MAX = 128 * 1024;
/** How often programs are looked for. */
const PIN_CHECK_MS = 1000;
/**
 * Programs that met an event just before their end may still be writing it: a virtual processor that is not run stands
 * still in the middle of one.
 */
const LINGER_NS = 500_000_000;

export interface RingReaderOptions {
  readonly context: KernelContext;
  /** Oldest first, at least one; the reader closes them. */
  readonly chain: RingChain;
  readonly family: RingFamily;
  /** Where to read on; without it, at what was never released. */
  readonly position: RingPosition | undefined;
  /** Of executed files, for the process family; closed by whoever opened them. */
  readonly digests?: ExecDigests | undefined;
  readonly log: Log;
}

export interface RingReader extends Disposable {
  /** The next lines; undefined when everything written before the call was read, or is being written still. */
  read(): SourceChunk | undefined;
  /** Whether nothing was written since the last read, and that left nothing to do; cheap. */
  isQuiet(): boolean;
  /** The last lines, when nothing will be read after them. */
  finish(): SourceChunk | undefined;
  release(position: RingPosition): void;
  losses(): readonly SourceLoss[];
  counters(): SourceCounters;
  /** Puts rules into use; see {@link PinnedPrograms.setRules}. */
  setRules(rules: EncodedRules): void;
  /** Puts values of the family's own maps into use. */
  setValues(values: Readonly<Record<string, Uint8Array>>): void;
  /** Limits that were reached, and those that are kept again, since the last call. */
  throttling(): readonly Throttling[];
}

export function openRingReader(options: RingReaderOptions): RingReader {
  return new Reader(options);
}

const NOTHING: Pick<SourceChunk, "fields" | "timesUs"> = { fields: [], timesUs: [] };

class Reader implements RingReader {
  readonly #context: KernelContext;
  readonly #name: RingFamily["name"];
  /** What other families need for their lines, learned before they make any: of processes, or names. */
  readonly #learned: Learned | undefined;
  readonly #decoder: LineDecoder;
  readonly #log: Log;
  readonly #rings: OpenRing[];
  /** Places in {@link Reader.#rings}: the one being read, the one being learned from. */
  #at = 0;
  #learningAt = 0;
  #removed: Counted = { parts: [], recursionMisses: 0 };
  #unreadable = 0;
  readonly #edge = createHandoverEdge();
  readonly #throttles = createThrottleWatch();
  #throttled = 0;
  #lost: SourceLoss[] = [];
  #isReportDue = false;
  #checkedMs = performance.now();
  /** Boot time of the newest record that was decoded, ns. */
  #decodedNs = 0;

  constructor({ context, family, position, chain, digests, log }: RingReaderOptions) {
    this.#context = context;
    this.#log = log.with({ source: family.name });
    this.#name = family.name;
    this.#learned = learnedFrom(family.name, context);
    this.#decoder = family.createDecoder(createDecoderContext({ ...context, digests }));
    this.#rings = chain.programs.map((programs, place) => {
      const next = chain.programs[place + 1];
      const untilNs = next === undefined ? Infinity : Number(next.settings().fromNs);
      return openRing(context, programs, { family: family.name, position, untilNs });
    });
    const { boot } = context.ids;
    const isKnown = this.#rings.some(({ id }) => id === position?.ring);
    if (isKnown && position !== undefined) this.#removeBefore(position.ring);
    if (position !== undefined && !isKnown) {
      const isSameBoot = position.ring.startsWith(`${boot}-`);
      const reason = isSameBoot ? "the ring was removed" : "the host was started again";
      this.#lost.push({ class: "absent", count: null, reason });
    }
    if (this.#rings.some(({ isReadByOthers }) => isReadByOthers)) {
      const reason = "another agent read the ring meanwhile";
      this.#lost.push({ class: "absent", count: null, reason });
    }
    if (chain.damaged > 0) {
      this.#lost.push({ class: "absent", count: null, reason: "a ring's pins were damaged" });
    }
    this.#learned?.follow(() => this.#learn());
    log.debug("reading ring", {
      source: family.name,
      ring: this.#current().id,
      rings: chain.programs.length,
    });
  }

  read(): SourceChunk | undefined {
    const ring = this.#current();
    this.#checkPins();
    this.#checkPositions();
    const askedNs = Number(this.#context.bootClock.nowNs());
    const producer = ring.programs.ring.producerPosition();
    this.#context.processes.catchUp();
    this.#context.peerNames.catchUp();
    // Of a family that teaches others, only what has been learned from: a record may have been completed since.
    const limit = this.#learned !== undefined
      ? Math.min(producer, ring.learning.position)
      : producer;
    const from = ring.cursor.position;
    this.#decoder.prepare?.();
    const decoded = this.#decode(ring, limit);
    // What was overwritten while it was read is not what it seems.
    const chunk = this.#checkPositions() ? decoded : { ...NOTHING, position: positionOf(ring) };
    const isAtEnd = ring.cursor.position === producer && this.#at === this.#rings.length - 1;
    this.#context.processes.passed(this.#name, isAtEnd ? askedNs : this.#decodedNs);
    const isEmpty = ring.cursor.position === from && chunk.fields.length === 0;
    if (isEmpty && !this.#isReportDue) {
      return this.#moveOn(ring) ? this.read() : undefined;
    }
    this.#isReportDue = false;
    return chunk;
  }

  isQuiet(): boolean {
    const [ring] = this.#rings;
    if (ring === undefined || this.#rings.length > 1 || this.#isReportDue) return false;
    return ring.programs.ring.isAt(ring.watch.position, ring.cursor.position);
  }

  finish(): SourceChunk | undefined {
    const chunk = this.read();
    // What was promised by these lines, too.
    this.#decoder.finish?.();
    const further = this.#decoder.further?.() ?? [];
    if (chunk === undefined && further.length === 0) return undefined;
    return {
      fields: [...chunk?.fields ?? [], ...further.map(({ fields }) => fields)],
      timesUs: [...chunk?.timesUs ?? [], ...further.map(({ timeUs }) => timeUs)],
      position: chunk?.position ?? positionOf(this.#current()),
    };
  }

  release(position: RingPosition): void {
    const ring = this.#rings.find(({ id }) => id === position.ring);
    if (ring === undefined) return;
    ring.watch.release(position.position);
    if (position.lost !== undefined) ring.ledger.persist(position.lost);
    this.#removeBefore(position.ring);
  }

  losses(): readonly SourceLoss[] {
    const found = [
      ...this.#lost,
      ...this.#current().ledger.collect(),
      ...this.#decoder.losses?.() ?? [],
    ];
    this.#lost = [];
    if (found.length > 0) this.#isReportDue = true;
    return found;
  }

  counters(): SourceCounters {
    const { parts, recursionMisses } = this.#rings.map(({ programs }) => countedOf(programs))
      .reduce(addCounted, this.#removed);
    return {
      ...totalCounters(parts, recursionMisses),
      unreadable: this.#unreadable,
      parts: parts.map(({ place, lostFromNs: _from, lostToNs: _to, ...counters }) => ({
        kind: classNameOf(this.#name, place),
        ...counters,
      })),
    };
  }

  setValues(values: Readonly<Record<string, Uint8Array>>): void {
    for (const [map, value] of Object.entries(values)) {
      this.#rings.at(-1)?.programs.setValue(map, value);
    }
  }

  setRules(rules: EncodedRules): void {
    this.#rings.at(-1)?.programs.setRules(rules);
  }

  throttling(): readonly Throttling[] {
    const programs = this.#rings.at(-1)?.programs;
    if (programs === undefined) return [];
    const throttled = programs.counters().reduce((sum, each) => sum + each.throttled, 0);
    if (throttled === this.#throttled && !this.#throttles.isActive) return [];
    this.#throttled = throttled;
    const nowNs = Number(this.#context.bootClock.nowNs());
    return this.#throttles.update(programs.buckets(), nowNs)
      .map((notice) => describeThrottling(this.#context, { family: this.#name, notice }));
  }

  [Symbol.dispose](): void {
    this.#learned?.follow(undefined);
    this.#context.processes.passed(this.#name, undefined);
    for (const { programs } of this.#rings) programs[Symbol.dispose]();
  }

  #current(): OpenRing {
    const ring = this.#rings[this.#at];
    if (ring === undefined) throw new Error("Cannot read rings: there is none");
    return ring;
  }

  #decode(ring: OpenRing, limit: number): SourceChunk {
    const { cursor, fromNs, untilNs, programs: { ring: { memory } } } = ring;
    const { bootClock } = this.#context;
    const fields: string[] = [];
    const timesUs: number[] = [];
    let characters = 0;
    let unreadable = 0;
    while (fields.length < CHUNK_LINES_MAX && characters < CHUNK_CHARACTERS_MAX) {
      const offset = cursor.next(limit);
      if (offset < 0) break;
      const timeNs = timeNsOf(memory.words, offset);
      if (timeNs < fromNs || timeNs >= untilNs) {
        this.#decodedNs = timeNs;
        continue;
      }
      const time = offset + HEADER.time_ns;
      const timeUs = bootClock.wallUs(u32(memory.words, time), u32(memory.words, time + 4));
      const record = { memory, offset, length: cursor.length, timeUs };
      if (this.#decoder.isEarly?.(record) === true) {
        cursor.back();
        break;
      }
      this.#decodedNs = timeNs;
      if (this.#isToldTwice(ring, { record, timeNs })) continue;
      const line = this.#line(record);
      if (line === undefined) {
        unreadable += 1;
        continue;
      }
      if (line === "") continue;
      fields.push(line);
      timesUs.push(timeUs);
      characters += line.length;
    }
    for (const further of this.#decoder.further?.() ?? []) {
      fields.push(further.fields);
      timesUs.push(further.timeUs);
    }
    this.#unreadable += unreadable;
    if (unreadable > 0) ring.ledger.add("unreadable", unreadable);
    return { fields, timesUs, position: positionOf(ring) };
  }

  /** Around the instant at which programs took over from others. */
  #isToldTwice(
    { fromNs, untilNs }: OpenRing,
    { record, timeNs }: { readonly record: LocatedRecord; readonly timeNs: number },
  ): boolean {
    if (timeNs > untilNs - EDGE_NS) this.#edge.note(record, timeNs);
    return timeNs < fromNs + EDGE_NS && this.#edge.takes(record, timeNs);
  }

  /** A record that a decoder stumbles over must not cost those around it: it is counted as unreadable. */
  #line(record: LocatedRecord): string | undefined {
    try {
      const line = this.#decoder.line(record);
      const weight = u32(record.memory.words, record.offset + HEADER.weight);
      if (this.#name === "process" && line !== undefined) {
        noteExecutable(this.#context.executables, { record, line });
      }
      return line === undefined || line === "" || weight <= 1 ? line : withSample(line, weight);
    } catch (error) {
      this.#log.error("decoder failed", { error: String(error), length: record.length });
      return undefined;
    }
  }

  /** Programs whose pins are gone see nothing any more: better to fail, and be started anew, than to be blind. */
  #checkPins(): void {
    const nowMs = performance.now();
    if (nowMs - this.#checkedMs < PIN_CHECK_MS) return;
    this.#checkedMs = nowMs;
    const newest = this.#rings.at(-1)?.programs;
    if (newest?.isWhole() === false) {
      throw new Error(`Cannot read the ${this.#name} ring: its programs were removed`);
    }
  }

  /** Whether all records that are to be read still are what the kernel wrote. */
  #checkPositions(): boolean {
    let areIntact = true;
    for (const { watch, cursor, learning, programs: { ring } } of this.#rings) {
      const tampering = watch.look();
      if (tampering === undefined) continue;
      const { isIntact, expected, found } = tampering;
      this.#log.warn("another process moved the ring's position", { expected, found });
      const reason = isIntact ? MOVED : OVERWRITTEN;
      if (!this.#lost.includes(reason)) this.#lost.push(reason);
      if (isIntact) continue;
      areIntact = false;
      for (const each of [cursor, learning]) each.jump(ring.consumerPosition());
    }
    return areIntact;
  }

  /** Learns from every record written until now, of names for a moment at most. */
  #learn(): void {
    const untilMs = learningEndMs(this.#name);
    while (true) {
      const ring = this.#rings[this.#learningAt];
      if (ring === undefined) return;
      const { learning, programs: { ring: { memory } } } = ring;
      const limit = ring.programs.ring.producerPosition();
      learnFrom(learning, {
        limit,
        untilMs,
        learn: (offset, length) => this.#decoder.learn({ memory, offset, length, timeUs: 0 }),
      });
      if (performance.now() >= untilMs || !this.#isOver(ring, learning)) return;
      this.#learningAt += 1;
    }
  }

  /** Whether nothing can come in a ring after what a cursor has reached. */
  #isOver(ring: OpenRing, cursor: RingCursor): boolean {
    if (ring.untilNs === Infinity) return false;
    return Number(this.#context.bootClock.nowNs()) > ring.untilNs + LINGER_NS &&
      cursor.position === ring.programs.ring.producerPosition();
  }

  #moveOn(ring: OpenRing): boolean {
    const next = this.#rings[this.#at + 1];
    if (next === undefined || !this.#isOver(ring, ring.cursor)) return false;
    ring.ledger.moveTo(next.programs);
    this.#at += 1;
    return true;
  }

  /** Removes the rings before one of which a position is durable. */
  #removeBefore(id: string): void {
    const place = this.#rings.findIndex((ring) => ring.id === id);
    if (place <= 0) return;
    const kept = this.#rings[place];
    for (const { programs, ledger } of this.#rings.splice(0, place)) {
      this.#removed = addCounted(this.#removed, countedOf(programs));
      if (kept !== undefined) ledger.moveTo(kept.programs);
      programs.remove();
    }
    this.#at = Math.max(0, this.#at - place);
    this.#learningAt = Math.max(0, this.#learningAt - place);
  }
}
