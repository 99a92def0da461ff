/** A source under test, run until its lines have been seen. */
import type { Source, SourceChunk } from "../../src/edge-agent/source.ts";
import { requireListedDetail } from "./listed-detail.ts";

/** A line as a reader of the log sees it. */
export type Line = Readonly<Record<string, unknown>> & {
  readonly topic: string;
  readonly detail: Readonly<Record<string, unknown>>;
};

export interface SourceRun extends AsyncDisposable {
  readonly chunks: readonly SourceChunk[];
  readonly lines: readonly Line[];
  /** Resolves with the lines that `want` picks, once there are `count` of them; fails after the time. */
  waitFor(want: (line: Line) => boolean, options: WaitOptions): Promise<readonly Line[]>;
  /** Aborts and waits for the end. */
  stop(): Promise<void>;
}

export interface WaitOptions {
  readonly count: number;
  readonly timeoutMs?: number;
}

export function runSource(source: Source): SourceRun {
  const abort = new AbortController();
  const chunks: SourceChunk[] = [];
  const lines: Line[] = [];
  let failure: unknown;
  const done = (async () => {
    try {
      for await (const chunk of source.start(abort.signal)) {
        chunks.push(chunk);
        for (const fields of chunk.fields) lines.push(parseLine(fields));
        if (chunk.position !== undefined) source.release(chunk.position);
      }
    } catch (error) {
      failure = error;
    }
  })();
  const stop = async (): Promise<void> => {
    abort.abort();
    await done;
    if (failure !== undefined) throw failure;
  };
  return {
    chunks,
    lines,
    async waitFor(want, { count, timeoutMs = 5000 }) {
      const untilMs = performance.now() + timeoutMs;
      for (;;) {
        const found = lines.filter(want);
        if (found.length >= count) return found;
        if (failure !== undefined) throw failure;
        if (performance.now() > untilMs) {
          throw new Error(`Cannot find ${count} lines: ${found.length} came in ${timeoutMs} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** The JSON object that the batcher makes of a line's fields. */
export function parseLine(fields: string): Line {
  const line = JSON.parse(`{"idx":0,${fields}`);
  requireListedDetail(line);
  return line;
}
