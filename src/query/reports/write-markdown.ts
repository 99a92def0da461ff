/**
 * A report as Markdown (CommonMark with tables).
 *
 * Invariant: data is text: no sign of it makes markup, a link, a cell or a line.
 */
import type { Report, ReportTable } from "./report.ts";
import { cellText, emptyText, factsOf, spelled } from "./text.ts";

export function writeMarkdown(report: Report): string {
  const { title, statements, tables, evidence } = report;
  const parts = [
    `# ${escaped(title)}`,
    factsOf(report).map(([name, value]) => `- ${name}: ${escaped(value)}`).join("\n"),
    ...statements.map(escaped),
    ...tables.flatMap((table) => [`## ${escaped(table.title)}`, tableText(table)]),
    "## Evidence",
    ...evidence.statements.map(escaped),
    "Not yet verifiable:",
    evidence.open.map((each) => `- ${escaped(each)}`).join("\n"),
  ];
  return `${parts.join("\n\n")}\n`;
}

function tableText(table: ReportTable): string {
  const { columns, rows } = table;
  if (rows.length === 0) return emptyText(table);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [
    line(columns.map(({ title }) => escaped(title))),
    line(columns.map(() => "---")),
    ...rows.map((row) => line(row.map((cell) => escaped(cellText(cell))))),
  ].join("\n");
}

const MARKUP = /[\\`*_{}[\]<>&|#!~@$]/g;
/** Addresses that become links by themselves. */
const LINK = /\b(https?|ftp|mailto|www)(?=[:.])/gi;

function escaped(text: string): string {
  return spelled(text).replaceAll(MARKUP, "\\$&").replaceAll(LINK, "$1\\");
}
