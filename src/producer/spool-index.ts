/**
 * What of a spool is still needed: every batch that is not released, where its record lies, and which epoch it belongs
 * to. Built from the records at opening, kept up to date afterwards; no I/O.
 *
 * Invariant: the ordinals above the released one are without a hole, each in exactly one epoch. Where records are
 * missing (a damaged file), an epoch ends: the next one names as its previous digest that of the batch that is gone.
 */
import type { RingPositions } from "./producer.ts";
import { type BatchFacts, FILE_MAGIC, type PlacedRecord } from "./spool-format.ts";
import type { StreamPlace } from "./spool-receipts.ts";
import type { RecordPlace } from "./spool-segments.ts";

export interface SpoolEntry {
  readonly facts: BatchFacts;
  readonly place: RecordPlace;
  /** Why its payload is gone; undefined while it is there. */
  readonly void: string | undefined;
  /** Where the broker stored it last. */
  readonly stored: StreamPlace | undefined;
}

/** Batches that a damaged file took away, so that those after `base` cannot follow those before. */
export interface Break {
  /** Ordinal of the last batch that is missing. */
  readonly base: number;
  /** Its digest. */
  readonly previous: string;
  /**
   * Between these moments the events of what is missing happened, µs: from the batches around it, without one before it
   * from the age of the file. Undefined where nothing tells.
   */
  readonly fromUs: number | undefined;
  readonly toUs: number | undefined;
}

/** Events happened at most so long before their batch was written: flush, encoding and a slow disk, µs. */
const WRITTEN_WITHIN_US = 60_000_000;

export interface SpoolIndex {
  /** Highest ordinal given, and the digest of that batch. */
  readonly highest: number;
  readonly highestDigest: string;
  readonly released: number;
  readonly releasedDigest: string;
  readonly positions: RingPositions;
  /** How many batches are not released. */
  readonly size: number;
  /** How many of them the broker was not seen to store. */
  readonly unpublished: number;
  get(ordinal: number): SpoolEntry | undefined;
  /** Unreleased batches whose record lies in a file, ascending. */
  inSegment(segment: number): readonly SpoolEntry[];
  /** A batch, or another place of one that is there. */
  put(facts: BatchFacts, place: RecordPlace): void;
  /** The batch's payload is gone; `place` is where that is written. */
  putVoid(facts: BatchFacts, place: RecordPlace, reason: string): void;
  setStored(ordinal: number, stored: StreamPlace): void;
  /** Batches above an ordinal are stored nowhere: they are of another epoch now. */
  forgetStored(above: number): void;
  addPositions(positions: RingPositions | undefined): void;
  /** Forgets batches up to an ordinal; returns the files that none needs any more. */
  release(ordinal: number): readonly number[];
}

/** Reads the records of a spool's files, oldest first, into an index. */
export interface IndexReader {
  take(segment: number, records: readonly PlacedRecord[]): void;
  /**
   * States that records of the file just taken are missing at its end: batches behind the last one taken so far. The
   * file is no older than `bornUs`.
   */
  damage(bornUs: number): void;
  finish(known: {
    readonly released: number;
    readonly stored: ReadonlyMap<number, StreamPlace>;
  }): { readonly index: SpoolIndex; readonly breaks: readonly Break[] };
}

interface Found {
  readonly facts: BatchFacts;
  readonly place: RecordPlace;
  readonly void: string | undefined;
}

export function createIndexReader(): IndexReader {
  const found = new Map<number, Found>();
  let positions: RingPositions = {};
  let last = { ordinal: 0, digest: "" };
  /** Up to here nothing can be missing unseen; infinity while no file is damaged. */
  let wholeThrough = Infinity;
  let firstDamagedUs: number | undefined;
  return {
    take(segment, records) {
      let end = FILE_MAGIC.length;
      for (const { record, payloadAt, payloadBytes } of records) {
        const at = end;
        end = payloadAt + payloadBytes;
        if (record.kind !== "void") positions = { ...positions, ...record.positions };
        if (record.kind === "start" && record.next > last.ordinal) {
          last = { ordinal: record.next - 1, digest: record.previous };
        }
        if (record.kind !== "batch" && record.kind !== "void") continue;
        const { ordinal, digest } = record;
        const reason = record.kind === "void" ? record.reason : undefined;
        if (reason !== undefined || !found.has(ordinal)) {
          const place = { segment, at, sizeBytes: end - at };
          found.set(ordinal, { facts: record, place, void: reason });
        }
        if (ordinal > last.ordinal) last = { ordinal, digest };
      }
    },
    damage(bornUs) {
      firstDamagedUs = Math.min(firstDamagedUs ?? Infinity, bornUs);
      wholeThrough = Math.min(wholeThrough, last.ordinal);
    },
    finish({ released: known, stored }) {
      const all = [...found.values()].sort((a, b) => a.facts.ordinal - b.facts.ordinal);
      const kept = all.filter(({ facts }) => facts.ordinal > known);
      const lowest = kept[0]?.facts ?? { ordinal: last.ordinal + 1, previous: last.digest };
      // Files are removed only once all in them is released: what lies before the lowest is.
      const released = Math.max(known, lowest.ordinal - 1);
      const before = Math.max(known, Math.min(released, wholeThrough));
      const breaks = breaksOf({ kept, last, before }).map((each) => ({
        ...each,
        ...spanOf(each, { all, firstDamagedUs }),
      }));
      const index = createIndex({ last, released, releasedDigest: lowest.previous, positions });
      for (const { facts, place, void: reason } of kept) {
        if (reason === undefined) index.put(facts, place);
        else index.putVoid(facts, place, reason);
        const where = stored.get(facts.ordinal);
        if (where !== undefined) index.setStored(facts.ordinal, where);
      }
      return { index, breaks };
    },
  };
}

