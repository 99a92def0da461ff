/**
 * The table in the bucket and the legal holds on it; for operators.
 *
 * as: an object with the member that is asked for is taken for the answer; its members are what the service says
 */
import { objectWith } from "./answer.ts";
import { type Connection, jsonOf, request, type RequestOptions } from "./request.ts";

export interface TableSummary {
  /** -1 while there is no table yet. */
  readonly version: number;
  readonly files: number;
  readonly rows: number;
  readonly bytes: number;
  readonly days: number;
  readonly first_day?: string;
  readonly last_day?: string;
  /** How far each is. */
  readonly shards: readonly {
    readonly shard: string;
    readonly incarnation: string;
    readonly sequence: number;
    readonly version: number;
  }[];
}

/** What one version of the table did. */
export interface TableVersion {
  readonly version: number;
  readonly time?: string;
  readonly operation?: string;
  readonly shard?: string;
  readonly files_added: number;
  readonly files_removed: number;
  readonly rows_added: number;
  readonly bytes_added: number;
  readonly schema_changed: boolean;
}

export interface TableClient {
  read(options?: RequestOptions): Promise<TableSummary>;
  /** The newest first. */
  history(
    query?: { readonly limit?: number },
    options?: RequestOptions,
  ): Promise<readonly TableVersion[]>;
}

/** What stays whatever its age; times are RFC 3339. */
export interface HoldInfo {
  readonly name: string;
  readonly reason: string;
  /** All when empty. */
  readonly hosts: readonly string[];
  readonly from?: string;
  readonly to?: string;
  /** When it was set; absent in the answer that sets it. */
  readonly set?: string;
}

export interface HoldQuery {
  /** Why, for those who find it. */
  readonly reason: string;
  /** With `*` at the end all that begin so; all hosts without any. */
  readonly host?: readonly string[];
  readonly from?: string;
  readonly to?: string;
}

export interface HoldClient {
  list(options?: RequestOptions): Promise<readonly HoldInfo[]>;
  /** Throws `ProblemError` 409 when one of that name stands. */
  set(name: string, query: HoldQuery, options?: RequestOptions): Promise<HoldInfo>;
  /** Throws `ProblemError` 404 when there is none. */
  release(name: string, options?: RequestOptions): Promise<void>;
}

export function createTable(connection: Connection): TableClient {
  return {
    async read(options) {
      const response = await request(connection, "v1/table", options);
      return objectWith("version", await jsonOf(response)) as unknown as TableSummary;
    },
    async history(query, options) {
      const response = await request(connection, "v1/table/history", {
        ...options,
        parameters: { ...query },
      });
      return objectWith("versions", await jsonOf(response))["versions"] as readonly TableVersion[];
    },
  };
}

export function createHolds(connection: Connection): HoldClient {
  const pathOf = (name: string): string => `v1/holds/${encodeURIComponent(name)}`;
  return {
    async list(options) {
      const response = await request(connection, "v1/holds", options);
      return objectWith("holds", await jsonOf(response))["holds"] as readonly HoldInfo[];
    },
    async set(name, query, options) {
      const response = await request(connection, pathOf(name), {
        ...options,
        method: "PUT",
        parameters: { ...query },
      });
      return objectWith("reason", await jsonOf(response)) as unknown as HoldInfo;
    },
    async release(name, options) {
      await request(connection, pathOf(name), { ...options, method: "DELETE" });
    },
  };
}
