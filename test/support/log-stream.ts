/** The lines of every batch in a stream, read for real: headers checked, frames decompressed, numbers in order. */
import { connectNats, ensureStream, type NatsConnection } from "../../src/runtime/nats.ts";
import { createLog } from "../../src/runtime/log.ts";
import { readStream } from "../../src/runtime/stream-reader.ts";
import { decompressFrame } from "../../src/runtime/zstd.ts";
import {
  type BatchHeader,
  digestOf,
  MESSAGE_BYTES_MAX,
  parseHeaders,
  parseSubject,
  PAYLOAD_JSON_BYTES_MAX,
  streamOf,
} from "../../src/event/wire.ts";
import type { Line } from "./source-run.ts";

export interface LoggedLine {
  readonly line: Line;
  readonly header: BatchHeader;
}

export interface LogStream extends AsyncDisposable {
  readonly connection: NatsConnection;
  readonly lines: readonly LoggedLine[];
  /** Resolves with the lines that `want` picks, once there are `count`. */
  waitFor(
    want: (line: Line) => boolean,
    options: { readonly count: number; readonly timeoutMs?: number },
  ): Promise<readonly LoggedLine[]>;
}

/** Makes the stream of a shard, with nobody but this reading it. */
export async function openLogStream(url: string, shard = "0"): Promise<LogStream> {
  const connection = await connectNats({ url, name: "test", log: createLog({ level: "error" }) });
  await ensureStream(connection, {
    name: streamOf(shard),
    subjects: [`audit.${shard}.*`],
    messageBytesMax: MESSAGE_BYTES_MAX,
  });
  const stop = new AbortController();
  const lines: LoggedLine[] = [];
  let failure: unknown;
  const reading = (async () => {
    try {
      const messages = readStream({
        connection,
        stream: streamOf(shard),
        fromSequence: 1,
        signal: stop.signal,
      });
      for await (const { subject, headers, payload } of messages) {
        lines.push(...await linesOf({ subject, headers, payload }));
      }
    } catch (error) {
      failure = error;
    }
  })();
  return {
    connection,
    lines,
    async waitFor(want, { count, timeoutMs = 10_000 }) {
      const untilMs = performance.now() + timeoutMs;
      for (;;) {
        const found = lines.filter(({ line }) => want(line));
        if (found.length >= count) return found;
        if (failure !== undefined) throw failure;
        if (performance.now() > untilMs) {
          throw new Error(`Cannot find ${count} lines: ${found.length} in ${timeoutMs} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reading;
      await connection[Symbol.asyncDispose]();
    },
  };
}

async function linesOf(message: {
  readonly subject: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly payload: Uint8Array;
}): Promise<LoggedLine[]> {
  const parsed = parseHeaders(message.headers, parseSubject(message.subject)?.agent ?? "");
  if (!parsed.ok) throw new Error(parsed.reason);
  const { header } = parsed;
  if (digestOf(message.payload) !== header.digest) throw new Error("The digest is wrong");
  const json = Buffer.from(await decompressFrame(message.payload, PAYLOAD_JSON_BYTES_MAX));
  const lines: Line[] = json.toString().trimEnd().split("\n").map((text) => JSON.parse(text));
  const isCounted = lines.every((line, place) => line["idx"] === place);
  if (lines.length !== header.count || !isCounted) throw new Error("The count is wrong");
  return lines.map((line) => ({ line, header }));
}
