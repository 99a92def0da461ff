/**
 * One statement from its text to its answer: parsed and written by a process of its own, looked at here, planned over
 * what the principal may see and over the files that DuckDB's own filters leave, and answered by the same process. What
 * tallies know of the answer is not read.
 *
 * Invariant: nothing but what the gate passed is run, and the scopes of the principal are part of every statement;
 * files and hot rows stay what they were when the statement began.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { SqlValue } from "../../storage/duckdb.ts";
import type { DataFiles } from "../data-files.ts";
import { type Executor, scanOf, withinTime } from "../executor.ts";
import { parametersOf, type Statement } from "../planner/binder.ts";
import { readHeaders } from "../answer.ts";
import { filesOfScans, hotOfScans } from "../planner/scan-filters.ts";
import type { KnownTallies } from "../metric/counted-kinds.ts";
import {
  planCounts,
  planHotRows,
  planSql,
  type SqlRequest,
  type SqlSource,
  standInSource,
} from "../planner/sql-plan.ts";
import type { Principal } from "../principal.ts";
import { ProblemError } from "../problem.ts";
import type { ReadView, ViewLease } from "../read-view.ts";
import { countedOf } from "./counted.ts";
import type { EnginePool } from "./engine/engine-pool.ts";
import type { EngineAnswer, EngineProcess } from "./engine/engine-process.ts";
import { STAND_IN } from "./engine/engine.ts";
import type { AnswerBounds, BoundSql, EngineRequest } from "./engine/protocol.ts";
import { passGate, renameParameters } from "./gate.ts";
import type { SqlBody } from "./request.ts";
import { createKeptTexts, type KeptTexts } from "./kept-texts.ts";
import { EVENTS, TABLES } from "./views.ts";

/** So few files are opened sooner than DuckDB explains what it would read. */
const FEW_FILES = 2;
/** Trees of statements, and statements written from them; a tree has about fifty times the characters of its text. */
const KEPT_CHARACTERS_MAX = 4_000_000;

export interface SqlService {
  /** Runs one statement. Throws {@link ProblemError}, SqlError, or the signal's reason. */
  run(body: SqlBody, principal: Principal, options: SqlRunOptions): Promise<SqlAnswer>;
}

export interface SqlRunOptions {
  readonly bounds: AnswerBounds;
  /** Longest time from the statement's turn to its answer. */
  readonly timeMs: number;
  readonly signal: AbortSignal;
  /** Called when it is the statement's turn. */
  readonly onBegin: () => void;
}

