/** Answers that are figures: the rows of a plan that is run whole, and what is said of them. */
import type { SqlRow } from "../storage/duckdb.ts";
import { jsonResponse, readHeaders } from "./answer.ts";
import { type Executor, scanOf, withinTime } from "./executor.ts";
import type { Plan } from "./planner.ts";
import type { ViewLease } from "./read-view.ts";
import type { Call } from "./route.ts";

export interface FiguresParts {
  readonly executor: Executor;
  readonly acquire: () => ViewLease;
}

/** All rows of a plan, step after step. Throws a problem when they take too long. */
export function figuresOf(executor: Executor, { steps }: Plan, call: Call): Promise<SqlRow[]> {
  return withinTime(call.signal, async (signal) => {
    const rows: SqlRow[] = [];
    const asker = { principal: call.principal, signal };
    for (const step of steps) rows.push(...(await executor.rows(step, asker)).rows);
    return rows;
  });
}

/** The answer, told to the audit as so many rows. */
export function figuresAnswer(
  call: Call,
  { plan, value, rows, parameters }: {
    readonly plan: Plan;
    readonly value: unknown;
    readonly rows: number;
    /** For the audit, beside those of the query. */
    readonly parameters?: Readonly<Record<string, unknown>>;
  },
): Response {
  const { steps, prunedFiles, missing } = plan;
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text) + 1;
  const given = Object.fromEntries([...call.parameters].map(([name, [value]]) => [name, value]));
  const said = parameters === undefined ? {} : { parameters: { ...given, ...parameters } };
  call.report({ rows, bytes, ...said });
  const scan = scanOf(new Set(steps.flatMap(({ files }) => files)));
  return jsonResponse(text, readHeaders({ scan, prunedFiles, missing }));
}
