/**
 * A BPF ring buffer mapped into this process and read in place, without a call per record
 * (layout: Linux, kernel/bpf/ringbuf.c).
 *
 * Invariants: data pages are read only and mapped twice in a row, so a record never wraps in view; a record that a CPU
 * is still writing ends a read; nothing is given back to the kernel but by {@link RingBuffer.release}. After close the
 * views are gone: whoever keeps one crashes the process, so cursors are asked for anew and never kept beyond it.
 */
import type { Libbpf, Mapping } from "./libbpf.ts";

const PAGE_BYTES = 4096;
const HEADER_BYTES = 8;
const BUSY_BIT = 0x8000_0000;
const DISCARD_BIT = 0x4000_0000;
const LENGTH_MASK = 0x3fff_ffff;
/** Values of a 32-bit word. */
const WORD = 2 ** 32;

/** Smallest and largest ring, in bytes; sizes are powers of two. */
export const RING_BYTES_MIN = PAGE_BYTES;
export const RING_BYTES_MAX = 512 * 1024 * 1024;

/** Records as the decoders see them: one memory as words and as bytes. Offsets of records are multiples of 8. */
export interface RecordMemory {
  readonly words: Uint32Array;
  readonly bytes: Buffer;
}

export interface RingBuffer extends Disposable {
  readonly sizeBytes: number;
  readonly memory: RecordMemory;
  /** Up to where the kernel may overwrite, in bytes since the ring was made. */
  consumerPosition(): number;
  /** Up to where the kernel has reserved. */
  producerPosition(): number;
  /** Whether both positions still are what they were; cheap. */
  isAt(consumer: number, producer: number): boolean;
  /** Gives everything before `position` back to the kernel. */
  release(position: number): void;
  /** Puts the consumer position where it has to be, wherever it is. */
  restore(position: number): void;
  /** Reads on from a position, which must be one that a cursor reached or the consumer position. */
  cursorAt(position: number): RingCursor;
}

/** Maps the ring of a descriptor, which may be closed afterwards. Throws when it cannot be mapped. */
export function openRingBuffer(libbpf: Libbpf, fd: number, sizeBytes: number): RingBuffer {
  const consumer = mapped(
    libbpf,
    "consumer page",
    () => libbpf.mmap(fd, { sizeBytes: PAGE_BYTES, offsetBytes: 0, access: "read-write" }),
  );
  const producer = mapped(libbpf, "data pages", () =>
    libbpf.mmap(fd, {
      sizeBytes: PAGE_BYTES + 2 * sizeBytes,
      offsetBytes: PAGE_BYTES,
      access: "read",
    }));
  return new MappedRing(libbpf, { consumer, producer, sizeBytes });
}

function mapped(libbpf: Libbpf, what: string, map: () => Mapping | null): Mapping {
  const mapping = map();
  if (mapping === null) {
    throw new Error(`Cannot map the ring's ${what}: errno ${libbpf.errno()}`);
  }
  return mapping;
}

class MappedRing implements RingBuffer {
  readonly sizeBytes: number;
  #memory: RecordMemory;
  #consumer: BigInt64Array;
  #producer: BigInt64Array;
  /** The same positions without their upper halves: to read one makes no object. */
  #consumerWord: Uint32Array;
  #producerWord: Uint32Array;
  #close: (() => void) | undefined;

