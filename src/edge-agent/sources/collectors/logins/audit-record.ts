/**
 * Records of the kernel's audit in which programs tell of logins (`AUDIT_USER_…`): what the kernel says of who told it, and
 * what they said. Pure.
 *
 * Invariants: whose process it was is the kernel's word, before what the program said; what is said twice in a record,
 * or cannot be a record, makes it unreadable; nothing throws. Names are quoted, or hexadecimal where they need it
 * (audit_value_needs_encoding(3)).
 */
import { escapedTextOf, textOfBytes } from "../../../byte-text.ts";

export interface AuditRecord {
  readonly type: number;
  readonly timeUs: number;
  /** The kernel's: of the process that told it. */
  readonly pid: number;
  readonly uid: number;
  /** Undefined when there is none. */
  readonly auid: number | undefined;
  readonly session: string | undefined;
  /** By name; what is unknown (`?`) is left out. */
  readonly said: ReadonlyMap<string, string>;
  /** Names whose bytes are no UTF-8. */
  readonly escaped: readonly string[];
}

/** `struct nlmsghdr`: length, type, flags, sequence, port. */
const HEADER_BYTES = 16;
const TYPE_AT = 4;
/** The kernel takes 8,560 bytes of text from a program and adds its own. */
export const AUDIT_RECORD_BYTES_MAX = 16 * 1024;
const UNSET = 4_294_967_295;

const RECORD =
  /^audit\(([0-9]{1,11})\.([0-9]{3}):[0-9]{1,20}\): pid=([0-9]{1,10}) uid=([0-9]{1,10}) auid=([0-9]{1,10}) ses=([0-9]{1,10})(?: subj=[^']{0,4096}?)? msg='(.*)'$/s;
/** Of the kernel itself (audit_log_config_change in kernel/audit.c); before Linux 5.3 without `op=set`. */
const TURNED_OFF = /^audit\([0-9.:]{1,40}\): (?:op=set )?audit_enabled=0 old=[12] .*\bres=1$/s;
/** A member, and what it is: quoted, or without a blank. */
const MEMBER = /(?:^| )([A-Za-z][A-Za-z0-9_-]{0,31})=(?:"([^"]*)"|([^" ][^ ]*)?)(?= |$)/gy;
const ENCODED = new Set(["acct", "exe", "cmd", "cwd"]);

/** Of a whole message, as it comes from the socket. */
export function parseAuditRecord(bytes: Uint8Array): AuditRecord | "unreadable" {
  if (bytes.length <= HEADER_BYTES || bytes.length > AUDIT_RECORD_BYTES_MAX) return "unreadable";
  const type = new DataView(bytes.buffer, bytes.byteOffset).getUint16(TYPE_AT, true);
  const [, seconds, milliseconds, pid, uid, auid, session, message] = RECORD.exec(textOf(bytes)) ??
    [];
  if (message === undefined) return "unreadable";
  const read = membersOf(message);
  if (read === undefined) return "unreadable";
  return {
    type,
    timeUs: Number(seconds) * 1_000_000 + Number(milliseconds) * 1000,
    pid: Number(pid),
    uid: Number(uid),
    auid: Number(auid) === UNSET ? undefined : Number(auid),
    session: Number(session) === UNSET ? undefined : String(Number(session)),
    ...read,
  };
}

/** Whether a whole message of type `CONFIG_CHANGE` says that audit is off from now on. */
export function isTurnedOff(bytes: Uint8Array): boolean {
  return TURNED_OFF.test(textOf(bytes));
}

function textOf(bytes: Uint8Array): string {
  const body = bytes.subarray(HEADER_BYTES);
  const end = body.findLastIndex((byte) => byte !== 0 && byte !== 10) + 1;
  return Buffer.from(body.buffer, body.byteOffset, end).toString("latin1");
}

/** Undefined when it is not made of members, or has one twice. */
function membersOf(message: string): Pick<AuditRecord, "said" | "escaped"> | undefined {
  const said = new Map<string, string>();
  const escaped: string[] = [];
  const names = new Set<string>();
  let at = 0;
  const trimmed = message.trimEnd();
  for (const found of trimmed.matchAll(MEMBER)) {
    const [whole, name = "", quoted, bare = ""] = found;
    at = found.index + whole.length;
    if (names.has(name)) return undefined;
    names.add(name);
    const isHex = quoted === undefined && ENCODED.has(name) && /^(?:[0-9A-Fa-f]{2})+$/.test(bare);
    const bytes = isHex ? Buffer.from(bare, "hex") : Buffer.from(quoted ?? bare, "latin1");
    // A NUL ends what the kernel and its programs call a name.
    const nul = name === "cmd" ? -1 : bytes.indexOf(0);
    const { text, isEscaped } = textOfBytes(nul === -1 ? bytes : bytes.subarray(0, nul));
    if (text === "" || (quoted === undefined && !isHex && isUnknown(text))) continue;
    said.set(name, text.includes("\0") ? escapedTextOf(bytes) : text);
    if (isEscaped) escaped.push(name);
  }
  return at === trimmed.length && names.size > 0 ? { said, escaped } : undefined;
}

function isUnknown(text: string): boolean {
  return text === "?" || text === "(none)" || text === "(null)";
}
