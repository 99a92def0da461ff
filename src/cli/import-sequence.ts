/**
 * Takes a CBOR sequence of crypto-auditing into the record, through a producer: its groups become events, each with its
 * place in the file.
 *
 * A file is known by its first group with events: taking it twice takes it once, a file that has grown is taken from
 * where it ended, what was interrupted goes on, and one that differs anywhere from what was imported is refused.
 *
 * Invariants: events and how far the file is become durable together; memory holds one group and one chunk; what is not
 * byte by byte as crypto-auditing writes it is counted, since an export gives it in the usual form.
 */
import { createHash, type Hash } from "node:crypto";
import type { AuditEvent } from "../event/event.ts";
import { lineFields } from "../event/event.ts";
import {
  bootSecondsOf,
  createGroupEvents,
  type GroupEvents,
} from "../event/crypto/group-events.ts";
import type { EventGroup } from "../event/crypto/group.ts";
import { NO_CONTEXT } from "../event/crypto/record.ts";
import { createGroupReader, type ReadGroup } from "../event/crypto/sequence.ts";
import type { Producer } from "../producer/producer.ts";
import { BLOCK_GROUPS, type GroupDigests } from "./import-digests.ts";
import { IMPORT_MARK, type ImportLedger, type ImportState, markOf } from "./import-ledger.ts";

export interface ImportOptions {
  readonly producer: Pick<Producer, "appendAll" | "writable" | "flush">;
  readonly ledger: ImportLedger;
  /** When the host was booted, seconds since 1970; asked when the file does not say it. */
  readonly bootSeconds: () => number;
  /** Told the time of events, µs, before they are given to the producer: batches are of their time, not of now. */
  readonly onTime: (timeUs: number) => void;
  /** Awaited before the first event of a file that is new to the record. */
  readonly onBegin: (id: string) => Promise<void>;
  /** Waits while the spool has no room. */
  readonly room: () => Promise<void>;
  readonly signal: AbortSignal;
}

export interface ImportSummary {
  /** Of the file; undefined when it has no events. */
  readonly id: string | undefined;
  /** Of the file; `events` are those that were taken now. */
  readonly groups: number;
  readonly events: number;
  /** Groups that were in the record before. */
  readonly known: number;
  /** Groups whose bytes an export will not repeat. */
  readonly unusual: number;
  /** Bytes of a group at the end that is not whole. */
  readonly leftBytes: number;
  readonly hasBootTime: boolean;
}

/** A file is not what was imported under its beginning. */
export class OtherFile extends Error {}

const ID_LENGTH = 16;
/** A chunk is handed over when it has so much text, in UTF-16 units. */
const CHUNK_LENGTH = 256 * 1024;
/** Events of one batch lie at most so far apart here, µs: well within what a batch may span. */
const SPAN_US = 16 * 86_400_000_000;

export async function importSequence(
  input: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): Promise<ImportSummary> {
  const { ledger, signal } = options;
  const reader = createGroupReader();
  using opened = new DisposableStack();
  const begin = createHash("sha256");
  /** What a file says of itself, until it is known which file it is. */
  let head: ReadGroup | undefined;
  let file: OpenFile | undefined;
  for await (const piece of input) {
    signal.throwIfAborted();
    for (const read of reader.push(piece)) {
      if (file !== undefined) {
        await file.take(read);
        continue;
      }
      begin.update(read.bytes);
      if (head === undefined && read.group.context === NO_CONTEXT) {
        head = { ...read, bytes: Uint8Array.from(read.bytes) };
        continue;
      }
      const id = begin.digest("hex").slice(0, ID_LENGTH);
      const about = { id, known: ledger.get(id), metadata: head?.group, first: read.group };
      file = opened.use(openFile(about, options));
      if (head !== undefined) await file.take(head);
      await file.take(read);
    }
  }
  const summary = await file?.finish();
  return {
    ...(summary ?? { id: undefined, groups: 0, events: 0, known: 0, unusual: 0 }),
    hasBootTime: head !== undefined && bootSecondsOf(head.group) !== undefined,
    leftBytes: reader.pendingBytes(),
  };
}

interface OpenFile extends Disposable {
  take(read: ReadGroup): Promise<void>;
  finish(): Promise<Pick<ImportSummary, "id" | "groups" | "events" | "known" | "unusual">>;
}

