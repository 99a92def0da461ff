/**
 * A validator of JSON Schema 2020-12, as far as OpenAPI's own schemas and ours go. A keyword that it does not know is an
 * error, so that nothing is taken for checked that is not.
 */

export type JsonSchema = boolean | Readonly<Record<string, unknown>>;

export interface ValidatorOptions {
  /** What `#/…` leads into; the schema itself unless told. */
  readonly root?: JsonSchema;
  /** Documents by their names, for references out of the schema. */
  readonly documents?: ReadonlyMap<string, JsonSchema>;
  /** What `$dynamicRef: "#meta"` leads to. */
  readonly meta?: JsonSchema;
  /** Whether an object may have no members but those that its schema names. */
  readonly isClosed?: boolean;
}

/** Faults of a value, each with its place; none when the schema accepts it. */
export function faultsOf(
  value: unknown,
  schema: JsonSchema,
  { documents = new Map(), meta, root = schema, isClosed = false }: ValidatorOptions = {},
): string[] {
  return check(value, { schema, at: "", root, documents, meta, isClosed }).faults;
}

interface Place {
  readonly schema: JsonSchema;
  readonly at: string;
  readonly root: JsonSchema;
  readonly documents: ReadonlyMap<string, JsonSchema>;
  readonly meta: JsonSchema | undefined;
  readonly isClosed: boolean;
}

interface Result {
  readonly faults: string[];
  /** Members that some keyword has looked at. */
  readonly seen: Set<string>;
}

type Keyword = (value: unknown, argument: never, place: Place, result: Result) => void;

/** Keywords that say nothing of validity, or are read by another one. */
const ANNOTATIONS = new Set([
  ..."$id $schema $comment $vocabulary $anchor $dynamicAnchor $defs title description default"
    .split(" "),
  ..."examples example deprecated readOnly writeOnly format contentMediaType then else".split(" "),
  ..."definitions dependencies $recursiveAnchor $recursiveRef contentEncoding contentSchema".split(
    " ",
  ),
]);

function check(value: unknown, place: Place): Result {
  const { schema, at } = place;
  const result: Result = { faults: [], seen: new Set() };
  if (schema === true) return result;
  if (schema === false) return { ...result, faults: [`${at}: nothing may be here`] };
  for (const [name, argument] of Object.entries(schema)) {
    const keyword = KEYWORDS[name];
    // as: each keyword takes the argument that the meta-schema gives it
    if (keyword !== undefined) keyword(value, argument as never, place, result);
    else if (!ANNOTATIONS.has(name) && name !== "unevaluatedProperties") {
      throw new Error(`Cannot check ${at}: the keyword "${name}" is not known`);
    }
  }
  closeObject(value, place, result);
  return result;
}

/** Last, when all members are known that others have looked at. */
function closeObject(value: unknown, place: Place, result: Result): void {
  const { schema, at, isClosed } = place;
  if (typeof schema === "boolean" || !isObject(value)) return;
  const isNamed = isClosed && "properties" in schema && !("additionalProperties" in schema);
  if (schema["unevaluatedProperties"] !== false && !isNamed) return;
  for (const name of Object.keys(value)) {
    if (!result.seen.has(name)) result.faults.push(`${at}/${name}: no such member is named`);
  }
}

