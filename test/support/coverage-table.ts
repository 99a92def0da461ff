/** The tables of docs/coverage.md, made of what was found. */
import { getSystemErrorName } from "node:util";
import {
  type Coverage,
  FILE_OPERATIONS,
  fileKey,
  FILESYSTEMS,
  type Finding,
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

/** Markdown, as `deno fmt` leaves it but for the widths of columns. */
export function coverageTables(coverage: Coverage): string {
  const files = WAYS.map((way) => {
    const cells = Object.keys(FILE_OPERATIONS).flatMap((operation): string[][] => {
      const row = FILESYSTEMS.map((type) => coverage.files.get(fileKey(type, way, operation)));
      if (row.every((found) => found?.result === undefined)) return [];
      return [[`\`${operation}\``, ...row.map(cellOf)]];
    });
    return `### ${HEADINGS[way]}\n\n${tableOf(["operation", ...FILESYSTEMS], cells)}`;
  });
  const cells = Object.keys(PROCESS_OPERATIONS).map((operation) => [
    `\`${operation}\``,
    ...WAYS.map((way) => cellOf(coverage.processes.get(processKey(way, operation)))),
  ]);
  const names = WAYS.map((way) =>
    way === "gate" ? "int 0x80" : way === "call" ? way : `io_uring ${way}`
  );
  const processes = `### Processes and connections\n\n${tableOf(["operation", ...names], cells)}`;
  return [...files, processes].join("\n\n");
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
