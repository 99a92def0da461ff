/** The parts of OpenAPI 3.1 that the description uses; the page and the document for people are made of them as well. */
import type { Schema } from "./json-schema.ts";

export interface ApiDocument {
  readonly openapi: "3.1.0";
  readonly info: {
    readonly title: string;
    readonly version: string;
    readonly description: string;
    readonly license: { readonly name: string; readonly identifier: string };
  };
  readonly servers: readonly { readonly url: string }[];
  readonly tags: readonly { readonly name: string }[];
  readonly security: readonly Requirement[];
  readonly components: {
    readonly securitySchemes: Schema;
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly parameters: Readonly<Record<string, ApiParameter>>;
    readonly responses: Readonly<Record<string, ApiResponse>>;
  };
  readonly paths: Readonly<Record<string, Readonly<Partial<Record<ApiMethod, Operation>>>>>;
}

export type ApiMethod = "get" | "head" | "post" | "put" | "delete";

type Requirement = Readonly<Record<string, readonly string[]>>;

export interface Reference {
  readonly $ref: string;
}

export interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description: string;
  /** Empty where no token is needed; otherwise that of the document holds. */
  readonly security?: readonly Requirement[];
  readonly parameters: readonly (ApiParameter | Reference)[];
  readonly requestBody?: { readonly required: true; readonly content: Content };
  /** By status, and `default`. */
  readonly responses: Readonly<Record<string, ApiResponse | Reference>>;
  readonly "x-json-rpc"?: RpcExtension;
}

/** What is called over a WebSocket. */
export interface RpcExtension {
  readonly version: "2.0";
  /** By name. */
  readonly methods: Readonly<Record<string, RpcDescription>>;
}

export interface RpcDescription {
  readonly summary: string;
  readonly params: Schema;
  /** Notifications before the answer, by their methods. */
  readonly parts: Readonly<Record<string, Schema>>;
  readonly result: Schema;
  readonly examples: {
    readonly params: unknown;
    readonly parts: Readonly<Record<string, unknown>>;
    readonly result: unknown;
  };
}

export interface ApiParameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required: boolean;
  readonly description: string;
  readonly schema: Schema;
  readonly example?: unknown;
}

export interface ApiResponse {
  readonly description: string;
  readonly headers?: Readonly<Record<string, ApiHeader>>;
  readonly content?: Content;
}

export interface ApiHeader {
  readonly description: string;
  /** Whether each such answer has it. */
  readonly required: boolean;
  readonly schema: Schema;
}

export type Content = Readonly<Record<string, MediaType>>;

export interface MediaType {
  readonly schema: Schema;
  readonly example?: unknown;
}
