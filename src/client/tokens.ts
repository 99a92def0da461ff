/** Tokens of people and programs: listed, made and revoked by administrators. */
import { type Connection, jsonOf, request, type RequestOptions } from "./request.ts";

export type TokenRole = "viewer" | "analyst" | "auditor" | "operator" | "admin";

/** As the service shows it; times are RFC 3339. */
export interface TokenInfo {
  readonly name: string;
  readonly role: TokenRole;
  /** All when empty. */
  readonly hosts: readonly string[];
  /** All when empty. */
  readonly topics: readonly string[];
  readonly created: string;
  readonly expires: string;
  readonly expired: boolean;
  /** Who made it. */
  readonly by: string;
}

export interface TokenQuery {
  readonly role: TokenRole;
  /** Only events of these hosts, `*` at the end for all that begin so; of all without it. */
  readonly host?: readonly string[];
  /** Only events of these topics, each with all below it; of all without it. */
  readonly topic?: readonly string[];
  /** How long it is good for, such as `30d`; the service's own without it. */
  readonly expire?: string;
}

export interface MadeToken {
  readonly info: TokenInfo;
  /** What gives access. It is in this answer alone and cannot be shown again. */
  readonly token: string;
}

export interface TokenClient {
  list(options?: RequestOptions): Promise<readonly TokenInfo[]>;
  /** Throws `ProblemError` 409 when one of that name stands. */
  create(name: string, query: TokenQuery, options?: RequestOptions): Promise<MadeToken>;
  revoke(name: string, options?: RequestOptions): Promise<void>;
}

export function createTokens(connection: Connection): TokenClient {
  return {
    async list(options = {}) {
      const { tokens } = fieldsOf(await jsonOf(await request(connection, "v1/tokens", options)));
      return Array.isArray(tokens) ? tokens.map(infoOf) : [];
    },
    async create(name, query, options = {}) {
      const response = await request(connection, pathOf(name), {
        ...options,
        method: "PUT",
        parameters: { ...query },
      });
      const { token, ...info } = fieldsOf(await jsonOf(response));
      if (typeof token === "string") return { info: infoOf(info), token };
      throw new TypeError("Cannot read the token: the answer has none");
    },
    async revoke(name, options = {}) {
      await request(connection, pathOf(name), { ...options, method: "DELETE" });
    },
  };
}

function pathOf(name: string): string {
  return `v1/tokens/${encodeURIComponent(name)}`;
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function infoOf(value: unknown): TokenInfo {
  const { name, role } = fieldsOf(value);
  // as: what has a name and a role is taken for what the service describes in its OpenAPI
  if (typeof name === "string" && typeof role === "string") return value as TokenInfo;
  throw new TypeError("Cannot read a token: the answer is none");
}
