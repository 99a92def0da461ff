/** Answers: headers that every read carries, and bodies that are made while they are sent. */
import type { Scan } from "./executor.ts";

export const JSON_TYPE = "application/json";
export const NDJSON_TYPE = "application/x-ndjson";
export const CSV_TYPE = "text/csv; charset=utf-8; header=present";
export const PARQUET_TYPE = "application/vnd.apache.parquet";

export interface ReadFacts {
  readonly scan: Scan;
  readonly prunedFiles: number;
  /** What of the log the answer could not see. */
  readonly missing: readonly string[];
}

export function readHeaders({ scan, prunedFiles, missing }: ReadFacts): Record<string, string> {
  return {
    "Cache-Control": "no-store",
    Vary: "Accept, Authorization",
    "Probity-Scanned-Files": String(scan.files),
    "Probity-Scanned-Bytes": String(scan.bytes),
    "Probity-Pruned-Files": String(prunedFiles),
    "Probity-Complete": String(missing.length === 0),
    ...(missing.length === 0 ? {} : { "Probity-Missing": missing.join("; ") }),
  };
}

export function jsonResponse(text: string, headers: Readonly<Record<string, string>>): Response {
  return new Response(`${text}\n`, { headers: { "Content-Type": JSON_TYPE, ...headers } });
}

/** What is no read of the record, but about it. */
export function jsonAnswer(value: unknown, status = 200): Response {
  return new Response(`${JSON.stringify(value)}\n`, {
    status,
    headers: { "Content-Type": JSON_TYPE, "Cache-Control": "no-store" },
  });
}

export interface StreamedBody {
  readonly chunks: AsyncIterable<string | Uint8Array>;
  /** Called once, when all was sent, the client left, or something failed. */
  readonly onEnd: (end: { readonly bytes: number; readonly error: unknown }) => void;
}

/**
 * A body that pulls its chunks as they are sent. The first is made before this resolves, so that what fails at once is
 * still an error of the request; leaving the body ends the chunks.
 */
export async function streamedBody(
  { chunks, onEnd }: StreamedBody,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const encoder = new TextEncoder();
  const iterator = chunks[Symbol.asyncIterator]();
  let bytes = 0;
  let hasEnded = false;
  const end = (error?: unknown): void => {
    if (hasEnded) return;
    hasEnded = true;
    onEnd({ bytes, error });
  };
  let first: IteratorResult<string | Uint8Array> | undefined;
  try {
    first = await iterator.next();
  } catch (error) {
    end(error);
    throw error;
  }
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { done, value } = first ?? await iterator.next();
        first = undefined;
        if (done === true) {
          end();
          controller.close();
          return;
        }
        const chunk = typeof value === "string" ? encoder.encode(value) : ownBytes(value);
        bytes += chunk.length;
        controller.enqueue(chunk);
      } catch (error) {
        end(error);
        controller.error(error);
      }
    },
    async cancel() {
      end();
      await iterator.return?.();
    },
  }, { highWaterMark: 0 });
}

/** Bytes that can be handed on as they are, which those of a shared buffer or of Node's pool cannot. */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  const isOwn = buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength;
  return isOwn ? new Uint8Array(buffer) : new Uint8Array(bytes);
}
