/**
 * Secrets in arguments and environment values, replaced before a line is made of them: by names (`--password x`,
 * `TOKEN=x`, `Authorization: …`), by the short options of known programs, by the user part of URLs, and by their looks
 * (see `redaction-tokens.ts`). Pure: the key is an argument.
 *
 * Invariants: each secret becomes `[redacted:` and the first 12 hex digits of HMAC-SHA-256 under the host's key, so equal secrets of a
 * host stay equal and no one can try words without the key; what is redacted once is not changed by a second time; the
 * time is linear in the text. Where it is in doubt whether a value is a secret, it is one.
 */
import { createHmac } from "node:crypto";
import { isSecretName, mentionsSecretName } from "./redaction-names.ts";
import { createCommandWalk, mentionsProgram } from "./redaction-options.ts";
import { mayHoldToken, type Span, tokensIn } from "./redaction-tokens.ts";
import { valuesIn } from "./redaction-values.ts";

/** Different secrets of one list that get a digest; further ones become `[redacted]` alone. */
export const DIGESTS_MAX = 256;
const DIGEST_CHARACTERS = 12;
/** Looks at one list; the second one changes something in a list of a hundred thousand, of random signs. */
const LOOKS_MAX = 4;
/** Length of `pw=x`; and of the shortest token that is one by its looks. */
const NAMED_CHARACTERS_MIN = 4;
const TOKEN_CHARACTERS_MIN = 15;
/** A reference to a variable of a shell, in capitals as those of the environment are, or to a parameter. */
const REFERENCE = /^\$(?:[A-Z_][A-Z0-9_]*|\{[A-Z_][A-Z0-9_]*\}|[0-9@*])$/;
/** Where two secrets touch, so do their markers. */
const MARKERS = /^(?:\[redacted(?::[0-9a-f]{12})?\])+$/;

export interface Redaction {
  /** The parts of the text between its NULs, without secrets. */
  readonly parts: readonly string[];
  /** Places of the parts in which there were secrets, ascending. */
  readonly places: readonly number[];
}

export interface Redactor {
  /** Arguments, separated by NUL; binary: one character per byte. */
  argv(text: string): Redaction;
  /** `NAME=value` entries, separated by NUL; binary. */
  environment(text: string): Redaction;
}

/** `key` has 32 bytes. */
export function createRedactor(key: Uint8Array): Redactor {
  return {
    argv(text) {
      const parts = text.split("\0");
      if (!isSecretText(text)) return { parts, places: [] };
      return settled(parts, (each) => {
        const walk = createCommandWalk();
        return redacted(key, each, (part, place) => spansOfArgument(part, place, walk.step(part)));
      });
    },
    environment(text) {
      const parts = text.split("\0");
      if (!isSecretText(text)) return { parts, places: [] };
      return settled(parts, (each) => redacted(key, each, spansOfVariable));
    },
  };
}

/** Whether a text may hold a secret: the common one does not, and this is all it costs. */
function isSecretText(text: string): boolean {
  return mentionsSecretName(text) || mentionsUserPart(text) || mentionsProgram(text) ||
    mayHoldToken(text, isSecretText);
}

function mentionsUserPart(text: string): boolean {
  const scheme = text.indexOf("://");
  return scheme >= 0 && text.includes("@", scheme);
}

/**
 * Looks again at what a look has changed: where secrets touch, or where one held a character that ends another, what
 * stands there now may be one longer secret.
 */
function settled(
  parts: readonly string[],
  look: (parts: readonly string[]) => Redaction,
): Redaction {
  let found = look(parts);
  const places = new Set(found.places);
  for (let looks = 1; looks < LOOKS_MAX && found.places.length > 0; looks++) {
    found = look(found.parts);
    for (const place of found.places) places.add(place);
  }
  return { parts: found.parts, places: [...places].toSorted((a, b) => a - b) };
}

