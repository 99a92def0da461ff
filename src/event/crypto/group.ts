/**
 * Groups of events as crypto-auditing's primary log has them, from values of CBOR and back, in its three encodings.
 * What each member is called and in which order they are written is said here and nowhere else.
 *
 * Invariants: a group that was read gives the same bytes again in its own encoding, unless its members stood in another
 * order; sizes are bounded, so that every fact fits a line.
 */
import { decodeItem, encodeItem } from "./cbor.ts";
import { CborFault, type CborItem } from "./cbor-items.ts";
import { CONTEXT_BYTES, type CryptoValue } from "./record.ts";

/** Names of members; or their numbers, and events as maps of one entry; or numbers, and events as lists of two. */
export type CborVariant = "normal" | "packed" | "minimal";
export const CBOR_VARIANTS = ["normal", "packed", "minimal"] as const;

export type GroupEvent =
  | {
    readonly kind: "context";
    /** 32 hex characters. */
    readonly parent: string;
    /** Build id of the library, hex; empty when it has none. */
    readonly origin: string;
    /** Bytes of the executable's name without its folder, hex; undefined in files from before May 2026. */
    readonly executable: string | undefined;
  }
  | { readonly kind: "data"; readonly key: string; readonly datum: CryptoValue };

/** Events of one context that follow each other. */
export interface EventGroup {
  /** 32 hex characters. */
  readonly context: string;
  /** First and last event, nanoseconds since boot. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** At least one. */
  readonly events: readonly GroupEvent[];
}

/** Longest texts, in bytes. Probes give 63 bytes of a key or value, 64 of a build id, 255 of an executable. */
const KEY_BYTES_MAX = 1_024;
const VALUE_BYTES_MAX = 64 * 1024;
const ORIGIN_BYTES_MAX = 256;
const EXECUTABLE_BYTES_MAX = 4_096;

const GROUP = ["context", "start", "end", "events"] as const;
const CONTEXT = ["parent", "origin", "executable"] as const;
const DATA = ["key", "value"] as const;
const EVENT = ["NewContext", "Data"] as const;

/** Throws a {@link CborFault} that names the item's place and the member. */
export function groupOf(item: CborItem): EventGroup {
  const refuse = (fault: string): never => {
    throw new CborFault(item.offset, fault);
  };
  const group = membersOf(decodeItem(item), GROUP, { of: "group", refuse });
  const { events } = group;
  if (!Array.isArray(events)) return refuse('"events" of the group is not a list');
  if (events.length === 0) return refuse("the group has no events");
  return {
    context: contextOf(group.context, "context", refuse),
    startNs: momentOf(group.start, "start", refuse),
    endNs: momentOf(group.end, "end", refuse),
    events: events.map((event) => eventOf(event, refuse)),
  };
}

/** The bytes of a group as crypto-auditing writes them. */
export function encodeGroup(group: EventGroup, variant: CborVariant): Uint8Array {
  const { context, startNs, endNs, events } = group;
  const values = {
    context: bytesOf(context),
    start: startNs,
    end: endNs,
    events: events.map((event) => valueOfEvent(event, variant)),
  };
  return encodeItem(mapOf(values, GROUP, variant));
}

/** What crypto-auditing tells of a file before its events. */
export function metadataGroup(bootSeconds: bigint): EventGroup {
  const word = (key: string, value: bigint): GroupEvent => ({
    kind: "data",
    key,
    datum: { type: "word", value },
  });
  return {
    context: "0".repeat(2 * CONTEXT_BYTES),
    ...{ startNs: 0n, endNs: 0n },
    events: [word("version", 1n), word("boot_time", bootSeconds)],
  };
}

type Refuse = (fault: string) => never;

/** Members by name: a map may name each by its text or its number. */
function membersOf<N extends string>(
  value: unknown,
  names: readonly N[],
  { of, refuse }: { readonly of: string; readonly refuse: Refuse },
): { readonly [name in N]?: unknown } {
  if (!(value instanceof Map)) return refuse(`the ${of} is not a map`);
  const found: { [name in N]?: unknown } = {};
  for (const [key, member] of value) {
    const name = typeof key === "number" ? names[key] : names.find((each) => each === key);
    if (name === undefined) return refuse(`the ${of} has an unknown member`);
    if (name in found) return refuse(`"${name}" of the ${of} comes twice`);
    found[name] = member;
  }
  return found;
}

