/**
 * One connection of an application: its bytes become lines, and its answers go back.
 *
 * Invariants: the first byte decides how messages are told apart: 0 begins a length, `{` a line of JSON. What cannot be
 * read on closes this connection and no other. A sender that half-closes still gets its answers.
 */
import type { Socket } from "node:net";
import {
  type AnswerFraming,
  type Answers,
  createAnswers,
  framed,
  UNREAD_BYTES_MAX,
} from "./answers.ts";
import { type Handshake, handshakeOf } from "./handshake.ts";
import { LineBlock } from "./line-block.ts";
import { createMessageLines, type MessageLines, type Sender } from "./message-lines.ts";
import { createFrameSplitter, createLineSplitter, type Splitter } from "./message-splitter.ts";
import type { Refusal } from "./refusals.ts";
import { takeSyslog } from "./syslog-lines.ts";
import { createSyslogSplitter } from "./syslog-splitter.ts";

/** What is spoken on a connection. */
export type Protocol = "messages" | "syslog";

/** What a connection has of the source. */
export interface Intake {
  /** Lines that came so far, of all connections. */
  readonly total: number;
  add(fields: string, timeUs: number): void;
  settle(awaited: "awaited" | "not awaited"): void;
  nowUs(): number;
  /** Counts one message of a sender. */
  count(): void;
  /** Has messages relayed to a KMS, where there is one: false when they could not be kept for it. */
  relay?(messages: readonly string[]): boolean;
  /** Counts what was refused: one message or connection, or so many messages. */
  refuse(refusal: Refusal, from: string, count?: number): void;
  /** Counts bytes of unfinished messages, more or, below 0, less: when too many are held, who holds most is ended. */
  hold(moreBytes: number): void;
}

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly sender: Sender;
  readonly uid: number | undefined;
  /** Names the connection in logs. */
  readonly from: string;
  readonly bytesMax: number;
  readonly intake: Intake;
  readonly protocol: Protocol;
}

export interface Connection {
  /** User at its other end, where the kernel says it. */
  readonly uid: number | undefined;
  /** Bytes that it holds of a message that is not whole. */
  readonly heldBytes: number;
  /** Every line before the position is durable. */
  release(position: number): void;
  /** Reads no more until it is resumed. */
  pause(): void;
  resume(): void;
  /** Ends it at once because of what it sent. */
  fail(refusal: Refusal): void;
  /** Ends it in order: what was answered is sent, to who reads it within {@link LEAVE_LIMIT_MS}. */
  close(): void;
}

/** How long a sender may take to read its answers when the agent stops. */
export const LEAVE_LIMIT_MS = 1_000;

const OPEN = 0x7b;

export function serveConnection(options: ConnectionOptions): Connection {
  const { socket, sender, from, bytesMax, intake, protocol } = options;
  const block = new LineBlock();
  let relayed: string[] = [];
  let splitter: Splitter | undefined;
  let framing: AnswerFraming = "frames";
  let lines: MessageLines | undefined;
  let answers: Answers | undefined;
  let timeUs = 0;
  let messages = 0;
  let heldBytes = 0;
  let refusal: Refusal | undefined;
  let [isEnded, isPaused, isUnread] = [false, false, false];

  const begin = (asked: Handshake | undefined): MessageLines => {
    const named = sender.mayName && asked?.service !== undefined;
    const own = named ? { ...sender, service: asked.service, mayName: false } : sender;
    const made = createMessageLines(own, (fields) => block.add(fields));
    made.begin(timeUs);
    if (asked === undefined) return made;
    if (asked.ack) answers = createAnswers(socket, framing);
    socket.write(framed(`{"probity":{"ack":${asked.ack}}}`, framing), "latin1");
    return made;
  };
  const take = (chunk: Buffer, start: number, end: number): void => {
    if (lines === undefined) {
      const asked = handshakeOf(chunk.subarray(start, end));
      if (asked === "refused") {
        refusal = "handshake";
        return;
      }
      lines = begin(asked);
      if (asked !== undefined) return;
    }
    if (refusal !== undefined) return;
    lines.take(chunk, start, end);
    if (intake.relay !== undefined) relayed.push(chunk.toString("utf8", start, end));
    messages += 1;
    intake.count();
  };
  const takeSyslogMessage = (chunk: Buffer, start: number, end: number): void => {
    lines ??= begin(undefined);
    takeSyslog(lines, chunk.subarray(start, end));
    messages += 1;
    intake.count();
  };
  const openSplitter = (chunk: Buffer): Splitter => {
    if (protocol === "syslog") return createSyslogSplitter(bytesMax, takeSyslogMessage);
    framing = chunk[0] === OPEN ? "lines" : "frames";
    return framing === "lines"
      ? createLineSplitter(bytesMax, take)
      : createFrameSplitter(bytesMax, take);
  };
  const settle = (before: number): void => {
    if (relayed.length > 0) {
      const isKept = intake.relay?.(relayed);
      const { length } = relayed;
      relayed = [];
      if (isKept === false) {
        intake.refuse("relay", from, length);
        socket.destroy();
        return;
      }
    }
    block.flush((fields) => intake.add(fields, timeUs));
    lines?.end();
    if (messages === before) return;
    answers?.expect(messages, intake.total);
    intake.settle(answers === undefined ? "not awaited" : "awaited");
  };
  const hold = (bytes: number): void => {
    const more = bytes - heldBytes;
    heldBytes = bytes;
    intake.hold(more);
  };
  const fail = (reason: Refusal): void => {
    intake.refuse(reason, from);
    socket.destroy();
    hold(0);
  };
  const setReading = (): void => {
    if (isPaused || isUnread) socket.pause();
    else socket.resume();
  };

  socket.on("data", (chunk: Buffer) => {
    splitter ??= openSplitter(chunk);
    const before = messages;
    timeUs = intake.nowUs();
    lines?.begin(timeUs);
    refusal = splitter.push(chunk) ?? refusal;
    settle(before);
    if (refusal !== undefined) return fail(refusal);
    if (socket.destroyed) return;
    hold(splitter.heldBytes);
    if (socket.writableLength <= UNREAD_BYTES_MAX) return;
    isUnread = true;
    setReading();
  });
  socket.on("drain", () => {
    isUnread = false;
    setReading();
  });
  socket.on("end", () => {
    const before = messages;
    timeUs = intake.nowUs();
    lines?.begin(timeUs);
    if (splitter?.finish() === "cut") intake.refuse("cut", from);
    settle(before);
    if (refusal !== undefined) return fail(refusal);
    isEnded = true;
    if (answers?.isWaiting !== true) socket.end();
  });
  // What a connection ends with is the sender's business: what came whole was taken.
  socket.on("error", () => socket.destroy());
  socket.on("close", () => hold(0));

  return {
    uid: options.uid,
    get heldBytes() {
      return heldBytes;
    },
    fail,
    release(position) {
      if (answers?.isWaiting !== true || socket.destroyed) return;
      answers.release(position);
      if (isEnded && !answers.isWaiting) socket.end();
    },
    pause() {
      isPaused = true;
      setReading();
    },
    resume() {
      isPaused = false;
      setReading();
    },
    close() {
      socket.destroySoon();
      setTimeout(() => socket.destroy(), LEAVE_LIMIT_MS).unref();
    },
  };
}
