/**
 * A report as CSV (RFC 4180): one table for all, whose first column says of what a line is, so that programs need one
 * header only.
 *
 * Invariant: no cell of data begins as a formula does: spreadsheets compute what begins with `=`, `+`, `-` or `@`.
 */
import type { Cell, Report } from "./report.ts";
import { cellText, factsOf } from "./text.ts";

/** Also the full-width signs, which some spreadsheets take for the same. */
const FORMULA = /^[\s'"]*[=+\-@＝＋－＠]/u;

export function writeCsv(report: Report): string {
  const { tables, statements, evidence } = report;
  const names = [...new Set(tables.flatMap(({ columns }) => columns.map(({ name }) => name)))];
  const header = ["table", "text", ...names];
  const said = (table: string, texts: readonly string[]): string[] =>
    texts.map((text) => lineOf([table, text, ...names.map(() => undefined)]));
  const lines = [
    lineOf(header),
    ...said("report", [
      report.title,
      ...factsOf(report).map(([name, value]) => `${name}: ${value}`),
    ]),
    ...said("statement", statements),
    ...tables.flatMap(({ name, columns, rows }) => {
      const places = names.map((each) => columns.findIndex((column) => column.name === each));
      return rows.map((row) => lineOf([name, undefined, ...places.map((at) => row[at])]));
    }),
    ...said("evidence", evidence.statements),
    ...said("not_yet_verifiable", evidence.open),
  ];
  return lines.join("");
}

function lineOf(cells: readonly Cell[]): string {
  return `${cells.map(quoted).join(",")}\r\n`;
}

function quoted(cell: Cell): string {
  if (typeof cell === "number") return String(cell);
  const text = cellText(cell);
  const harmless = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