const KEYWORDS: Readonly<Record<string, Keyword>> = {
  $ref: (value, reference: string, place, result) => {
    merge(result, check(value, resolve(reference, place)));
  },
  $dynamicRef: (value, reference: string, place, result) => {
    if (reference !== "#meta" || place.meta === undefined) {
      throw new Error(`Cannot follow ${reference}`);
    }
    merge(result, check(value, { ...place, schema: place.meta, root: place.meta }));
  },
  type: (value, wanted: string | readonly string[], { at }, { faults }) => {
    if (![wanted].flat().some((each) => isOfType(value, each))) {
      faults.push(`${at}: not of type ${[wanted].flat().join(" or ")}`);
    }
  },
  enum: (value, values: readonly unknown[], { at }, { faults }) => {
    if (!values.some((each) => isSame(each, value))) {
      faults.push(`${at}: none of ${JSON.stringify(values)}`);
    }
  },
  const: (value, wanted: unknown, { at }, { faults }) => {
    if (!isSame(value, wanted)) faults.push(`${at}: not ${JSON.stringify(wanted)}`);
  },
  properties: (value, schemas: Readonly<Record<string, JsonSchema>>, place, result) => {
    for (const [name, schema] of Object.entries(schemas)) {
      if (isObject(value) && Object.hasOwn(value, name)) {
        checkMember(value, name, { ...place, schema }, result);
      }
    }
  },
  patternProperties: (value, schemas: Readonly<Record<string, JsonSchema>>, place, result) => {
    for (const [pattern, schema] of Object.entries(schemas)) {
      for (const name of namesOf(value).filter((each) => new RegExp(pattern, "u").test(each))) {
        checkMember(value, name, { ...place, schema }, result);
      }
    }
  },
  additionalProperties: (value, schema: JsonSchema, place, result) => {
    const { properties = {}, patternProperties = {} } = objectOf(place.schema);
    const patterns = Object.keys(objectOf(patternProperties)).map((each) => new RegExp(each, "u"));
    for (const name of namesOf(value)) {
      if (Object.hasOwn(objectOf(properties), name) || patterns.some((each) => each.test(name))) {
        continue;
      }
      checkMember(value, name, { ...place, schema }, result);
    }
  },
  propertyNames: (value, schema: JsonSchema, place, { faults }) => {
    for (const name of namesOf(value)) {
      faults.push(...check(name, { ...place, schema, at: `${place.at}/${name}` }).faults);
    }
  },
  required: (value, names: readonly string[], { at }, { faults }) => {
    const missing = isObject(value) ? names.filter((name) => !Object.hasOwn(value, name)) : [];
    faults.push(...missing.map((name) => `${at}: without "${name}"`));
  },
  dependentSchemas: (value, schemas: Readonly<Record<string, JsonSchema>>, place, result) => {
    for (const [name, schema] of Object.entries(schemas)) {
      if (isObject(value) && Object.hasOwn(value, name)) {
        merge(result, check(value, { ...place, schema }));
      }
    }
  },
  dependentRequired: (value, names: Readonly<Record<string, string[]>>, place, result) => {
    for (const [name, others] of Object.entries(names)) {
      if (namesOf(value).includes(name)) {
        KEYWORDS["required"]?.(value, others as never, place, result);
      }
    }
  },
  minProperties: (value, count: number, { at }, { faults }) => {
    if (isObject(value) && namesOf(value).length < count) faults.push(`${at}: too few members`);
  },
  maxProperties: (value, count: number, { at }, { faults }) => {
    if (isObject(value) && namesOf(value).length > count) faults.push(`${at}: too many members`);
  },
  items: (value, schema: JsonSchema, place, { faults }) => {
    if (!Array.isArray(value)) return;
    for (const [at, each] of value.entries()) {
      faults.push(...check(each, { ...place, schema, at: `${place.at}/${at}` }).faults);
    }
  },
  minItems: (value, count: number, { at }, { faults }) => {
    if (Array.isArray(value) && value.length < count) faults.push(`${at}: too few items`);
  },
  maxItems: (value, count: number, { at }, { faults }) => {
    if (Array.isArray(value) && value.length > count) faults.push(`${at}: too many items`);
  },
  uniqueItems: (value, isWanted: boolean, { at }, { faults }) => {
    if (!isWanted || !Array.isArray(value)) return;
    const texts = value.map((each) => JSON.stringify(each));
    if (new Set(texts).size < texts.length) faults.push(`${at}: an item stands twice`);
  },
  contains: (value, schema: JsonSchema, place, { faults }) => {
    if (!Array.isArray(value)) return;
    const isThere = value.some((each) => check(each, { ...place, schema }).faults.length === 0);
    if (!isThere) faults.push(`${place.at}: without the item that it must have`);
  },
  minimum: bounded((value, bound) => value >= bound, "too small"),
  exclusiveMinimum: bounded((value, bound) => value > bound, "too small"),
  maximum: bounded((value, bound) => value <= bound, "too large"),
  exclusiveMaximum: bounded((value, bound) => value < bound, "too large"),
  multipleOf: bounded((value, step) => Number.isInteger(value / step), "no multiple"),
  minLength: (value, length: number, { at }, { faults }) => {
    if (typeof value === "string" && [...value].length < length) faults.push(`${at}: too short`);
  },
  maxLength: (value, length: number, { at }, { faults }) => {
    if (typeof value === "string" && [...value].length > length) faults.push(`${at}: too long`);
  },
  pattern: (value, pattern: string, { at }, { faults }) => {
    if (typeof value === "string" && !new RegExp(pattern, "u").test(value)) {
      faults.push(`${at}: ${JSON.stringify(value)} does not match ${pattern}`);
    }
  },
  allOf: (value, schemas: readonly JsonSchema[], place, result) => {
    for (const schema of schemas) merge(result, check(value, { ...place, schema }));
  },
  anyOf: (value, schemas: readonly JsonSchema[], place, result) => {
    merge(result, alternatives(value, schemas, place, (count) => count > 0));
  },
  oneOf: (value, schemas: readonly JsonSchema[], place, result) => {
    merge(result, alternatives(value, schemas, place, (count) => count === 1));
  },
  not: (value, schema: JsonSchema, place, { faults }) => {
    const isRefused = check(value, { ...place, schema }).faults.length > 0;
    if (!isRefused) faults.push(`${place.at}: of the form that it may not have`);
  },
  if: (value, schema: JsonSchema, place, result) => {
    const condition = check(value, { ...place, schema });
    const holds = condition.faults.length === 0;
    if (holds) merge(result, condition);
    const next = objectOf(place.schema)[holds ? "then" : "else"];
    // as: both are schemas
    if (next !== undefined) merge(result, check(value, { ...place, schema: next as JsonSchema }));
  },
};

