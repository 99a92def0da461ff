/**
 * The batch on the wire: stream and subject names, message headers, digests and limits.
 * A batch is one message: a zstd frame of NDJSON lines, or nothing for a void.
 *
 * Invariant: what {@link encodeHeaders} writes, {@link parseHeaders} reads back; headers that do not parse are
 * reported as text, never thrown.
 */
import { createHash, hash } from "node:crypto";

/** Largest message with headers, in bytes; checked before a batch is numbered. */
export const MESSAGE_BYTES_MAX = 1_000_000;
/** A batch closes at this much JSON, in bytes. */
export const BATCH_JSON_BYTES = 256 * 1024;
/** While {@link BACKLOG_BATCHES} wait, new batches close at this much JSON, in bytes. */
export const BACKLOG_JSON_BYTES = 4 * 1024 * 1024;
export const BACKLOG_BATCHES = 8;
/** A payload decompresses to at most this many bytes. */
export const PAYLOAD_JSON_BYTES_MAX = 16 * 1024 * 1024;
/** At most this many lines in one batch. */
export const BATCH_LINES_MAX = 1_000_000;
/** The times of one batch span at most this many microseconds (64 days). */
export const BATCH_SPAN_US = 64 * 86_400_000_000;

export const SCHEMA_VERSION = "1";

/** Reason of a void that the roll-up made: of all voids only the batch of such a one may still come. */
export const GIVEN_UP = "it did not come before its sender was given up";
/** Digest of a batch of which nothing but the number is known; only on a void that the roll-up made. */
export const UNKNOWN_DIGEST = "0".repeat(64);

export const HEADER = {
  messageId: "Nats-Msg-Id",
  expectedLastSubjectSequence: "Nats-Expected-Last-Subject-Sequence",
  host: "Probity-Host",
  agent: "Probity-Agent",
  epoch: "Probity-Epoch",
  batch: "Probity-Batch",
  count: "Probity-Count",
  first: "Probity-First",
  last: "Probity-Last",
  digest: "Probity-Digest",
  previous: "Probity-Prev",
  signature: "Probity-Signature",
  encoding: "Content-Encoding",
  schema: "Probity-Schema",
  void: "Probity-Void",
} as const;

export interface BatchHeader {
  readonly host: string;
  readonly agent: string;
  readonly epoch: string;
  /** From 1, up by one. */
  readonly number: number;
  readonly count: number;
  /** Earliest and latest time of the lines, µs since the Unix epoch. */
  readonly firstUs: number;
  readonly lastUs: number;
  /** SHA-256 of the payload, hex; on a void, of the payload that was lost. */
  readonly digest: string;
  /** Digest of the batch before it in the chain; none at the start of a chain. */
  readonly previous: string | undefined;
  /** Why the payload is missing; only on a void. */
  readonly void: string | undefined;
}

const AGENT = /^[a-z0-9-]{1,63}$/;
const EPOCH = /^[a-z0-9]{1,32}$/;
const SHARD = /^[a-z0-9]{1,16}$/;
const HOST = /^[\x21-\x7e]{1,253}$/;
const DIGEST = /^[0-9a-f]{64}$/;
const HOST_LENGTH_MAX = 253;
const VOID_LENGTH_MAX = 200;

export function isAgentName(text: string): boolean {
  return AGENT.test(text);
}

/** Whether a host may be called so: 1 to 253 visible ASCII characters, so that it fits a header as it is. */
export function isHostName(text: string): boolean {
  return HOST.test(text);
}

export function isShardName(text: string): boolean {
  return SHARD.test(text);
}

export function streamOf(shard: string): string {
  return `AUDIT_${shard}`;
}

export function subjectOf(shard: string, agent: string): string {
  return `audit.${shard}.${agent}`;
}

/** Key-value bucket in which roll-up workers divide the shards among themselves. */
export const LEASE_BUCKET = "PROBITY_leases";

/** Subject on which the roll-up says that a shard's next commit is in the table; its payload is the table's version. */
export function commitSubjectOf(shard: string): string {
  return `probity.commit.${shard}`;
}

/** Subjects of all agents of a shard. */
export function subjectsOf(shard: string): string {
  return `audit.${shard}.*`;
}

/** Shard and agent a subject names, or undefined when it is not one of ours. */
export function parseSubject(subject: string): { shard: string; agent: string } | undefined {
  const [root, shard, agent, ...rest] = subject.split(".");
  if (root !== "audit" || shard === undefined || agent === undefined || rest.length > 0) {
    return undefined;
  }
  return SHARD.test(shard) && AGENT.test(agent) ? { shard, agent } : undefined;
}

export function batchIdOf(header: Pick<BatchHeader, "agent" | "epoch" | "number">): string {
  return `${header.agent}/${header.epoch}/${header.number}`;
}

