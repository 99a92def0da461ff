/** A client of `/rpc` without a network: what it sends and gets are texts, as on a WebSocket. */
import type { RpcEndpoint } from "../../src/query/rpc/endpoint.ts";

export type Part = Readonly<Record<string, unknown>>;
export interface Answer {
  readonly id?: unknown;
  readonly result?: unknown;
  readonly error?: unknown;
}

export interface RunningCall {
  readonly id: string;
  /** Params of the notifications so far, but those that tell a place alone. */
  readonly parts: readonly Part[];
  /** How far it has come, as told without an event. */
  readonly places: readonly Part[];
  readonly answer: Promise<Answer>;
  readonly isAnswered: boolean;
  cancel(): void;
  untilParts(count: number): Promise<void>;
  /** Everything until the answer, which has to be a result. */
  all(): Promise<{ readonly parts: readonly Part[]; readonly answer: Answer }>;
}

export interface RpcClient extends AsyncDisposable {
  send(message: unknown): void;
  /** Sends a text and resolves with the next message that is no notification. */
  exchange(text: string): Promise<unknown>;
  call(method: string, params: unknown): RunningCall;
  /** The first answers to an id. */
  answersTo(id: unknown, count: number): Promise<readonly Answer[]>;
  close(): Promise<void>;
}

interface Message extends Answer {
  readonly method?: string;
  readonly params?: Part & { readonly call?: unknown };
}

/** Carries texts of a client: `send` to the service, `onText` from it. */
export interface Wire {
  send(text: string): void;
  close(): Promise<void>;
}

/** A client over any wire; `connect` is given what takes the service's texts. */
export function createRpcClient(connect: (onText: (text: string) => void) => Wire): RpcClient {
  const messages: Message[] = [];
  const listeners = new Set<() => void>();
  let calls = 0;
  const wire = connect((text) => {
    messages.push(JSON.parse(text));
    for (const listener of [...listeners]) listener();
  });
  const until = <T>(find: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        listeners.delete(look);
        reject(new Error(`Cannot wait longer: ${JSON.stringify(messages.slice(-3))}`));
      }, 20_000);
      const look = (): void => {
        const found = find();
        if (found === undefined) return;
        clearTimeout(limit);
        listeners.delete(look);
        resolve(found);
      };
      listeners.add(look);
      look();
    });
  const close = () => wire.close();
  return {
    send: (message) => wire.send(JSON.stringify(message)),
    exchange(text) {
      const seen = messages.length;
      wire.send(text);
      return until(() => messages.slice(seen).find(({ method }) => method === undefined));
    },
    call(method, params) {
      const id = `call-${++calls}`;
      const told = (isPlace: boolean) =>
        messages.flatMap((each) =>
          each.params?.call === id && (each.method === "auditPlace") === isPlace
            ? [each.params]
            : []
        );
      const parts = () => told(false);
      const answered = () => messages.find((each) => each.id === id);
      wire.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      return {
        id,
        get answer() {
          return until(answered);
        },
        get parts() {
          return parts();
        },
        get places() {
          return told(true);
        },
        get isAnswered() {
          return answered() !== undefined;
        },
        cancel: () =>
          wire.send(JSON.stringify({ jsonrpc: "2.0", method: "cancel", params: { call: id } })),
        async untilParts(count) {
          await until(() => parts().length >= count ? true : undefined);
        },
        async all() {
          const end = await until(answered);
          if (end.result === undefined) throw new Error(`It failed: ${JSON.stringify(end.error)}`);
          return { parts: parts(), answer: end };
        },
      };
    },
    answersTo: (id, count) =>
      until(() => {
        const found = messages.filter((each) => each.id === id);
        return found.length >= count ? found.slice(0, count) : undefined;
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

export async function openRpcClient(endpoint: RpcEndpoint, token: string): Promise<RpcClient> {
  const admission = await endpoint.admit({
    ...{ authorization: `Bearer ${token}`, protocols: [], origin: undefined, host: undefined },
    remote: "192.0.2.7",
  });
  return createRpcClient((onText) => {
    const sent: string[] = [];
    let wake = (): void => undefined;
    let isLeft = false;
    const messages = async function* (): AsyncGenerator<string> {
      while (true) {
        const next = sent.shift();
        if (next !== undefined) yield next;
        else if (isLeft) return;
        else await new Promise<void>((resolve) => wake = resolve);
      }
    };
    const served = admission.serve({
      messages: messages(),
      send(text) {
        if (isLeft) return Promise.reject(new Error("The client has left"));
        onText(text);
        return Promise.resolve();
      },
    });
    return {
      send(text) {
        sent.push(text);
        wake();
      },
      async close() {
        isLeft = true;
        wake();
        await served;
      },
    };
  });
}