function bounded(holds: (value: number, bound: number) => boolean, fault: string): Keyword {
  return (value, bound: number, { at }, { faults }) => {
    if (typeof value === "number" && !holds(value, bound)) faults.push(`${at}: ${fault}`);
  };
}

function alternatives(
  value: unknown,
  schemas: readonly JsonSchema[],
  place: Place,
  isEnough: (count: number) => boolean,
): Result {
  const results = schemas.map((schema) => check(value, { ...place, schema }));
  const right = results.filter(({ faults }) => faults.length === 0);
  const seen = new Set(right.flatMap((each) => [...each.seen]));
  if (isEnough(right.length)) return { faults: [], seen };
  const reasons = results.map(({ faults }) => faults[0] ?? "accepted").join("; ");
  return { faults: [`${place.at}: ${right.length} alternatives accept it (${reasons})`], seen };
}

function checkMember(value: unknown, name: string, place: Place, { faults, seen }: Result): void {
  seen.add(name);
  const at = `${place.at}/${name}`;
  faults.push(...check(objectOf(value)[name], { ...place, at }).faults);
}

function merge(result: Result, { faults, seen }: Result): void {
  result.faults.push(...faults);
  seen.forEach((name) => result.seen.add(name));
}

function resolve(reference: string, place: Place): Place {
  const [id = "", pointer = ""] = reference.split("#");
  const root = id === "" ? place.root : place.documents.get(id);
  let schema: unknown = root;
  for (const part of pointer.split("/").slice(1)) {
    const name = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    schema = objectOf(schema)[name];
  }
  if (root === undefined || schema === undefined) throw new Error(`Cannot find ${reference}`);
  // as: what is referred to is a schema
  return { ...place, root, schema: schema as JsonSchema };
}

function isOfType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    case "integer":
      return Number.isInteger(value);
    case "string":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
    default:
      throw new Error(`Cannot check a value: there is no type "${type}"`);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {};
}

function namesOf(value: unknown): string[] {
  return isObject(value) ? Object.keys(value) : [];
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
