/**
 * Who asks, and what they may see: every plan is made for a principal, whose scopes narrow what is read before any
 * filter of theirs does.
 */

/**
 * `read` events and what is derived from them, `sql` statements of one's own, `operate` to see figures of the process,
 * the table, holds, and everybody's subscriptions, `hold` to set and release legal holds, `administer` to make and
 * revoke tokens and change everybody's subscriptions.
 */
export type Action = "read" | "sql" | "operate" | "hold" | "administer";

export interface Scopes {
  readonly actions: ReadonlySet<Action>;
  /** Topics that may be seen, each with all below it. */
  readonly topics: readonly string[] | "all";
  /** Hosts whose events may be seen, `*` at the end for any that begin so. */
  readonly hosts: readonly string[] | "all";
}

export interface Principal {
  /** Who it is, as `audit/*` events name them. */
  readonly name: string;
  readonly scopes: Scopes;
}

export const ADMIN_SCOPES: Scopes = {
  actions: new Set<Action>(["read", "sql", "operate", "hold", "administer"]),
  topics: "all",
  hosts: "all",
};
