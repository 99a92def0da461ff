/**
 * What each role may do. Whom a role lets read, its token's scopes narrow further; what a role operates concerns the
 * service, not the record.
 */
import { type Token, TOKEN_ROLES, type TokenRole } from "../storage/token.ts";
import type { Action, Principal } from "./principal.ts";

export const ROLE_ACTIONS: Readonly<Record<TokenRole, readonly Action[]>> = {
  /** Searches, counts and follows events. */
  viewer: ["read"],
  /** And asks in SQL. */
  analyst: ["read", "sql"],
  /** And sees table, holds, figures and everybody's subscriptions. Changes nothing but subscriptions of their own. */
  auditor: ["read", "sql", "operate"],
  /** Keeps the service running and sets holds, without seeing an event or giving anybody access. */
  operator: ["operate", "hold"],
  /** All, with tokens and everybody's subscriptions. */
  admin: ["read", "sql", "operate", "hold", "administer"],
};

export function rolesThatMay(action: Action): readonly TokenRole[] {
  return TOKEN_ROLES.filter((role) => ROLE_ACTIONS[role].includes(action));
}

/** Roles that can be narrowed to hosts and topics; others see no event, or could give themselves the rest. */
export function isScopedRole(role: TokenRole): boolean {
  return role !== "admin" && ROLE_ACTIONS[role].includes("read");
}

/** Whom a token stands for. What must not be narrowed and is, may do nothing. */
export function principalOf(name: string, { role, hosts, topics }: Token): Principal {
  const isNarrowed = hosts.length > 0 || topics.length > 0;
  return {
    name,
    scopes: {
      actions: new Set(isNarrowed && !isScopedRole(role) ? [] : ROLE_ACTIONS[role]),
      hosts: hosts.length === 0 ? "all" : hosts,
      topics: topics.length === 0 ? "all" : topics,
    },
  };
}
