/**
 * One statement, asked and printed: a table on a terminal, NDJSON when piped, or a file of another form.
 *
 * Invariant: an answer that is cut or incomplete ends in exit 5, and says why.
 */
import { once } from "node:events";
import process from "node:process";
import type { Client, SqlOptions } from "../../client/client.ts";
import type { SqlColumn, SqlForm, SqlResult } from "../../client/sql-result.ts";
import { EXIT, type ExitCode, usageError } from "../exit.ts";
import { type Output, printable } from "../output.ts";

export interface Asking extends Pick<SqlOptions, "parameters"> {
  readonly client: Client;
  readonly output: Output;
  readonly signal: AbortSignal;
  /** Whether people get each row as a block of lines, a column each, and no table. */
  readonly isExpanded?: boolean;
  /** Undefined for a table or NDJSON, by where it goes. */
  readonly form?: SqlForm | undefined;
}

/** Throws what the client throws, and a usage error for Parquet on a terminal. */
export async function ask(statement: string, asking: Asking): Promise<ExitCode> {
  const { client, output, signal, form, parameters, isExpanded = false } = asking;
  const options = { signal, ...(parameters === undefined ? {} : { parameters }) };
  if (form === undefined) {
    const result = await client.sql(statement, options);
    if (isExpanded && output.isForPeople) await printBlocks(result, output);
    else await printResult(result, output);
    return exitOf(result, `the first ${result.rows.length} rows`, output);
  }
  if (form === "parquet" && process.stdout.isTTY === true) {
    throw usageError("Cannot show Parquet on a terminal: redirect it to a file");
  }
  const file = await client.sqlFile(statement, form, options);
  if (!process.stdout.write(file.content)) await once(process.stdout, "drain");
  return exitOf(file, "the first rows", output);
}

function exitOf(
  { isTruncated, isComplete, missing }: Pick<SqlResult, "isTruncated" | "isComplete" | "missing">,
  shown: string,
  output: Output,
): ExitCode {
  if (isTruncated) output.notice(`cut: only ${shown} are here; use LIMIT or count`);
  if (!isComplete) {
    output.notice(`incomplete: ${missing ?? "a part of the record cannot be searched yet"}`);
  }
  return isTruncated || !isComplete ? EXIT.incomplete : EXIT.ok;
}

const NUMBER_TYPE = /INT(?!ERVAL)|DECIMAL|DOUBLE|FLOAT|REAL/;

/** Rows as a table with their number, or one JSON object per line. */
export async function printResult(
  { columns, rows }: Pick<SqlResult, "columns" | "rows">,
  output: Output,
): Promise<void> {
  if (!output.isForPeople) {
    for (const row of rows) await output.json(row);
    return;
  }
  await output.table(
    columns.map(({ name, type }) => ({ name, align: alignOf(type) })),
    rows.map((row) => columns.map((column) => cellOf(row[column.name]))),
  );
  output.notice(countOf(rows));
}

/** Rows as blocks of lines, each a column that is not null: what is too wide for a table stays readable. */
async function printBlocks(
  { columns, rows }: Pick<SqlResult, "columns" | "rows">,
  output: Output,
): Promise<void> {
  const width = Math.max(0, ...columns.map(({ name }) => name.length));
  for (const [at, row] of rows.entries()) {
    const lines = columns.flatMap(({ name }) => {
      const cell = cellOf(row[name]);
      return cell === "" ? [] : [`${output.paint("cyan", name.padEnd(width))}  ${cell}\n`];
    });
    await output.write(`${output.paint("dim", `-- row ${at + 1}`)}\n${lines.join("")}`);
  }
  output.notice(countOf(rows));
}

function countOf(rows: readonly unknown[]): string {
  return `${rows.length} ${rows.length === 1 ? "row" : "rows"}`;
}

function alignOf(type: SqlColumn["type"]): "left" | "right" {
  return NUMBER_TYPE.test(type) && !/[[(<]/.test(type.replace(/^DECIMAL\(.*\)$/, "DECIMAL"))
    ? "right"
    : "left";
}

function cellOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  return printable(typeof value === "object" ? JSON.stringify(value) : String(value));
}
