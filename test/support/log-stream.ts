/** The lines that a stream makes part of the record, as a roll-up takes them; agents get their watermarks. */
import { setTimeout as delay } from "node:timers/promises";
import { type BatchHeader, PAYLOAD_JSON_BYTES_MAX } from "../../src/event/wire.ts";
import { createLog } from "../../src/runtime/log.ts";
import { connectNats } from "../../src/runtime/nats.ts";
import { decompressFrame } from "../../src/runtime/zstd.ts";
import { requireListedDetail } from "./listed-detail.ts";
import { type AcceptedBatch, createRollUpStandIn } from "./roll-up-stand-in.ts";
import type { Line } from "./source-run.ts";

export interface LoggedLine {
  readonly line: Line;
  readonly header: BatchHeader;
}

export interface LogStream extends AsyncDisposable {
  readonly lines: readonly LoggedLine[];
  /** Resolves with the lines that `want` picks, once there are `count`. */
  waitFor(
    want: (line: Line) => boolean,
    options: { readonly count: number; readonly timeoutMs?: number },
  ): Promise<readonly LoggedLine[]>;
}

const ROUND_MS = 50;

/** Makes the stream of a shard and reads it until it is disposed, also through absences of the broker. */
export async function openLogStream(
  url: string,
  { shard = "0", ...access }: { readonly shard?: string; readonly credentialsFile?: string } = {},
): Promise<LogStream> {
  const log = createLog({ level: "error" });
  const connection = await connectNats({ url, name: "test", log, ...access });
  const rollUp = await createRollUpStandIn(connection, shard);
  const stop = new AbortController();
  const lines: LoggedLine[] = [];
  let taken = 0;
  const reading = (async () => {
    while (!stop.signal.aborted) {
      // While the broker is away a round fails, and the next one goes on.
      await Promise.allSettled([rollUp.round()]);
      for (; taken < rollUp.accepted.length; taken += 1) {
        const batch = rollUp.accepted[taken];
        if (batch !== undefined) lines.push(...await linesOf(batch));
      }
      await delay(ROUND_MS);
    }
  })();
  return {
    lines,
    async waitFor(want, { count, timeoutMs = 20_000 }) {
      const untilMs = performance.now() + timeoutMs;
      for (;;) {
        const found = lines.filter(({ line }) => want(line));
        if (found.length >= count) return found;
        if (performance.now() > untilMs) {
          throw new Error(`Cannot find ${count} lines: ${found.length} in ${timeoutMs} ms`);
        }
        await delay(20);
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reading;
      await connection[Symbol.asyncDispose]();
    },
  };
}

async function linesOf({ header, payload }: AcceptedBatch): Promise<LoggedLine[]> {
  if (payload.length === 0) return [];
  const json = Buffer.from(await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX));
  const lines: Line[] = json.toString().trimEnd().split("\n").map((text) => JSON.parse(text));
  const isCounted = lines.every((line, place) => line["idx"] === place);
  lines.forEach(requireListedDetail);
  if (lines.length !== header.count || !isCounted) throw new Error("The count is wrong");
  return lines.map((line) => ({ line, header }));
}
