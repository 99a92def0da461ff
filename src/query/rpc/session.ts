/**
 * One connection of `/rpc`: runs calls, answers each exactly once, and sends their parts.
 *
 * Invariants: nothing is queued for a client: each call has at most one message on its way and waits until that was
 * taken. At most {@link CALLS_MAX} calls run at a time; those of a batch are answered together, so none of them may be
 * without an end.
 */
import {
  BATCH_MAX,
  CODES,
  faultOfError,
  formatFault,
  formatPart,
  formatResult,
  type Parsed,
  parseMessage,
  type RpcFault,
  type RpcId,
  type RpcRequest,
} from "./protocol.ts";
import type { RpcCall, RpcMethod } from "./method.ts";

/** What carries the messages of a connection. */
export interface RpcSocket {
  /** Texts that the client sends; the next is read when the one before was dealt with. */
  readonly messages: AsyncIterable<string>;
  /** Resolves when more may be sent; rejects when the client is gone. */
  send(text: string): Promise<void>;
}

export interface SessionOptions {
  readonly methods: ReadonlyMap<string, RpcMethod>;
  /** What a call is, beside what the message says. */
  readonly contextOf: (
    request: RpcRequest,
  ) => Omit<RpcCall, "params" | "part" | "signal">;
  /** Called before each call; throws a problem that the client is told when there are too many. */
  readonly onCall: () => void;
  /** Ends all calls. */
  readonly signal: AbortSignal;
  readonly onEnd: (method: string, code: number | undefined) => void;
  /** What the client is not told. */
  readonly onError: (error: unknown) => void;
}

/** Calls of one connection at the same time. */
export const CALLS_MAX = BATCH_MAX;
/** Answers that wait for the client to be taken, beside those of calls. */
const REFUSALS_MAX = 8;

/** Resolves when the client has left, or the signal was aborted, and no call runs any more. */
export async function runSession(socket: RpcSocket, options: SessionOptions): Promise<void> {
  const left = new AbortController();
  const signal = AbortSignal.any([options.signal, left.signal]);
  const running = new Map<string, AbortController>();
  const working = new Set<Promise<unknown>>();

  const call = async (id: RpcId, request: RpcRequest, isInBatch: boolean): Promise<string> => {
    const key = JSON.stringify(id);
    const method = options.methods.get(request.method);
    const refusal = refusalOf(
      { request, method, isInBatch, isKnown: running.has(key) },
      running.size,
    );
    if (refusal !== undefined || method === undefined) {
      return formatFault(id, refusal ?? { code: CODES.methodNotFound, message: "" });
    }
    const cancel = new AbortController();
    running.set(key, cancel);
    let code: number | undefined;
    try {
      options.onCall();
      const result = await method.run({
        ...options.contextOf(request),
        params: request.params ?? {},
        signal: AbortSignal.any([signal, cancel.signal]),
        part: async (name, members) => {
          await socket.send(formatPart(name, id, members));
          cancel.signal.throwIfAborted();
        },
      });
      // What runs until it is told to end has no result of its own.
      cancel.signal.throwIfAborted();
      return formatResult(id, result);
    } catch (error) {
      const fault = cancel.signal.aborted ? CANCELLED : faultOfError(error);
      code = fault.code;
      if (code === CODES.internal && !signal.aborted) options.onError(error);
      return formatFault(id, fault);
    } finally {
      running.delete(key);
      options.onEnd(request.method, code);
    }
  };
  const notified = ({ method, params }: RpcRequest): void => {
    if (method !== "cancel" || typeof params !== "object" || params === null) return;
    if ("call" in params) running.get(JSON.stringify(params.call))?.abort();
  };
  /** The answer to one request; undefined when it wants none. */
  const answer = async (parsed: Parsed, isInBatch: boolean): Promise<string | undefined> => {
    if (parsed.kind === "fault") return formatFault(parsed.id, parsed.fault);
    const { request } = parsed;
    if (request.id !== undefined) return await call(request.id, request, isInBatch);
    notified(request);
    return undefined;
  };
  const respond = async (text: string): Promise<void> => {
    const incoming = parseMessage(text);
    const isBatch = incoming.kind === "batch";
    const all = isBatch ? incoming.parsed : [incoming.parsed];
    const answers = (await Promise.all(all.map((each) => answer(each, isBatch))))
      .filter((each) => each !== undefined);
    const [first] = answers;
    if (first === undefined || signal.aborted) return;
    await socket.send(isBatch ? `[${answers.join(",")}]` : first);
  };

  try {
    for await (const text of socket.messages) {
      if (signal.aborted) break;
      const work = respond(text).catch((error: unknown) => {
        // The client is gone, and with it whoever could be told.
        left.abort(error);
      }).finally(() => working.delete(work));
      working.add(work);
      // Refusals wait for the client, too. Calls that run do not keep others, and what cancels them, from being read.
      if (working.size > running.size + REFUSALS_MAX) {
        await Promise.race([...working, whenAborted(signal)]);
      }
    }
  } finally {
    left.abort(new DOMException("The client has left", "AbortError"));
    await Promise.all(working);
  }
}

const CANCELLED: RpcFault = { code: CODES.cancelled, message: "The call was cancelled" };

interface Candidate {
  readonly request: RpcRequest;
  readonly method: RpcMethod | undefined;
  readonly isInBatch: boolean;
  readonly isKnown: boolean;
}

/** Why a call is not begun; undefined when it is. */
function refusalOf(
  { request, method, isInBatch, isKnown }: Candidate,
  running: number,
): RpcFault | undefined {
  if (isKnown) return { code: CODES.invalidRequest, message: "A call with this id is running" };
  if (method === undefined) {
    return { code: CODES.methodNotFound, message: "There is no such method" };
  }
  if (isInBatch && method.isEndless(request.params)) {
    const message = "A call without an end cannot be part of a batch, which is answered as a whole";
    return { code: CODES.invalidRequest, message };
  }
  if (running < CALLS_MAX) return undefined;
  return { code: CODES.busy, message: `${CALLS_MAX} calls run on this connection already` };
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
