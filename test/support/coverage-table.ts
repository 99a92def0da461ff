/** The tables of docs/coverage.md, made of what was found. */
import { getSystemErrorName } from "node:util";
import {
  type Coverage,
  FILE_OPERATIONS,
  fileKey,
  FILESYSTEMS,
  type Finding,
  type Findings,
  PROCESS_OPERATIONS,
  processKey,
  type Way,
  WAYS,
} from "./coverage-run.ts";

const HEADINGS: Readonly<Record<Way, string>> = {
  call: "By system call",
  inline: "By io_uring, executed at once",
  worker: "By io_uring, executed by a worker thread",
  polled: "By io_uring, executed by the polling thread of its queue",
  gate: "By the i386 gate of a 64-bit process (int 0x80)",
};

const NAMES: Readonly<Record<Way, string>> = {
  call: "call",
  inline: "io_uring at once",
  worker: "io_uring worker",
  polled: "io_uring polled",
  gate: "int 0x80",
};

/** Markdown, as `deno fmt` leaves it but for the widths of columns. */
export function coverageTables(coverage: Coverage): string {
  const files = WAYS.map((way) => filesTable(coverage, way, HEADINGS[way]));
  const compat = filesTable(coverage.compat, "gate", "By the i386 gate, with `[agent] compat`");
  const columns: readonly (readonly [string, Findings, Way])[] = [
    ...WAYS.map((way) => [NAMES[way], coverage, way] as const),
    ["int 0x80 with compat", coverage.compat, "gate"],
  ];
  const cells = Object.keys(PROCESS_OPERATIONS).map((operation) => [
    `\`${operation}\``,
    ...columns.map(([, { processes }, way]) => cellOf(processes.get(processKey(way, operation)))),
  ]);
  const headings = ["operation", ...columns.map(([name]) => name)];
  const processes = `### Processes and connections\n\n${tableOf(headings, cells)}`;
  return [...files, compat, processes].join("\n\n");
}

function filesTable({ files }: Findings, way: Way, heading: string): string {
  const cells = Object.keys(FILE_OPERATIONS).flatMap((operation): string[][] => {
    const row = FILESYSTEMS.map((type) => files.get(fileKey(type, way, operation)));
    if (row.every((found) => found?.result === undefined)) return [];
    return [[`\`${operation}\``, ...row.map(cellOf)]];
  });
  return `### ${heading}\n\n${tableOf(["operation", ...FILESYSTEMS], cells)}`;
}

function cellOf(found: Finding | undefined): string {
  if (found?.result === undefined) return "";
  if (found.result < 0) return `refused: ${getSystemErrorName(found.result)}`;
  if (found.topics.length > 0) return found.topics.join(", ");
  return found.wrong.length > 0 ? "**wrong process**" : "**not seen**";
}

function tableOf(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(headings), line(headings.map(() => "---")), ...rows.map(line)].join("\n");
}
