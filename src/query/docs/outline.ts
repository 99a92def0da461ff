/**
 * The description in the order in which people read it: sections, operations, and the members of a body one by one. The
 * page and the Markdown are written from this, so that they say the same.
 */
import type { Schema } from "../json-schema.ts";
import type {
  ApiDocument,
  ApiParameter,
  ApiResponse,
  Content,
  Operation,
  Reference,
  RpcDescription,
} from "../openapi-document.ts";

export interface Outline {
  readonly title: string;
  readonly text: string;
  readonly sections: readonly {
    readonly name: string;
    readonly operations: readonly OperationOutline[];
  }[];
  /** Forms that operations refer to by name. */
  readonly forms: readonly { readonly name: string; readonly members: readonly Member[] }[];
  /** What every operation that takes filters takes. */
  readonly filters: readonly Member[];
}

export interface OperationOutline {
  readonly id: string;
  /** `GET /v1/events`. */
  readonly name: string;
  readonly summary: string;
  readonly text: string;
  readonly parameters: readonly (Member & { readonly place: string })[];
  readonly takesFilters: boolean;
  readonly body: Form | undefined;
  readonly answers: readonly {
    readonly status: string;
    readonly text: string;
    readonly headers: readonly Member[];
    readonly forms: readonly Form[];
  }[];
  readonly problems: readonly { readonly status: string; readonly text: string }[];
  /** What is called over it, where it is a WebSocket. */
  readonly calls: readonly {
    readonly name: string;
    readonly summary: string;
    readonly forms: readonly Form[];
  }[];
}

export interface Form {
  readonly type: string;
  /** In a few words, where it has no members. */
  readonly whole: string;
  readonly members: readonly Member[];
  readonly example: unknown;
}

/** A parameter, a header, or a member of a body at its path: `series[].counts`. */
export interface Member {
  readonly name: string;
  readonly form: string;
  readonly isNeeded: boolean;
  readonly text: string;
}

export function outlineOf(document: ApiDocument): Outline {
  const { info, tags, paths, components } = document;
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({
      tag: operation.tags[0],
      outline: operationOutline(`${method.toUpperCase()} ${path}`, operation, document),
    }))
  );
  return {
    title: info.title,
    text: info.description,
    sections: tags.map(({ name }) => ({
      name,
      operations: operations.filter(({ tag }) => tag === name).map(({ outline }) => outline),
    })),
    forms: Object.entries(components.schemas).map(([name, schema]) => ({
      name,
      members: membersOf(schema),
    })),
    filters: Object.values(components.parameters).map(parameterMember),
  };
}

function operationOutline(
  name: string,
  operation: Operation,
  { components }: ApiDocument,
): OperationOutline {
  const isOwn = (each: ApiParameter | Reference): each is ApiParameter => !("$ref" in each);
  const responses = Object.entries(operation.responses);
  return {
    id: operation.operationId,
    name,
    summary: operation.summary,
    text: operation.description,
    parameters: operation.parameters.filter(isOwn)
      .map((each) => ({ ...parameterMember(each), place: each.in })),
    takesFilters: operation.parameters.some((each) => !isOwn(each)),
    body: formsOf(operation.requestBody?.content)[0],
    answers: responses.flatMap(([status, response]) =>
      "$ref" in response || response.content === undefined && Number(status) >= 300
        ? []
        : [answerOf(status, response)]
    ),
    problems: responses.flatMap(([status, response]) =>
      "$ref" in response
        ? [{ status, text: components.responses[nameOf(response)]?.description ?? "" }]
        : []
    ),
    calls: Object.entries(operation["x-json-rpc"]?.methods ?? {}).map(callOf),
  };
}

function callOf([name, { summary, params, parts, result, examples }]: [string, RpcDescription]) {
  const form = (type: string, schema: Schema, example: unknown): Form => {
    const members = membersOf(schema);
    return { type, whole: members.length === 0 ? formOf(schema) : "", members, example };
  };
  return {
    name,
    summary,
    forms: [
      form("params", params, examples.params),
      ...Object.entries(parts).map(([part, schema]) =>
        form(`params of ${part}`, schema, examples.parts[part])
      ),
      form("result", result, examples.result),
    ],
  };
}

function answerOf(status: string, { description, headers = {}, content }: ApiResponse) {
  return {
    status,
    text: description,
    headers: Object.entries(headers).map(([name, header]) => ({
      name,
      form: formOf(header.schema),
      isNeeded: header.required,
      text: header.description,
    })),
    forms: formsOf(content),
  };
}

function parameterMember({ name, required, schema, description, example }: ApiParameter): Member {
  const [value] = [example].flat();
  const shown = value === undefined ? "" : ` (\`${String(value)}\`)`;
  return { name, form: formOf(schema), isNeeded: required, text: `${description}${shown}` };
}

function formsOf(content: Content = {}): Form[] {
  return Object.entries(content).map(([type, { schema, example }]) => {
    const members = membersOf(schema);
    return { type, whole: members.length === 0 ? formOf(schema) : "", members, example };
  });
}

function membersOf(schema: Schema, path = ""): Member[] {
  const properties = recordOf(schema["properties"]);
  const needed = [schema["required"]].flat();
  return Object.entries(properties).flatMap(([key, value]) => {
    const member = recordOf(value);
    const name = path === "" ? key : `${path}.${key}`;
    const row: Member = {
      name,
      form: formOf(member),
      isNeeded: needed.includes(key),
      text: textOf(member["description"]),
    };
    const isList = member["type"] === "array";
    const inner = isList ? recordOf(member["items"]) : member;
    return [row, ...membersOf(inner, isList ? `${name}[]` : name)];
  });
}

/** A schema in a few words: `list of text`, `"asc" or "desc"`, `Event`. */
function formOf(schema: Schema): string {
  const { $ref, type, items, enum: values, minimum, maximum, format } = schema;
  if (typeof $ref === "string") return nameOf({ $ref });
  if ("const" in schema) return JSON.stringify(schema["const"]);
  if (Array.isArray(values)) return values.map((each) => JSON.stringify(each)).join(" or ");
  for (const union of [schema["anyOf"], schema["oneOf"]]) {
    if (Array.isArray(union)) {
      return union.map((each) => formOf(recordOf(each))).join(" or ");
    }
  }
  if (type === "array") return `list of ${formOf(recordOf(items))}`;
  if (Array.isArray(type)) {
    return type.map((each) => formOf({ ...schema, type: each })).join(" or ");
  }
  if (format === "date-time" && type === "string") return "time";
  if (typeof type !== "string") return "any";
  const word = WORDS[type] ?? type;
  if (minimum === undefined && maximum === undefined) return word;
  return `${word}, ${[minimum ?? "", maximum ?? ""].join("…")}`;
}

const WORDS: Readonly<Record<string, string>> = { string: "text", boolean: "true or false" };

function nameOf({ $ref }: Reference): string {
  return $ref.split("/").at(-1) ?? "";
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function recordOf(value: unknown): Schema {
  return typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value))
    : {};
}
