/**
 * Rows of data files as SQL: which columns there are, found by field id, so that files written before a column was added
 * read as null there; and what two sets of rows have to have in common to be the same.
 */
import { type Column, COLUMNS, fieldIdOf } from "../event/columns.ts";
import type { Connection } from "./duckdb.ts";
import { identifierOf, listOf, literalOf } from "./sql-text.ts";
import { sqlTypeOf } from "./typed-read.ts";

/** Columns that are in the files; the others are computed from them. */
export const STORED_COLUMNS:
  readonly (Column & { readonly name: typeof COLUMNS[number]["name"] })[] = COLUMNS.filter((
    { origin },
  ) => origin !== "derived");

/** The `schema` of `read_parquet`. */
export const FILE_SCHEMA = `MAP {${
  STORED_COLUMNS.map((column) =>
    `${fieldIdOf(column.name)}: {name: ${literalOf(column.name)}, type: ${
      literalOf(sqlTypeOf(column))
    }, default_value: NULL}`
  ).join(", ")
}}`;

/** The relation of the rows of local files, with all stored columns in order. */
export function rowsOfFiles(paths: readonly string[]): string {
  return `read_parquet(${listOf(paths)}, schema = ${FILE_SCHEMA})`;
}

/** What a set of rows is known by, whatever their order: how many, and the sum of a digest of each over all columns. */
export interface RowsFingerprint {
  readonly rows: number;
  readonly sum: bigint;
}

export const NO_ROWS: RowsFingerprint = { rows: 0, sum: 0n };

export function addFingerprints(left: RowsFingerprint, right: RowsFingerprint): RowsFingerprint {
  return { rows: left.rows + right.rows, sum: left.sum + right.sum };
}

export function isSameRows(left: RowsFingerprint, right: RowsFingerprint): boolean {
  return left.rows === right.rows && left.sum === right.sum;
}

const ALL = STORED_COLUMNS.map(({ name }) => identifierOf(name)).join(", ");

/** Reads every value of a relation's rows. */
export async function fingerprintRows(
  connection: Connection,
  rows: string,
  signal?: AbortSignal,
): Promise<RowsFingerprint> {
  const result = await connection.query(
    `SELECT count(*) AS n, CAST(coalesce(sum(CAST(hash(${ALL}) AS HUGEINT)), 0) AS VARCHAR) AS digest
     FROM ${rows}`,
    signal === undefined ? {} : { signal },
  );
  const [row] = result.rows;
  return { rows: Number(row?.["n"]), sum: BigInt(String(row?.["digest"])) };
}
