/**
 * What a probe of crypto-auditing tells, as a record and as an event: the one place that says which column and which key
 * of `detail` holds what. Pure.
 *
 * Invariant: {@link recordOf} gives back every record that {@link cryptoFields} was given, to the nanosecond and the byte.
 */
import type { AuditEvent } from "../event.ts";
import { TOPIC_LENGTH_MAX } from "../topic.ts";
import { cryptoSentence } from "./sentence.ts";

/** A word is a signed number of 64 bits; text is UTF-8; a blob is bytes. */
export type CryptoValue =
  | { readonly type: "word"; readonly value: bigint }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "blob"; readonly value: Uint8Array };

/** A context begins below another (or says itself as parent: the reader infers), or a datum is told of one. */
export type CryptoFact =
  | { readonly kind: "context"; readonly parent: string }
  | { readonly kind: "data"; readonly key: string; readonly datum: CryptoValue };

export interface CryptoRecord {
  /** 16 bytes as 32 hex characters, lower case. */
  readonly context: string;
  /** Nanoseconds since the host's boot, suspended time included. */
  readonly sinceBootNs: bigint;
  readonly fact: CryptoFact;
}

/** What of an event comes from its record; what is known of the process stands beside it. */
export type CryptoFields =
  & Pick<AuditEvent, "topic" | "severity" | "context" | "message">
  & { readonly parent_context?: string; readonly detail: Readonly<Record<string, unknown>> };

/** Bytes of an id of a context. */
export const CONTEXT_BYTES = 16;
/** Of what comes before any context: version and boot time of a file. */
export const NO_CONTEXT = "0".repeat(2 * CONTEXT_BYTES);
const CONTEXT_TOPIC = "crypto/context";
/** Key by which an agent tells itself that it sees probes: in the record it shows that, elsewhere it says nothing. */
export const PROOF_KEY = "probity::proof";

/** `origin`: build id of the library, hex; left out when it is not known. `more`: further keys of `detail`. */
export function cryptoFields(
  { context, sinceBootNs, fact }: CryptoRecord,
  { origin, more = {} }: {
    readonly origin?: string;
    readonly more?: Readonly<Record<string, unknown>>;
  },
): CryptoFields {
  return {
    topic: cryptoTopic(fact),
    severity: "info",
    context,
    ...(fact.kind === "context" ? { parent_context: fact.parent } : {}),
    message: cryptoSentence(fact),
    detail: {
      ...(fact.kind === "context" ? {} : { key: fact.key, ...detailOf(fact.datum) }),
      ...(origin === undefined ? {} : { origin }),
      since_boot_ns: String(sinceBootNs),
      ...more,
    },
  };
}

/** `crypto/tls/group` of the key `tls::group`; a name is the operation itself: `crypto/tls/handshake`. */
export function cryptoTopic(fact: CryptoFact): string {
  if (fact.kind === "context") return CONTEXT_TOPIC;
  const { key, datum } = fact;
  const names = key === "name" && datum.type === "string" ? datum.value : key;
  const segments = names.slice(0, TOPIC_LENGTH_MAX).split("::")
    .map((each) => each.replaceAll(/[^a-zA-Z0-9_.:-]/g, "_") || "_");
  return ["crypto", ...segments].join("/").slice(0, TOPIC_LENGTH_MAX).replace(/\/$/, "");
}

/** The record of an event below `crypto/`; undefined when it is none. */
export function recordOf(event: {
  readonly context?: string;
  readonly parent_context?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}): CryptoRecord | undefined {
  const { context, parent_context: parent, detail = {} } = event;
  const ns = detail["since_boot_ns"];
  if (context === undefined || !CONTEXT.test(context)) return undefined;
  if (typeof ns !== "string" || !/^[0-9]{1,20}$/.test(ns)) return undefined;
  const fact = factOf(parent, detail);
  if (fact === undefined || BigInt.asUintN(64, BigInt(ns)) !== BigInt(ns)) return undefined;
  return { context, sinceBootNs: BigInt(ns), fact };
}

const CONTEXT = new RegExp(`^[0-9a-f]{${2 * CONTEXT_BYTES}}$`);

function factOf(
  parent: string | undefined,
  { key, type, value }: Readonly<Record<string, unknown>>,
): CryptoFact | undefined {
  if (key === undefined) {
    return parent !== undefined && CONTEXT.test(parent) ? { kind: "context", parent } : undefined;
  }
  const datum = datumOf(type, value);
  return typeof key === "string" && datum !== undefined ? { kind: "data", key, datum } : undefined;
}

/** Numbers that JSON readers would round are text. */
function detailOf({ type, value }: CryptoValue): Readonly<Record<string, unknown>> {
  switch (type) {
    case "word":
      return {
        value: Number.isSafeInteger(Number(value)) ? Number(value) : String(value),
        type,
      };
    case "string":
      return { value, type };
    case "blob":
      return { value: Buffer.from(value).toString("hex"), type };
  }
}

function datumOf(type: unknown, value: unknown): CryptoValue | undefined {
  if (type === "word") {
    if (typeof value === "number" && Number.isSafeInteger(value)) {
      return { type, value: BigInt(value) };
    }
    if (typeof value !== "string" || !/^-?[0-9]{1,19}$/.test(value)) return undefined;
    const word = BigInt(value);
    return BigInt.asIntN(64, word) === word ? { type, value: word } : undefined;
  }
  if (typeof value !== "string") return undefined;
  if (type === "string") return { type, value };
  return type === "blob" && /^(?:[0-9a-f]{2})*$/.test(value)
    ? { type, value: Buffer.from(value, "hex") }
    : undefined;
}
