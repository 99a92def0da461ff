/**
 * Messages on their way to the agent: waiting, or sent and not known to have arrived.
 *
 * Invariant: messages settle in the order in which they were added; after {@link OutgoingMessages.again} every one that
 * has not settled waits once more.
 */

interface Outgoing {
  readonly text: string;
  readonly sizeBytes: number;
  resolve(): void;
  reject(error: Error): void;
}

/** Text of one write, in UTF-16 units. */
const WRITE_LENGTH = 65_536;

export class OutgoingMessages {
  readonly #bytesMax: number;
  #messages: Outgoing[] = [];
  /** Of the messages, how many were sent over the connection that there is. */
  #sent = 0;
  #sizeBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get size(): number {
    return this.#messages.length;
  }

  /** Settles with the message; undefined when there is no room for it. */
  add(text: string): Promise<void> | undefined {
    const sizeBytes = Buffer.byteLength(text) + 1;
    if (this.#sizeBytes + sizeBytes > this.#bytesMax) return undefined;
    this.#sizeBytes += sizeBytes;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#messages.push({ text, sizeBytes, resolve, reject });
    return promise;
  }

  /** Text of the next messages to send, and how many they are. */
  take(): { readonly text: string; readonly written: number } {
    const from = this.#sent;
    let text = "";
    while (this.#sent < this.#messages.length && text.length < WRITE_LENGTH) {
      text += `${this.#messages[this.#sent]?.text}\n`;
      this.#sent += 1;
    }
    return { text, written: this.#sent - from };
  }

  /** The oldest ones have arrived. */
  settle(count: number): void {
    for (const message of this.#messages.splice(0, count)) {
      this.#sizeBytes -= message.sizeBytes;
      message.resolve();
    }
    this.#sent = Math.max(0, this.#sent - count);
  }

  /** The connection is gone. */
  again(): void {
    this.#sent = 0;
  }

  refuse(error: Error): void {
    for (const message of this.#messages.splice(0)) message.reject(error);
    this.#sent = 0;
    this.#sizeBytes = 0;
  }
}