function openFile(
  { id, known, metadata, first }: {
    readonly id: string;
    readonly known: ImportState | undefined;
    readonly metadata: EventGroup | undefined;
    /** The first group that has a context. */
    readonly first: EventGroup;
  },
  options: ImportOptions,
): OpenFile {
  const told = metadata === undefined ? undefined : bootSecondsOf(metadata);
  const bootUs = Number(told ?? options.bootSeconds()) * 1_000_000;
  const events: GroupEvents = createGroupEvents({ bootUs, firstNs: first.startNs });
  const digest = createHash("sha256");
  const digests: GroupDigests = options.ledger.digests(id);
  const chunk = createChunk(options);
  const counts = { groups: 0, events: 0, known: 0, unusual: 0 };
  let last: Omit<ImportState, "digest"> | undefined;
  /** Whether all of it that is in the record was compared with that. */
  let isSame = known === undefined;
  /** Whether each group of it so far was. */
  let isKnown = true;
  const compare = (offset: number): void => {
    if (isSame || known === undefined || offset < known.offset) return;
    isSame = offset === known.offset && counts.groups === known.group &&
      hexOf(digest) === known.digest;
    if (!isSame) throw otherwise(offset);
  };
  /** How many events of the group that begins here are in the record. */
  const knownOf = (offset: number, size: number): number => {
    if (known === undefined || offset > known.offset) return 0;
    return offset < known.offset ? size : known.index;
  };
  return {
    async take({ group, bytes, offset, variant }) {
      compare(offset);
      const match = digests.next(bytes);
      if (known !== undefined && counts.groups < known.group) {
        if (match === "other") throw otherwise(offset + bytes.length);
        isKnown &&= match === "same";
      }
      const made = events.next(group, { id, group: counts.groups });
      const skipped = knownOf(offset, made.length);
      for (const [index, event] of made.entries()) {
        if (index < skipped) continue;
        if (counts.events === 0) await options.onBegin(id);
        await chunk.add(event, () => ({
          ...{ id, offset, digest: hexOf(digest), group: counts.groups, index },
        }));
        counts.events += 1;
      }
      digest.update(bytes);
      counts.groups += 1;
      if (skipped === made.length) counts.known += 1;
      if (variant === undefined) counts.unusual += 1;
      const next = { id, offset: offset + bytes.length, group: counts.groups, index: 0 };
      if (skipped < made.length) last = next;
      else compare(next.offset);
      if (isSame && counts.groups % (BLOCK_GROUPS / 2) === 0) digests.keep();
    },
    async finish() {
      if (!isSame && !isKnown) {
        throw new OtherFile(
          "Cannot import the file: it is shorter than what was imported, which may be another",
        );
      }
      if (isSame) {
        digests.keep();
        digests.sync();
      }
      if (last !== undefined) {
        const state = { ...last, digest: hexOf(digest) };
        await chunk.hand(state);
        await options.producer.flush();
        options.ledger.put(state);
      }
      return { id, ...counts };
    },
    [Symbol.dispose]: () => digests[Symbol.dispose](),
  };
}

function otherwise(offset: number): OtherFile {
  const state = "a file that begins like it was imported, and goes on otherwise";
  return new OtherFile(`Cannot import the file: ${state} before byte ${offset}`);
}

/** Lines that are handed over together with how far they reach. */
function createChunk({ producer, onTime, room, signal }: ImportOptions): {
  /** Hands over what is there, when it is enough: all up to the state before this event. */
  add(event: AuditEvent, before: () => ImportState): Promise<void>;
  hand(state: ImportState): Promise<void>;
} {
  let fields: string[] = [];
  let timesUs: number[] = [];
  let length = 0;
  /** Time of the open batch's first event. */
  let firstUs: number | undefined;
  const hand = async (state: ImportState): Promise<void> => {
    await room();
    await producer.writable(signal);
    const mark = { name: IMPORT_MARK, position: markOf(state) };
    producer.appendAll({ fields, timesUs }, { lane: "critical", mark });
    [fields, timesUs, length] = [[], [], 0];
  };
  return {
    async add(event, before) {
      const { timeUs } = event;
      const isFar = firstUs !== undefined && Math.abs(timeUs - firstUs) > SPAN_US;
      if (fields.length > 0 && (isFar || length >= CHUNK_LENGTH)) await hand(before());
      if (isFar) await producer.flush();
      if (isFar || firstUs === undefined) {
        onTime(timeUs);
        firstUs = timeUs;
      }
      const text = lineFields(event);
      fields.push(text);
      timesUs.push(timeUs);
      length += text.length;
    },
    hand,
  };
}

function hexOf(digest: Hash): string {
  return digest.copy().digest("hex");
}
