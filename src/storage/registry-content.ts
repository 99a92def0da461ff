/**
 * What an object of the registry holds: a value, or that the name was removed, with the marks of the writes before.
 *
 * Invariant: what has no value is small, so that whoever looks for removed names need not read what is large.
 */
import { isRecord } from "./json-text.ts";

export interface RegistryContent<T> {
  readonly mark: string;
  /** Marks of the writes before this one, the latest first; "" is the time when nothing stood there. */
  readonly past: readonly string[];
  /** By its writer's clock, ms since the Unix epoch. */
  readonly writtenAtMs: number;
  /** Undefined when the name was removed. */
  readonly value: T | undefined;
  /** It is about to be deleted: nobody writes over it but whoever finds that it was left behind. */
  readonly isSealed: boolean;
}

/** Largest value as JSON, in bytes. */
export const REGISTRY_VALUE_BYTES_MAX = 256 * 1024;
/** Marks of earlier writes that a write carries. */
export const PAST_MAX = 16;
/** No object without a value is larger, in bytes. */
export const EMPTY_CONTENT_BYTES_MAX = 1_024;

/** The object's body. Throws RangeError for a value that is too large. */
export function encodeRegistryContent(key: string, content: RegistryContent<unknown>): Uint8Array {
  const { mark, past, writtenAtMs, value = null, isSealed } = content;
  const at = new Date(writtenAtMs).toISOString();
  const object = { mark, past: past.slice(0, PAST_MAX), at, value };
  const text = JSON.stringify(isSealed ? { ...object, sealed: true } : object);
  const body = new TextEncoder().encode(`${text}\n`);
  if (body.length <= REGISTRY_VALUE_BYTES_MAX) return body;
  throw new RangeError(
    `Cannot write "${key}": ${body.length} bytes are more than ${REGISTRY_VALUE_BYTES_MAX}`,
  );
}

/** Reads a body strictly; throws SyntaxError when it is none of the registry, and what `parse` throws. */
export function parseRegistryContent<T>(
  body: Uint8Array,
  parse: (value: unknown) => T,
): RegistryContent<T> {
  const content: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  if (!isRecord(content)) throw new SyntaxError("it is no object");
  const { mark, past, at, value, sealed = false } = content;
  const writtenAtMs = typeof at === "string" ? Date.parse(at) : NaN;
  if (typeof mark !== "string" || !areTexts(past) || Number.isNaN(writtenAtMs)) {
    throw new SyntaxError(`"mark", "past" or "at" is missing`);
  }
  if (value === undefined) throw new SyntaxError(`"value" is missing`);
  const isSealed = sealed === true;
  if (isSealed && value !== null) throw new SyntaxError("it is sealed and has a value");
  return { mark, past, writtenAtMs, value: value === null ? undefined : parse(value), isSealed };
}

function areTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}
