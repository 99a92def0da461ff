/** What the privileged process answers, and what it hands over with it. */
import type { Reply } from "./messages.ts";

export interface Answer extends Reply {
  /** Handed over, then closed. */
  readonly descriptors?: readonly number[];
  /** Closed by someone else. */
  readonly isKept?: boolean;
}

export function done(status: number): Answer {
  return { status, text: "" };
}

export function refused(errno: number): Answer {
  return { status: -errno, text: "" };
}

export function handedOver(fd: number): Answer {
  return fd < 0 ? done(fd) : { status: 0, text: "", descriptors: [fd] };
}

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
