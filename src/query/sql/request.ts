/** The body of `POST /v1/sql`: read within its limit, parsed once. */
import { type ArkErrors, type } from "arktype";
import type { SqlValue } from "../../storage/duckdb.ts";
import { ProblemError } from "../problem.ts";
import { negotiate, type Offer } from "../accept.ts";
import { JSON_TYPE, NDJSON_TYPE, PARQUET_TYPE } from "../answer.ts";
import type { SqlFormat } from "./engine/protocol.ts";
import { SQL_FORM, SQL_LENGTH_MAX } from "./gate.ts";

/** Largest body, in bytes. */
export const BODY_BYTES_MAX = 256 * 1024;

const FORMATS = ["json", "ndjson", "csv", "parquet"] as const satisfies SqlFormat[];

const OFFERS: readonly Offer<SqlFormat>[] = [
  { form: "json", types: [JSON_TYPE] },
  { form: "ndjson", types: [NDJSON_TYPE, "application/ndjson", "application/jsonl"] },
  { form: "csv", types: ["text/csv"] },
  { form: "parquet", types: [PARQUET_TYPE] },
];

type JsonScalar = typeof VALUE.infer;

const VALUE = type("string | number | boolean | null");

/** The only form of the body; whatever else is in it is refused. */
export const SQL_BODY = type({
  "+": "reject",
  sql: type(/\S/).and(`string <= ${SQL_LENGTH_MAX}`).describe(SQL_FORM),
  "parameters?": VALUE.array().or({ "[string]": VALUE }).or("null")
    .describe("values of $1, $2 … in a list, or of $name in an object"),
  "format?": type.enumerated(...FORMATS).describe(
    "of the answer; what Accept prefers unless given, and else json",
  ),
});

/** What is said of a member that is not of the form. */
const FAULTS: Readonly<Record<string, { readonly detail: string; readonly accepted: string }>> = {
  sql: {
    detail: `"sql" is not a text of 1 to ${SQL_LENGTH_MAX} characters`,
    accepted: SQL_FORM,
  },
  parameters: {
    detail: "The parameters cannot be used: each is text, a number, true, false or null",
    accepted: "values of $1, $2 … in a list, or of $name in an object",
  },
  format: { detail: "The format is not known", accepted: FORMATS.join(", ") },
};

export interface SqlBody {
  readonly sql: string;
  /** Values by name; those of a list are named `1`, `2` … */
  readonly parameters: ReadonlyMap<string, SqlValue>;
  readonly format: SqlFormat;
}

/**
 * The format is the body's, or else what `Accept` prefers. Throws {@link ProblemError} 413 when the body is too large,
 * 400 when it is not of this form, 406 when none of the accepted types can be given.
 */
export async function readSqlBody(request: Request): Promise<SqlBody> {
  const text = await readText(request);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ProblemError(400, "The body is not JSON", { accepted: BODY_FORM, cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ProblemError(400, "The body is not an object", { accepted: BODY_FORM });
  }
  const body = SQL_BODY(value);
  if (body instanceof type.errors) throw problemOf(body);
  const { sql, parameters } = body;
  const format = body.format ?? negotiate(request.headers.get("accept") ?? undefined, OFFERS);
  return { sql, parameters: valuesOf(parameters ?? []), format };
}

const BODY_FORM = `{"sql": "SELECT …", "parameters": {"name": "value"}, "format": "json"}`;

function problemOf([first]: ArkErrors): ProblemError {
  const name = String(first?.path[0] ?? "");
  const known = Object.hasOwn(FAULTS, name) ? FAULTS[name] : undefined;
  const parameter = name.slice(0, 100);
  return new ProblemError(400, known?.detail ?? `There is no member "${parameter}" here`, {
    parameter,
    accepted: known?.accepted ?? Object.keys(FAULTS).join(", "),
  });
}

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

function valuesOf(
  parameters: readonly JsonScalar[] | Readonly<Record<string, JsonScalar>>,
): ReadonlyMap<string, SqlValue> {
  const entries = Array.isArray(parameters)
    ? parameters.map((each: JsonScalar, at) => [String(at + 1), each] as const)
    : Object.entries(parameters);
  return new Map(entries.map(([name, each]) => [name, sqlValueOf(each)]));
}

/** Whole numbers become integers: as floating point they would not fit where SQL wants one. */
function sqlValueOf(value: JsonScalar): SqlValue {
  return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
}
