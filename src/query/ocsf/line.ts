/**
 * The line of an answer as a line of OCSF.
 *
 * Invariant: no digit of a number is lost. Numbers that JavaScript cannot hold, such as inodes of 64 bits, become text.
 */
import { ocsfEvent, type OcsfOptions } from "./event.ts";
import { isRecord } from "./fields.ts";

/** JSON of one event, as answers have it, to JSON of one event of OCSF. */
export function ocsfLine(line: string, options: OcsfOptions): string {
  const event: unknown = JSON.parse(MAY_BE_LARGE.test(line) ? withLargeAsText(line) : line);
  if (!isRecord(event)) {
    throw new TypeError(`Cannot map an event: not an object: ${line.slice(0, 200)}`);
  }
  return JSON.stringify(ocsfEvent(event, options));
}

/** Whether there can be a number beyond 2^53 or beyond what a double reaches: cheap, and says yes too often. */
const MAY_BE_LARGE = /[0-9]{16}|[0-9][eE]\+?[0-9]{3}/;
/** Strings, which stay as they are, and numbers. */
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9][0-9.eE+-]*/g;

function withLargeAsText(line: string): string {
  return line.replaceAll(TOKENS, (token) => {
    if (token.startsWith('"')) return token;
    const value = Number(token);
    const isExact = /^-?[0-9]+$/.test(token) ? Number.isSafeInteger(value) : Number.isFinite(value);
    return isExact ? token : `"${token}"`;
  });
}
