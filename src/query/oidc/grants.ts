/**
 * What somebody may who comes with a token of the issuer: claims to a role, hosts and topics, by rules of which the first
 * that fits counts.
 *
 * Invariants: no claim gives more than its rule says; scopes that a rule takes from a claim narrow to nothing where the
 * claim is absent or none of it can be read; the name never is that of a token of the registry.
 */
import { isTopic } from "../../event/topic.ts";
import { isHostScope, TOKEN_SCOPES_MAX, type TokenRole } from "../../storage/token.ts";
import type { Principal } from "../principal.ts";
import { isScopedRole, ROLE_ACTIONS } from "../roles.ts";

/** Who has the value among those of the claim has the role. */
export interface OidcGrant {
  /** Name of a claim, or a path of names joined by dots, such as `realm_access.roles`. */
  readonly claim: string;
  readonly value: string;
  readonly role: TokenRole;
  /** All without any. */
  readonly hosts?: readonly string[];
  readonly topics?: readonly string[];
  /** Claims that say which instead. */
  readonly hosts_claim?: string;
  readonly topics_claim?: string;
}

export type Claims = Readonly<Record<string, unknown>>;

/** Before each name: names of the registry's tokens have no colon, and neither have those of issuers. */
function prefixOf(issuerName: string | undefined): string {
  return issuerName === undefined ? "oidc:" : `oidc.${issuerName}:`;
}
const NAME_LENGTH_MAX = 200;

/** Whom the claims stand for; undefined when they do not say who it is. Without a fitting rule, they may do nothing. */
export function principalOfClaims(
  claims: Claims,
  { nameClaim, grants, issuerName }: {
    readonly nameClaim: string;
    readonly grants: readonly OidcGrant[];
    readonly issuerName: string | undefined;
  },
): Principal | undefined {
  const name = claimOf(claims, nameClaim);
  const isName = typeof name === "string" && name !== "" && name.length <= NAME_LENGTH_MAX &&
    !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name);
  if (!isName) return undefined;
  const grant = grants.find(({ claim, value }) => textsOf(claimOf(claims, claim)).includes(value));
  if (grant === undefined) {
    return {
      name: `${prefixOf(issuerName)}${name}`,
      scopes: { actions: new Set(), hosts: [], topics: [] },
    };
  }
  const { role, hosts, topics, hosts_claim: hostsClaim, topics_claim: topicsClaim } = grant;
  return {
    name: `${prefixOf(issuerName)}${name}`,
    scopes: {
      actions: new Set(ROLE_ACTIONS[role]),
      hosts: scopesOf(claims, { claim: hostsClaim, fixed: hosts, canBeUsed: isHostScope }),
      topics: scopesOf(claims, { claim: topicsClaim, fixed: topics, canBeUsed: isTopic }),
    },
  };
}

/** What is wrong with a rule; undefined when nothing is. */
export function faultOfGrant(grant: OidcGrant): string | undefined {
  const { role, hosts, topics, hosts_claim: hostsClaim, topics_claim: topicsClaim } = grant;
  const narrowed = [hosts, topics, hostsClaim, topicsClaim].some((each) => each !== undefined);
  if (narrowed && !isScopedRole(role)) {
    return `a role other than ${role}, which sees all or nothing`;
  }
  if (hosts !== undefined && hostsClaim !== undefined) return "one of hosts and hosts_claim";
  if (topics !== undefined && topicsClaim !== undefined) return "one of topics and topics_claim";
  if (hosts?.every(isHostScope) === false || hosts?.length === 0) {
    return "names of hosts, with * only at the end";
  }
  if (topics?.every(isTopic) === false || topics?.length === 0) {
    return "topics such as file or process/exec";
  }
  return undefined;
}

function scopesOf(
  claims: Claims,
  { claim, fixed, canBeUsed }: {
    readonly claim: string | undefined;
    readonly fixed: readonly string[] | undefined;
    readonly canBeUsed: (text: string) => boolean;
  },
): readonly string[] | "all" {
  if (claim === undefined) return fixed ?? "all";
  return textsOf(claimOf(claims, claim)).filter(canBeUsed).slice(0, TOKEN_SCOPES_MAX);
}

/** A claim of that whole name, or, where there is none, the one at the path. */
function claimOf(claims: Claims, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  let at: unknown = claims;
  for (const part of path.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    at = Reflect.get(at, part);
  }
  return at;
}

/** Values of a claim: one text, or those of a list. */
function textsOf(claim: unknown): readonly string[] {
  const values: readonly unknown[] = Array.isArray(claim) ? claim : [claim];
  return values.filter((value) => typeof value === "string");
}
