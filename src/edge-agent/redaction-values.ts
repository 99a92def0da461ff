/**
 * Secrets inside a text, by the name before them: `Authorization: Bearer …`, `{"password": "…"}`, `user=a&token=b`,
 * `IDENTIFIED BY '…'`; and in the user part of URLs. Pure; the time is linear in the text, whatever the text.
 */
import { isSecretName, NAME_CHARACTERS_MAX, secretMentions } from "./redaction-names.ts";
import type { Span } from "./redaction-tokens.ts";

/** Blanks between a name, its separator and the value, at most. */
const BLANKS_MAX = 8;
/** Length of a URL's scheme, at most. */
const SCHEME_CHARACTERS_MAX = 32;
/** Words before the secret in a header (RFC 9110, section 11). */
const SCHEME = /^(?:Bearer|Basic|Digest|Token|Negotiate|ApiKey|AWS4-HMAC-SHA256) {1,8}/i;
const BEARER = /\bBearer {1,8}([A-Za-z0-9._~+/=-]{8,})/gi;
const IDENTIFIED =
  /\bidentified {1,8}(?:by|with {1,8}[a-z0-9_]{1,40} {1,8}(?:by|as))(?: {1,8}password)? {0,8}(?=["'])/gi;

/** SQL: `SET PASSWORD FOR 'ann'@'%' = PASSWORD('x')`, and a function's only argument. */
const SET_PASSWORD =
  /\bset {1,8}password(?: {1,8}for {1,8}[^=\0]{1,128}?)? {0,8}(?::?=|\bto\b) {0,8}(?:[a-z_]{1,32} {0,8}\( {0,8})?(?=\\?["'])/gi;
/** A function's call where a value is expected. */
const CALL = /^[A-Za-z_]{1,32} {0,8}\( {0,8}(?=["'])/;

export function valuesIn(text: string): readonly Span[] {
  const spans: Span[] = [];
  const mentions = secretMentions();
  for (let found = mentions.exec(text); found !== null; found = mentions.exec(text)) {
    const nameEnd = endOfName(text, found.index + (/^[?&]/.test(found[0]) ? 1 : 0));
    const nameStart = startOfName(text, found.index);
    mentions.lastIndex = Math.max(nameEnd, found.index + 1);
    if (!isSecretName(text.slice(nameStart, nameEnd))) continue;
    const span = valueAfter(text, { start: nameStart, end: nameEnd });
    if (span === undefined) continue;
    spans.push(span);
    // Names in the value are part of it. Looked at again they would each be followed to the value's end.
    mentions.lastIndex = Math.max(mentions.lastIndex, span.end);
  }
  for (const { 0: phrase, index } of text.matchAll(IDENTIFIED)) {
    const quoteAt = index + phrase.length;
    spans.push(quoted(text, quoteAt));
  }
  for (const { 0: phrase, index } of text.matchAll(SET_PASSWORD)) {
    const at = index + phrase.length;
    spans.push(quoted(text, text[at] === "\\" ? at + 1 : at));
  }
  for (const { 0: phrase, 1: value = "", index } of text.matchAll(BEARER)) {
    const end = index + phrase.length;
    spans.push({ start: end - value.length, end });
  }
  // A quote that ends the text encloses nothing: there is nothing to hide, and no place for a mark.
  return [
    ...spans.filter(({ start, end }) => start < end || end < text.length),
    ...userPartsIn(text),
  ];
}

/** The secret in `scheme://user:secret@host` (RFC 3986, section 3.2.1), up to the last `@` of the authority. */
function userPartsIn(text: string): readonly Span[] {
  const spans: Span[] = [];
  for (let at = text.indexOf("://"); at >= 0; at = text.indexOf("://", at + 3)) {
    const scheme = text.slice(Math.max(0, at - SCHEME_CHARACTERS_MAX), at);
    if (!/[A-Za-z0-9+.-]$/.test(scheme)) continue;
    const authority = text.slice(at + 3, endOfAuthority(text, at + 3));
    const host = authority.lastIndexOf("@");
    const user = authority.indexOf(":");
    if (host < 0 || user < 0 || user + 1 >= host) continue;
    spans.push({ start: at + 3 + user + 1, end: at + 3 + host });
  }
  return spans;
}

const AUTHORITY_END = /[\s"'\0/?#<>]/g;

function endOfAuthority(text: string, from: number): number {
  AUTHORITY_END.lastIndex = from;
  return AUTHORITY_END.exec(text)?.index ?? text.length;
}

function isNameCharacter(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 48 && code <= 57) ||
    code === 45 || code === 46 || code === 95;
}

function startOfName(text: string, at: number): number {
  let start = at;
  if (/[?&]/.test(text[at] ?? "")) return at + 1;
  while (
    start > 0 && at - start < NAME_CHARACTERS_MAX && isNameCharacter(text.charCodeAt(start - 1))
  ) start -= 1;
  return start;
}

function endOfName(text: string, at: number): number {
  let end = at;
  while (end < text.length && isNameCharacter(text.charCodeAt(end))) end += 1;
  return end;
}

/** The value that a name is given; undefined when it is given none. */
function valueAfter(text: string, name: Span): Span | undefined {
  let at = name.end;
  if (text[at] === "\\") at += 1;
  if (text[at] === '"' || text[at] === "'") at += 1;
  const blanks = skipBlanks(text, at);
  const separator = /^(?:=>|:=|=|:|%3D)/i.exec(text.slice(blanks, blanks + 3))?.[0];
  if (separator === undefined) {
    // SQL: PASSWORD 'x'. A name alone, with words after it, announces nothing.
    return blanks > at && text[blanks] === "'" && at === name.end
      ? quoted(text, blanks)
      : undefined;
  }
  // `token://` is no assignment, and `a == b` no more.
  if (text.startsWith("://", blanks) || text.startsWith("==", blanks)) return undefined;
  const from = blanks + separator.length;
  const isTight = separator !== "=" || blanks > at || isQuote(text[from]) ||
    text[from] === "\\";
  const valueAt = isTight ? skipBlanks(text, from) : from;
  const escapes = text[valueAt] === "\\" && isQuote(text[valueAt + 1]) ? 1 : 0;
  if (isQuote(text[valueAt + escapes])) return quoted(text, valueAt + escapes);
  const call = CALL.exec(text.slice(valueAt, valueAt + 64))?.[0];
  if (call !== undefined) return quoted(text, valueAt + call.length);
  const start = valueAt + (SCHEME.exec(text.slice(valueAt, valueAt + 40))?.[0].length ?? 0);
  const isHeader = separator === ":" && blanks === name.end && text[from] === " " &&
    isStart(text, name.start);
  const end = isHeader ? endOfHeader(text, name.start, start) : endOfWord(text, start);
  return start < end ? { start, end } : undefined;
}

function isQuote(character: string | undefined): boolean {
  return character === '"' || character === "'";
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (at < from + BLANKS_MAX && (text[at] === " " || text[at] === "\t")) at += 1;
  return at;
}

/** What a quote encloses, to the end of the text when it is not closed; of `\"` the backslash stays outside. */
function quoted(text: string, quoteAt: number): Span {
  const quote = text[quoteAt] ?? "";
  const isEscaped = text[quoteAt - 1] === "\\";
  let close = quoteAt;
  for (;;) {
    close = text.indexOf(quote, close + 1);
    if (close < 0) return { start: quoteAt + 1, end: text.length };
    const hasBackslash = text[close - 1] === "\\" && close - 1 > quoteAt;
    if (isEscaped) return { start: quoteAt + 1, end: hasBackslash ? close - 1 : close };
    if (!hasBackslash) return { start: quoteAt + 1, end: close };
  }
}

/** Whether a header may begin here: at the start of the text, of a line, or of what a quote encloses. */
function isStart(text: string, at: number): boolean {
  return at === 0 || isQuote(text[at - 1]) || text[at - 1] === "\n";
}

/** A header's value has blanks in it and ends with its line, or with the quote before its name. */
function endOfHeader(text: string, nameAt: number, from: number): number {
  const quote = text[nameAt - 1];
  const close = isQuote(quote) ? text.indexOf(quote ?? "", from) : -1;
  const end = close < 0 ? text.length : close;
  const line = text.slice(from, end).indexOf("\n");
  return line < 0 ? end : from + line;
}

const WORD_END = /[\s"'&;|<>]|,(?=[A-Za-z_][A-Za-z0-9_-]{0,40}=)/g;

function endOfWord(text: string, from: number): number {
  WORD_END.lastIndex = from;
  return WORD_END.exec(text)?.index ?? text.length;
}
