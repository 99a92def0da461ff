/**
 * One event as a line for people: time, host, topic, user, process, what happened. Control characters of data are
 * spelled out, for a terminal would obey them.
 */
import type { RecordedEvent } from "../client/record.ts";
import { type Output, printable } from "./output.ts";

const TOPIC_WIDTH = 16;
const USER_WIDTH = 8;
const PID_WIDTH = 7;

/** Longest sentence of a line, in characters; `--json` gives all. */
const SENTENCE_LENGTH_MAX = 400;

export function formatEventLine(event: RecordedEvent, output: Pick<Output, "paint">): string {
  const { time = "", host = "", topic = "", user, uid, pid } = event;
  const cells = [
    output.paint("dim", time.replace(/(\.[0-9]{3})[0-9]*Z$/, "$1Z")),
    printable(host),
    output.paint("cyan", printable(topic).padEnd(TOPIC_WIDTH)),
    printable(user ?? String(uid ?? "-")).padEnd(USER_WIDTH),
    String(pid ?? "-").padStart(PID_WIDTH),
    sentenceOf(event, output),
  ];
  return `${cells.join(" ").trimEnd()}\n`;
}

function sentenceOf(event: RecordedEvent, { paint }: Pick<Output, "paint">): string {
  const { message, cmdline, path, exe, severity, topic } = event;
  const said = message ?? membersOf(event) ?? cmdline ?? path ?? exe ?? "";
  // Of a program that was started, its arguments are what one looks for.
  const isMore = topic === "process/exec" && cmdline !== undefined && !said.includes(cmdline);
  const text = printable(cut(isMore ? `${said}: ${cmdline}` : said));
  if (severity === "high" || severity === "critical") return paint("red", text);
  return severity === "medium" ? paint("yellow", text) : text;
}

/** What a program said of itself without a sentence; the other columns would tell who it was, not what it said. */
function membersOf({ topic, detail }: RecordedEvent): string | undefined {
  if (topic?.startsWith("app/") !== true || typeof detail !== "object" || detail === null) {
    return undefined;
  }
  const members = Object.entries(detail).map(([name, value]) =>
    `${name}=${
      typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)
    }`
  );
  return members.length === 0 ? undefined : members.join(" ");
}

function cut(text: string): string {
  const characters = [...text];
  if (characters.length <= SENTENCE_LENGTH_MAX) return text;
  return `${characters.slice(0, SENTENCE_LENGTH_MAX).join("")}…`;
}
