/** The forms in which events are answered: what each is asked for by and called, and how its lines are made. */
import { type Offer, withProfile } from "./accept.ts";
import { CSV_TYPE, JSON_TYPE, NDJSON_TYPE, PARQUET_TYPE } from "./answer.ts";
import type { Described } from "./json-schema.ts";
import { ocsfLine } from "./ocsf/line.ts";
import { OCSF_EVENT_SCHEMA, OCSF_PAGE_SCHEMA, OCSF_PROFILE } from "./ocsf/schema.ts";
import { EVENT_SCHEMA, PAGE_SCHEMA } from "./schemas.ts";

export type LinesForm = "ndjson" | "ocsf-ndjson" | "csv";
export type PageForm = "json" | "ocsf-json";
export type Form = PageForm | LinesForm | "parquet";

const JSON_TYPES = [JSON_TYPE] as const;
const NDJSON_TYPES = [NDJSON_TYPE, "application/ndjson", "application/jsonl"] as const;
export const EVENT_OFFERS: readonly Offer<Form>[] = [
  { form: "json", types: JSON_TYPES },
  { form: "ndjson", types: NDJSON_TYPES },
  { form: "csv", types: ["text/csv"] },
  { form: "parquet", types: [PARQUET_TYPE] },
  { form: "ocsf-json", types: JSON_TYPES, profile: OCSF_PROFILE },
  { form: "ocsf-ndjson", types: NDJSON_TYPES, profile: OCSF_PROFILE },
];

/** How the answer is called. */
export const TYPES: Readonly<Record<Form, string>> = {
  json: JSON_TYPE,
  ndjson: NDJSON_TYPE,
  csv: CSV_TYPE,
  parquet: PARQUET_TYPE,
  "ocsf-json": withProfile(JSON_TYPE, OCSF_PROFILE),
  "ocsf-ndjson": withProfile(NDJSON_TYPE, OCSF_PROFILE),
};

/** Schema of each form, for OpenAPI. */
export const EVENT_ANSWERS: Readonly<Record<string, Described>> = {
  [TYPES.json]: PAGE_SCHEMA,
  [TYPES.ndjson]: EVENT_SCHEMA,
  "text/csv": { type: "string" },
  [TYPES.parquet]: { type: "string", format: "binary" },
  [TYPES["ocsf-json"]]: OCSF_PAGE_SCHEMA,
  [TYPES["ocsf-ndjson"]]: OCSF_EVENT_SCHEMA,
};

/** Lines of a query as an answer of this form has them. */
export function linesOf(
  lines: readonly string[],
  { form, version }: { readonly form: LinesForm | PageForm; readonly version: string },
): readonly string[] {
  const isOcsf = form === "ocsf-json" || form === "ocsf-ndjson";
  return isOcsf ? lines.map((line) => ocsfLine(line, { version })) : lines;
}
