/** The body of `POST /v1/sql`: read within its limit, parsed once. */
import type { SqlValue } from "../../storage/duckdb.ts";
import { ProblemError } from "../problem.ts";
import { SQL_FORM, SQL_LENGTH_MAX } from "./gate.ts";

/** Largest body, in bytes. */
export const BODY_BYTES_MAX = 256 * 1024;

export type SqlFormat = "json" | "ndjson" | "csv";

export interface SqlBody {
  readonly sql: string;
  /** Values by name; those of a list are named `1`, `2` … */
  readonly parameters: ReadonlyMap<string, SqlValue>;
  readonly format: SqlFormat;
}

const FORMATS: readonly SqlFormat[] = ["json", "ndjson", "csv"];
const MEMBERS = ["sql", "parameters", "format"];

/** Throws {@link ProblemError} 413 when the body is too large, 400 when it is not of this form. */
export async function readSqlBody(request: Request): Promise<SqlBody> {
  const text = await readText(request);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ProblemError(400, "The body is not JSON", { accepted: BODY_FORM, cause });
  }
  if (!isRecord(value)) {
    throw new ProblemError(400, "The body is not an object", { accepted: BODY_FORM });
  }
  for (const name of Object.keys(value)) {
    if (!MEMBERS.includes(name)) {
      throw new ProblemError(400, `There is no member "${name.slice(0, 100)}" here`, {
        parameter: name.slice(0, 100),
        accepted: MEMBERS.join(", "),
      });
    }
  }
  const { sql, parameters, format = "json" } = value;
  if (typeof sql !== "string" || sql.trim() === "" || sql.length > SQL_LENGTH_MAX) {
    const detail = `"sql" is not a text of 1 to ${SQL_LENGTH_MAX} characters`;
    throw new ProblemError(400, detail, { parameter: "sql", accepted: SQL_FORM });
  }
  const known = FORMATS.find((each) => each === format);
  if (known === undefined) {
    throw new ProblemError(400, "The format is not known", {
      parameter: "format",
      accepted: FORMATS.join(", "),
    });
  }
  return { sql, parameters: parametersOf(parameters), format: known };
}

const BODY_FORM = `{"sql": "SELECT …", "parameters": {"name": "value"}, "format": "json"}`;

async function readText(request: Request): Promise<string> {
  const declared = Number(request.headers.get("content-length") ?? 0);
  if (declared > BODY_BYTES_MAX) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw tooLarge();
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

function tooLarge(): ProblemError {
  return new ProblemError(413, `The body is larger than ${BODY_BYTES_MAX} bytes`);
}

function parametersOf(value: unknown): ReadonlyMap<string, SqlValue> {
  const entries: [string, unknown][] = value === undefined || value === null
    ? []
    : Array.isArray(value)
    ? value.map((each: unknown, at) => [String(at + 1), each])
    : isRecord(value)
    ? Object.entries(value)
    : refuse("they are neither a list nor an object");
  return new Map(entries.map(([name, each]) => [name, sqlValueOf(name, each)]));
}

/** Whole numbers become integers: as floating point they would not fit where SQL wants one. */
function sqlValueOf(name: string, value: unknown): SqlValue {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value !== "number") {
    return refuse(`"${name}" is neither text, number, boolean nor null`);
  }
  return Number.isSafeInteger(value) ? BigInt(value) : value;
}

function refuse(why: string): never {
  throw new ProblemError(400, `The parameters cannot be used: ${why}`, {
    parameter: "parameters",
    accepted: `values of $1, $2 … in a list, or of $name in an object`,
  });
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
