/**
 * JSON-RPC 2.0: messages as they are read and written.
 *
 * Invariant: whatever text comes in becomes requests or the error that the specification asks for, never an exception.
 */
import { ProblemError } from "../problem.ts";

export type RpcId = string | number | null;

export interface RpcRequest {
  /** Undefined for a notification, which is never answered. */
  readonly id: RpcId | undefined;
  readonly method: string;
  readonly params: unknown;
}

export interface RpcFault {
  readonly code: number;
  readonly message: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** A request, or what is wrong with it, to be told under the id that could be read. */
export type Parsed =
  | { readonly kind: "request"; readonly request: RpcRequest }
  | { readonly kind: "fault"; readonly id: RpcId; readonly fault: RpcFault };

export type Incoming =
  | { readonly kind: "one"; readonly parsed: Parsed }
  | { readonly kind: "batch"; readonly parsed: readonly Parsed[] };

/** Codes of the specification, those of its range for servers, and the one that others use for what was cancelled. */
export const CODES = {
  parse: -32_700,
  invalidRequest: -32_600,
  methodNotFound: -32_601,
  invalidParams: -32_602,
  internal: -32_603,
  /** Try again later. */
  busy: -32_000,
  notAllowed: -32_001,
  /** The query needs more than it may use. */
  refused: -32_002,
  cancelled: -32_800,
} as const;

/** Where it is spoken, over WebSocket. */
export const RPC_PATH = "/rpc";

export const BATCH_MAX = 16;
/** Longest id, in characters. */
const ID_LENGTH_MAX = 128;

export function parseMessage(text: string): Incoming {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: "one", parsed: faultOf(null, CODES.parse, "The message is not JSON") };
  }
  if (!Array.isArray(value)) return { kind: "one", parsed: parseRequest(value) };
  if (value.length === 0 || value.length > BATCH_MAX) {
    const message = `A batch has 1 to ${BATCH_MAX} requests`;
    return { kind: "one", parsed: faultOf(null, CODES.invalidRequest, message) };
  }
  return { kind: "batch", parsed: value.map(parseRequest) };
}

function parseRequest(value: unknown): Parsed {
  const invalid = (id: RpcId, message: string): Parsed =>
    faultOf(id, CODES.invalidRequest, message);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return invalid(null, "A request is an object");
  }
  const { jsonrpc, id, method, params } = Object.fromEntries(Object.entries(value));
  if (id !== undefined && !isId(id)) {
    return invalid(
      null,
      `An id is a number, a text of at most ${ID_LENGTH_MAX} characters or null`,
    );
  }
  if (jsonrpc !== "2.0") return invalid(id ?? null, `The member "jsonrpc" has to be "2.0"`);
  if (typeof method !== "string") {
    return invalid(id ?? null, `The member "method" has to be a text`);
  }
  if (params !== undefined && (typeof params !== "object" || params === null)) {
    return invalid(id ?? null, `The member "params" has to be an object`);
  }
  return { kind: "request", request: { id, method, params } };
}

function isId(value: unknown): value is RpcId {
  if (typeof value === "string") return value.length <= ID_LENGTH_MAX;
  return value === null || (typeof value === "number" && Number.isFinite(value));
}

function faultOf(id: RpcId, code: number, message: string): Parsed {
  return { kind: "fault", id, fault: { code, message } };
}

export function formatResult(id: RpcId, result: unknown): string {
  return JSON.stringify({ jsonrpc: "2.0", id, result });
}

export function formatFault(id: RpcId, error: RpcFault): string {
  return JSON.stringify({ jsonrpc: "2.0", id, error });
}

/** A notification that belongs to a call; `members` are further members of its params, as JSON. */
export function formatPart(method: string, call: RpcId, members: string): string {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)},"params":{"call":${
    JSON.stringify(call)
  },${members}}}`;
}

/** An error as the client may see it: nothing of the inside but what a problem says. */
export function faultOfError(error: unknown): RpcFault {
  if (!(error instanceof ProblemError)) {
    return { code: CODES.internal, message: "The request failed inside the service" };
  }
  const { status, detail, parameter, accepted } = error.problem;
  const retryAfter = Number(error.headers["Retry-After"]);
  return {
    code: CODE_OF_STATUS[status] ?? CODES.internal,
    message: detail,
    data: {
      status,
      ...(parameter === undefined ? {} : { parameter }),
      ...(accepted === undefined ? {} : { accepted }),
      ...(Number.isNaN(retryAfter) ? {} : { retry_after_seconds: retryAfter }),
    },
  };
}

const CODE_OF_STATUS: Readonly<Record<number, number>> = {
  400: CODES.invalidParams,
  403: CODES.notAllowed,
  422: CODES.refused,
  429: CODES.busy,
  503: CODES.busy,
};
