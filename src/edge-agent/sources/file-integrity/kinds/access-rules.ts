/** Rules of access.conf (access.conf(5)): permission, users and groups, origins. The first that matches decides. */
import type { Statement } from "./statements.ts";

export interface AccessRule {
  readonly permission: "+" | "-";
  readonly users: string;
  /** May hold colons: origins are addresses, too. */
  readonly origins: string;
}

/** The rule of a line; undefined for comments, empty lines and lines of another shape. */
export function accessRule(line: string): AccessRule | undefined {
  const [, permission, users = "", origins = ""] = /^[ \t]*([+-])[ \t]*:([^:]*):(.*)$/.exec(line) ??
    [];
  if (permission !== "+" && permission !== "-") return undefined;
  return { permission, users: oneBlank(users), origins: oneBlank(origins) };
}

export function accessStatements(text: string): Statement[] {
  return text.split("\n").flatMap((line): Statement[] => {
    if (/^\s*(?:#|$)/.test(line)) return [];
    const rule = accessRule(line);
    if (rule === undefined) return [{ entity: "line", who: null, text: line.trim() }];
    const { permission, users, origins } = rule;
    return [{ entity: "rule", who: users, text: `${permission}:${users}:${origins}` }];
  });
}

function oneBlank(text: string): string {
  return text.trim().replaceAll(/[ \t]+/g, " ");
}
