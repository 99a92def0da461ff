/**
 * The database in which people's SQL runs: its own, with bounded memory, no file within reach but those it is given,
 * and no setting that a statement could change. What is asked here has passed the gate.
 *
 * Invariant: an `answer` sees the same moment as the `explain` before it, since both are of one transaction: `now()`
 * must not move between choosing files and reading them. A transaction never outlives its answer.
 */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { COLUMNS, fieldIdOf } from "../../../event/columns.ts";
import { type Connection, openDatabase } from "../../../storage/duckdb.ts";
import { STORED_COLUMNS } from "../../../storage/data-rows.ts";
import { identifierOf, literalOf } from "../../../storage/sql-text.ts";
import { ProblemError } from "../../problem.ts";
import { parametersOf, type Statement } from "../../planner/binder.ts";
import { sqlTypeOf } from "../../planner/rows.ts";
import { planParse, planWrite } from "../../planner/sql-plan.ts";
import { MACRO_STATEMENTS } from "../macros.ts";
import { writeAnswer } from "./answer-text.ts";
import type {
  AnswerBounds,
  BoundSql,
  EngineReply,
  EngineRequest,
  EngineSettings,
} from "./protocol.ts";

export interface Engine extends AsyncDisposable {
  /** Throws SqlError, ProblemError 422, or an AbortError. */
  handle(request: EngineRequest, signal: AbortSignal): Promise<EngineAnswer>;
}

export interface EngineAnswer extends EngineReply {
  readonly body?: Uint8Array;
}

/** A file of no rows, in whose place statements are explained. */
export const STAND_IN = "stand-in.parquet";

export async function openEngine(settings: EngineSettings): Promise<Engine> {
  const { directory, readable } = settings;
  await using stack = new AsyncDisposableStack();
  const database = stack.use(
    await openDatabase({
      memoryLimitBytes: settings.memoryLimitBytes,
      threads: settings.threads,
      tempDirectory: join(directory, "spill"),
      tempLimitBytes: settings.tempLimitBytes,
      hasUnchangingFiles: true,
    }),
  );
  const connection = stack.use(await database.connect());
  await connection.run(MACRO_STATEMENTS);
  await connection.run(standInStatement(join(directory, STAND_IN)));
  await database.lock({ directories: [directory, ...readable] });
  const owned = stack.move();
  const runner = createRunner(connection, directory);
  return {
    handle: async (request, signal) => {
      switch (request.do) {
        case "parse":
          return { text: await runner.text(planParse(request.sql), signal) };
        case "write":
          return { text: await runner.text(planWrite(request.tree), signal) };
        case "explain":
          return await runner.explain(request, signal);
        case "answer":
          return await runner.answer(request, signal);
        case "cancel":
          return {};
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function standInStatement(path: string): string {
  const ids = STORED_COLUMNS.map(({ name }) => `${identifierOf(name)}: ${fieldIdOf(name)}`);
  const columns = COLUMNS.filter(({ origin }) => origin !== "derived")
    .map(({ name, type }) => `NULL::${sqlTypeOf(type)} AS ${identifierOf(name)}`);
  return `COPY (SELECT ${columns.join(", ")} LIMIT 0) TO ${literalOf(path)} ` +
    `(FORMAT parquet, FIELD_IDS {${ids.join(", ")}})`;
}

interface Runner {
  /** The only value of a statement. */
  text(statement: Statement, signal: AbortSignal): Promise<string>;
  explain(bound: BoundSql, signal: AbortSignal): Promise<EngineAnswer>;
  answer(
    request: Extract<EngineRequest, { readonly do: "answer" }>,
    signal: AbortSignal,
  ): Promise<EngineAnswer>;
}

function createRunner(connection: Connection, directory: string): Runner {
  let isOpen = false;
  let answers = 0;
  const begin = async (): Promise<void> => {
    if (!isOpen) await connection.run("BEGIN TRANSACTION");
    isOpen = true;
  };
  const end = async (): Promise<void> => {
    if (isOpen) await connection.run("ROLLBACK");
    isOpen = false;
  };
  return {
    async text(statement, signal) {
      // What could not be explained leaves a transaction in which nothing more is answered.
      await end();
      const parameters = parametersOf(statement, []);
      const { rows } = await connection.query(statement.sql, { parameters, signal });
      return String(Object.values(rows[0] ?? {})[0]);
    },
    async explain({ sql, parameters }, signal) {
      // One whose answer was never asked for is of an earlier moment.
      await end();
      await begin();
      const { rows } = await connection.query(`EXPLAIN (FORMAT json) ${sql}`, {
        parameters,
        signal,
      });
      return { scans: scansOf(JSON.parse(String(rows[0]?.["explain_value"]))) };
    },
    async answer({ isExplained, sql, parameters, format, bounds }, signal) {
      if (!isExplained) await end();
      await begin();
      try {
        if (format !== "parquet") {
          const result = await connection.query(sql, { parameters, signal });
          const { text, ...facts } = writeAnswer(result, format, bounds);
          return { ...facts, body: new TextEncoder().encode(text) };
        }
        const path = join(directory, `answer-${++answers}.parquet`);
        return await writeParquet(connection, path, { sql, parameters, bounds, signal });
      } finally {
        await end();
      }
    },
  };
}

/** Writes an answer into a file of its own, of which nothing stays when that fails or is cancelled. */
async function writeParquet(
  connection: Connection,
  path: string,
  { sql, parameters, bounds, signal }: BoundSql & {
    readonly bounds: AnswerBounds;
    readonly signal: AbortSignal;
  },
): Promise<EngineAnswer> {
  try {
    // A table first: one row beyond the bound tells that there are more, and must not be in the file.
    await connection.run(`CREATE TEMP TABLE answer AS ${sql}`, { parameters, signal });
    await connection.run(
      `COPY (SELECT * FROM answer LIMIT ${bounds.rowsMax}) TO ${literalOf(path)} ` +
        "(FORMAT parquet, CODEC zstd)",
      { signal },
    );
    await requireSize(path, bounds.bytesMax);
    const [counted] = (await connection.query("SELECT count(*) AS n FROM answer")).rows;
    const found = Number(counted?.["n"]);
    const rows = Math.min(found, bounds.rowsMax);
    return { path, rows, isTruncated: found > rows };
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** A file of Parquet cannot be cut: it is refused. */
async function requireSize(path: string, bytesMax: number): Promise<void> {
  const { size } = await stat(path);
  if (size <= bytesMax) return;
  throw new ProblemError(422, `The answer has ${size} bytes, more than ${bytesMax}`, {
    parameter: "sql",
    accepted: "fewer columns, or LIMIT",
  });
}

/** The filters of each read of the stand-in, one per line as DuckDB shows them. */
function scansOf(plan: unknown): string[] {
  if (Array.isArray(plan)) return plan.flatMap(scansOf);
  if (!isRecord(plan)) return [];
  const inner = scansOf(plan["children"]);
  if (!String(plan["name"]).trim().startsWith("READ_PARQUET")) return inner;
  const details = plan["extra_info"];
  const filters = isRecord(details) ? details["Filters"] : undefined;
  const text = Array.isArray(filters) ? filters.join("\n") : String(filters ?? "");
  return [text, ...inner];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
