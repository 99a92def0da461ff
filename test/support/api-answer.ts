/** Holds answers of the service against its own description. */
import type { ApiDocument, ApiResponse, Operation } from "../../src/query/openapi-document.ts";
import { faultsOf, type JsonSchema } from "./json-schema.ts";

/** One call, and what it was answered. */
export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  /** As much of the body as was read. */
  readonly text: string;
}

export interface Operations {
  readonly route: string;
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
}

export function operationsOf({ paths }: ApiDocument): Operations[] {
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([name, operation]) => {
      const method = name.toUpperCase();
      return { route: `${method} ${path}`, path, method, operation };
    })
  );
}

/** The response that the description has for a status, by reference or not. */
export function responseOf(
  { components }: ApiDocument,
  { responses }: Operation,
  status: number,
): ApiResponse | undefined {
  const response = responses[String(status)];
  return response !== undefined && "$ref" in response
    ? components.responses[response.$ref.split("/").at(-1) ?? ""]
    : response;
}

/** Whatever in an answer the description does not say. */
export function undescribed(
  { status, headers, text }: Answered,
  { document, operation }: { readonly document: ApiDocument; readonly operation: Operation },
): string[] {
  const response = responseOf(document, operation, status);
  if (response === undefined) return [`the status ${status} is not described`];
  const faults = headerFaults(headers, response);
  const type = typeOf(headers);
  if (type === undefined || operation.operationId.startsWith("head")) return faults;
  const media = response.content?.[type];
  if (media === undefined) return [...faults, `the type ${type} is not described`];
  // as: the description is a schema too
  const root = document as unknown as JsonSchema;
  const schema: JsonSchema = media.schema;
  return [
    ...faults,
    ...valuesOf(text, type).flatMap((value) => faultsOf(value, schema, { root, isClosed: true })),
  ];
}

/** The media type as the description spells it: of parameters only the profile tells forms apart. */
export function typeOf(headers: Headers): string | undefined {
  const [type, ...parameters] = headers.get("content-type")?.split(";") ?? [];
  const profile = parameters.find((each) => each.trim().startsWith("profile="));
  return type === undefined || profile === undefined ? type : `${type};${profile}`;
}

function headerFaults(headers: Headers, { headers: described = {} }: ApiResponse): string[] {
  const missing = Object.entries(described)
    .filter(([name, { required }]) => required && !headers.has(name))
    .map(([name]) => `without the header ${name}`);
  const known = Object.keys(described).map((name) => name.toLowerCase());
  const unknown = [...headers.keys()]
    .filter((name) => name.startsWith("probity-") && !known.includes(name))
    .map((name) => `the header ${name} is not described`);
  return [...missing, ...unknown];
}

/** The values in a body that the schema is about. */
function valuesOf(text: string, type: string): unknown[] {
  const [bare] = type.split(";");
  switch (bare) {
    case "application/json":
    case "application/problem+json":
      return [JSON.parse(text)];
    case "application/x-ndjson":
      return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    case "text/event-stream":
      return text.split("\n\n").slice(0, -1)
        .flatMap((message) => /^data: (.*)$/m.exec(message)?.[1] ?? [])
        .map((data) => JSON.parse(data));
    default:
      return [text];
  }
}