function eventOf(value: unknown, refuse: Refuse): GroupEvent {
  const [tag, body] = entryOf(value, refuse);
  const kind = typeof tag === "number" ? EVENT[tag] : tag;
  if (kind === "NewContext") {
    const { parent, origin, executable } = membersOf(body, CONTEXT, { of: "context", refuse });
    if (!isBytes(origin, ORIGIN_BYTES_MAX)) {
      return refuse(`"origin" is not at most ${ORIGIN_BYTES_MAX} bytes`);
    }
    if (executable !== undefined && !isBytes(executable, EXECUTABLE_BYTES_MAX)) {
      return refuse(`"executable" is not at most ${EXECUTABLE_BYTES_MAX} bytes`);
    }
    return {
      kind: "context",
      parent: contextOf(parent, "parent", refuse),
      origin: hexOf(origin),
      executable: executable === undefined ? undefined : hexOf(executable),
    };
  }
  if (kind !== "Data") return refuse("an event is neither NewContext nor Data");
  const { key, value: told } = membersOf(body, DATA, { of: "datum", refuse });
  if (!isText(key, KEY_BYTES_MAX)) {
    return refuse(`"key" is not text of at most ${KEY_BYTES_MAX} bytes`);
  }
  return { kind: "data", key, datum: datumOf(told, refuse) };
}

/** The only entry of a map, or the two of a list. */
function entryOf(value: unknown, refuse: Refuse): readonly unknown[] {
  const entry = value instanceof Map && value.size === 1 ? [...value][0] : value;
  return Array.isArray(entry) && entry.length === 2
    ? entry
    : refuse("an event is neither a map of one entry nor a list of two");
}

function datumOf(value: unknown, refuse: Refuse): CryptoValue {
  if (typeof value === "number" || typeof value === "bigint") {
    const word = BigInt(value);
    if (BigInt.asIntN(64, word) === word) return { type: "word", value: word };
    return refuse('"value" is no signed number of 64 bits');
  }
  if (isText(value, VALUE_BYTES_MAX)) return { type: "string", value };
  // A copy: the bytes of an item are valid for a moment.
  if (isBytes(value, VALUE_BYTES_MAX)) return { type: "blob", value: Uint8Array.from(value) };
  return refuse(`"value" is no number, text or bytes of at most ${VALUE_BYTES_MAX} bytes`);
}

function contextOf(value: unknown, name: string, refuse: Refuse): string {
  if (value instanceof Uint8Array && value.length === CONTEXT_BYTES) {
    return hexOf(value);
  }
  return refuse(`"${name}" is not ${CONTEXT_BYTES} bytes`);
}

function momentOf(value: unknown, name: string, refuse: Refuse): bigint {
  const isWhole = (typeof value === "number" || typeof value === "bigint") && value >= 0;
  return isWhole ? BigInt(value) : refuse(`"${name}" is no number of nanoseconds`);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}

function bytesOf(hex: string): Uint8Array {
  return Buffer.from(hex, "hex");
}

function isBytes(value: unknown, bytesMax: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length <= bytesMax;
}

function isText(value: unknown, bytesMax: number): value is string {
  return typeof value === "string" && Buffer.byteLength(value) <= bytesMax;
}

function valueOfEvent(event: GroupEvent, variant: CborVariant): unknown {
  const body = event.kind === "context"
    ? mapOf(
      {
        parent: bytesOf(event.parent),
        origin: bytesOf(event.origin),
        executable: event.executable === undefined ? undefined : bytesOf(event.executable),
      },
      CONTEXT,
      variant,
    )
    : mapOf({ key: event.key, value: event.datum.value }, DATA, variant);
  const kind = event.kind === "context" ? 0 : 1;
  if (variant === "minimal") return [kind, body];
  return new Map([[variant === "normal" ? EVENT[kind] : kind, body]]);
}

/** Members in the order of their names; those that are undefined are left out. */
function mapOf<N extends string>(
  values: { readonly [name in N]: unknown },
  names: readonly N[],
  variant: CborVariant,
): ReadonlyMap<string | number, unknown> {
  return new Map(
    names.flatMap((name, place) =>
      values[name] === undefined ? [] : [[variant === "normal" ? name : place, values[name]]]
    ),
  );
}
