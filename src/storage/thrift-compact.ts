/**
 * Structures in Thrift's compact protocol, as the footer of a Parquet file is written: read into a tree that keeps every
 * field, and written from it again.
 *
 * Invariant: what is read and written unchanged is the same bytes, whatever its fields mean; a text of another shape is
 * refused. Source: Apache Thrift, doc/specs/thrift-compact-protocol.md.
 */

/** Types of fields, by the protocol's numbers. */
export const THRIFT = {
  true: 1,
  false: 2,
  byte: 3,
  i16: 4,
  i32: 5,
  i64: 6,
  double: 7,
  binary: 8,
  list: 9,
  set: 10,
  map: 11,
  struct: 12,
} as const;

export type ThriftValue =
  | boolean
  /** Every integer, and the raw bits of a double. */
  | bigint
  | Uint8Array
  | ThriftList
  | ThriftStruct;

export interface ThriftList {
  readonly elementType: number;
  readonly items: ThriftValue[];
}

export interface ThriftField {
  readonly id: number;
  readonly type: number;
  value: ThriftValue;
}

/** Fields in the order in which they were written. */
export interface ThriftStruct {
  readonly fields: ThriftField[];
}

/** Deepest structure that is read. */
const DEPTH_MAX = 32;

/** Reads one structure that fills the bytes. Throws SyntaxError when it does not. */
export function readThrift(bytes: Uint8Array): ThriftStruct {
  const reader = new Reader(bytes);
  const struct = reader.struct(0);
  if (reader.isAtEnd) return struct;
  throw new SyntaxError("bytes follow the structure");
}

export function writeThrift(struct: ThriftStruct): Uint8Array {
  const writer = new Writer();
  writer.struct(struct);
  return writer.bytes();
}

/** The value of a field; undefined when it is absent. */
export function fieldOf(struct: ThriftStruct, id: number): ThriftField | undefined {
  return struct.fields.find((field) => field.id === id);
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  struct(depth: number): ThriftStruct {
    if (depth > DEPTH_MAX) throw new SyntaxError("the structure is too deep");
    const fields: ThriftField[] = [];
    for (let id = 0;;) {
      const head = this.#byte();
      if (head === 0) return { fields };
      const type = head & 0x0f;
      id = head >> 4 === 0 ? Number(this.#zigzag()) : id + (head >> 4);
      const value = type === THRIFT.true || type === THRIFT.false
        ? type === THRIFT.true
        : this.#value(type, depth);
      fields.push({ id, type, value });
    }
  }

  #value(type: number, depth: number): ThriftValue {
    switch (type) {
      case THRIFT.true:
      case THRIFT.false:
        return this.#byte() === THRIFT.true;
      case THRIFT.byte:
        return BigInt(this.#byte());
      case THRIFT.i16:
      case THRIFT.i32:
      case THRIFT.i64:
        return this.#zigzag();
      case THRIFT.double:
        return new DataView(this.#take(8).slice().buffer).getBigUint64(0, true);
      case THRIFT.binary:
        return this.#take(Number(this.#varint()));
      case THRIFT.list:
      case THRIFT.set:
        return this.#list(depth);
      case THRIFT.struct:
        return this.struct(depth + 1);
      default:
        throw new SyntaxError(`type ${type} is not one of a Parquet footer`);
    }
  }

  #list(depth: number): ThriftList {
    const head = this.#byte();
    const count = head >> 4 === 15 ? Number(this.#varint()) : head >> 4;
    const elementType = head & 0x0f;
    if (count > this.#bytes.length - this.#at) throw new SyntaxError("a list is cut short");
    const items: ThriftValue[] = [];
    for (let place = 0; place < count; place++) items.push(this.#value(elementType, depth));
    return { elementType, items };
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw new SyntaxError("the structure is cut short");
    return byte;
  }

  #take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw new SyntaxError("a text is cut short");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  #varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new SyntaxError("a number is too long");
  }

  #zigzag(): bigint {
    const value = this.#varint();
    return (value >> 1n) ^ -(value & 1n);
  }
}

class Writer {
  #bytes = new Uint8Array(64 * 1024);
  #length = 0;

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  struct({ fields }: ThriftStruct): void {
    let last = 0;
    for (const { id, type, value } of fields) {
      const head = typeof value === "boolean" ? (value ? THRIFT.true : THRIFT.false) : type;
      const step = id - last;
      if (step > 0 && step <= 15) this.#byte(step << 4 | head);
      else {
        this.#byte(head);
        this.#zigzag(BigInt(id));
      }
      if (typeof value !== "boolean") this.#value(type, value);
      last = id;
    }
    this.#byte(0);
  }

  #value(type: number, value: ThriftValue): void {
    if (typeof value === "boolean") this.#byte(value ? THRIFT.true : THRIFT.false);
    else if (typeof value === "bigint") this.#number(type, value);
    else if (value instanceof Uint8Array) {
      this.#varint(BigInt(value.length));
      this.#append(value);
    } else if ("items" in value) {
      const { elementType, items } = value;
      this.#byte(Math.min(items.length, 15) << 4 | elementType);
      if (items.length >= 15) this.#varint(BigInt(items.length));
      for (const item of items) this.#value(elementType, item);
    } else this.struct(value);
  }

  #number(type: number, value: bigint): void {
    if (type === THRIFT.byte) this.#byte(Number(value));
    else if (type === THRIFT.double) {
      const bits = new Uint8Array(8);
      new DataView(bits.buffer).setBigUint64(0, value, true);
      this.#append(bits);
    } else this.#zigzag(value);
  }

  #byte(byte: number): void {
    this.#append(Uint8Array.of(byte));
  }

  #varint(value: bigint): void {
    while (value >= 0x80n) {
      this.#byte(Number(value & 0x7fn) | 0x80);
      value >>= 7n;
    }
    this.#byte(Number(value));
  }

  #zigzag(value: bigint): void {
    this.#varint(value < 0n ? ((-value) << 1n) - 1n : value << 1n);
  }

  #append(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) {
      const grown = new Uint8Array(2 * (this.#length + bytes.length));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}
