/** `POST /v1/sql`: one SELECT of people's own over what they may see. */
import { type } from "arktype";
import { CSV_TYPE, JSON_TYPE, jsonResponse, NDJSON_TYPE, readHeaders } from "../answer.ts";
import { type Executor, scanOf, withinTime } from "../executor.ts";
import { planParse, planSql, planWrite } from "../planner/sql-plan.ts";
import type { Statement } from "../planner/binder.ts";
import { FLAG, OBJECT, TEXT } from "../json-schema.ts";
import { ProblemError } from "../problem.ts";
import type { ViewLease } from "../read-view.ts";
import type { Call, Route } from "../route.ts";
import { passGate, renameParameters, SQL_FORM } from "../sql/gate.ts";
import { readSqlBody, SQL_BODY, type SqlBody, type SqlFormat } from "../sql/request.ts";
import { TABLES } from "../sql/views.ts";
import { SqlError, type SqlResult, type SqlRow, type SqlValue } from "../../storage/duckdb.ts";

export interface SqlParts {
  readonly executor: Executor;
  readonly acquire: () => ViewLease;
  readonly limits: SqlLimits;
}

export interface SqlLimits {
  readonly rowsMax: number;
  /** Bound of an answer, in bytes of JSON. */
  readonly bytesMax: number;
  readonly timeMs: number;
}

export const SQL_LIMITS: SqlLimits = {
  rowsMax: 10_000,
  bytesMax: 32 * 1024 * 1024,
  timeMs: 60_000,
};

export function sqlRoute(parts: SqlParts): Route {
  return {
    method: "POST",
    path: "/v1/sql",
    summary: `Run ${SQL_FORM}`,
    action: "sql",
    body: SQL_BODY,
    answers: {
      [JSON_TYPE]: type({
        columns: type({ name: TEXT, type: TEXT.describe("of DuckDB") }).array(),
        rows: OBJECT.array().describe("values by the names of the columns"),
        truncated: FLAG.describe("whether rows were left out"),
      }),
      [NDJSON_TYPE]: OBJECT,
      "text/csv": { type: "string" },
    },
    answerHeaders: { "Probity-Truncated": "whether rows were left out" },
    async handle(call) {
      const body = await readSqlBody(call.request);
      const parameters = { sql: body.sql, parameters: namedValues(body.parameters) };
      let hasBegun = false;
      const onBegin = (): void => {
        hasBegun = true;
      };
      try {
        const { result, headers } = await run(call, body, { ...parts, onBegin });
        const { text, rows, isTruncated } = write(result, body.format, parts.limits);
        call.report({ rows, bytes: Buffer.byteLength(text), parameters });
        return respond(text, body.format, {
          ...headers,
          "Probity-Truncated": String(isTruncated),
        });
      } catch (error) {
        // What was refused before it began is told by whoever counts refusals.
        const isRefused = !hasBegun && error instanceof ProblemError &&
          [429, 503].includes(error.problem.status);
        if (!isRefused) call.report({ rows: 0, bytes: 0, parameters, outcome: "failure" });
        throw problemOfSql(error);
      }
    },
  };
}

async function run(
  call: Call,
  body: SqlBody,
  { executor, acquire, limits, onBegin }: SqlParts & { readonly onBegin: () => void },
): Promise<{ readonly result: SqlResult; readonly headers: Record<string, string> }> {
  return await withinTime(call.signal, async (signal) => {
    const asker = { principal: call.principal, signal };
    const text = async (statement: Statement, column: string): Promise<string> => {
      const { rows } = await executor.rows({ files: [], statement }, asker);
      return String(rows[0]?.[column]);
    };
    const treeText = await text(planParse(body.sql), "tree");
    onBegin();
    const passed = passGate(JSON.parse(treeText), {
      tables: TABLES,
      values: body.parameters,
    });
    const numbers = new Map(passed.parameters.map((name, at) => [name, String(at + 1)]));
    const parameters = passed.parameters.map((name) => valueOf(name, body.parameters));
    const statement = await text(planWrite(renameParameters(treeText, numbers)), "statement");
    using lease = acquire();
    const { tables } = passed;
    const request = { statement, parameters, tables, limit: limits.rowsMax + 1 };
    const plan = planSql(request, call.principal, lease.view);
    const result = await executor.rows(plan, asker);
    const { files, prunedFiles, missing } = plan;
    return { result, headers: readHeaders({ scan: scanOf(files), prunedFiles, missing }) };
  }, limits.timeMs);
}

function valueOf(name: string, values: ReadonlyMap<string, SqlValue>): SqlValue {
  const value = values.get(name);
  if (value !== undefined) return value;
  throw new ProblemError(422, `The statement cannot be run: it uses $${name}, which has no value`, {
    parameter: "parameters",
    accepted: "a value for every parameter of the statement",
  });
}

interface Written {
  readonly text: string;
  readonly rows: number;
  readonly isTruncated: boolean;
}

function write({ columns, rows }: SqlResult, format: SqlFormat, limits: SqlLimits): Written {
  const jsonColumns = columns.filter(({ type }) => type === "JSON").map(({ name }) => name);
  const names = columns.map(({ name }) => name);
  const texts: string[] = [];
  let length = 0;
  for (const row of rows.slice(0, limits.rowsMax)) {
    const text = format === "csv"
      ? csvLine(names.map((name) => row[name]))
      : jsonLine(row, jsonColumns);
    length += text.length;
    if (length > limits.bytesMax) break;
    texts.push(text);
  }
  const isTruncated = texts.length < rows.length;
  const text = format === "json"
    ? `{"columns":${JSON.stringify(columns)},"rows":[${
      texts.join(",")
    }],"truncated":${isTruncated}}`
    : format === "csv"
    ? [csvLine(names), ...texts].map((line) => `${line}\r\n`).join("")
    : texts.map((line) => `${line}\n`).join("");
  return { text, rows: texts.length, isTruncated };
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

function respond(
  text: string,
  format: SqlFormat,
  headers: Readonly<Record<string, string>>,
): Response {
  if (format === "json") return jsonResponse(text, headers);
  const type = format === "csv" ? CSV_TYPE : NDJSON_TYPE;
  return new Response(text, { headers: { ...headers, "Content-Type": type } });
}

function namedValues(values: ReadonlyMap<string, SqlValue>): Record<string, unknown> {
  return Object.fromEntries(
    [...values].map(([name, value]) => [name, typeof value === "bigint" ? Number(value) : value]),
  );
}

/** Kinds of error that are about the statement; their text names nothing of the inside. */
const STATEMENT_KINDS: ReadonlySet<string> = new Set([
  "Binder",
  "Catalog",
  "Constraint",
  "Conversion",
  "Divide by Zero",
  "Invalid",
  "Invalid Input",
  "Invalid type",
  "Mismatch Type",
  "Not implemented",
  "Out of Range",
  "Parameter Not Resolved",
  "Parser",
  "Syntax",
]);

function problemOfSql(error: unknown): unknown {
  if (!(error instanceof SqlError) || !STATEMENT_KINDS.has(error.kind)) return error;
  const message = error.message.split("\n")[0] ?? "";
  return new ProblemError(422, `The statement cannot be run: ${message}`, {
    parameter: "sql",
    accepted: SQL_FORM,
    cause: error,
  });
}