function redacted(
  key: Uint8Array,
  parts: readonly string[],
  spansOf: (part: string, place: number) => readonly Span[],
): Redaction {
  const markers = new Map<string, string>();
  const markerOf = (secret: string): string => {
    const known = markers.get(secret);
    if (known !== undefined) return known;
    if (markers.size >= DIGESTS_MAX) return "[redacted]";
    const digest = createHmac("sha256", key).update(secret, "latin1").digest("hex");
    const marker = `[redacted:${digest.slice(0, DIGEST_CHARACTERS)}]`;
    markers.set(secret, marker);
    return marker;
  };
  const places: number[] = [];
  const clean = parts.map((part, place) => {
    const spans = part === "" ? [] : spansOf(part, place);
    const text = spans.length === 0 ? part : replaced(part, spans, markerOf);
    if (text !== part) places.push(place);
    return text;
  });
  return { parts: clean, places };
}

function replaced(
  text: string,
  spans: readonly Span[],
  markerOf: (secret: string) => string,
): string {
  let out = "";
  let at = 0;
  for (const { start, end } of merged(spans)) {
    const secret = text.slice(start, end);
    out += text.slice(at, start) + (isKept(secret) ? secret : markerOf(secret));
    at = end;
  }
  return out + text.slice(at);
}

/** What stands for a secret is none: markers, or the name of a variable that has it. */
function isKept(secret: string): boolean {
  return MARKERS.test(secret) || REFERENCE.test(secret);
}

/** In order, those that overlap as one. */
function merged(spans: readonly Span[]): readonly Span[] {
  const all: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
    const last = all.at(-1);
    if (last !== undefined && span.start < last.end) {
      all[all.length - 1] = { start: last.start, end: Math.max(last.end, span.end) };
    } else all.push(span);
  }
  return all;
}

function spansOfArgument(
  argument: string,
  place: number,
  byPlace: Span | undefined,
): readonly Span[] {
  const isWhole = byPlace?.start === 0 && byPlace.end === argument.length;
  if (isWhole) return [byPlace];
  const spans = byPlace === undefined ? [] : [byPlace];
  if (argument.length < NAMED_CHARACTERS_MIN) return spans;
  // The first argument is the program's name for itself: random ones tell what happened.
  const hasTokens = place > 0 && argument.length >= TOKEN_CHARACTERS_MIN;
  const tokens = hasTokens ? tokensIn(argument, isSecretText) : [];
  return [...spans, ...valuesIn(argument), ...commandsIn(argument), ...tokens];
}

const WORD = /[^\s"'`;|&()<>]+/g;
const BREAK = /[\s"'`;|&()<>]/;

/** An argument that is a command line itself, as that of `sh -c`: its words are looked at as arguments are. */
function commandsIn(argument: string): readonly Span[] {
  if (!BREAK.test(argument)) return [];
  const walk = createCommandWalk();
  const spans: Span[] = [];
  for (const { 0: word, index } of argument.matchAll(WORD)) {
    const span = walk.step(word);
    if (span === undefined) continue;
    const end = index + span.end;
    const quote = argument[index - 1];
    const isQuoted = span.start === 0 && (quote === '"' || quote === "'");
    const close = isQuoted ? argument.indexOf(quote, end) : end;
    spans.push({ start: index + span.start, end: close < 0 ? argument.length : close });
  }
  return spans;
}

function spansOfVariable(entry: string): readonly Span[] {
  const separator = entry.indexOf("=");
  const start = separator + 1;
  if (separator > 0 && isSecretName(entry.slice(0, separator))) {
    return start < entry.length ? [{ start, end: entry.length }] : [];
  }
  // What holds a command, as SUDO_COMMAND does, has its words behind one another.
  const byPlace = commandsIn(entry.slice(start)).map((span) => ({
    start: start + span.start,
    end: start + span.end,
  }));
  return [...valuesIn(entry), ...byPlace, ...tokensIn(entry, isSecretText)];
}
