/** A subscriber that asks the service as its users do: blocks, lines and live streams. */
import { createSseParser, readSse } from "../../src/client/sse.ts";

export interface Gap {
  readonly count: number | null;
  readonly reason: string;
  readonly from?: string;
  readonly to?: string;
}

export interface Block {
  readonly numbers: number[];
  readonly gaps: readonly Gap[];
}

export type Ask = (path: string, init?: RequestInit) => Promise<Response>;

export interface LiveOptions {
  readonly query?: string;
  /** Id of the last event that the reader has. */
  readonly lastId?: string;
}

export interface LiveReader {
  readonly numbers: number[];
  readonly gaps: Gap[];
  /** Id of the last event. */
  readonly lastId: string;
  /** Resolves once the stream has ended, by itself or because of {@link LiveReader.leave}. */
  readonly ended: Promise<void>;
  leave(): Promise<void>;
  /** Goes away in the middle of whatever is being sent. */
  cut(): Promise<void>;
}

export interface Subscriber {
  put(query?: string): Promise<Response>;
  /** One block, of the numbers that events carry. */
  block(query?: string): Promise<Block>;
  /** Everything up to the present. */
  lines(query?: string): Promise<Block>;
  live(options?: LiveOptions): Promise<LiveReader>;
  skip(query?: string): Promise<{ readonly count: number | null }>;
  show(): Promise<Shown>;
}

export interface Shown {
  readonly state: string;
  readonly lag: { readonly messages: number; readonly seconds: number };
  readonly delivered: number;
  readonly skipped: number;
  readonly last_seen: string;
}

export function createSubscriber(ask: Ask, name = "test"): Subscriber {
  const path = `/v1/subscriptions/${name}`;
  const must = async (answer: Response): Promise<Response> => {
    if (answer.ok) return answer;
    throw new Error(`${answer.status}: ${await answer.text()}`);
  };
  return {
    put: async (query = "topic=app/test") => must(await ask(`${path}?${query}`, { method: "PUT" })),
    async block(query = "limit=1000") {
      const answer = await (await must(await ask(`${path}/events?${query}`))).json();
      return { numbers: answer.events.map(numberOf), gaps: answer.gaps };
    },
    async lines(query = "") {
      const headers = { accept: "application/x-ndjson" };
      const answer = await must(await ask(`${path}/events?${query}`, { headers }));
      const found = (await answer.text()).split("\n").filter((line) => line !== "")
        .map((line) => JSON.parse(line));
      return {
        numbers: found.filter(({ gap }) => gap === undefined).map(numberOf),
        gaps: found.flatMap(({ gap }) => gap ?? []),
      };
    },
    async live({ query = "", lastId = "" } = {}) {
      const leaving = new AbortController();
      const cutting = new AbortController();
      const answer = await must(
        await ask(`${path}/events?${query}`, {
          headers: { accept: "text/event-stream", "last-event-id": lastId },
          signal: leaving.signal,
        }),
      );
      const [numbers, gaps]: [number[], Gap[]] = [[], []];
      const parser = createSseParser();
      const read = async (): Promise<void> => {
        if (answer.body === null) return;
        const cuttable = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
        const body = answer.body.pipeThrough(cuttable, { signal: cutting.signal });
        for await (const { event, data } of readSse(body, { parser })) {
          if (event === "audit") numbers.push(numberOf(JSON.parse(data)));
          if (event === "gap") gaps.push(JSON.parse(data));
        }
      };
      const ended = Promise.allSettled([read()]).then(() => undefined);
      return {
        ...{ numbers, gaps, ended },
        get lastId() {
          return parser.lastId();
        },
        async leave() {
          leaving.abort();
          await ended;
        },
        async cut() {
          cutting.abort();
          await ended;
        },
      };
    },
    skip: async (query = "") =>
      (await (await must(await ask(`${path}/skip?${query}`, { method: "POST" }))).json()).skipped,
    show: async () => await (await must(await ask(path))).json(),
  };
}

function numberOf({ pid }: { readonly pid: number }): number {
  return pid;
}
