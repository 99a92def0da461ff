/** `POST /v1/sql`: one SELECT of people's own over what they may see. */
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { type } from "arktype";
import { CSV_TYPE, JSON_TYPE, NDJSON_TYPE, PARQUET_TYPE, streamedBody } from "../answer.ts";
import { problemOfQuery } from "../executor.ts";
import { FLAG, OBJECT, TEXT } from "../json-schema.ts";
import { ProblemError } from "../problem.ts";
import type { Call, Route } from "../route.ts";
import type { AnswerBounds, SqlFormat } from "../sql/engine/protocol.ts";
import { SQL_FORM } from "../sql/gate.ts";
import { readSqlBody, SQL_BODY } from "../sql/request.ts";
import type { SqlAnswer, SqlService } from "../sql/run-sql.ts";
import { SqlError, type SqlValue } from "../../storage/duckdb.ts";

export interface SqlParts {
  readonly service: SqlService;
  readonly limits: SqlLimits;
}

/** Bounds of an answer, and of the work for it. */
export interface SqlLimits extends AnswerBounds {
  readonly timeMs: number;
  /** DuckDB's bound in a process that runs statements. */
  readonly memoryBytes: number;
}

export const SQL_LIMITS: SqlLimits = {
  rowsMax: 10_000,
  bytesMax: 32 * 1024 * 1024,
  timeMs: 60_000,
  memoryBytes: 384 * 1024 * 1024,
};

const TYPES: Readonly<Record<SqlFormat, string>> = {
  json: JSON_TYPE,
  ndjson: NDJSON_TYPE,
  csv: CSV_TYPE,
  parquet: PARQUET_TYPE,
};

export function sqlRoute({ service, limits }: SqlParts): Route {
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
      [PARQUET_TYPE]: { type: "string", format: "binary" },
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
        const answer = await service.run(body, call.principal, {
          bounds: { rowsMax: limits.rowsMax, bytesMax: limits.bytesMax },
          timeMs: limits.timeMs,
          signal: call.signal,
          onBegin,
        });
        return await respond(call, answer, { format: body.format, parameters });
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

interface Said {
  readonly format: SqlFormat;
  readonly parameters: Readonly<Record<string, unknown>>;
}

async function respond(
  call: Call,
  { body, path, rows, isTruncated, headers: facts }: SqlAnswer,
  { format, parameters }: Said,
): Promise<Response> {
  const headers = {
    ...facts,
    "Probity-Truncated": String(isTruncated),
    "Content-Type": TYPES[format],
  };
  if (path === undefined) {
    call.report({ rows, bytes: body?.length ?? 0, parameters });
    return new Response(body ?? null, { headers });
  }
  const stream = await streamedBody({
    chunks: createReadStream(path),
    onEnd({ bytes, error }) {
      void rm(path, { force: true });
      const outcome = error === undefined ? "success" : "failure";
      call.report({ rows, bytes, parameters, outcome });
    },
  });
  return new Response(stream, { headers });
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

/** Lines after the first that name what the statement itself could see. */
const HELP = /^(Candidate bindings: |Candidate tables: |Either add it )/;
const MESSAGE_LENGTH_MAX = 500;

function problemOfSql(error: unknown): unknown {
  if (!(error instanceof SqlError) || !STATEMENT_KINDS.has(error.kind)) {
    return problemOfQuery(error);
  }
  const [first = "", ...others] = error.message.split("\n");
  const message = [first, ...others.filter((line) => HELP.test(line))].join(" ")
    .slice(0, MESSAGE_LENGTH_MAX);
  return new ProblemError(422, `The statement cannot be run: ${message}`, {
    parameter: "sql",
    accepted: SQL_FORM,
    cause: error,
  });
}
