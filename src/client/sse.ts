/**
 * Server-sent events, as the HTML standard's "event stream interpretation" reads them.
 *
 * Invariants: what is read does not depend on how the stream is cut into chunks; a message that the stream breaks off
 * is not delivered.
 */
import { readLines } from "./lines.ts";

/** One message of the stream. */
export interface ServerSentEvent {
  /** `message` unless the stream names it. */
  readonly event: string;
  readonly data: string;
  /** The last id the stream gave, by this message or before it; "" when none was. */
  readonly id: string;
}

export interface SseParser {
  /** Takes one line without its end; returns the message that it completes. */
  push(line: string): ServerSentEvent | undefined;
  /** The last id that a blank line completed, with a message or without; "" when there is none. */
  lastId(): string;
  /** How long to wait before connecting again, in milliseconds; undefined until the stream says it. */
  retryMs(): number | undefined;
}

export function createSseParser(): SseParser {
  let event = "";
  let data: string[] = [];
  let id = "";
  let lastId = "";
  let retryMs: number | undefined;
  let isFirstLine = true;

  const dispatch = (): ServerSentEvent | undefined => {
    const message = { event: event === "" ? "message" : event, data: data.join("\n"), id };
    const isEmpty = data.length === 0;
    event = "";
    data = [];
    lastId = id;
    return isEmpty ? undefined : message;
  };
  const set = (field: string, value: string): void => {
    if (field === "event") event = value;
    else if (field === "data") data.push(value);
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "retry" && /^[0-9]{1,9}$/.test(value)) retryMs = Number(value);
  };
  return {
    push: (line) => {
      const text = isFirstLine && line.startsWith("\u{FEFF}") ? line.slice(1) : line;
      isFirstLine = false;
      if (text === "") return dispatch();
      const colon = text.indexOf(":");
      const field = colon < 0 ? text : text.slice(0, colon);
      const value = colon < 0 ? "" : text.slice(colon + 1);
      set(field, value.startsWith(" ") ? value.slice(1) : value);
      return undefined;
    },
    lastId: () => lastId,
    retryMs: () => retryMs,
  };
}

/**
 * Messages of a stream until it ends. `onQuietLine` is called for every line that completes no message, comments
 * included: a sign of life, after which {@link SseParser.lastId} may be another.
 */
export async function* readSse(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  { parser = createSseParser(), onQuietLine }: {
    readonly parser?: SseParser;
    readonly onQuietLine?: () => void;
  } = {},
): AsyncGenerator<ServerSentEvent, void, undefined> {
  for await (const line of readLines(stream)) {
    const message = parser.push(line);
    if (message === undefined) onQuietLine?.();
    else yield message;
  }
}
