/**
 * Groups of crypto-auditing as events of the record, and events as groups again.
 *
 * What an event keeps for that: `since_boot_ns` (its time to the nanosecond), `type` of the value, `origin` and `exe` of
 * the library and program; of an imported file also `sequence`: which file, the group's number in it, the event's place
 * in the group and how many there are, and the group's end when it is another moment than its begin.
 *
 * Invariant: the events of a file, in any order, give the file's groups in their order.
 */
import { isUtf8 } from "node:buffer";
import type { AuditEvent } from "../event.ts";
import type { EventGroup, GroupEvent } from "./group.ts";
import { cryptoFields, type CryptoRecord, NO_CONTEXT, PROOF_KEY, recordOf } from "./record.ts";

/** Where an imported event stood. */
export interface SequencePlace {
  /** Of the file. */
  readonly id: string;
  /** Of the group in the file, from 0. */
  readonly group: number;
  /** In the group, from 0. */
  readonly index: number;
  /** Events of the group. */
  readonly size: number;
  /** End of the group; left out when it is its begin. */
  readonly end_ns?: string;
}

/** A record that says whether it is alone, with what its group has of it. */
export interface PlacedRecord {
  readonly record: CryptoRecord;
  readonly event: GroupEvent;
  /** Undefined for what a probe told here. */
  readonly place: SequencePlace | undefined;
}

export interface GroupEvents {
  /** Events of the next group of a file. */
  next(group: EventGroup, place: { readonly id: string; readonly group: number }): AuditEvent[];
}

/** Contexts of which program and library are remembered; those forgotten first began first. */
const CONTEXTS_MAX = 65_536;

interface Program {
  readonly exe: string | undefined;
  readonly origin: string;
}

/**
 * Events of groups that come in the order of their file: data are told of the program that began their context.
 * `bootUs`: when its host was booted, µs since 1970; `firstNs`: begin of the first group that has a context. What a file
 * says of itself has the time of what is next to it: a range of time has both or none.
 */
export function createGroupEvents(
  { bootUs, firstNs }: { readonly bootUs: number; readonly firstNs: bigint },
): GroupEvents {
  let latestNs = firstNs;
  const programs = new Map<string, Program>();
  const programOf = (context: string, event: GroupEvent): Program | undefined => {
    if (event.kind === "data") return programs.get(context);
    const program = { exe: nameOf(event.executable), origin: event.origin };
    programs.delete(context);
    programs.set(context, program);
    const [oldest] = programs.size > CONTEXTS_MAX ? programs.keys() : [];
    if (oldest !== undefined) programs.delete(oldest);
    return program;
  };
  return {
    next({ context, startNs, endNs, events }, place) {
      if (context !== NO_CONTEXT) latestNs = startNs;
      const beginNs = context === NO_CONTEXT ? latestNs : startNs;
      const lastNs = context === NO_CONTEXT ? latestNs : endNs;
      return events.map((event, index) => {
        const program = programOf(context, event);
        const exe = program?.exe;
        const isLast = index === events.length - 1;
        const sequence: SequencePlace = {
          ...{ ...place, index, size: events.length },
          ...(endNs === startNs ? {} : { end_ns: String(endNs) }),
        };
        const fact = event.kind === "data" ? event : { kind: event.kind, parent: event.parent };
        const { executable } = event.kind === "data" ? {} : event;
        // A name that is no plain text is kept as bytes.
        const isBytes = exe === undefined && executable !== undefined;
        return {
          timeUs: timeOf(bootUs, isLast ? lastNs : beginNs),
          service: serviceOf(place.id),
          ...(exe === undefined ? {} : { exe }),
          ...cryptoFields({ context, sinceBootNs: startNs, fact }, {
            ...(program === undefined ? {} : { origin: program.origin }),
            more: { ...(isBytes ? { executable } : {}), sequence },
          }),
        };
      });
    },
  };
}

/** Name of the service that events of an imported file have, by which they can be asked for. */
export function serviceOf(id: string): string {
  return `${IMPORTED}${id}`;
}

/** Whether a service is that of an imported file. */
export function isImported(service: string | undefined): boolean {
  return service?.startsWith(IMPORTED) === true;
}

const IMPORTED = "cborseq-";

/** What an event has of a group; undefined when it is none of crypto-auditing's, or an agent's proof to itself. */
export function placedRecordOf(event: {
  readonly context?: string;
  readonly parent_context?: string;
  readonly exe?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}): PlacedRecord | undefined {
  const record = recordOf(event);
  if (record === undefined) return undefined;
  const { detail = {} } = event;
  const { origin, executable } = detail;
  const place = placeOf(detail["sequence"]);
  const { fact } = record;
  if (fact.kind === "data") {
    return fact.key === PROOF_KEY && place === undefined
      ? undefined
      : { record, event: fact, place };
  }
  return {
    record,
    event: {
      ...fact,
      origin: isHex(origin) ? origin : "",
      executable: isHex(executable) ? executable : bytesOfName(event.exe),
    },
    place,
  };
}

/** When the host of an event was booted, µs since 1970. */
export function bootOf({ sinceBootNs }: CryptoRecord, timeUs: number): number {
  return timeUs - Number(sinceBootNs / 1_000n);
}

/** Boot time that a file tells of itself, in seconds since 1970; undefined for any other group. */
export function bootSecondsOf({ context, events }: EventGroup): bigint | undefined {
  if (context !== NO_CONTEXT) return undefined;
  for (const event of events) {
    if (event.kind === "data" && event.key === "boot_time" && event.datum.type === "word") {
      return event.datum.value;
    }
  }
  return undefined;
}

function timeOf(bootUs: number, sinceBootNs: bigint): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, bootUs + Number(sinceBootNs / 1_000n)));
}

/** A name as text, when its bytes can be told from it. */
function nameOf(hex: string | undefined): string | undefined {
  if (hex === undefined || hex === "") return undefined;
  const bytes = Buffer.from(hex, "hex");
  const isPlain = isUtf8(bytes) && !bytes.includes(0) && !bytes.includes("/");
  return isPlain ? bytes.toString() : undefined;
}

function bytesOfName(exe: string | undefined): string | undefined {
  if (exe === undefined) return undefined;
  return Buffer.from(exe.slice(exe.lastIndexOf("/") + 1)).toString("hex");
}

function placeOf(value: unknown): SequencePlace | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { id, group, index, size, end_ns: end }: Partial<Record<keyof SequencePlace, unknown>> =
    value;
  if (typeof id !== "string" || !isCount(group) || !isCount(index) || !isCount(size)) {
    return undefined;
  }
  const isEnd = typeof end === "string" && /^[0-9]{1,20}$/.test(end);
  return { id, group, index, size, ...(isEnd ? { end_ns: end } : {}) };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isHex(value: unknown): value is string {
  return typeof value === "string" && /^(?:[0-9a-f]{2})*$/.test(value);
}
