/**
 * Finds the members of a JSON object in its bytes without making an object of it: the quick way for what most programs
 * send, flat objects of short members.
 *
 * Invariants: what it takes is a JSON object by RFC 8259, and each slice it gives is JSON on one line, with no name
 * twice; all that needs more than a look (line breaks and tabs between members, `\u`, numbers that no double may hold
 * exactly, objects and lists inside, many members) is left to a reader that decodes.
 */
import type { ChunkText } from "./chunk-text.ts";
import { type ObjectParts, RESERVED_NAMES } from "./object-members.ts";

/** Members that an object may have here. */
const MEMBERS_MAX = 32;
/** Digits that every double keeps. */
const DIGITS_MAX = 15;

const ASCII_MAX = 0x7f;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const SPACE = 0x20;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NOTHING = Buffer.alloc(0);

const ESCAPED = new Set(Buffer.from('"\\/bfnrt'));
const WORDS = ["true", "false", "null"].map((word) => Buffer.from(word));
const RESERVED = RESERVED_NAMES.map((name) => Buffer.from(name));
const NAME = {
  topic: Buffer.from("topic"),
  message: Buffer.from("message"),
  msg: Buffer.from("msg"),
  level: Buffer.from("level"),
  severity: Buffer.from("severity"),
  user: Buffer.from("user"),
  service: Buffer.from("service"),
};

/** A member that is known by name: its value's place, the inside of it for a text; -1 when it is not there. */
class Place {
  start = -1;
  end = -1;
}

export class ObjectScan {
  /** Whether the last object was ASCII. Of others the parts are right only if the bytes are UTF-8. */
  isAscii = true;

  readonly #topic = new Place();
  readonly #message = new Place();
  readonly #level = new Place();
  readonly #user = new Place();
  readonly #service = new Place();
  readonly #places = [this.#topic, this.#message, this.#level, this.#user, this.#service];
  #chunk: ChunkText | undefined;
  #bytes: Buffer = NOTHING;
  #at = 0;
  #end = 0;
  #hasEscape = false;
  readonly #nameStarts = new Int32Array(MEMBERS_MAX);
  readonly #nameLengths = new Int32Array(MEMBERS_MAX);
  /** Where members of the rest begin and end that follow each other. */
  readonly #rest = new Int32Array(2 * MEMBERS_MAX);
  #rests = 0;

  /** The parts of the object that the bytes from `start` to before `end` are; undefined when it is for another reader. */
  scan(chunk: ChunkText, start: number, end: number): ObjectParts | undefined {
    this.#chunk = chunk;
    this.#bytes = chunk.bytes;
    this.#at = start;
    this.#end = end;
    this.#rests = 0;
    this.isAscii = true;
    for (const place of this.#places) place.start = -1;
    const parts = this.#members() ? this.#parts(chunk) : undefined;
    // The chunk must not outlive the message: each connection has one of these.
    this.#chunk = undefined;
    this.#bytes = NOTHING;
    return parts;
  }

  #parts(chunk: ChunkText): ObjectParts {
    let rest = "";
    for (let place = 0; place < this.#rests; place += 1) {
      const part = this.#cut(chunk, this.#rest[2 * place] ?? 0, this.#rest[2 * place + 1] ?? 0);
      rest = place === 0 ? part : `${rest},${part}`;
    }
    return {
      topic: this.#in(chunk, this.#topic),
      message: this.#in(chunk, this.#message),
      level: this.#in(chunk, this.#level),
      user: this.#in(chunk, this.#user),
      service: this.#in(chunk, this.#service),
      rest,
    };
  }

