/**
 * Messages of the KMS protocol: JSON-RPC 2.0 as text, in both directions, each read once and strictly.
 *
 * Invariant: nothing that arrives ends a connection by itself: what cannot be read is answered with the protocol's code
 * and told.
 */
import { type } from "arktype";
import { BATCH_KEY_BYTES, ROW_KEY_BYTES } from "./signatures.ts";

/** Longest text of a message, in bytes; the protocol itself names none. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;

export const ERROR_CODES = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParameters: -32602,
  internal: -32603,
  /** A batch of this id is known. */
  duplicateBatch: 120,
  /** A sidecar of this id is known. */
  sidecarExists: 40001,
} as const;

const Uuid = type(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i);
const hexOf = (sizeBytes: number) => type(new RegExp(`^[0-9a-f]{${2 * sizeBytes}}$`, "i"));

const Registration = type({
  id: Uuid,
  batchKey: hexOf(BATCH_KEY_BYTES),
  rowKey: hexOf(ROW_KEY_BYTES),
  challenge: "1 <= string <= 1024",
});
export type Registration = typeof Registration.infer;

const ChallengeAnswer = type({ status: /^ok$/i });
const BatchAnswer = type({ id: Uuid });

/** Readers of the answers to `register`, `challenge` and `batch`; each throws when an answer is none. */
export const readRegistration = (result: unknown): Registration =>
  readAnswer("register", Registration(result));
export const readChallengeAnswer = (result: unknown): void =>
  void readAnswer("challenge", ChallengeAnswer(result));
export const readBatchAnswer = (result: unknown): void =>
  void readAnswer("batch", BatchAnswer(result));

function readAnswer<T>(method: string, answer: T | type.errors): T {
  // Without the text of the errors: it holds values, and among these may be keys.
  if (!(answer instanceof type.errors)) return answer;
  throw new Error(`Cannot read the answer to "${method}": it is not what the protocol says`);
}

const HealthCheck = type({ level: "'ping'" });
const Inquiry = type({
  inquiry: Uuid,
  startTime: "string.date.iso.parse",
  endTime: "string.date.iso.parse",
});

/** What the KMS asks for. */
export type Demand =
  | { readonly method: "healthcheck"; readonly id: string }
  | {
    readonly method: "inquiry";
    readonly id: string;
    readonly inquiry: string;
    /** Both inclusive, milliseconds since the Unix epoch. */
    readonly fromMs: number;
    readonly toMs: number;
  };

export type Incoming =
  | { readonly kind: "demand"; readonly demand: Demand }
  | { readonly kind: "result"; readonly id: string; readonly result: unknown }
  | { readonly kind: "error"; readonly id: string | null; readonly error: KmsError }
  /** To be answered with `reply`, or to be told only when there is none: an answer is not answered. */
  | { readonly kind: "unreadable"; readonly reason: string; readonly reply: string | undefined };

/** The KMS refused a request. */
export class KmsError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const Envelope = type({
  jsonrpc: "'2.0'",
  "id?": "string | null",
  "method?": "string",
  "params?": "object",
  "result?": "unknown",
  "error?": { code: "number.integer", message: "string" },
});

/** Reads one text of the KMS. Never throws. */
export function readMessage(text: string): Incoming {
  const value = parsed(text);
  if (value === undefined) return unreadable("it is no JSON", ERROR_CODES.parse, null);
  const envelope = Envelope(value);
  if (envelope instanceof type.errors) {
    return unreadable("it is no JSON-RPC 2.0", ERROR_CODES.invalidRequest, null);
  }
  const { id = null, method, params = {}, error } = envelope;
  if (method !== undefined) return demandOf(id, method, params);
  if (error !== undefined) {
    return { kind: "error", id, error: new KmsError(error.code, error.message) };
  }
  if (id === null || !("result" in envelope)) {
    return {
      kind: "unreadable",
      reason: "it is neither a request nor an answer",
      reply: undefined,
    };
  }
  return { kind: "result", id, result: envelope.result };
}

function demandOf(id: string | null, method: string, params: object): Incoming {
  if (id === null) return unreadable("it has no id", ERROR_CODES.invalidRequest, null);
  if (method === "healthcheck") {
    const check = HealthCheck(params);
    if (check instanceof type.errors) {
      return unreadable("its level is not known", ERROR_CODES.invalidParameters, id);
    }
    return { kind: "demand", demand: { method, id } };
  }
  if (method === "inquiry") {
    const inquiry = Inquiry(params);
    if (inquiry instanceof type.errors) {
      return unreadable("it names no inquiry or no range", ERROR_CODES.invalidParameters, id);
    }
    const { inquiry: name, startTime, endTime } = inquiry;
    const range = { fromMs: startTime.getTime(), toMs: endTime.getTime() };
    return { kind: "demand", demand: { method, id, inquiry: name, ...range } };
  }
  return unreadable("its method is not known", ERROR_CODES.methodNotFound, id);
}

export function requestText(id: string, method: string, params: object): string {
  return JSON.stringify({ jsonrpc: "2.0", id, method, params });
}

export function resultText(id: string, result: object): string {
  return JSON.stringify({ jsonrpc: "2.0", id, result });
}

/** Refuses a message of the KMS. */
export function errorText(id: string | null, code: number, reason: string): string {
  const error = { code, message: `Cannot take this message: ${reason}` };
  return JSON.stringify({ jsonrpc: "2.0", id, error });
}

function unreadable(reason: string, code: number, id: string | null): Incoming {
  return { kind: "unreadable", reason, reply: errorText(id, code, reason) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
