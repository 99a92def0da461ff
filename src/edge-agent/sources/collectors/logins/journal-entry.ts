/**
 * Entries of systemd's journal, as `journalctl -o json` writes them, as what sshd, sudo, su, login and PAM say in them.
 * Pure.
 *
 * Invariants: who wrote an entry is what journald itself found out (`_PID`, `_UID`, `_EXE`, `_AUDIT_…`), never what the
 * writer says; a field that is there twice, or longer than journalctl writes, is none; nothing throws.
 */
import { basename } from "node:path";
import { type ByteText, textOfBytes } from "../../../byte-text.ts";
import { messageOf } from "./auth-messages.ts";
import { present } from "./login-events.ts";
import type { LoginIdentity, LoginRecord } from "./login-record.ts";

/** What journalctl is asked for; cursor and time of receipt it always writes. */
export const JOURNAL_FIELDS = [
  ...["MESSAGE", "SYSLOG_IDENTIFIER", "_PID", "_UID", "_EXE", "_AUDIT_SESSION", "_AUDIT_LOGINUID"],
] as const;

export interface JournalEntry {
  /** Undefined when the line is no entry. */
  readonly cursor: string | undefined;
  /** Undefined: about something else. */
  readonly record: LoginRecord | "unreadable" | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

const UNSET = 4_294_967_295;

export function parseJournalEntry(line: string): JournalEntry {
  const fields = objectOf(line);
  const cursor = fields?.["__CURSOR"];
  if (fields === undefined || typeof cursor !== "string" || cursor === "") {
    return { cursor: undefined, record: "unreadable" };
  }
  return { cursor, record: recordOf(fields) };
}

function recordOf(fields: Fields): JournalEntry["record"] {
  const program = textIn(fields, "SYSLOG_IDENTIFIER");
  if (program === undefined || isForged(fields, program.text)) return undefined;
  const message = textIn(fields, "MESSAGE");
  if (message === undefined) return "unreadable";
  const said = messageOf(program.text, message.text);
  if (said === undefined || said === "unreadable") return said;
  const timeUs = numberIn(fields, "__REALTIME_TIMESTAMP");
  if (timeUs === undefined) return "unreadable";
  const escaped = message.isEscaped
    ? (["user", "target"] as const).filter((name) => said[name]?.includes("\\x"))
    : [];
  const identity = identityIn(fields);
  return {
    ...said,
    source: "journal",
    timeUs,
    ...present({ pid: numberIn(fields, "_PID"), identity }),
    ...(escaped.length === 0 ? {} : { escaped }),
  };
}

/** Whoever is not root and is known to be another program than the one whose name is on it. */
function isForged(fields: Fields, program: string): boolean {
  const executable = textIn(fields, "_EXE")?.text;
  if (numberIn(fields, "_UID") === 0 || executable === undefined) return false;
  return basename(executable) !== program;
}

function identityIn(fields: Fields): LoginIdentity | undefined {
  const [session, auid] = ["_AUDIT_SESSION", "_AUDIT_LOGINUID"].map((name) => {
    const value = numberIn(fields, name);
    return value === UNSET ? undefined : value;
  });
  if (session === undefined && auid === undefined) return undefined;
  return present({ session: session === undefined ? undefined : String(session), auid });
}

function objectOf(line: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Text, or an array of bytes where it is none that can be printed. */
function textIn(fields: Fields, name: string): ByteText | undefined {
  const value = fields[name];
  if (typeof value === "string") return { text: value, isEscaped: false };
  if (!Array.isArray(value) || !value.every(isByte)) return undefined;
  return textOfBytes(Uint8Array.from(value));
}

function isByte(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 255;
}

function numberIn(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (typeof value !== "string" || !/^[0-9]{1,16}$/.test(value)) return undefined;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : undefined;
}
