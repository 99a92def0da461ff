/**
 * `sql`: one read-only statement over the view `events`, from the command line, standard input, or a prompt.
 *
 * Invariant: an answer that is cut or incomplete ends in exit 5; at the prompt an error ends the statement, not the
 * session.
 */
import process from "node:process";
import { createInterface } from "node:readline/promises";
import { text as textOf } from "node:stream/consumers";
import type { Client } from "../client/client.ts";
import { ProblemError } from "../client/problem.ts";
import type { SqlColumn, SqlResult } from "../client/sql-result.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT, type ExitCode, usageError } from "./exit.ts";
import { type Output, printable } from "./output.ts";

const NUMBER_TYPE = /INT|DECIMAL|DOUBLE|FLOAT|REAL/;

export const sqlCommand = defineCommand({
  name: "sql",
  summary: "ask one read-only SQL statement (DuckDB) over the view events",
  arguments: [{
    name: "statement",
    text: "default: standard input, or a prompt",
    isRequired: false,
  }],
  examples: [
    ['probity sql "SELECT topic, count(*) FROM events GROUP BY ALL ORDER BY 2 DESC"', "by topic"],
    ["probity sql < report.sql", "a statement from a file"],
    ["probity sql", "a prompt; a statement ends with ;"],
  ],
  options: {},
  run: ({ global, arguments: [given], output, signal }) =>
    withClient(global, async (client) => {
      const session = { client, output, signal };
      if (given === undefined && process.stdin.isTTY === true) return await prompt(session);
      const statement = (given ?? await textOf(process.stdin)).trim();
      if (statement === "") throw usageError("Cannot ask: the statement is empty");
      return await ask(statement, session);
    }),
});

interface Session {
  readonly client: Client;
  readonly output: Output;
  readonly signal: AbortSignal;
}

async function ask(statement: string, { client, output, signal }: Session): Promise<ExitCode> {
  const result = await client.sql(statement, { signal });
  await print(result, output);
  if (result.isTruncated) {
    output.notice(`cut: only the first ${result.rows.length} rows are here; use LIMIT or count`);
  }
  if (!result.isComplete) {
    output.notice(`incomplete: ${result.missing ?? "a part of the record cannot be searched yet"}`);
  }
  return result.isTruncated || !result.isComplete ? EXIT.incomplete : EXIT.ok;
}

/** Reads statements until the end of input; Ctrl-C drops what is typed. */
async function prompt(session: Session): Promise<ExitCode> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: "sql> " });
  let typed = "";
  let isOpen = true;
  lines.on("close", () => isOpen = false);
  const show = (): void => {
    // At the end of input, statements that were typed before it may still wait.
    if (!isOpen) return;
    lines.setPrompt(typed === "" ? "sql> " : "...> ");
    lines.prompt();
  };
  lines.on("SIGINT", () => {
    typed = "";
    session.output.notice("");
    show();
  });
  session.output.notice("A statement ends with ; and the session with Ctrl-D.");
  show();
  for await (const line of lines) {
    typed = `${typed}${line}\n`;
    if (typed.trim() === "") typed = "";
    if (!typed.trimEnd().endsWith(";")) {
      show();
      continue;
    }
    const statement = typed.trim();
    typed = "";
    try {
      await ask(statement, session);
    } catch (error) {
      if (!(error instanceof ProblemError) || error.isNotAllowed) throw error;
      session.output.notice(error.message);
    }
    show();
  }
  return EXIT.ok;
}

async function print({ columns, rows }: SqlResult, output: Output): Promise<void> {
  if (!output.isForPeople) {
    for (const row of rows) await output.json(row);
    return;
  }
  await output.table(
    columns.map(({ name, type }) => ({ name, align: alignOf(type) })),
    rows.map((row) => columns.map((column) => cellOf(row[column.name]))),
  );
  output.notice(`${rows.length} ${rows.length === 1 ? "row" : "rows"}`);
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
