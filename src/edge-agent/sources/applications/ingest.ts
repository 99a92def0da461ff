/**
 * `POST /v1/ingest` of the agent: events of programs that speak HTTP.
 *
 * Invariants: 200 means that all events of the request are durable here; any other status that they may be sent again. A
 * page in a browser cannot send any: it has to tell its origin, and who does is refused.
 */
import type { IncomingMessage } from "node:http";
import type { Clock } from "../../../runtime/clock.ts";
import { type Answer, problem } from "../../http.ts";
import { eventsOf } from "./cloud-events.ts";
import type { Intake } from "./connection.ts";
import { LineBlock } from "./line-block.ts";
import { createMessageLines, type Sender } from "./message-lines.ts";

/** How long a request waits until its events are durable. */
export const DURABLE_MS_MAX = 5_000;
/** Seconds after which a sender is asked to try again. */
const RETRY_AFTER = "1";

export interface IngestOptions {
  readonly intake: Intake;
  readonly bytesMax: number;
  readonly senderOf: (request: IncomingMessage) => Sender;
  /** Whether nothing more can be taken now. */
  readonly isPaused: () => boolean;
  /** Resolves once all lines before the position are durable. */
  readonly durable: (position: number) => Promise<void>;
  readonly clock: Clock;
}

export type Ingest = (request: IncomingMessage) => Promise<Answer>;

export function createIngest(options: IngestOptions): Ingest {
  const { intake, bytesMax, senderOf, isPaused, durable, clock } = options;
  return async (request) => {
    if (request.method !== "POST") {
      return { ...problem(405, "Method not allowed"), headers: { allow: "POST" } };
    }
    if (request.headers.origin !== undefined) {
      return problem(403, "Forbidden", "requests of pages are not taken");
    }
    const body = await bodyOf(request, bytesMax);
    if (body === undefined) return problem(413, "Content too large", `at most ${bytesMax} bytes`);
    const events = eventsOf(request.headers, body);
    if ("status" in events) {
      const title = events.status === 415 ? "Unsupported media type" : "Bad request";
      return problem(events.status, title, events.detail);
    }
    if (isPaused()) return { ...FULL, headers: { "retry-after": RETRY_AFTER } };
    const timeUs = intake.nowUs();
    const block = new LineBlock();
    const lines = createMessageLines(senderOf(request), (fields) => block.add(fields));
    lines.begin(timeUs);
    for (const { parts, whole } of events) {
      lines.takeParts(parts, whole);
      intake.count();
    }
    block.flush((fields) => intake.add(fields, timeUs));
    const position = intake.total;
    intake.settle("awaited");
    const ended = new AbortController();
    const late = clock.sleep(DURABLE_MS_MAX, ended.signal).then(() => false, () => false);
    const isDurable = await Promise.race([durable(position).then(() => true), late]);
    ended.abort();
    if (!isDurable) return { ...FULL, headers: { "retry-after": RETRY_AFTER } };
    return {
      status: 200,
      contentType: "application/json",
      body: `${JSON.stringify({ accepted: events.length })}\n`,
    };
  };
}

const FULL = problem(503, "Service unavailable", "the events are not durable: send them again");

/** The whole body; undefined when it is larger. */
async function bodyOf(request: IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  if (Number(request.headers["content-length"] ?? 0) > bytesMax) return undefined;
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request) {
    sizeBytes += chunk.length;
    if (sizeBytes > bytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
