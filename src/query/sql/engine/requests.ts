/** What comes over the pipes between the service and its SQL processes, parsed once. */
import type { SqlValue } from "../../../storage/duckdb.ts";
import type { EngineFault, EngineReply, EngineRequest, EngineSettings } from "./protocol.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Throws TypeError for what is none. */
export function engineSettings(value: unknown): EngineSettings {
  const fields = fieldsOf(value);
  return {
    memoryLimitBytes: numberOf(fields, "memoryLimitBytes"),
    tempLimitBytes: numberOf(fields, "tempLimitBytes"),
    threads: numberOf(fields, "threads"),
    directory: textOf(fields, "directory"),
    readable: listOf(fields, "readable").map(String),
  };
}

/** Throws TypeError for what is none. */
export function engineRequest(value: unknown): EngineRequest {
  const fields = fieldsOf(value);
  switch (fields["do"]) {
    case "parse":
      return { do: "parse", sql: textOf(fields, "sql") };
    case "write":
      return { do: "write", tree: textOf(fields, "tree") };
    case "explain":
      return { do: "explain", ...boundSql(fields) };
    case "answer": {
      const format = fields["format"];
      if (format !== "json" && format !== "ndjson" && format !== "csv" && format !== "parquet") {
        throw new TypeError("Cannot read a request: an unknown format");
      }
      const bounds = fieldsOf(fields["bounds"]);
      return {
        do: "answer",
        isExplained: fields["isExplained"] === true,
        ...boundSql(fields),
        format,
        bounds: { rowsMax: numberOf(bounds, "rowsMax"), bytesMax: numberOf(bounds, "bytesMax") },
      };
    }
    case "cancel":
      return { do: "cancel" };
    default:
      throw new TypeError("Cannot read a request: an unknown kind");
  }
}

/** Throws TypeError for what is none. */
export function engineReply(value: unknown): EngineReply {
  const { text, scans, rows, isTruncated, bytes, path, error } = fieldsOf(value);
  return {
    ...(typeof text === "string" ? { text } : {}),
    ...(Array.isArray(scans) ? { scans: scans.map(String) } : {}),
    ...(typeof rows === "number" ? { rows } : {}),
    ...(typeof isTruncated === "boolean" ? { isTruncated } : {}),
    ...(typeof bytes === "number" ? { bytes } : {}),
    ...(typeof path === "string" ? { path } : {}),
    ...(error === undefined ? {} : { error: engineFault(fieldsOf(error)) }),
  };
}

function engineFault(fields: Fields): EngineFault {
  switch (fields["is"]) {
    case "sql":
      return { is: "sql", kind: textOf(fields, "kind"), message: textOf(fields, "message") };
    case "refused":
      return {
        is: "refused",
        detail: textOf(fields, "detail"),
        accepted: textOf(fields, "accepted"),
      };
    case "cancelled":
      return { is: "cancelled" };
    default:
      return { is: "other", message: String(fields["message"]) };
  }
}

function boundSql(
  fields: Fields,
): { readonly sql: string; readonly parameters: readonly SqlValue[] } {
  return { sql: textOf(fields, "sql"), parameters: listOf(fields, "parameters").map(valueOf) };
}

function valueOf(value: unknown): SqlValue {
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  if (typeof value === "boolean" || typeof value === "bigint") return value;
  throw new TypeError("Cannot read a request: a parameter of another type");
}

function fieldsOf(value: unknown): Fields {
  if (typeof value !== "object" || value === null) {
    throw new TypeError("Cannot read a message: it is no object");
  }
  return Object.fromEntries(Object.entries(value));
}

function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw new TypeError(`Cannot read a message: no text "${name}"`);
  return value;
}

function numberOf(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== "number") throw new TypeError(`Cannot read a message: no number "${name}"`);
  return value;
}

function listOf(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name];
  if (!Array.isArray(value)) throw new TypeError(`Cannot read a message: no list "${name}"`);
  return value;
}
