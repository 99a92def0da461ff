/**
 * `sql`: one read-only statement over `events` and its views, from the command line, standard input, or a prompt; asked
 * of a server, or of a bucket itself.
 */
import process from "node:process";
import { text as textOf } from "node:stream/consumers";
import type { Client, SqlOptions } from "../client/client.ts";
import { createLog } from "../runtime/log.ts";
import { defineCommand } from "./command.ts";
import { commandErrorOf, withClient } from "./connect.ts";
import { type ExitCode, usageError } from "./exit.ts";
import { choiceOf, text } from "./option-type.ts";
import { optional, repeated, STORE_OPTIONS } from "./options.ts";
import { ask } from "./sql/ask.ts";

const ASK_OPTIONS = {
  local: optional("local", text, {
    reach: "flag",
    text: "a bucket to read without a server: a folder, or s3://bucket/prefix",
  }),
  format: optional("format", choiceOf(["ndjson", "csv", "parquet"]), {
    reach: "flag",
    text: "of the answer; default: a table on a terminal, ndjson when piped",
  }),
  parameter: repeated("parameter", text, {
    text: "NAME=VALUE, for $NAME in the statement; a value in JSON is what it is there",
  }),
} as const;

export const sqlCommand = defineCommand({
  name: "sql",
  summary: "ask one read-only SQL statement (DuckDB) over events and its views",
  arguments: [{
    name: "statement",
    text: "default: standard input, or a prompt",
    isRequired: false,
  }],
  examples: [
    ['probity sql "SELECT topic, count(*) FROM events GROUP BY ALL ORDER BY 2 DESC"', "by topic"],
    ["probity sql < report.sql", "a statement from a file"],
    ["probity sql", "a prompt; a statement ends with ;"],
    [
      'probity sql --local s3://audit "FROM process_exec" --format parquet > exec.parquet',
      "a file",
    ],
  ],
  options: { ask: ASK_OPTIONS, store: STORE_OPTIONS },
  run: async ({ global, settings, arguments: [given], output, signal, environment }) => {
    const { local, format, parameter } = settings.ask;
    const parameters = parametersOf(parameter);
    const work = async (client: Client): Promise<ExitCode> => {
      const asking = { client, output, signal, form: format, parameters };
      if (given === undefined && process.stdin.isTTY === true) {
        const { prompt } = await import("./sql/prompt.ts");
        return await prompt({ ...asking, environment });
      }
      const statement = (given ?? await textOf(process.stdin)).trim();
      if (statement === "") throw usageError("Cannot ask: the statement is empty");
      return await ask(statement, asking);
    };
    if (local === undefined) return await withClient(global, work);
    const { withLocalClient } = await import("./sql/local.ts");
    const { endpoint, region, pathStyle } = settings.store;
    const store = {
      pathStyle,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(region === undefined ? {} : { region }),
    };
    try {
      const log = createLog({ level: "error", fields: { command: "sql" } });
      return await withLocalClient({ place: local, store, log }, work);
    } catch (error) {
      throw commandErrorOf(error);
    }
  },
});

function parametersOf(given: readonly string[]): NonNullable<SqlOptions["parameters"]> {
  return Object.fromEntries(given.map((each) => {
    const [, name, value] = /^([A-Za-z_][A-Za-z_0-9]*|[1-9][0-9]*)=(.*)$/s.exec(each) ?? [];
    if (name === undefined || value === undefined) {
      throw usageError(`Cannot use --parameter ${JSON.stringify(each)}: it is not NAME=VALUE`);
    }
    return [name, valueOf(value)];
  }));
}

/** Numbers, `true`, `false` and `null` as in JSON, text with or without quotes. */
function valueOf(text: string): string | number | boolean | null {
  if (!/^(-?[0-9][0-9.eE+-]*|true|false|null|".*")$/s.test(text)) return text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "number" || typeof value === "boolean" || value === null
      ? value
      : String(value);
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}
