/** Parameters of a statement under construction: a value is never part of the text of SQL. */
import type { SqlValue } from "../../storage/duckdb.ts";

/** Stands for the list of data files, which are known by local path only when the statement runs. */
export const FILES = Symbol("files");

export type Parameter = SqlValue | typeof FILES;

/** SQL with `$1`, `$2` … and their values. */
export interface Statement {
  readonly sql: string;
  readonly parameters: readonly Parameter[];
}

/** The parameters' values, now that it is known where the data files are. */
export function parametersOf({ parameters }: Statement, paths: readonly string[]): SqlValue[] {
  return parameters.map((each) => each === FILES ? JSON.stringify(paths) : each);
}

/** Collects values and gives the text that stands for each, with its type, since drivers guess types badly. */
export interface Binder {
  text(value: string): string;
  integer(value: number): string;
  /** µs since the Unix epoch. */
  time(valueUs: number): string;
  day(value: string): string;
  /** The data files' list. */
  files(): string;
  readonly parameters: readonly Parameter[];
}

/** Values given first keep the first numbers. */
export function createBinder(first: readonly SqlValue[] = []): Binder {
  const parameters: Parameter[] = [...first];
  const bind = (value: Parameter): string => `$${parameters.push(value)}`;
  return {
    parameters,
    text: (value) => `${bind(value)}::VARCHAR`,
    integer: (value) => `${bind(value)}::BIGINT`,
    time: (valueUs) => `make_timestamptz(${bind(valueUs)}::BIGINT)`,
    day: (value) => `${bind(value)}::DATE`,
    files: () => `CAST(${bind(FILES)}::JSON AS VARCHAR[])`,
  };
}
