/**
 * What the disk of an agent says of its spool, read from its files as they are synced and written: which batches are
 * durable, with the events in them, and which the spool says it needs no more.
 */
import { FILE_MAGIC, scanFile } from "../../src/producer/spool-format.ts";
import { linesOfFrame } from "./opened-frames.ts";
import type { Disk, FileNode } from "./disk.ts";

export interface DurableBatch {
  readonly ordinal: number;
  readonly digest: string;
  /** Messages of its events. */
  readonly events: readonly string[];
}

const SEGMENT = /\/spool\/segments\/\d+\.spool$/;
const RECEIPT_BYTES = 32;
const RECEIPT_RELEASED = 2;

export class SpoolWatch {
  batches = new Map<number, DurableBatch>();
  /** Messages of all events that ever were durable. */
  readonly durable = new Set<string>();
  released = 0;
  readonly #read = new Map<string, number>();
  readonly #onReleased: (batch: DurableBatch) => void;

  constructor(disk: Disk, onReleased: (batch: DurableBatch) => void) {
    this.#onReleased = onReleased;
    disk.onSync = (path, node) => {
      if (SEGMENT.test(path)) this.#readSegment(path, node);
    };
    disk.onWrite = (path, data) => {
      if (path === "/spool/receipts") this.#readReceipts(data);
    };
  }

  /** Whether everything that became durable is released. */
  get isEmpty(): boolean {
    return this.batches.size === 0 || Math.max(...this.batches.keys()) <= this.released;
  }

  /** What it knows of the disk now, to be given back when the disk is set back. */
  copy(): () => void {
    const { released } = this;
    const batches = new Map(this.batches);
    return () => {
      this.batches = new Map(batches);
      this.released = released;
      this.#read.clear();
    };
  }

  /** The disk that it watches was made from a copy of the other's. */
  follow({ batches, released }: SpoolWatch): void {
    this.batches = new Map(batches);
    this.released = released;
  }

  #readSegment(path: string, node: FileNode): void {
    const from = this.#read.get(path) ?? FILE_MAGIC.length;
    // A file that was cut back is read again from its beginning: a batch is known by its number.
    const isShorter = from > node.length;
    const fresh = node.bytes.subarray(isShorter ? FILE_MAGIC.length : from);
    const file = Buffer.concat([FILE_MAGIC, fresh]);
    const { records, goodBytes } = scanFile(file);
    this.#read.set(path, (isShorter ? FILE_MAGIC.length : from) + goodBytes - FILE_MAGIC.length);
    for (const { record, payloadAt, payloadBytes } of records) {
      if (record.kind !== "batch") continue;
      const { ordinal, digest } = record;
      const events = linesOfFrame(file.subarray(payloadAt, payloadAt + payloadBytes))
        .map((line): string => JSON.parse(line).message);
      for (const event of events) this.durable.add(event);
      this.batches.set(ordinal, { ordinal, digest, events });
    }
  }

  #readReceipts(data: Uint8Array): void {
    const bytes = Buffer.from(data);
    for (let at = 0; at + RECEIPT_BYTES <= bytes.length; at += RECEIPT_BYTES) {
      if (bytes.readUInt32LE(at + 4) !== RECEIPT_RELEASED) continue;
      const ordinal = Number(bytes.readBigUInt64LE(at + 8));
      for (; this.released < ordinal; this.released++) {
        const batch = this.batches.get(this.released + 1);
        if (batch !== undefined) this.#onReleased(batch);
      }
    }
  }
}
