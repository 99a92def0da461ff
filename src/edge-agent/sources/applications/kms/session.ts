/**
 * One connection's talk with the KMS: who asked what, who answers whom.
 *
 * Invariants: every request ends: with its answer, with a refusal, after the limit, or with the connection. An answer
 * that nobody waits for is told and changes nothing.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../../../../runtime/clock.ts";
import type { Log } from "../../../../runtime/log.ts";
import {
  type Demand,
  ERROR_CODES,
  errorText,
  readMessage,
  requestText,
  resultText,
} from "./messages.ts";

export interface KmsSession {
  /** A text of the KMS. */
  receive(text: string): void;
  /** Sends a request and reads its answer; rejects with `KmsError` when the KMS refuses it. */
  request<T>(method: string, params: object, read: (result: unknown) => T): Promise<T>;
  /** Sends a request that the protocol does not answer. */
  tell(method: string, params: object): Promise<void>;
  reply(id: string, result: object): Promise<void>;
  /** Answers that it cannot be done now. */
  refuse(id: string, reason: string): Promise<void>;
  readonly isEnded: boolean;
  /** Ends what waits. */
  end(error: Error): void;
}

export interface SessionOptions {
  send(text: string): Promise<void>;
  onDemand(demand: Demand): void;
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export function createKmsSession(options: SessionOptions): KmsSession {
  const { send, onDemand, requestTimeoutMs, clock, log } = options;
  const waiting = new Map<string, Waiting>();
  let isEnded = false;
  const settle = (id: string | null, act: (one: Waiting) => void): void => {
    const one = id === null ? undefined : waiting.get(id);
    if (one === undefined) log.warn("The KMS answered what nobody asked", { id: id ?? undefined });
    else act(one);
  };
  const ask = async (id: string): Promise<unknown> => {
    const limit = new AbortController();
    const answered = new Promise<unknown>((resolve, reject) =>
      waiting.set(id, { resolve, reject })
    );
    const late = clock.sleep(requestTimeoutMs, limit.signal).then(() => {
      throw new Error(`The KMS did not answer within ${requestTimeoutMs} ms`);
    });
    // What is left of it when the answer came first.
    late.catch((error) => error);
    try {
      return await Promise.race([answered, late]);
    } finally {
      waiting.delete(id);
      limit.abort();
    }
  };
  const untold = (error: unknown): void => log.debug(`Could not refuse a message: ${error}`);
  return {
    receive(text) {
      const message = readMessage(text);
      switch (message.kind) {
        case "demand":
          return onDemand(message.demand);
        case "result":
          return settle(message.id, (one) => one.resolve(message.result));
        case "error":
          if (message.id === null) {
            log.warn("The KMS refused a message", { reason: message.error.message });
          } else settle(message.id, (one) => one.reject(message.error));
          return;
        case "unreadable":
          log.warn("The KMS sent what cannot be read", { reason: message.reason });
          if (message.reply !== undefined) void send(message.reply).catch(untold);
      }
    },
    async request(method, params, read) {
      const id = randomUUID();
      const answered = ask(id);
      await Promise.all([answered, send(requestText(id, method, params))]);
      return read(await answered);
    },
    tell: (method, params) => send(requestText(randomUUID(), method, params)),
    reply: (id, result) => send(resultText(id, result)),
    refuse: (id, reason) => send(errorText(id, ERROR_CODES.internal, reason)),
    get isEnded() {
      return isEnded;
    },
    end(error) {
      isEnded = true;
      for (const one of waiting.values()) one.reject(error);
    },
  };
}
