/**
 * Who asks, and what they may see: every plan is made for a principal, whose scopes narrow what is read before any
 * filter of theirs does.
 */

/**
 * `read` events and what is derived from them, `sql` statements of one's own, `operate` figures of the process and the
 * table, `hold` to set and release legal holds.
 */
export type Action = "read" | "sql" | "operate" | "hold";

export interface Scopes {
  readonly actions: ReadonlySet<Action>;
  /** Topics that may be seen, each with all below it. */
  readonly topics: readonly string[] | "all";
  readonly hosts: readonly string[] | "all";
}

export interface Principal {
  /** Who it is, as `audit/*` events name them. */
  readonly name: string;
  readonly scopes: Scopes;
}

export const ADMIN_SCOPES: Scopes = {
  actions: new Set<Action>(["read", "sql", "operate", "hold"]),
  topics: "all",
  hosts: "all",
};
