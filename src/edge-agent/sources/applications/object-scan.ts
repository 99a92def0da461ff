/**
 * Finds the members of a JSON object in its text without making an object of it: the quick way for what most programs
 * send, flat objects of short members.
 *
 * Invariants: what it takes is a JSON object by RFC 8259, and each slice it gives is JSON on one line, with no name
 * twice; all that needs more than a look (line breaks and tabs between members, `\u`, numbers that no double may hold
 * exactly, objects and lists inside, many members) is left to a reader that decodes.
 */
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

/** A member that is known by name: its value's place, the inside of it for a text; -1 when it is not there. */
class Place {
  start = -1;
  end = -1;

  in(text: string): string | undefined {
    return this.start < 0 ? undefined : text.slice(this.start, this.end);
  }
}

export class ObjectScan {
  /** Whether all characters of the last text were ASCII, as far as it was looked at. */
  isAscii = true;

  readonly #topic = new Place();
  readonly #message = new Place();
  readonly #level = new Place();
  readonly #user = new Place();
  readonly #service = new Place();
  #rest = "";
  #text = "";
  #at = 0;
  #end = 0;
  #hasEscape = false;
  readonly #nameStarts = new Int32Array(MEMBERS_MAX);
  readonly #nameLengths = new Int32Array(MEMBERS_MAX);

  /** The parts of the object that the text from `start` to before `end` is; undefined when it is for another reader. */
  scan(text: string, start: number, end: number): ObjectParts | undefined {
    this.#text = text;
    this.#at = start;
    this.#end = end;
    this.#rest = "";
    this.isAscii = true;
    this.#topic.start = -1;
    this.#message.start = -1;
    this.#level.start = -1;
    this.#user.start = -1;
    this.#service.start = -1;
    const isObject = this.#members();
    const rest = this.#rest;
    // Neither must outlive the message: each connection has one of these.
    this.#text = "";
    this.#rest = "";
    if (!isObject) return undefined;
    return {
      topic: this.#topic.in(text),
      message: this.#message.in(text),
      level: this.#level.in(text),
      user: this.#user.in(text),
      service: this.#service.in(text),
      rest,
    };
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
      const bit = 1 << ((nameLength * 7 + this.#text.charCodeAt(nameAt)) & 31);
      if ((seen & bit) !== 0 && this.#isKnown(nameAt, nameLength, count)) return false;
      seen |= bit;
      this.#nameStarts[count] = nameAt;
      this.#nameLengths[count] = nameLength;
      count += 1;
      if (this.#next() !== COLON) return false;
      this.#skipSpaces();
      const valueAt = this.#at;
      const isText = this.#text.charCodeAt(valueAt) === QUOTE;
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
    const part = this.#text.slice(from, to);
    this.#rest = this.#rest === "" ? part : `${this.#rest},${part}`;
  }

  #isDone(): boolean {
    return this.#skipSpaces() === this.#end;
  }

  #skipSpaces(): number {
    while (this.#at < this.#end && this.#text.charCodeAt(this.#at) === SPACE) this.#at += 1;
    return this.#at;
  }

  #peek(): number {
    const at = this.#skipSpaces();
    return at < this.#end ? this.#text.charCodeAt(at) : -1;
  }

  /** The next character that is no space, which is passed. */
  #next(): number {
    const found = this.#peek();
    this.#at += 1;
    return found;
  }

  /** Notes a value that is known by name; false when it is for a reader that decodes. */
  #note(place: Place, valueAt: number): boolean {
    const first = this.#text.charCodeAt(valueAt);
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
    switch (this.#text.charCodeAt(nameAt)) {
      case 0x6c:
        return this.#is("level", nameAt, nameLength) ? this.#level : undefined;
      case 0x6d:
        return this.#is("message", nameAt, nameLength) || this.#is("msg", nameAt, nameLength)
          ? this.#message
          : undefined;
      case 0x73:
        if (this.#is("service", nameAt, nameLength)) return this.#service;
        return this.#is("severity", nameAt, nameLength) ? this.#level : undefined;
      case 0x74:
        return this.#is("topic", nameAt, nameLength) ? this.#topic : undefined;
      case 0x75:
        return this.#is("user", nameAt, nameLength) ? this.#user : undefined;
      default:
        return undefined;
    }
  }

  #is(name: string, nameAt: number, nameLength: number): boolean {
    return name.length === nameLength && this.#text.startsWith(name, nameAt);
  }

  #isReserved(nameAt: number, nameLength: number): boolean {
    switch (this.#text.charCodeAt(nameAt)) {
      case 0x5f: // _
      case 0x63: // c
      case 0x65: // e
      case 0x70: // p
      case 0x73: // s
        return RESERVED_NAMES.some((name) => this.#is(name, nameAt, nameLength));
      default:
        return false;
    }
  }

  /** Whether a name was there before. */
  #isKnown(nameAt: number, nameLength: number, count: number): boolean {
    const name = this.#text.slice(nameAt, nameAt + nameLength);
    for (let place = 0; place < count; place += 1) {
      if (this.#nameLengths[place] !== nameLength) continue;
      if (this.#text.startsWith(name, this.#nameStarts[place])) return true;
    }
    return false;
  }

  #value(): boolean {
    const first = this.#at < this.#end ? this.#text.charCodeAt(this.#at) : -1;
    if (first === QUOTE) {
      this.#at += 1;
      return this.#string();
    }
    if (first === MINUS || isDigit(first)) return this.#number();
    return this.#word("true") || this.#word("false") || this.#word("null");
  }

  #word(word: string): boolean {
    if (!this.#text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return this.#at <= this.#end;
  }

  /** Passes a string whose opening quote was passed. */
  #string(): boolean {
    const text = this.#text;
    const end = this.#end;
    this.#hasEscape = false;
    for (let at = this.#at; at < end; at += 1) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        this.#at = at + 1;
        return true;
      }
      if (code < SPACE) return false;
      if (code > ASCII_MAX) this.isAscii = false;
      if (code !== BACKSLASH) continue;
      this.#hasEscape = true;
      at += 1;
      if (at >= end || !'"\\/bfnrt'.includes(text.charAt(at))) return false;
    }
    return false;
  }

  #number(): boolean {
    const text = this.#text;
    let at = this.#at;
    if (text.charCodeAt(at) === MINUS) at += 1;
    const wholeAt = at;
    while (at < this.#end && isDigit(text.charCodeAt(at))) at += 1;
    let digits = at - wholeAt;
    if (digits === 0 || (digits > 1 && text[wholeAt] === "0")) return false;
    if (at < this.#end && text.charCodeAt(at) === POINT) {
      const partAt = at + 1;
      at = partAt;
      while (at < this.#end && isDigit(text.charCodeAt(at))) at += 1;
      if (at === partAt) return false;
      digits += at - partAt;
    }
    this.#at = at;
    // What follows a number ends a member: an exponent does not.
    return digits <= DIGITS_MAX;
  }
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}
