/**
 * The first message of a connection may say what the sender wants of it: `{"probity":{"ack":true,"service":"name"}}`.
 *
 * Invariant: only an object with the single member `probity`, which is an object itself, is a handshake; whatever else a
 * program begins with is a message like all others, so that programs that know of no handshake lose nothing.
 */
import { isObject } from "./object-members.ts";
import { topicPart } from "./topic-names.ts";

export interface Handshake {
  /** Whether each message is to be answered once it is durable. */
  readonly ack: boolean;
  /** The application's name, as it may stand in a topic. */
  readonly service: string | undefined;
}

/** More bytes are no handshake. */
const HANDSHAKE_BYTES_MAX = 1_024;

/** The handshake that a first message is; undefined when it is none, `"refused"` when it asks in an unknown form. */
export function handshakeOf(bytes: Buffer): Handshake | "refused" | undefined {
  if (bytes.length > HANDSHAKE_BYTES_MAX) return undefined;
  const text = bytes.toString("utf8");
  if (!/^\s*\{\s*"probity"/.test(text)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // No JSON: a message like all others.
  }
  if (!isObject(value) || Object.keys(value).length !== 1) return undefined;
  const asked = value["probity"];
  if (!isObject(asked)) return undefined;
  const { ack = false, service, ...unknown } = asked;
  if (typeof ack !== "boolean" || Object.keys(unknown).length > 0) return "refused";
  if (service === undefined) return { ack, service: undefined };
  const name = typeof service === "string" ? topicPart(service) : undefined;
  return name === undefined ? "refused" : { ack, service: name };
}