export interface SqlAnswer {
  readonly body: Uint8Array<ArrayBuffer> | undefined;
  /** Of a file of Parquet, the caller's to remove. */
  readonly path: string | undefined;
  readonly rows: number;
  readonly isTruncated: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

export interface SqlServiceOptions {
  readonly engines: EnginePool;
  readonly files: DataFiles;
  /** Runs what concerns the hot table. */
  readonly executor: Executor;
  readonly acquire: () => ViewLease;
  readonly tallies: KnownTallies;
  /** Where hot rows are handed over; the engines may read it. */
  readonly handoverDirectory: string;
}

export function createSqlService(options: SqlServiceOptions): SqlService {
  const { engines, files, executor, acquire, tallies, handoverDirectory } = options;
  const texts = {
    trees: createKeptTexts(KEPT_CHARACTERS_MAX),
    statements: createKeptTexts(KEPT_CHARACTERS_MAX),
  };
  let handovers = 0;

  /** A file with the hot rows that the principal may see. */
  const handOver = async (
    principal: Principal,
    wanted: Wanted,
    signal: AbortSignal,
  ): Promise<string | undefined> => {
    const path = join(handoverDirectory, `hot-${++handovers}.parquet`);
    const statement = planHotRows(path, principal, wanted);
    if (statement === undefined) return undefined;
    await executor.rows({ files: [], statement }, { principal, signal });
    return path;
  };

  const answerWith = async (
    engine: EngineProcess,
    { body, principal, bounds, signal }: {
      readonly body: SqlBody;
      readonly principal: Principal;
      readonly bounds: AnswerBounds;
      readonly signal: AbortSignal;
    },
  ): Promise<SqlAnswer> => {
    const passed = await passedStatement(engine, body, { trees: texts.trees, signal });
    const isReading = passed.tables.size > 0;
    using held = acquire();
    const { view } = held;
    const counted = countedOf(tallies, passed.tree, { view, principal });
    const tree = counted?.tree ?? passed.tree;
    const renamed = renameParameters(tree, passed.numbers);
    const statement = await texts.statements.get(
      renamed,
      () => textOf(engine, { do: "write", tree: renamed }, signal),
    );
    const request = { ...passed, statement, limit: bounds.rowsMax + 1 };
    const plan = (source: SqlSource): Statement =>
      counted === undefined
        ? planSql(request, principal, source)
        : planCounts(request, principal, { kinds: counted.kinds, source });
    const read = { files: counted?.kinds.files ?? view.files, hot: view.hot };
    const isChosen = isReading && mayNarrow(passed, principal) &&
      (read.files.length > FEW_FILES || read.hot.length > 0);
    const all = isReading ? read : { files: [], hot: [] };
    const wanted = isChosen ? await choose(engine, all, { plan, signal }) : all;
    using local = await files.hold(wanted.files, signal);
    const hot = await handOver(principal, wanted, signal);
    try {
      const source = {
        hasFiles: wanted.files.length > 0,
        others: hot === undefined ? [] : [[hot]],
      };
      const bound = boundOf(plan(source), local.paths);
      const answer = await engine.ask(
        { do: "answer", isExplained: isChosen, format: body.format, bounds, ...bound },
        signal,
      );
      return {
        ...answerOf(answer),
        headers: readHeaders({
          scan: scanOf(wanted.files),
          prunedFiles: view.files.length - wanted.files.length,
          missing: isReading ? view.missing : [],
        }),
      };
    } finally {
      // What was cancelled may read on for a moment.
      if (hot !== undefined) void engine.settled().then(() => rm(hot, { force: true }));
    }
  };

  return {
    async run(body, principal, { bounds, timeMs, signal, onBegin }) {
      // The wait for a process, and its start, are not the statement's time.
      using lease = await engines.acquire({ principal, signal });
      const { engine, lost } = lease;
      onBegin();
      return await withinTime(
        AbortSignal.any([signal, lost]),
        (within) => answerWith(engine, { body, principal, bounds, signal: within }),
        timeMs,
      );
    },
  };
}

type Wanted = Pick<ReadView, "files" | "hot">;

/** Parts of a tree that filters come from; no text within quotes can look like them, since its quotes are escaped. */
const NARROWING = /"(?:where_clause|having|qualify)":\{|"type":"JOIN"/;

/** Whether DuckDB may have a filter for its reads of events: it is not asked in vain. */
function mayNarrow({ tree, tables }: Passed, { scopes }: Principal): boolean {
  const isOfAll = tables.size === 1 && tables.has(EVENTS);
  return !isOfAll || scopes.hosts !== "all" || scopes.topics !== "all" || NARROWING.test(tree);
}

/** Files and hot rows that the statement can find a row in, by what DuckDB would ask of them. */
async function choose(
  engine: EngineProcess,
  { files, hot }: Wanted,
  { plan, signal }: {
    readonly plan: (source: SqlSource) => Statement;
    readonly signal: AbortSignal;
  },
): Promise<Wanted> {
  const explained = plan(standInSource(engine.pathOf(STAND_IN)));
  const { scans = [] } = await engine.ask({ do: "explain", ...boundOf(explained, []) }, signal);
  return { files: filesOfScans(files, scans), hot: hotOfScans(hot, scans) };
}

async function textOf(
  engine: EngineProcess,
  request: EngineRequest,
  signal: AbortSignal,
): Promise<string> {
  return (await engine.ask(request, signal)).text ?? "";
}

function boundOf(statement: Statement, paths: readonly string[]): BoundSql {
  return { sql: statement.sql, parameters: parametersOf(statement, paths) };
}

interface Passed extends Pick<SqlRequest, "tables" | "parameters"> {
  /** Text of the tree that the gate passed. */
  readonly tree: string;
  /** Numbers of the parameters by their names. */
  readonly numbers: ReadonlyMap<string, string>;
}

async function passedStatement(
  engine: EngineProcess,
  { sql, parameters: values }: SqlBody,
  { trees, signal }: { readonly trees: KeptTexts; readonly signal: AbortSignal },
): Promise<Passed> {
  const tree = await trees.get(sql, () => textOf(engine, { do: "parse", sql }, signal));
  const { tables, parameters: names } = passGate(JSON.parse(tree), { tables: TABLES, values });
  return {
    ...{ tree, tables },
    parameters: names.map((name) => valueOf(name, values)),
    numbers: new Map(names.map((name, at) => [name, String(at + 1)])),
  };
}

function valueOf(name: string, values: ReadonlyMap<string, SqlValue>): SqlValue {
  const value = values.get(name);
  if (value !== undefined) return value;
  throw new ProblemError(422, `The statement cannot be run: it uses $${name}, which has no value`, {
    parameter: "parameters",
    accepted: "a value for every parameter of the statement",
  });
}

function answerOf(
  { body, path, rows = 0, isTruncated = false }: EngineAnswer,
): Omit<SqlAnswer, "headers"> {
  return { body, path, rows, isTruncated };
}
