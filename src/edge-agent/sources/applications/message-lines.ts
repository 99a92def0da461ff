/**
 * From an application's message to the line that tells it: a JSON object is taken apart, everything else is kept whole.
 *
 * Invariants: every message becomes a line, or lines that together hold all of it; each is JSON on one line and small
 * enough for a batch, whatever the bytes are. Columns that say who it was come from the kernel; what the sender claims
 * of itself stays in `detail`, and stands in a column only where nothing else is known, named in `detail.claimed`.
 */
import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import { escapedTextOf } from "../../byte-text.ts";
import { createTimeText } from "../../decode-record.ts";
import { jsonInner } from "../../decode-text.ts";
import { UNNAMED_SERVICE } from "./application-settings.ts";
import { ChunkText } from "./chunk-text.ts";
import { type ObjectParts, partsOfText, severityOfLevel } from "./object-members.ts";
import { ObjectScan } from "./object-scan.ts";
import { createTopicNames, topicPart } from "./topic-names.ts";

/** Who sent messages, as far as it is known apart from what they say. */
export interface Sender {
  /** Columns as JSON members, each followed by a comma: those of a process, or the address it came from. */
  readonly columns: string;
  /** Whether the kernel says which user it is. */
  readonly isKnown: boolean;
  /** Name of its application, if it has one: configured, or said when the connection began. */
  readonly service: string | undefined;
  /** Whether a message may name another application. */
  readonly mayName: boolean;
}

export interface MessageLines {
  /** Messages from now on came at this time. To be called for each chunk of bytes, before its messages. */
  begin(timeUs: number): void;
  /** Lets go of the chunk: until the next one, nothing of it is kept. */
  end(): void;
  /** One message: the bytes from `start` to before `end`. */
  take(chunk: Buffer, start: number, end: number): void;
  /** A message that was taken apart already; kept whole, as its bytes are, when its line would be too long. */
  takeParts(parts: ObjectParts, whole: Buffer): void;
  /** A message that is kept whole whatever it is; `detail` is the text of members. */
  takeWhole(bytes: Buffer, detail: string): void;
}

/** A message of more bytes may need several lines, each of which fits a batch however badly it compresses. */
export const PIECE_LENGTH = 128 * 1024;
/** Most bytes of one line. */
export const LINE_BYTES_MAX = 900_000;

const OPEN = 0x7b;