  #in(chunk: ChunkText, { start, end }: Place): string | undefined {
    return start < 0 ? undefined : this.#cut(chunk, start, end);
  }

  #cut(chunk: ChunkText, start: number, end: number): string {
    return this.isAscii ? chunk.ascii(start, end) : chunk.text(start, end);
  }

  #members(): boolean {
    if (this.#next() !== OPEN) return false;
    let count = 0;
    let seen = 0;
    /** Where members begin that belong to the rest and are not in it yet. */
    let restFrom = -1;
    let restTo = -1;
    if (this.#peek() === CLOSE) {
      this.#at += 1;
      return this.#isDone();
    }
    for (;;) {
      const memberAt = this.#skipSpaces();
      if (this.#next() !== QUOTE) return false;
      const nameAt = this.#at;
      if (!this.#string() || this.#hasEscape) return false;
      const nameLength = this.#at - 1 - nameAt;
      if (count === MEMBERS_MAX || this.#isReserved(nameAt, nameLength)) return false;
      const bit = 1 << ((nameLength * 7 + (this.#bytes[nameAt] ?? 0)) & 31);
      if ((seen & bit) !== 0 && this.#isKnown(nameAt, nameLength, count)) return false;
      seen |= bit;
      this.#nameStarts[count] = nameAt;
      this.#nameLengths[count] = nameLength;
      count += 1;
      if (this.#next() !== COLON) return false;
      this.#skipSpaces();
      const valueAt = this.#at;
      const isText = this.#bytes[valueAt] === QUOTE;
      if (!this.#value()) return false;
      const place = this.#placeOf(nameAt, nameLength);
      const isKnown = place !== undefined && (isText || place === this.#level);
      if (isKnown && !this.#note(place, valueAt)) return false;
      const isTaken = isKnown && (place === this.#topic || place === this.#message);
      if (isTaken && restFrom >= 0) {
        this.#keep(restFrom, restTo);
        restFrom = -1;
      } else if (!isTaken) {
        if (restFrom < 0) restFrom = memberAt;
        restTo = this.#at;
      }
      const after = this.#next();
      if (after === CLOSE) {
        if (restFrom >= 0) this.#keep(restFrom, restTo);
        return this.#isDone();
      }
      if (after !== COMMA) return false;
    }
  }

  #keep(from: number, to: number): void {
    this.#rest[2 * this.#rests] = from;
    this.#rest[2 * this.#rests + 1] = to;
    this.#rests += 1;
  }

  #isDone(): boolean {
    return this.#skipSpaces() === this.#end;
  }

  #skipSpaces(): number {
    while (this.#at < this.#end && this.#bytes[this.#at] === SPACE) this.#at += 1;
    return this.#at;
  }

  #peek(): number {
    const at = this.#skipSpaces();
    return at < this.#end ? this.#bytes[at] ?? -1 : -1;
  }

  /** The next character that is no space, which is passed. */
  #next(): number {
    const found = this.#peek();
    this.#at += 1;
    return found;
  }

  /** Notes a value that is known by name; false when it is for a reader that decodes. */
  #note(place: Place, valueAt: number): boolean {
    const first = this.#bytes[valueAt] ?? -1;
    // What a name means that is there under both its spellings is decided there, too.
    if (place.start >= 0) return false;
    if (first !== QUOTE) {
      if (first !== MINUS && !isDigit(first)) return false;
      place.start = valueAt;
      place.end = this.#at;
      return true;
    }
    if (this.#hasEscape && place !== this.#message) return false;
    place.start = valueAt + 1;
    place.end = this.#at - 1;
    return true;
  }

  #placeOf(nameAt: number, nameLength: number): Place | undefined {
    if (nameLength < 3 || nameLength > 8) return undefined;
    switch (this.#bytes[nameAt]) {
      case 0x6c: // l
        return this.#is(NAME.level, nameAt, nameLength) ? this.#level : undefined;
      case 0x6d: // m
        return this.#is(NAME.message, nameAt, nameLength) || this.#is(NAME.msg, nameAt, nameLength)
          ? this.#message
          : undefined;
      case 0x73: // s
        if (this.#is(NAME.service, nameAt, nameLength)) return this.#service;
        return this.#is(NAME.severity, nameAt, nameLength) ? this.#level : undefined;
      case 0x74: // t
        return this.#is(NAME.topic, nameAt, nameLength) ? this.#topic : undefined;
      case 0x75: // u
        return this.#is(NAME.user, nameAt, nameLength) ? this.#user : undefined;
      default:
        return undefined;
    }
  }

  #is(name: Uint8Array, nameAt: number, nameLength: number): boolean {
    return name.length === nameLength && this.#isAt(name, nameAt);
  }

  #isAt(word: Uint8Array, at: number): boolean {
    for (let place = 0; place < word.length; place += 1) {
      if (this.#bytes[at + place] !== word[place]) return false;
    }
    return true;
  }

  #isReserved(nameAt: number, nameLength: number): boolean {
    switch (this.#bytes[nameAt]) {
      case 0x5f: // _
      case 0x63: // c
      case 0x65: // e
      case 0x70: // p
      case 0x73: // s
        return RESERVED.some((name) => this.#is(name, nameAt, nameLength));
      default:
        return false;
    }
  }

  /** Whether a name was there before. */
  #isKnown(nameAt: number, nameLength: number, count: number): boolean {
    const name = this.#bytes.subarray(nameAt, nameAt + nameLength);
    for (let place = 0; place < count; place += 1) {
      if (this.#is(name, this.#nameStarts[place] ?? 0, this.#nameLengths[place] ?? -1)) return true;
    }
    return false;
  }

  #value(): boolean {
    const first = this.#at < this.#end ? this.#bytes[this.#at] ?? -1 : -1;
    if (first === QUOTE) {
      this.#at += 1;
      return this.#string();
    }
    if (first === MINUS || isDigit(first)) return this.#number();
    const word = WORDS.find((each) => this.#isAt(each, this.#at));
    this.#at += word?.length ?? 0;
    return word !== undefined && this.#at <= this.#end;
  }

  /** Passes a string whose opening quote was passed. */
  #string(): boolean {
    const bytes = this.#bytes;
    const chunk = this.#chunk;
    const end = this.#end;
    this.#hasEscape = false;
    if (chunk === undefined) return false;
    for (let at = chunk.plainEnd(this.#at, end); at < end; at = chunk.plainEnd(at + 1, end)) {
      const byte = bytes[at] ?? 0;
      if (byte === QUOTE) {
        this.#at = at + 1;
        return true;
      }
      if (byte < SPACE) return false;
      if (byte > ASCII_MAX) this.isAscii = false;
      if (byte !== BACKSLASH) continue;
      this.#hasEscape = true;
      at += 1;
      if (at >= end || !ESCAPED.has(bytes[at] ?? 0)) return false;
    }
    return false;
  }

  #number(): boolean {
    const bytes = this.#bytes;
    let at = this.#at;
    if (bytes[at] === MINUS) at += 1;
    const wholeAt = at;
    at = this.#digitsEnd(at);
    let digits = at - wholeAt;
    if (digits === 0 || (digits > 1 && bytes[wholeAt] === ZERO)) return false;
    if (at < this.#end && bytes[at] === POINT) {
      const partAt = at + 1;
      at = this.#digitsEnd(partAt);
      if (at === partAt) return false;
      digits += at - partAt;
    }
    this.#at = at;
    // What follows a number ends a member: an exponent does not.
    return digits <= DIGITS_MAX;
  }

  #digitsEnd(from: number): number {
    let at = from;
    while (at < this.#end && isDigit(this.#bytes[at] ?? 0)) at += 1;
    return at;
  }
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}
