/** A stream of the simulated broker: what JetStream keeps of it, and what becomes of it when it loses some. */
import type { MsgHdrs } from "@nats-io/transport-node";

export interface StoredMessage {
  readonly sequence: number;
  readonly subject: string;
  readonly headers: MsgHdrs | undefined;
  readonly data: Uint8Array;
  readonly atUs: number;
}

export interface StreamSettings {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly duplicate_window?: number;
  readonly max_msgs_per_subject?: number;
}

export type Publishing = {
  readonly subject: string;
  readonly headers: MsgHdrs | undefined;
  readonly data: Uint8Array;
  readonly atUs: number;
};

export type PublishAnswer =
  | { readonly kind: "stored"; readonly sequence: number; readonly isDuplicate: boolean }
  | { readonly kind: "wrongLast"; readonly last: number };

export class SimulatedStream {
  settings: StreamSettings;
  readonly created: string;
  readonly createdAtUs: number;
  readonly messages = new Map<number, StoredMessage>();
  lastSequence = 0;
  bytes = 0;
  /** Its sequences may mean something else than they did. */
  hasLostTail = false;
  /** What the newest message took the place of. */
  replaced: StoredMessage | undefined;
  readonly #ids = new Map<string, { readonly sequence: number; readonly atUs: number }>();

  constructor(settings: StreamSettings, made: { readonly text: string; readonly atUs: number }) {
    this.settings = settings;
    this.created = made.text;
    this.createdAtUs = made.atUs;
  }

  get firstSequence(): number {
    const [first] = this.messages.keys();
    return first ?? (this.lastSequence === 0 ? 0 : this.lastSequence + 1);
  }

  publish(message: Publishing): PublishAnswer {
    const { subject, headers, atUs } = message;
    const id = headers?.get("Nats-Msg-Id") ?? "";
    const known = this.#ids.get(id);
    const windowUs = (this.settings.duplicate_window ?? 120_000_000_000) / 1000;
    if (known !== undefined && atUs - known.atUs <= windowUs) {
      return { kind: "stored", sequence: known.sequence, isDuplicate: true };
    }
    const expected = headers?.get("Nats-Expected-Last-Subject-Sequence") ?? "";
    const last = expected === "" ? 0 : this.lastOf(subject)?.sequence ?? 0;
    if (expected !== "" && Number(expected) !== last) return { kind: "wrongLast", last };
    const sequence = this.append(message).sequence;
    if (id !== "") this.#ids.set(id, { sequence, atUs });
    return { kind: "stored", sequence, isDuplicate: false };
  }

  append({ subject, headers, data, atUs }: Publishing): StoredMessage {
    this.replaced = this.settings.max_msgs_per_subject === 1 ? this.lastOf(subject) : undefined;
    if (this.replaced !== undefined) this.remove(this.replaced.sequence);
    this.lastSequence += 1;
    const stored = { sequence: this.lastSequence, subject, headers, data, atUs };
    this.messages.set(stored.sequence, stored);
    this.bytes += data.length;
    return stored;
  }

  remove(sequence: number): void {
    this.bytes -= this.messages.get(sequence)?.data.length ?? 0;
    this.messages.delete(sequence);
  }

  lastOf(subject: string): StoredMessage | undefined {
    let last: StoredMessage | undefined;
    for (const message of this.messages.values()) if (message.subject === subject) last = message;
    return last;
  }

  /** The first message at or after a sequence. */
  from(sequence: number, filter: string): StoredMessage | undefined {
    if (sequence > this.lastSequence) return undefined;
    const exact = this.messages.get(sequence);
    if (exact !== undefined && isMatch(filter, exact.subject)) return exact;
    for (const message of this.messages.values()) {
      if (message.sequence >= sequence && isMatch(filter, message.subject)) return message;
    }
    return undefined;
  }

  /** How many messages there are at or after a sequence. */
  countFrom(sequence: number, filter: string): number {
    let count = 0;
    for (const message of this.messages.values()) {
      if (message.sequence >= sequence && isMatch(filter, message.subject)) count += 1;
    }
    return count;
  }

  /** The first sequence that was stored at a time or later; the one after the last when there is none. */
  firstSince(atUs: number): number {
    for (const message of this.messages.values()) if (message.atUs >= atUs) return message.sequence;
    return this.lastSequence + 1;
  }

  purge(before: number): number {
    const sizeBefore = this.messages.size;
    for (const sequence of this.messages.keys()) {
      if (sequence < before) this.remove(sequence);
    }
    return sizeBefore - this.messages.size;
  }

  /** The newest messages are gone, and their sequences will be given again. */
  loseTail(count: number, options: { readonly forgetsIds: boolean }): void {
    this.hasLostTail = true;
    this.lastSequence = Math.max(0, this.lastSequence - count);
    for (const sequence of this.messages.keys()) {
      if (sequence > this.lastSequence) this.remove(sequence);
    }
    if (!options.forgetsIds) return;
    for (const [id, { sequence }] of this.#ids) {
      if (sequence > this.lastSequence) this.#ids.delete(id);
    }
  }
}

/** Whether a subject matches a filter of tokens with `*` and `>`. */
export function isMatch(filter: string, subject: string): boolean {
  if (filter === ">") return true;
  const [wanted, given] = [filter.split("."), subject.split(".")];
  for (const [at, token] of wanted.entries()) {
    if (token === ">") return given.length > at;
    if (given[at] === undefined || (token !== "*" && token !== given[at])) return false;
  }
  return wanted.length === given.length;
}