  constructor(
    libbpf: Libbpf,
    pages: { consumer: Mapping; producer: Mapping; sizeBytes: number },
  ) {
    const { consumer, producer, sizeBytes } = pages;
    this.sizeBytes = sizeBytes;
    this.#consumer = new BigInt64Array(consumer.view, 0, 1);
    this.#producer = new BigInt64Array(producer.view, 0, 1);
    this.#consumerWord = new Uint32Array(consumer.view, 0, 1);
    this.#producerWord = new Uint32Array(producer.view, 0, 1);
    this.#memory = recordMemory(producer.view, PAGE_BYTES);
    this.#close = () => {
      libbpf.munmap(consumer);
      libbpf.munmap(producer);
    };
  }

  get memory(): RecordMemory {
    return this.#memory;
  }

  consumerPosition(): number {
    return Number(Atomics.load(this.#consumer, 0));
  }

  producerPosition(): number {
    return Number(Atomics.load(this.#producer, 0));
  }

  isAt(consumer: number, producer: number): boolean {
    return Atomics.load(this.#consumerWord, 0) === consumer % WORD &&
      Atomics.load(this.#producerWord, 0) === producer % WORD;
  }

  release(position: number): void {
    if (position > this.consumerPosition() && position <= this.producerPosition()) {
      Atomics.store(this.#consumer, 0, BigInt(position));
    }
  }

  restore(position: number): void {
    Atomics.store(this.#consumer, 0, BigInt(position));
  }

  cursorAt(position: number): RingCursor {
    return new RingCursor(this.#memory, { sizeBytes: this.sizeBytes, position });
  }

  [Symbol.dispose](): void {
    this.#memory = recordMemory(new ArrayBuffer(0), 0);
    this.#consumer = new BigInt64Array(1);
    this.#producer = new BigInt64Array(1);
    this.#consumerWord = new Uint32Array(1);
    this.#producerWord = new Uint32Array(1);
    this.#close?.();
    this.#close = undefined;
  }
}

/** Views of a buffer whose records start at `offset`. */
export function recordMemory(buffer: ArrayBuffer, offset: number): RecordMemory {
  return { words: new Uint32Array(buffer, offset), bytes: Buffer.from(buffer, offset) };
}

/** Walks the records of a ring up to a given producer position. */
export class RingCursor {
  /** Of the last record: its length in bytes. */
  length = 0;
  #position: number;
  #lastPosition = -1;
  #offset: number;
  readonly #states: Int32Array;
  readonly #mask: number;

  constructor(memory: RecordMemory, ring: { sizeBytes: number; position: number }) {
    const { words } = memory;
    this.#states = new Int32Array(words.buffer, words.byteOffset, words.length);
    this.#mask = ring.sizeBytes - 1;
    this.#position = ring.position;
    this.#offset = ring.position % ring.sizeBytes;
  }

  /** Up to where records were read, in bytes since the ring was made. */
  get position(): number {
    return this.#position;
  }

  /** Goes on elsewhere: at the kernel's position, when what was to be read was overwritten. */
  jump(position: number): void {
    this.#position = position;
    this.#offset = position & this.#mask;
    this.#lastPosition = -1;
  }

  /** Takes the last record back: the next read begins with it. */
  back(): void {
    if (this.#lastPosition < 0) throw new Error("Cannot go back in a ring: nothing was read");
    this.#position = this.#lastPosition;
    this.#offset = this.#position & this.#mask;
    this.#lastPosition = -1;
  }

  /**
   * Offset of the next record's first byte in the ring's memory, or -1 when there is none before `limit` or the next
   * one is still being written. Discarded records are passed over. Throws when a record goes beyond the limit: then
   * the position was none of a record.
   */
  next(limit: number): number {
    while (this.#position < limit) {
      const offset = this.#offset;
      const state = Atomics.load(this.#states, offset >> 2);
      if ((state & BUSY_BIT) !== 0) return -1;
      const length = state & LENGTH_MASK;
      const step = (length + HEADER_BYTES + 7) & ~7;
      if (this.#position + step > limit) {
        throw new Error(`Cannot read the ring at ${this.#position}: no record begins there`);
      }
      this.#lastPosition = this.#position;
      this.#position += step;
      this.#offset = (offset + step) & this.#mask;
      if ((state & DISCARD_BIT) !== 0) continue;
      this.length = length;
      return offset + HEADER_BYTES;
    }
    return -1;
  }
}
