/**
 * Lines of syslog's log of authentication (`auth.log`, `secure`), with either form of time, as what sshd, sudo, su, login
 * and PAM say in them. Pure.
 *
 * Invariants: a line tells of one thing at most, whatever names and commands are in it: what a stranger chose ends where
 * the last words of the program begin. What can be read in two ways is left out; nothing throws.
 */
import { textOfBytes } from "../../../byte-text.ts";
import { messageOf } from "./auth-messages.ts";
import type { ParsedLog } from "./followed-log.ts";
import type { LoginRecord } from "./login-record.ts";

/** Longer lines are no lines of these programs. */
const LINE_BYTES_MAX = 64 * 1024;
const DAY_US = 86_400_000_000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const LINE =
  /^(?:([A-Z][a-z]{2}) ([ 0-9][0-9]) ([0-9]{2}):([0-9]{2}):([0-9]{2})|([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2}))) (\S+) ([^\s:[\]]+)(?:\[([0-9]{1,10})\])?: +(.*)$/s;

/** Whole lines; `nowUs` gives the year to times that have none. */
export function parseAuthLog(
  bytes: Uint8Array,
  { source, nowUs }: { readonly source: LoginRecord["source"]; readonly nowUs: number },
): ParsedLog<LoginRecord> {
  const entries: LoginRecord[] = [];
  let unreadable = 0;
  for (let at = 0; at < bytes.length;) {
    const newline = bytes.indexOf(10, at);
    const end = newline === -1 ? bytes.length : newline;
    const record = recordOf(bytes.subarray(at, end), { source, nowUs });
    if (record === "unreadable") unreadable += 1;
    else if (record !== undefined) entries.push(record);
    at = end + 1;
  }
  return { entries, unreadable };
}

function recordOf(
  bytes: Uint8Array,
  { source, nowUs }: { readonly source: LoginRecord["source"]; readonly nowUs: number },
): LoginRecord | "unreadable" | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length > LINE_BYTES_MAX) return "unreadable";
  const { text, isEscaped } = textOfBytes(bytes);
  const [, month, day, hour, minute, second, stamp, , program = "", pid, message = ""] =
    LINE.exec(text) ?? [];
  if (program === "") return "unreadable";
  const timeUs = stamp === undefined
    ? timeWithoutYear([month ?? "", day, hour, minute, second], nowUs)
    : timeOfStamp(stamp);
  if (timeUs === undefined) return "unreadable";
  const said = messageOf(program, message);
  if (said === undefined || said === "unreadable") return said;
  const escaped = isEscaped
    ? (["user", "target"] as const).filter((name) => said[name]?.includes("\\x"))
    : [];
  const whose = pid === undefined ? {} : { pid: Number(pid) };
  return { ...said, source, timeUs, ...whose, ...(escaped.length === 0 ? {} : { escaped }) };
}

/** In the host's time zone, as this process knows it: this year's, or last year's when that is still to come. */
function timeWithoutYear(
  [month = "", ...rest]: readonly (string | undefined)[],
  nowUs: number,
): number | undefined {
  const monthAt = MONTHS.indexOf(month);
  const [day = 0, hour = 0, minute = 0, second = 0] = rest.map(Number);
  const thisYear = new Date(nowUs / 1000).getFullYear();
  if (monthAt === -1 || hour > 23 || minute > 59 || second > 60) return undefined;
  for (const year of [thisYear + 1, thisYear, thisYear - 1]) {
    const date = new Date(year, monthAt, day, hour, minute, second);
    if (date.getMonth() !== monthAt || date.getDate() !== day) continue;
    if (date.getTime() * 1000 <= nowUs + DAY_US) return date.getTime() * 1000;
  }
  return undefined;
}

function timeOfStamp(stamp: string): number | undefined {
  const [, whole = "", fraction = "", zone = ""] =
    /^([^.Z+]{19})(?:\.([0-9]+))?(.*)$/.exec(stamp) ??
      [];
  const seconds = Date.parse(whole + zone) * 1000;
  const timeUs = seconds + Number(fraction.padEnd(6, "0").slice(0, 6));
  return timeUs >= 0 ? timeUs : undefined;
}
