/** Events as lines of JSON on standard output. */
import process from "node:process";
import type { SinkEvent, SinkTarget } from "./target.ts";

export function createStdoutTarget(): SinkTarget {
  return {
    async deliver(events, signal) {
      signal.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        const stop = (): void => reject(signal.reason);
        signal.addEventListener("abort", stop, { once: true });
        process.stdout.write(linesOf(events), (error) => {
          signal.removeEventListener("abort", stop);
          if (error === null || error === undefined) resolve();
          else reject(error);
        });
      });
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

export function linesOf(events: readonly SinkEvent[]): string {
  return events.map(({ json }) => `${json}\n`).join("");
}
