/**
 * A process tree as text for people: the oldest ancestor first, the process in bold, then what it did. Control
 * characters of data are spelled out, for a terminal would obey them.
 */
import type { ProcessTree, RecordedProcess } from "../client/process.ts";
import { type Output, printable } from "./output.ts";

/** Longest command of a line, in characters; `--json` gives all. */
const COMMAND_LENGTH_MAX = 200;
/** Peers and files that are named. */
const NAMED_MAX = 10;

export function formatTree(tree: ProcessTree, output: Pick<Output, "paint">): string {
  const { process, ancestors, descendants } = tree;
  const children = Map.groupBy(descendants.processes, (each) => each.parent_process_id ?? "");
  const lines: string[] = [];
  const line = [...ancestors.toReversed(), process];
  for (const [depth, each] of line.entries()) {
    const lead = depth === 0 ? "" : `${"   ".repeat(depth - 1)}└─ `;
    const said = labelOf(each);
    lines.push(output.paint("dim", lead) + (each === process ? output.paint("bold", said) : said));
  }
  // Not by recursion: a line of descendants may be long.
  const open = [{ id: process.process_id, lead: "   ".repeat(ancestors.length), at: 0 }];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const siblings = children.get(top.id) ?? [];
    const child = siblings[top.at];
    if (child === undefined) {
      open.pop();
      continue;
    }
    top.at += 1;
    const isLast = top.at === siblings.length;
    lines.push(output.paint("dim", `${top.lead}${isLast ? "└─ " : "├─ "}`) + labelOf(child));
    open.push({ id: child.process_id, lead: `${top.lead}${isLast ? "   " : "│  "}`, at: 0 });
  }
  return [...lines, "", ...activityOf(tree)].map((each) => `${each}\n`).join("");
}

/** `8084 root ls -l (2026-01-31T09:30:00.123Z, 12 ms, exit code 1)` */
function labelOf(process: RecordedProcess): string {
  const { pid, user, cmdline, exe, comm, started, duration_ms: livedMs } = process;
  const { exit_code: code, signal } = process;
  const command = cut(cmdline ?? exe ?? (comm === undefined ? "?" : `(${comm})`));
  const facts = [
    started?.replace(/(\.[0-9]{3})[0-9]*Z$/, "$1Z"),
    livedMs === undefined ? undefined : durationText(livedMs),
    code === undefined || code === 0 ? undefined : `exit code ${code}`,
    signal === undefined ? undefined : `signal ${signal}`,
  ].filter((each) => each !== undefined);
  const words = [String(pid ?? process.process_id), user, command].filter((each) =>
    each !== undefined
  );
  return printable(words.join(" ") + (facts.length === 0 ? "" : ` (${facts.join(", ")})`));
}

function activityOf({ process, host, activity }: ProcessTree): string[] {
  const { topics, peers, files } = activity;
  const lines = [`${process.process_id} on ${host}, ${process.events} events`];
  const name = (heading: string, total: number, values: readonly string[]): void => {
    if (total === 0) return;
    const more = total - Math.min(values.length, NAMED_MAX);
    lines.push(`${heading}:`, ...values.slice(0, NAMED_MAX).map((each) => `  ${each}`));
    if (more > 0) lines.push(`  and ${more} more`);
  };
  const topicLines = topics.values.map(({ topic, count }) => `${topic} ${count}`);
  name("topics", topics.total, topicLines);
  name(
    "peers",
    peers.total,
    peers.values.map(({ direction, address = "?", port = "?", protocol = "", count }) =>
      `${direction} ${
        address.includes(":") ? `[${address}]` : address
      }:${port} ${protocol} ${count}`
    ),
  );
  name("files", files.total, files.values.map(({ path, count }) => `${path} ${count}`));
  return lines.map(printable);
}

function durationText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${seconds % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function cut(text: string): string {
  const characters = [...text];
  if (characters.length <= COMMAND_LENGTH_MAX) return text;
  return `${characters.slice(0, COMMAND_LENGTH_MAX).join("")}…`;
}
