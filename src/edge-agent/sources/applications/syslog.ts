/**
 * One syslog message by RFC 5424, strictly: what the grammar does not allow is a fault, with the part that has it.
 *
 * Invariants: nothing of a message is changed but the escapes of parameter values (section 6.3.3); the message's own
 * text is what follows the structured data, byte for byte, without the mark of UTF-8 before it.
 */
import { isUtf8 } from "node:buffer";

/** Why a message is not of RFC 5424. */
export type SyslogFault =
  | "priority"
  | "version"
  | "timestamp"
  | "hostname"
  | "app_name"
  | "procid"
  | "msgid"
  | "structured_data"
  | "parameter_text";

export interface SyslogMessage {
  readonly facility: number;
  readonly severity: number;
  /** Undefined where the message has `-`, as in all of the header. */
  readonly timestamp: string | undefined;
  readonly hostname: string | undefined;
  readonly appName: string | undefined;
  readonly procid: string | undefined;
  readonly msgid: string | undefined;
  readonly structuredData: readonly SyslogElement[];
  /** Bytes of the text. */
  readonly text: Buffer;
}

export interface SyslogElement {
  readonly id: string;
  /** A name may be there several times. */
  readonly parameters: readonly (readonly [name: string, value: string])[];
}

export const SEVERITY_NAMES = [
  "emerg",
  "alert",
  "crit",
  "err",
  "warning",
  "notice",
  "info",
  "debug",
] as const;

export const FACILITY_NAMES = [
  ...["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"],
  ...["authpriv", "ftp", "ntp", "audit", "alert", "clock"],
  ...Array.from({ length: 8 }, (_, number) => `local${number}`),
];

const PRIORITY_MAX = 191;
/** Names of elements and parameters: 1 to 32 visible characters but `=`, `]` and `"`. */
const NAME = /[!#-<>-\\^-~]{1,32}/y;
/** A value's bytes, one character each: quotes, brackets and backslashes only behind a backslash, or one alone. */
const VALUE = /(?:[^"\\\]]|\\["\\\]]|\\(?!["\\\]]))*/y;
const TIMESTAMP =
  /^(\d{4})-(\d{2})-(\d{2})T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;
const MARK_OF_UTF8 = "\xef\xbb\xbf";

/** The message that bytes are, or the part that is not as it must be. */
export function parseSyslog(bytes: Buffer): SyslogMessage | SyslogFault {
  const text = bytes.toString("latin1");
  const priority = /^<(0|[1-9]\d{0,2})>/.exec(text);
  if (priority === null || Number(priority[1]) > PRIORITY_MAX) return "priority";
  const version = /1 /y;
  version.lastIndex = priority[0].length;
  if (!version.test(text)) return "version";
  const header = headerOf(text, version.lastIndex);
  if (typeof header === "string") return header;
  const elements = elementsOf(text, header.end);
  if (typeof elements === "string") return elements;
  let at = elements.end;
  if (at < text.length && text[at] !== " ") return "structured_data";
  at = Math.min(at + 1, text.length);
  if (text.startsWith(MARK_OF_UTF8, at)) at += MARK_OF_UTF8.length;
  const [timestamp, hostname, appName, procid, msgid] = header.fields;
  return {
    facility: Number(priority[1]) >> 3,
    severity: Number(priority[1]) & 7,
    ...{ timestamp, hostname, appName, procid, msgid },
    structuredData: elements.elements,
    text: bytes.subarray(at),
  };
}

const HEADER_FIELDS: readonly (readonly [SyslogFault, number])[] = [
  ["timestamp", 32],
  ["hostname", 255],
  ["app_name", 48],
  ["procid", 128],
  ["msgid", 32],
];

function headerOf(
  text: string,
  from: number,
): { readonly fields: readonly (string | undefined)[]; readonly end: number } | SyslogFault {
  const fields: (string | undefined)[] = [];
  let at = from;
  for (const [name, lengthMax] of HEADER_FIELDS) {
    const end = text.indexOf(" ", at);
    // Bounded, so that a long message without spaces is not looked through five times.
    const field = end < 0 || end - at > lengthMax ? "" : text.slice(at, end);
    if (!/^[!-~]+$/.test(field)) return name;
    if (name === "timestamp" && field !== "-" && !isTimestamp(field)) return name;
    fields.push(field === "-" ? undefined : field);
    at = end + 1;
  }
  return { fields, end: at };
}

/** Whether there is such a day; the time of day is the pattern's, which knows no leap second, as the RFC wants it. */
function isTimestamp(field: string): boolean {
  const match = TIMESTAMP.exec(field);
  if (match === null) return false;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year, month - 1, day);
  return month >= 1 && day >= 1 && date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}

function elementsOf(
  text: string,
  from: number,
): { readonly elements: readonly SyslogElement[]; readonly end: number } | SyslogFault {
  if (text[from] === "-") return { elements: [], end: from + 1 };
  const elements = new Map<string, SyslogElement>();
  let at = from;
  while (text[at] === "[") {
    const id = matchAt(NAME, text, at + 1);
    if (id === "" || elements.has(id)) return "structured_data";
    at += 1 + id.length;
    const parameters: [string, string][] = [];
    while (text[at] === " ") {
      const name = matchAt(NAME, text, at + 1);
      at += 1 + name.length;
      if (name === "" || !text.startsWith('="', at)) return "structured_data";
      const value = matchAt(VALUE, text, at + 2);
      at += 2 + value.length;
      if (text[at] !== '"') return "structured_data";
      at += 1;
      const decoded = Buffer.from(value, "latin1");
      if (!isUtf8(decoded)) return "parameter_text";
      parameters.push([name, decoded.toString("utf8").replaceAll(/\\(["\\\]])/g, "$1")]);
    }
    if (text[at] !== "]") return "structured_data";
    at += 1;
    elements.set(id, { id, parameters });
  }
  return elements.size === 0 ? "structured_data" : { elements: [...elements.values()], end: at };
}

/** What a sticky pattern finds at a place; empty when that is nothing. */
function matchAt(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}
