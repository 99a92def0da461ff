/**
 * Legal holds: what must stay in the archive as it is, whatever its age. A hold is a small object in the registry, set
 * and released with a record.
 *
 * Invariant: a file is held when it may hold a row that the hold speaks of. A bound that is unknown, and a file of which
 * only the day is known, count as held: a hold may keep too much, never too little.
 */
import type { RecordPlace } from "./admin-record.ts";
import { compareText } from "./delta-statistics.ts";
import { isRecord } from "./json-text.ts";
import type { ObjectStore } from "./object-store.ts";
import { recordedChange } from "./recorded-change.ts";
import { createRegistry, type Registry } from "./registry.ts";
import type { DataFile } from "./table.ts";

export interface Hold {
  /** Why, for those who find it. */
  readonly reason: string;
  /** Names of hosts, `*` at the end for any that begin so; all when empty. */
  readonly hosts: readonly string[];
  /** Time of the events, ms since the Unix epoch, inclusive; undefined for the beginning. */
  readonly fromMs: number | undefined;
  /** Exclusive; undefined for no end. */
  readonly toMs: number | undefined;
}

/** Most hosts of a hold, and characters of each and of the reason. */
export const HOLD_HOSTS_MAX = 1_000;
export const HOLD_TEXT_LENGTH_MAX = 1_000;

const DAY_MS = 86_400_000;

/** The holds of a bucket, by name. */
export function openHolds(store: ObjectStore): Registry<Hold> {
  return createRegistry({ store, kind: "holds", parse: parseHold });
}

export interface HoldChange {
  readonly name: string;
  /** Who changes it, for the record. */
  readonly by: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sets a hold, recorded before it stands; false when one of that name stands. The signal ends it only before the record
 * begins: what is begun is brought to its end, so that the record says what became of it.
 */
export async function setHold(
  place: RecordPlace,
  { name, by, hold, signal }: HoldChange & { readonly hold: Hold },
): Promise<boolean> {
  const holds = openHolds(place.store);
  if (await holds.get(name, signal === undefined ? {} : { signal }) !== undefined) return false;
  const deed = { kind: "hold", by, parameters: { name, ...hold } } as const;
  return await recordedChange(
    place,
    deed,
    async () => await holds.create(name, hold) !== undefined,
  );
}

/** Releases a hold, recorded before it goes; false when there is none of that name. The signal as in {@link setHold}. */
export async function releaseHold(
  place: RecordPlace,
  { name, by, signal }: HoldChange,
): Promise<boolean> {
  const holds = openHolds(place.store);
  const standing = await holds.get(name, signal === undefined ? {} : { signal });
  if (standing === undefined) return false;
  const deed = { kind: "release", by, parameters: { name, ...standing.value } } as const;
  return await recordedChange(place, deed, () => holds.remove(standing));
}

/** Whether one of the holds may speak of a row of the file. */
export function isFileHeld(file: DataFile, holds: readonly Hold[]): boolean {
  const { minimum, maximum } = file;
  return holds.some(({ fromMs = -Infinity, toMs = Infinity, hosts }) =>
    fromMs <= timeOf(maximum["time"], Infinity) && toMs > timeOf(minimum["time"], -Infinity) &&
    (hosts.length === 0 || hosts.some((host) => mayHaveHost(file, host)))
  );
}

/** Whether one of the holds may speak of a row of that UTC day, YYYY-MM-DD. */
export function isDayHeld(day: string, holds: readonly Hold[]): boolean {
  const startMs = Date.parse(`${day}T00:00:00Z`);
  return holds.some(({ fromMs = -Infinity, toMs = Infinity }) =>
    fromMs < startMs + DAY_MS && toMs > startMs
  );
}

/** Reads a hold strictly; throws SyntaxError when it is none. */
export function parseHold(value: unknown): Hold {
  if (!isRecord(value)) throw new SyntaxError("a hold is no object");
  const { reason, hosts, fromMs, toMs } = value;
  if (!isShortText(reason)) throw new SyntaxError(`"reason" is no text`);
  if (!Array.isArray(hosts) || hosts.length > HOLD_HOSTS_MAX || !hosts.every(isShortText)) {
    throw new SyntaxError(`"hosts" is no list of at most ${HOLD_HOSTS_MAX} names`);
  }
  return { reason, hosts, fromMs: timeField(fromMs, "fromMs"), toMs: timeField(toMs, "toMs") };
}

function timeOf(bound: string | number | undefined, unknown: number): number {
  const time = typeof bound === "string" ? Date.parse(bound) : NaN;
  return Number.isNaN(time) ? unknown : time;
}

function mayHaveHost({ minimum, maximum }: DataFile, host: string): boolean {
  const least = minimum["host"];
  const greatest = maximum["host"];
  if (typeof least !== "string" || typeof greatest !== "string") return true;
  const isPrefix = host.endsWith("*");
  const text = isPrefix ? host.slice(0, -1) : host;
  // Bounds may be cut short, so that only the beginning of them says anything for a prefix.
  const end = isPrefix ? least.slice(0, text.length) : least;
  return compareText(end, text) <= 0 && compareText(greatest, text) >= 0;
}

function isShortText(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= HOLD_TEXT_LENGTH_MAX;
}

function timeField(value: unknown, name: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw new SyntaxError(`"${name}" is no time in milliseconds`);
}
