/**
 * Writes events of the record as a CBOR sequence that crypto-auditing's programs read.
 *
 * Events of an imported file come as its groups were, in the order of the file, and with the metadata that it had. Events
 * of probes come one to a group, after metadata that tells the first one's boot; those of later boots of the host are
 * told as if that one went on, since a sequence knows only one.
 *
 * Invariants: one sequence is of one host or of one file; what waits for its place is bounded, and when it is given up
 * the writer says so.
 */
import { ARRAY_ENTRIES_MAX } from "./cbor-items.ts";
import { type CborVariant, encodeGroup, type GroupEvent, metadataGroup } from "./group.ts";
import { bootOf, type PlacedRecord, placedRecordOf } from "./group-events.ts";
import { PROOF_KEY } from "./record.ts";

export interface SequenceEvent {
  readonly timeUs: number;
  readonly host?: string;
  readonly context?: string;
  readonly parent_context?: string;
  readonly exe?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export interface SequenceWriter {
  /** Groups that are complete with this event, in bytes. Events come in the order of time. Throws {@link MixedSequence}. */
  push(event: SequenceEvent): readonly Uint8Array[];
  /** What still waits. */
  finish(): readonly Uint8Array[];
  readonly counts: SequenceCounts;
}

export interface SequenceCounts {
  groups: number;
  /** Events that are no records of crypto-auditing. */
  skipped: number;
  /** Groups of a file of which events are missing. */
  partial: number;
  /** Groups that came too late for their place. */
  displaced: number;
}

/** Events of several hosts or files. */
export class MixedSequence extends Error {}

/** Groups of a file that may wait for those before them. */
const WAITING_MAX = 16_384;
const US_PER_S = 1_000_000;

interface Waiting {
  readonly record: PlacedRecord["record"];
  readonly endNs: bigint;
  readonly events: (GroupEvent | undefined)[];
  missing: number;
}

export function createSequenceWriter(variant: CborVariant): SequenceWriter {
  const counts: SequenceCounts = { groups: 0, skipped: 0, partial: 0, displaced: 0 };
  let source: string | undefined;
  let bootUs: number | undefined;
  /** Number of the group of the file that comes next, of those that there are. */
  let next = 0;
  const waiting = new Map<number, Waiting>();

  const claim = (name: string): void => {
    if (source !== undefined && source !== name) {
      throw new MixedSequence(`one sequence cannot hold both ${source} and ${name}`);
    }
    source = name;
  };
  const write = (group: Parameters<typeof encodeGroup>[0]): Uint8Array => {
    counts.groups += 1;
    return encodeGroup(group, variant);
  };
  const release = (number: number): Uint8Array[] => {
    const group = waiting.get(number);
    if (group === undefined) return [];
    waiting.delete(number);
    if (group.missing > 0) counts.partial += 1;
    if (number < next) counts.displaced += 1;
    next = Math.max(next, number + 1);
    const { context, sinceBootNs: startNs } = group.record;
    const events = group.events.filter((event) => event !== undefined);
    return [write({ context, startNs, endNs: group.endNs, events })];
  };
  const live = ({ record, event }: PlacedRecord, timeUs: number): Uint8Array[] => {
    const ownUs = bootOf(record, timeUs);
    const metadata = bootUs === undefined
      ? [write(metadataGroup(BigInt(Math.floor(ownUs / US_PER_S))))]
      : [];
    bootUs ??= ownUs;
    // The clock is corrected while a host is up: only what must be another boot is one.
    const isSame = Math.abs(ownUs - bootUs) < SAME_BOOT_US;
    const shiftNs = isSame ? 0n : BigInt(Math.round(ownUs - bootUs)) * 1_000n;
    const ns = record.sinceBootNs + shiftNs < 0n ? 0n : record.sinceBootNs + shiftNs;
    return [
      ...metadata,
      write({ context: record.context, startNs: ns, endNs: ns, events: [event] }),
    ];
  };
  const collect = ({ record, event, place }: PlacedRecord): void => {
    if (place === undefined) return;
    const { group: number, index, size, end_ns: end } = place;
    let group = waiting.get(number);
    if (group === undefined) {
      const endNs = end === undefined ? record.sinceBootNs : BigInt(end);
      group = { record, endNs, events: [], missing: size };
      waiting.set(number, group);
    }
    if (group.events[index] !== undefined || index >= size || size > ARRAY_ENTRIES_MAX) return;
    group.events[index] = event;
    group.missing -= 1;
  };
  const releaseReady = (): Uint8Array[] => {
    const ready: Uint8Array[] = [];
    while (waiting.get(next)?.missing === 0) ready.push(...release(next));
    if (waiting.size > WAITING_MAX) ready.push(...release(Math.min(...waiting.keys())));
    return ready;
  };
  return {
    push(event) {
      const placed = placedRecordOf(event);
      if (placed === undefined) {
        if (event.detail?.["key"] !== PROOF_KEY) counts.skipped += 1;
        return [];
      }
      const { place } = placed;
      claim(place === undefined ? `probes of host "${event.host ?? ""}"` : `file ${place.id}`);
      if (place === undefined) return live(placed, event.timeUs);
      collect(placed);
      return releaseReady();
    },
    finish: () => [...waiting.keys()].toSorted((a, b) => a - b).flatMap(release),
    counts,
  };
}

/** Boots lie further apart, corrections of a clock do not. */
const SAME_BOOT_US = 10 * US_PER_S;
