/** What OpenAPI 3.1 and JSON Schema 2020-12 say of themselves: the schema that every description must be accepted by. */
import published from "../fixtures/openapi-3.1.json" with { type: "json" };
import { faultsOf, type JsonSchema } from "./json-schema.ts";

// as: both were published as schemas
const schemas = published.json_schema as unknown as readonly { readonly $id: string }[];
const documents = new Map(
  schemas.map((each) => [each.$id.replace(/.*2020-12\//, ""), each as unknown as JsonSchema]),
);
const meta = documents.get("schema") ?? false;

/** Faults of an OpenAPI document, those of all schemas in it among them. */
export function faultsOfDescription(description: unknown): string[] {
  // as: it was published as a schema
  const openapi = published.openapi as unknown as JsonSchema;
  return faultsOf(description, openapi, { documents, meta });
}
