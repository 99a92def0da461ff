/** Rows of a statement as the text of an answer: cut where one of the bounds is reached, and then it says so. */
import type { SqlResult, SqlRow } from "../../../storage/duckdb.ts";
import { ProblemError } from "../../problem.ts";
import type { AnswerBounds } from "./protocol.ts";

export type TextFormat = "json" | "ndjson" | "csv";

export interface Written {
  readonly text: string;
  readonly rows: number;
  readonly isTruncated: boolean;
}

export function writeAnswer(
  { columns, rows }: SqlResult,
  format: TextFormat,
  { rowsMax, bytesMax }: AnswerBounds,
): Written {
  const jsonColumns = columns.filter(({ type }) => type === "JSON").map(({ name }) => name);
  const names = columns.map(({ name }) => name);
  const texts: string[] = [];
  let bytes = 0;
  for (const row of rows.slice(0, rowsMax)) {
    const text = format === "csv"
      ? csvLine(names.map((name) => row[name]))
      : jsonLine(row, jsonColumns);
    bytes += Buffer.byteLength(text);
    if (bytes > bytesMax) break;
    texts.push(text);
  }
  const isTruncated = texts.length < rows.length;
  return { text: wholeOf(), rows: texts.length, isTruncated };

  function wholeOf(): string {
    switch (format) {
      case "json":
        return `{"columns":${JSON.stringify(columns)},"rows":[${
          texts.join(",")
        }],"truncated":${isTruncated}}\n`;
      case "csv":
        return [csvLine(names), ...texts].map((line) => `${line}\r\n`).join("");
      case "ndjson":
        return texts.map((line) => `${line}\n`).join("");
    }
  }
}

function jsonLine(row: SqlRow, jsonColumns: readonly string[]): string {
  try {
    return JSON.stringify(withObjects(row, jsonColumns));
  } catch (cause) {
    // What JSON.stringify says of thousands of lists within lists.
    if (!(cause instanceof RangeError)) throw cause;
    throw new ProblemError(422, "The answer cannot be written: its JSON is too deep", {
      parameter: "sql",
      accepted: "JSON as text: column::VARCHAR",
      cause,
    });
  }
}

/** A column of JSON is an object in JSON, not its text. */
function withObjects(row: SqlRow, names: readonly string[]): SqlRow {
  if (names.length === 0) return row;
  const objects = names.flatMap((name) => {
    const text = row[name];
    return typeof text === "string" ? [[name, JSON.parse(text)] as const] : [];
  });
  return { ...row, ...Object.fromEntries(objects) };
}

function csvLine(values: readonly unknown[]): string {
  return values.map((value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }).join(",");
}