/** Every place where the batch before one is missing. */
function breaksOf(
  { kept, last, before }: {
    readonly kept: readonly Found[];
    readonly last: { readonly ordinal: number; readonly digest: string };
    readonly before: number;
  },
): readonly Pick<Break, "base" | "previous">[] {
  const breaks: Pick<Break, "base" | "previous">[] = [];
  let expected = before + 1;
  for (const { facts: { ordinal, previous } } of kept) {
    if (ordinal !== expected) breaks.push({ base: ordinal - 1, previous });
    expected = ordinal + 1;
  }
  if (expected <= last.ordinal) breaks.push({ base: last.ordinal, previous: last.digest });
  return breaks;
}

/** When what is missing before and with `base` happened: it was written after the batch before and before the one after. */
function spanOf(
  { base }: Pick<Break, "base">,
  { all, firstDamagedUs }: {
    readonly all: readonly Found[];
    readonly firstDamagedUs: number | undefined;
  },
): Pick<Break, "fromUs" | "toUs"> {
  const after = all.find(({ facts }) => facts.ordinal > base)?.facts;
  const before = all.findLast(({ facts }) => facts.ordinal <= base)?.facts;
  const sinceUs = before?.lastUs ?? firstDamagedUs;
  return {
    fromUs: sinceUs === undefined ? undefined : Math.max(0, sinceUs - WRITTEN_WITHIN_US),
    toUs: after && after.lastUs + WRITTEN_WITHIN_US,
  };
}

/** The facts alone, whatever else came with them. */
function factsOf(record: BatchFacts): BatchFacts {
  const { ordinal, digest, previous, host, count, firstUs, lastUs, lane } = record;
  return {
    ordinal,
    digest,
    previous,
    host,
    count,
    firstUs,
    lastUs,
    ...(lane === undefined ? {} : { lane }),
  };
}

interface IndexStart {
  readonly last: { readonly ordinal: number; readonly digest: string };
  readonly released: number;
  readonly releasedDigest: string;
  readonly positions: RingPositions;
}

function createIndex(start: IndexStart): SpoolIndex {
  const entries = new Map<number, SpoolEntry>();
  const segments = new Map<number, Set<number>>();
  let { last, released, releasedDigest, positions } = start;
  let unpublished = 0;
  const detach = ({ facts, place }: SpoolEntry): boolean => {
    const inside = segments.get(place.segment);
    inside?.delete(facts.ordinal);
    return inside?.size === 0 && segments.delete(place.segment);
  };
  const set = (entry: SpoolEntry): void => {
    const { ordinal, digest } = entry.facts;
    const before = entries.get(ordinal);
    if (before !== undefined) detach(before);
    else if (entry.stored === undefined) unpublished += 1;
    entries.set(ordinal, entry);
    const inside = segments.get(entry.place.segment) ?? new Set();
    segments.set(entry.place.segment, inside.add(ordinal));
    if (ordinal > last.ordinal) last = { ordinal, digest };
  };
  return {
    get highest() {
      return last.ordinal;
    },
    get highestDigest() {
      return last.digest;
    },
    get released() {
      return released;
    },
    get releasedDigest() {
      return releasedDigest;
    },
    get positions() {
      return positions;
    },
    get size() {
      return entries.size;
    },
    get unpublished() {
      return unpublished;
    },
    get: (ordinal) => entries.get(ordinal),
    inSegment: (segment) =>
      [...segments.get(segment) ?? []]
        .sort((a, b) => a - b)
        .flatMap((ordinal) => entries.get(ordinal) ?? []),
    put: (facts, place) =>
      set({
        facts: factsOf(facts),
        place,
        void: undefined,
        stored: entries.get(facts.ordinal)?.stored,
      }),
    putVoid: (facts, place, reason) =>
      set({
        facts: factsOf(facts),
        place,
        void: reason,
        stored: entries.get(facts.ordinal)?.stored,
      }),
    setStored(ordinal, stored) {
      const entry = entries.get(ordinal);
      if (entry === undefined) return;
      if (entry.stored === undefined) unpublished -= 1;
      entries.set(ordinal, { ...entry, stored });
    },
    forgetStored(above) {
      for (const [ordinal, entry] of entries) {
        if (ordinal <= above || entry.stored === undefined) continue;
        unpublished += 1;
        entries.set(ordinal, { ...entry, stored: undefined });
      }
    },
    addPositions(more) {
      positions = { ...positions, ...more };
    },
    release(ordinal) {
      const free: number[] = [];
      for (; released < ordinal; released++) {
        const entry = entries.get(released + 1);
        if (entry === undefined) continue;
        entries.delete(released + 1);
        if (entry.stored === undefined) unpublished -= 1;
        if (detach(entry)) free.push(entry.place.segment);
        releasedDigest = entry.facts.digest;
      }
      return free;
    },
  };
}