/** Message id of a batch that is sent again after a watermark, so that no de-duplication window swallows it. */
export function resendIdOf(
  header: Pick<BatchHeader, "agent" | "epoch" | "number">,
  watermark: { readonly incarnation: string; readonly sequence: number },
): string {
  return `${batchIdOf(header)}/${watermark.incarnation}-${watermark.sequence}`;
}

/** Message id of what the roll-up publishes in a sender's place, so that it never takes the place of the sender's own. */
export function adoptionIdOf(
  header: Pick<BatchHeader, "agent" | "epoch" | "number">,
  place: { readonly incarnation: string; readonly sequence: number },
): string {
  return `${resendIdOf(header, place)}/adopted`;
}

/** Whether a void was made by the roll-up for a batch that its sender may still have. */
export function isGivenUp(header: Pick<BatchHeader, "void">): boolean {
  return header.void === GIVEN_UP;
}

/** SHA-256, lower-case hex. */
export function digestOf(payload: Uint8Array): string {
  return hash("sha256", payload, "hex");
}

/**
 * Digest of a whole stored message: subject, headers in sorted order, payload. The commit remembers the one at its
 * sequence, so that a stream that lost its tail is told apart from the one that was read.
 */
export function messageDigestOf(message: {
  readonly subject: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly payload: Uint8Array;
}): string {
  // One text: handing over each line by itself takes longer than hashing it.
  let text = `${message.subject}\n`;
  for (const [name, value] of [...message.headers].sort(([a], [b]) => (a < b ? -1 : 1))) {
    text += `${name}: ${value}\n`;
  }
  return createHash("sha256").update(`${text}\n`).update(message.payload).digest("hex");
}

/** Headers of a message, all but `Nats-Msg-Id` and `Nats-Expected-Last-Subject-Sequence`, which its sending decides. */
export function encodeHeaders(header: BatchHeader): ReadonlyMap<string, string> {
  const headers = new Map<string, string>([
    [HEADER.host, header.host],
    [HEADER.agent, header.agent],
    [HEADER.epoch, header.epoch],
    [HEADER.batch, String(header.number)],
    [HEADER.count, String(header.count)],
    [HEADER.first, String(header.firstUs)],
    [HEADER.last, String(header.lastUs)],
    [HEADER.digest, header.digest],
    [HEADER.encoding, "zstd"],
    [HEADER.schema, SCHEMA_VERSION],
  ]);
  if (header.previous !== undefined) headers.set(HEADER.previous, header.previous);
  if (header.void !== undefined) headers.set(HEADER.void, header.void);
  return headers;
}

export type ParsedHeader =
  | { readonly ok: true; readonly header: BatchHeader }
  | { readonly ok: false; readonly reason: string };

/** Reads the headers of a message strictly; `agent` is the one its subject names. */
export function parseHeaders(
  headers: ReadonlyMap<string, string>,
  agent: string,
): ParsedHeader {
  const text = (name: string): string => headers.get(name) ?? "";
  const number = naturalOf(text(HEADER.batch));
  const count = naturalOf(text(HEADER.count));
  const firstUs = naturalOf(text(HEADER.first));
  const lastUs = naturalOf(text(HEADER.last));
  const previous = headers.get(HEADER.previous);
  const isVoid = headers.get(HEADER.void);
  const host = text(HEADER.host);
  const faults: string[] = [];
  const require = (holds: boolean, name: string): void => {
    if (!holds) faults.push(name);
  };
  require(text(HEADER.schema) === SCHEMA_VERSION, HEADER.schema);
  require(text(HEADER.encoding) === "zstd", HEADER.encoding);
  require(text(HEADER.agent) === agent, HEADER.agent);
  require(host.length > 0 && host.length <= HOST_LENGTH_MAX, HEADER.host);
  require(EPOCH.test(text(HEADER.epoch)), HEADER.epoch);
  require(number !== undefined && number > 0, HEADER.batch);
  require(count !== undefined && count <= BATCH_LINES_MAX, HEADER.count);
  require(firstUs !== undefined, HEADER.first);
  require(lastUs !== undefined && lastUs >= (firstUs ?? 0), HEADER.last);
  require(DIGEST.test(text(HEADER.digest)), HEADER.digest);
  require(previous === undefined || DIGEST.test(previous), HEADER.previous);
  require(isVoid === undefined || isVoid.length <= VOID_LENGTH_MAX, HEADER.void);
  if (
    faults.length > 0 || number === undefined || count === undefined || firstUs === undefined ||
    lastUs === undefined
  ) {
    return { ok: false, reason: `headers missing or malformed: ${faults.join(", ")}` };
  }
  return {
    ok: true,
    header: {
      host,
      agent,
      epoch: text(HEADER.epoch),
      number,
      count,
      firstUs,
      lastUs,
      digest: text(HEADER.digest),
      previous,
      void: isVoid,
    },
  };
}

function naturalOf(text: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}
