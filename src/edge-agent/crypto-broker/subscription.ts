/**
 * What a subscriber of crypto-auditing's event broker asks for, and which events it gets: the protocol, without sockets.
 *
 * A frame is its length as 32 bits, the highest byte first, and so many bytes of CBOR. A subscriber sends one: a list of
 * scopes. Then it is sent groups of events, one to a frame, as long as it stays.
 */
import { decodeItem } from "../../event/crypto/cbor.ts";
import { CborFault, createCborItems } from "../../event/crypto/cbor-items.ts";
import { encodeGroup, type GroupEvent } from "../../event/crypto/group.ts";
import { placedRecordOf } from "../../event/crypto/group-events.ts";

/** None: everything. */
export type Scopes = readonly string[];

/** Largest list of scopes, in bytes and entries. */
export const REQUEST_BYTES_MAX = 16 * 1024;
const SCOPES_MAX = 256;
const LENGTH_BYTES = 4;

/** A subscriber said something else than a list of scopes. */
export class WrongRequest extends Error {}

/** Reads the one frame of a subscriber, however it is cut; undefined until it is whole. Throws {@link WrongRequest}. */
export function createRequestReader(): (piece: Uint8Array) => Scopes | undefined {
  let held = Buffer.alloc(0);
  return (piece) => {
    const room = LENGTH_BYTES + REQUEST_BYTES_MAX - held.length;
    held = Buffer.concat([held, piece.subarray(0, room)]);
    if (held.length < LENGTH_BYTES) return undefined;
    const length = held.readUInt32BE();
    if (length > REQUEST_BYTES_MAX) {
      throw new WrongRequest(`a request of ${length} bytes, at most ${REQUEST_BYTES_MAX}`);
    }
    if (held.length < LENGTH_BYTES + length) return undefined;
    return scopesOf(held.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
  };
}

/** A group as a frame, with what decides who gets it. */
export interface SentGroup {
  readonly frame: Uint8Array;
  readonly event: GroupEvent;
}

/** The frame of an event's line: the text of its JSON object after the opening brace. Undefined for other lines. */
export function sentGroupOf(fields: string): SentGroup | undefined {
  // as: a line that was made here, of this shape
  const line = JSON.parse(`{${fields}`) as Parameters<typeof placedRecordOf>[0];
  const placed = placedRecordOf(line);
  if (placed === undefined) return undefined;
  const { record: { context, sinceBootNs: at }, event } = placed;
  const bytes = encodeGroup({ context, startNs: at, endNs: at, events: [event] }, "normal");
  const frame = Buffer.alloc(LENGTH_BYTES + bytes.length);
  frame.writeUInt32BE(bytes.length);
  frame.set(bytes, LENGTH_BYTES);
  return { frame, event };
}

/** Beginnings of contexts go to everybody, and so do data that belong to no scope. */
export function isWanted(event: GroupEvent, scopes: Scopes): boolean {
  if (event.kind === "context" || scopes.length === 0 || !event.key.includes("::")) return true;
  return scopes.some((scope) => event.key.startsWith(`${scope}::`));
}

function scopesOf(bytes: Uint8Array): Scopes {
  const value = valueOf(bytes);
  const isList = Array.isArray(value) && value.length <= SCOPES_MAX &&
    value.every((scope) => typeof scope === "string");
  if (!isList) throw new WrongRequest(`something else than a list of at most ${SCOPES_MAX} scopes`);
  return value;
}

function valueOf(bytes: Uint8Array): unknown {
  const items = createCborItems();
  try {
    const [item, more] = [...items.push(bytes)].map(decodeItem);
    if (more === undefined && items.pendingBytes() === 0) return item;
  } catch (cause) {
    if (!(cause instanceof CborFault)) throw cause;
    throw new WrongRequest(`a request that cannot be read: ${cause.message}`, { cause });
  }
  throw new WrongRequest("a request that is not one item of CBOR");
}
