/**
 * What was done to the table, holds and tokens, on its way into the log: a small object in the bucket for each deed, from
 * before it begins until a roll-up has told of it as an `audit/admin` event. Whoever does it needs no broker for that.
 *
 * Invariant: no deed without a record, written before it; a record goes only once its event is on the teller's disk. So a
 * deed that was cut short is told as well, and one may be told twice, with the same `record`.
 */
import { randomUUID } from "node:crypto";
import type { AuditEvent } from "../event/event.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { isRecord } from "./json-text.ts";
import { registryKey } from "./layout.ts";
import { AmbiguousWriteError, type ObjectStore } from "./object-store.ts";

/** Where records lie, and by which clock they are written. */
export interface RecordPlace {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly log: Log;
}

export type DeedKind =
  | "compact"
  | "retain"
  | "vacuum"
  | "hold"
  | "release"
  | "adopt"
  | "grant"
  | "revoke";

export interface Deed {
  readonly kind: DeedKind;
  /** Who: a person with machine, or the roll-up. */
  readonly by: string;
  /** What was asked for. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

interface AdminRecord extends Deed {
  readonly state: "begun" | "done" | "failed";
  readonly begunAtMs: number;
  readonly endedAtMs: number | undefined;
  /** Figures of what was done, or why it failed. */
  readonly outcome: Readonly<Record<string, unknown>>;
}

/** A deed that began so long ago and did not end was cut short, in milliseconds. */
export const CUT_SHORT_AFTER_MS = 24 * 3_600_000;
/** Records told at a time. */
export const RECORDS_PER_TELLING_MAX = 1_000;
const KIND = "admin";
const VERBS: Readonly<Record<DeedKind, string>> = {
  compact: "compacted files of the table",
  retain: "removed rows past their time",
  vacuum: "deleted objects that nothing needs",
  hold: "set a hold",
  release: "released a hold",
  adopt: "took into the record what senders that are gone had left",
  grant: "made a token",
  revoke: "revoked a token",
};
/** What the command line calls it, where that is not `table …`. */
const ACTIONS: Partial<Readonly<Record<DeedKind, string>>> = {
  adopt: "rollup adopt",
  grant: "token create",
  revoke: "token revoke",
};

/**
 * Does something and keeps the record of it. The deed gets `begin`, to be called before it changes anything: a deed that
 * finds nothing to do leaves no record. Throws what the deed throws.
 */
export async function withRecord<T extends object>(
  place: RecordPlace,
  deed: Deed,
  act: (begin: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const key = registryKey(KIND, randomUUID());
  let begun: AdminRecord | undefined;
  const write = (record: AdminRecord): Promise<void> =>
    place.store.put(key, new TextEncoder().encode(`${JSON.stringify(record)}\n`));
  const begin = async (): Promise<void> => {
    if (begun !== undefined) return;
    const begunAtMs = nowMsOf(place);
    const record = {
      ...deed,
      state: "begun",
      begunAtMs,
      endedAtMs: undefined,
      outcome: {},
    } as const;
    await write(record);
    begun = record;
  };
  const end = async (state: "done" | "failed", outcome: AdminRecord["outcome"]): Promise<void> => {
    if (begun !== undefined) await write({ ...begun, state, endedAtMs: nowMsOf(place), outcome });
  };
  let result: T;
  try {
    result = await act(begin);
  } catch (error) {
    // What may have been done after all is no failure: the record stays as it is, and is told as cut short.
    if (error instanceof AmbiguousWriteError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    // The deed's own failure is what counts; without this record it is told as cut short as well.
    await Promise.allSettled([end("failed", { error: reason })]);
    throw error;
  }
  const figures = Object.entries(result).filter(([, value]) =>
    typeof value === "number" || Array.isArray(value)
  );
  await end("done", Object.fromEntries(figures));
  return result;
}

/** Whether there is anything to tell, or may be soon; false also when the store does not say. */
export async function hasRecords(
  { store, log }: RecordPlace,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    const request = signal === undefined ? {} : { signal };
    for await (const _ of store.list(registryKey(KIND, ""), request)) return true;
  } catch (error) {
    log.warn("cannot look for records of maintenance", { error: String(error) });
  }
  return false;
}

/** Gives each ended or cut-short deed to `tell` as an event, and forgets it once that resolves. Resolves to how many. */
export async function tellRecords(
  { store, log, clock }: RecordPlace,
  tell: (event: AuditEvent) => Promise<void>,
  signal?: AbortSignal,
): Promise<number> {
  const request = signal === undefined ? {} : { signal };
  const keys: string[] = [];
  for await (const { key } of store.list(registryKey(KIND, ""), request)) {
    if (keys.push(key) >= RECORDS_PER_TELLING_MAX) break;
  }
  let told = 0;
  for (const key of keys) {
    const record = await readRecord(store, key, request);
    if (record === undefined) {
      log.error("a record of maintenance cannot be read and is left where it is", { key });
      continue;
    }
    const nowMs = Math.floor(clock.nowUs() / 1000);
    if (record.state === "begun" && nowMs - record.begunAtMs < CUT_SHORT_AFTER_MS) continue;
    await tell(eventOf(record, { key, nowMs }));
    await store.delete(key, request);
    told += 1;
  }
  return told;
}

function eventOf(
  record: AdminRecord,
  { key, nowMs }: { readonly key: string; readonly nowMs: number },
): AuditEvent {
  const { kind, by, parameters, state, begunAtMs, endedAtMs, outcome } = record;
  const hasDamage = Array.isArray(outcome["damaged"]) && outcome["damaged"].length > 0;
  const how = state === "done"
    ? VERBS[kind]
    : state === "failed"
    ? `began and failed (${kind})`
    : `began and did not end (${kind})`;
  return {
    timeUs: (endedAtMs ?? nowMs) * 1000,
    topic: "audit/admin",
    severity: hasDamage ? "high" : state === "done" ? "info" : "medium",
    outcome: state === "done" && !hasDamage ? "success" : "failure",
    user: by,
    service: "probity-maintenance",
    message: `${by} ${how}${hasDamage ? ", and found damaged files" : ""}.`,
    detail: {
      principal: by,
      action: ACTIONS[kind] ?? `table ${kind}`,
      parameters,
      ...outcome,
      record: key.slice(registryKey(KIND, "").length),
      begun: new Date(begunAtMs).toISOString(),
    },
  };
}

async function readRecord(
  store: ObjectStore,
  key: string,
  request: { readonly signal?: AbortSignal },
): Promise<AdminRecord | undefined> {
  const found = await store.get(key, request);
  try {
    return parseRecord(JSON.parse(new TextDecoder().decode(found?.body)));
  } catch {
    return undefined;
  }
}

function parseRecord(value: unknown): AdminRecord | undefined {
  if (!isRecord(value)) return undefined;
  const { kind, by, parameters, state, begunAtMs, endedAtMs, outcome } = value;
  if (!isKind(kind) || !isState(state) || typeof by !== "string") return undefined;
  if (typeof begunAtMs !== "number" || !isRecord(parameters) || !isRecord(outcome)) {
    return undefined;
  }
  const ended = typeof endedAtMs === "number" ? endedAtMs : undefined;
  return { kind, by, parameters, state, begunAtMs, endedAtMs: ended, outcome };
}

function nowMsOf({ clock }: RecordPlace): number {
  return Math.floor(clock.nowUs() / 1000);
}

function isKind(value: unknown): value is DeedKind {
  return typeof value === "string" && Object.hasOwn(VERBS, value);
}

function isState(value: unknown): value is AdminRecord["state"] {
  return value === "begun" || value === "done" || value === "failed";
}
