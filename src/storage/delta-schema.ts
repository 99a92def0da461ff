/**
 * The table's schema, protocol and configuration in the words of the Delta protocol, derived from the list of columns.
 *
 * Invariant: what stands here only ever grows by nullable columns at the end, so that every version of the software
 * reads the files of every other. Source: delta-io/delta PROTOCOL.md, "Schema Serialization Format".
 */
import {
  type Column,
  COLUMNS,
  type ColumnType,
  INDEXED_COLUMNS,
  PARTITION_COLUMN,
} from "../event/columns.ts";
import { canonicalJson, isRecord } from "./json-text.ts";

/** The lowest versions: no feature beyond appends and removes is used. */
export const READER_VERSION = 1;
export const WRITER_VERSION = 2;

/** The log is kept for good, whatever engine looks at it; the others stand at Delta's own defaults. */
export const TABLE_CONFIGURATION: Readonly<Record<string, string>> = {
  "delta.enableExpiredLogCleanup": "false",
  "delta.logRetentionDuration": "interval 36500 days",
};

/** Columns that carry statistics in the log. */
export const STATISTICS_COLUMNS: readonly Column[] = COLUMNS.slice(0, INDEXED_COLUMNS);

export const PARTITION_COLUMNS: readonly string[] = [PARTITION_COLUMN];

/** `schemaString` of the table's metadata. */
export function deltaSchema(columns: readonly Column[] = COLUMNS): string {
  return JSON.stringify({ type: "struct", fields: columns.map(fieldOf) });
}

export type SchemaOrder = "same" | "older" | "newer" | "different";

/**
 * How the table's schema stands to ours: `same`, `older` (ours has further columns at the end), `newer` (the table has)
 * or `different`, which no version of the software may write to.
 */
export function compareSchema(schemaString: string): SchemaOrder {
  // It is asked at every commit, and the answer is the same until the table's schema is another.
  if (compared?.schemaString !== schemaString) {
    compared = { schemaString, order: orderOf(schemaString) };
  }
  return compared.order;
}

let compared: { readonly schemaString: string; readonly order: SchemaOrder } | undefined;

function orderOf(schemaString: string): SchemaOrder {
  const theirs = columnKeysOf(schemaString);
  const ours = columnKeysOf(deltaSchema());
  if (theirs === undefined || ours === undefined) return "different";
  const both = Math.min(theirs.length, ours.length);
  if (theirs.slice(0, both).join("\n") !== ours.slice(0, both).join("\n")) return "different";
  if (theirs.length === ours.length) return "same";
  return theirs.length < ours.length ? "older" : "newer";
}

/** Name and type of each column as one comparable text. */
function columnKeysOf(schemaString: string): readonly string[] | undefined {
  let schema: unknown;
  try {
    schema = JSON.parse(schemaString);
  } catch {
    return undefined;
  }
  if (!isRecord(schema) || !Array.isArray(schema.fields)) return undefined;
  return schema.fields.map((field: unknown) =>
    isRecord(field) ? canonicalJson([field.name, field.type]) : ""
  );
}

function fieldOf({ name, type }: Column): unknown {
  return { name, type: deltaTypeOf(type), nullable: true, metadata: {} };
}

function deltaTypeOf(type: ColumnType): unknown {
  switch (type) {
    case "strings":
      return { type: "array", elementType: "string", containsNull: true };
    case "json":
      return "string";
    case "string":
    case "integer":
    case "long":
    case "timestamp":
    case "date":
      return type;
  }
}
