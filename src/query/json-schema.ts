/**
 * JSON Schema of what a route takes and answers. It is declared once, as a type of ArkType that also validates; what
 * OpenAPI shows is made of it here.
 *
 * Invariant: a schema that is shown accepts what its type accepts; tidying changes its spelling only.
 */
import { type } from "arktype";

/** JSON Schema 2020-12, as OpenAPI 3.1 takes it. */
export type Schema = Readonly<Record<string, unknown>>;

/** A type of ArkType, whatever it infers to. */
export interface JsonType {
  toJsonSchema(): object;
}

/** What a route says of a body: a type, or for what is no JSON (CSV, Parquet) its schema. */
export type Described = JsonType | Schema;

export const TEXT = type("string");
export const WHOLE = type("number.integer");
export const NUMBER = type("number");
export const FLAG = type("boolean");
/** A time as all answers have it. */
export const TIME = type(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/).configure({
  format: "date-time",
});
export const DATE = type(/^\d{4}-\d\d-\d\d$/).configure({ format: "date" });
/** Any object; its members are told elsewhere. */
export const OBJECT = type({ "[string]": "unknown" });

/** The JSON Schema of a type, in its shortest form. */
export function schemaOf(described: Described): Schema {
  if (!isType(described)) return membersOf(described);
  const { $schema: _dialect, ...schema } = Object.fromEntries(
    Object.entries(described.toJsonSchema()),
  );
  return tidy(schema);
}

/** A schema, with those of the types within it. */
function membersOf(schema: Schema): Schema {
  const memberOf = (value: unknown): unknown => {
    if (isType(value)) return schemaOf(value);
    if (Array.isArray(value)) return value.map(memberOf);
    return isSchema(value) ? membersOf(value) : value;
  };
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, memberOf(value)]));
}

function isType(value: unknown): value is JsonType {
  return typeof value === "function" && "toJsonSchema" in value;
}

function tidy(schema: Schema): Schema {
  const { anyOf, ...rest } = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, tidyMember(key, value)]),
  );
  return { ...(Array.isArray(anyOf) ? tidyUnion(anyOf, rest) : rest) };
}

function tidyMember(key: string, value: unknown): unknown {
  if (key === "properties" && isSchema(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, tidyAny(each)]));
  }
  return key === "items" || key === "additionalProperties" || key === "anyOf"
    ? tidyAny(value)
    : value;
}

function tidyAny(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(tidyAny);
  return isSchema(value) ? tidy(value) : value;
}

/** Values as one `enum`, a schema or null as a list of two types; a description is told once. */
function tidyUnion(branches: readonly unknown[], rest: Schema): Schema {
  const bare = branches.filter(isSchema).map(({ description, ...branch }) =>
    description === undefined || description === rest["description"]
      ? branch
      : { description, ...branch }
  );
  const isEnum = bare.every((branch) => "const" in branch && Object.keys(branch).length === 1);
  if (isEnum) return { enum: bare.map((branch) => branch["const"]), ...rest };
  const others = bare.filter((branch) => branch["type"] !== "null");
  const [only] = others;
  if (others.length === 1 && bare.length === 2 && typeof only?.["type"] === "string") {
    return { ...only, ...rest, type: [only["type"], "null"] };
  }
  return { anyOf: bare, ...rest };
}

function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