/** Lines of one sender's messages, as `SourceChunk` has them, given to `takeLine` in order. */
export function createMessageLines(
  sender: Sender,
  takeLine: (fields: string) => void,
): MessageLines {
  const scan = new ObjectScan();
  const timeText = createTimeText();
  const topicNames = createTopicNames();
  const own = sender.service ?? UNNAMED_SERVICE;
  const ownTail = `",${sender.columns}"service":"${own}"`;
  let timeMember = "";
  /** A line's beginning for messages that say nothing of themselves, up to their text. */
  let plainHead = "";
  let looked: ChunkText | undefined;

  const tellObject = (parts: ObjectParts): string => {
    const { topic: named, message, level, user, rest } = parts;
    const service = sender.mayName && parts.service !== undefined
      ? topicPart(parts.service) ?? own
      : own;
    const { topic, isExact } = topicNames(service, named);
    const severity = severityOfLevel(level ?? "") ?? "info";
    let line = `${timeMember}"topic":"${topic}","severity":"${severity}`;
    line += service === own ? ownTail : `",${sender.columns}"service":"${service}"`;
    const isClaim = user !== undefined && !sender.isKnown;
    if (isClaim) line += `,"user":"${user}"`;
    if (message !== undefined) line += `,"message":"${message}"`;
    let detail = isClaim ? `"claimed":["user"]` : "";
    if (!isExact) detail += `${detail === "" ? "" : ","}"topic":"${jsonInner(named ?? "")}"`;
    if (parts.topics !== undefined) {
      const further = parts.topics.map((name) => topicNames(service, name));
      line += `,"topics":${JSON.stringify(further.map((each) => each.topic))}`;
      if (!further.every((each) => each.isExact)) {
        detail += `${detail === "" ? "" : ","}"topics":${JSON.stringify(parts.topics)}`;
      }
    }
    if (rest !== "") detail += detail === "" ? rest : `,${rest}`;
    return detail === "" ? `${line}}` : `${line},"detail":{${detail}}}`;
  };

  /** `detail` is the text of its members. */
  const tellWhole = (message: string, detail: string): void => {
    const line = `${plainHead}${jsonInner(message)}"`;
    takeLine(detail === "" ? `${line}}` : `${line},"detail":{${detail}}}`);
  };

  /** A message as it came, in as many lines as it needs. */
  const tellPieces = (message: string, detail: string): void => {
    if (message.length <= PIECE_LENGTH) return tellWhole(message, detail);
    const id = createHash("sha256").update(message).digest("hex").slice(0, 32);
    const pieces = piecesOf(message);
    for (const [place, piece] of pieces.entries()) {
      const part = `"part":{"message":"${id}","number":${place + 1},"of":${pieces.length}}`;
      tellWhole(piece, detail === "" ? part : `${detail},${part}`);
    }
  };

  const takeWhole = (bytes: Buffer, detail: string): void => {
    if (isUtf8(bytes)) return tellPieces(bytes.toString("utf8"), detail);
    const escaped = `"escaped":["message"]`;
    tellPieces(escapedTextOf(bytes), detail === "" ? escaped : `${detail},${escaped}`);
  };

  const takeParts = (parts: ObjectParts, whole: Buffer): void => {
    const line = tellObject(parts);
    if (fitsBatch(line)) takeLine(line);
    else takeWhole(whole, "");
  };

  /** Whatever is not plain text or a flat object of ASCII, or long. */
  const tellDecoded = (bytes: Buffer): void => {
    if (!isUtf8(bytes)) return takeWhole(bytes, "");
    const message = bytes.toString("utf8");
    const parts = bytes[0] !== OPEN && !/^\s*\{/.test(message)
      ? undefined
      : scan.scan(new ChunkText(bytes), 0, bytes.length) ?? partsOfText(message);
    if (parts === undefined) tellPieces(message, "");
    else takeParts(parts, bytes);
  };

  return {
    takeParts,
    takeWhole,
    begin(timeUs) {
      looked = undefined;
      timeMember = `"time":"${timeText(timeUs)}",`;
      const { topic } = topicNames(own, undefined);
      plainHead = `${timeMember}"topic":"${topic}","severity":"info${ownTail},"message":"`;
    },
    end() {
      looked = undefined;
    },
    take(chunk, start, end) {
      if (end - start > PIECE_LENGTH) return tellDecoded(chunk.subarray(start, end));
      looked = looked?.bytes === chunk ? looked : new ChunkText(chunk);
      if (chunk[start] === OPEN) {
        const parts = scan.scan(looked, start, end);
        if (parts !== undefined && scan.isAscii) return takeLine(tellObject(parts));
        const bytes = chunk.subarray(start, end);
        return parts !== undefined && isUtf8(bytes) ? takeParts(parts, bytes) : tellDecoded(bytes);
      }
      if (looked.plainEnd(start, end) < end) return tellDecoded(chunk.subarray(start, end));
      takeLine(`${plainHead}${looked.ascii(start, end)}"}`);
    },
  };
}

function fitsBatch(line: string): boolean {
  return line.length * 3 <= LINE_BYTES_MAX || Buffer.byteLength(line) <= LINE_BYTES_MAX;
}

/** Pieces of at most {@link PIECE_LENGTH} that no character is divided between. */
function piecesOf(message: string): readonly string[] {
  const pieces: string[] = [];
  for (let at = 0; at < message.length;) {
    let end = Math.min(at + PIECE_LENGTH, message.length);
    const last = message.charCodeAt(end - 1);
    if (end < message.length && last >= 0xd800 && last < 0xdc00) end -= 1;
    pieces.push(message.slice(at, end));
    at = end;
  }
  return pieces;
}
