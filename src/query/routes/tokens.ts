/**
 * `/v1/tokens`: who may ask, listed, made and revoked. Each change has its record in the bucket before it is made, and a
 * roll-up tells of it.
 *
 * Invariant: the text of a token is in one answer, the one that made it, and neither it nor its digest in any other.
 */
import { type } from "arktype";
import { isTopic } from "../../event/topic.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import { isRegistryName } from "../../storage/registry.ts";
import {
  grantToken,
  isHostScope,
  isRole,
  openTokens,
  revokeToken,
  sha256OfToken,
  type Token,
  TOKEN_ROLES,
  TOKEN_SCOPES_MAX,
  TOKEN_TEXT_LENGTH_MAX,
  type TokenRole,
  TOKENS_MAX,
} from "../../storage/token.ts";
import { JSON_TYPE, jsonAnswer } from "../answer.ts";
import { ADMIN_NAME } from "../auth.ts";
import { FLAG, TEXT, TIME } from "../json-schema.ts";
import { ProblemError } from "../problem.ts";
import { refuseBody, single } from "../request.ts";
import { isScopedRole } from "../roles.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import { spanOf } from "../subscriptions/request.ts";
import type { TokenTable } from "../token-table.ts";
import { newTokenText } from "../token-text.ts";

export interface TokenParts {
  readonly store: ObjectStore;
  readonly table: Pick<TokenTable, "adopt" | "drop">;
  readonly clock: Clock;
  readonly log: Log;
}

const DAY_MS = 86_400_000;
/** How long a token is good for unless told, at least and at most, in milliseconds. */
export const DEFAULT_TOKEN_MS = 90 * DAY_MS;
const TOKEN_LEAST_MS = 1_000;
const TOKEN_MOST_MS = 10 * 366 * DAY_MS;
/** Names that events give to the software itself. */
const OWN_NAMES = /^probity(?:-|$)/;

const NAME_PARAMETER: RouteParameter = {
  name: "name",
  text: "The token's name, which is its holder's in the record",
  schema: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
  example: "ann",
};

const PARAMETERS: readonly RouteParameter[] = [
  {
    name: "role",
    text: "viewer reads events; analyst also by SQL; auditor also sees the table, holds and " +
      "figures; operator sees those and sets holds, and reads no event; admin does all",
    schema: { type: "string", enum: TOKEN_ROLES },
    example: "analyst",
  },
  {
    name: "host",
    text: "Only events of this host, or with * at the end of all that begin so; any number of " +
      "times, all without it",
    schema: { type: "array", items: { type: "string" } },
    example: "web-*",
  },
  {
    name: "topic",
    text: "Only events of this topic and those below it; any number of times, all without it",
    schema: { type: "array", items: { type: "string" } },
    example: "process",
  },
  {
    name: "expire",
    text: "How long it is good for: 90d by default, 10 years at most",
    schema: { type: "string", default: "90d" },
  },
];

const TOKEN_SCHEMA = type({
  name: TEXT,
  role: type.enumerated(...TOKEN_ROLES),
  hosts: TEXT.array().describe("all when empty"),
  topics: TEXT.array().describe("all when empty"),
  created: TIME,
  expires: TIME,
  expired: FLAG,
  by: TEXT.describe("who made it"),
});

export function tokenRoutes(parts: TokenParts): readonly Route[] {
  const tokens = openTokens(parts.store);
  return [
    {
      method: "GET",
      path: "/v1/tokens",
      summary: "Tokens that stand, without what would give access",
      action: "administer",
      answers: { [JSON_TYPE]: type({ tokens: TOKEN_SCHEMA.array() }) },
      async handle({ signal, time }) {
        const entries = await tokens.list({ signal });
        return jsonAnswer({
          tokens: entries.map(({ name, value }) => describeToken(name, value, time)),
        });
      },
    },
    grantRoute(parts),
    {
      method: "DELETE",
      path: "/v1/tokens/{name}",
      summary: "Revoke a token",
      action: "administer",
      pathParameters: [NAME_PARAMETER],
      answers: {},
      async handle(call) {
        const name = nameOf(call);
        const { signal, principal: { name: by } } = call;
        if (!await revokeToken(parts, { name, by, signal })) {
          throw new ProblemError(404, `There is no token "${name}"`);
        }
        parts.table.drop(name);
        return new Response(null, { status: 204 });
      },
    },
  ];
}

function grantRoute(parts: TokenParts): Route {
  const { store, table } = parts;
  return {
    method: "PUT",
    path: "/v1/tokens/{name}",
    summary: "Make a token; its text is in this answer and nowhere else",
    action: "administer",
    pathParameters: [NAME_PARAMETER],
    parameters: PARAMETERS,
    answers: {
      [JSON_TYPE]: TOKEN_SCHEMA.and({ token: TEXT.describe("what gives access") }),
    },
    statuses: [201],
    problems: [409, 413, 429],
    async handle(call) {
      const name = nameOf(call);
      await refuseBody(call.request);
      const { time, signal, principal: { name: by } } = call;
      const text = newTokenText();
      const token = tokenOf(call, text);
      if ((await openTokens(store).list({ signal })).length >= TOKENS_MAX) {
        throw new ProblemError(429, `There are ${TOKENS_MAX} tokens already`);
      }
      if (!await grantToken(parts, { name, token, by, signal })) {
        throw new ProblemError(409, `A token "${name}" stands; it can be revoked, not changed`);
      }
      table.adopt(name, token);
      return jsonAnswer({ ...describeToken(name, token, time), token: text }, 201);
    },
  };
}

function nameOf({ pathValue }: Call): string {
  const isOwn = pathValue === ADMIN_NAME || OWN_NAMES.test(pathValue);
  if (isRegistryName(pathValue) && !isOwn) return pathValue;
  throw new ProblemError(400, `"${pathValue.slice(0, 100)}" cannot be a name`, {
    parameter: NAME_PARAMETER.name,
    accepted: `1 to 64 of letters, digits, ".", "_" and "-", beginning with a letter or digit; ` +
      `not ${ADMIN_NAME}, probity or probity-…`,
  });
}

function tokenOf(call: Call, text: string): Token {
  const { parameters, time, principal } = call;
  const role = roleOf(single(parameters, "role"));
  const hosts = scopesOf(call, "host", isHostScope);
  const topics = scopesOf(call, "topic", isTopic);
  if (!isScopedRole(role) && hosts.length + topics.length > 0) {
    throw new ProblemError(400, `The role ${role} cannot be narrowed to hosts or topics`, {
      parameter: hosts.length > 0 ? "host" : "topic",
      accepted: `none with this role; any with ${TOKEN_ROLES.filter(isScopedRole).join(", ")}`,
    });
  }
  const spanMs = spanOf("expire", single(parameters, "expire"), TOKEN_LEAST_MS) ??
    DEFAULT_TOKEN_MS;
  if (spanMs > TOKEN_MOST_MS) {
    throw new ProblemError(400, "The token would be good for too long", {
      parameter: "expire",
      accepted: `at most ${TOKEN_MOST_MS / DAY_MS}d`,
    });
  }
  const createdAtMs = Math.floor(time.nowUs / 1000);
  return {
    ...{ sha256: sha256OfToken(text), role, hosts, topics, createdAtMs },
    expiresAtMs: createdAtMs + spanMs,
    by: principal.name,
  };
}

function roleOf(role: string | undefined): TokenRole {
  if (isRole(role)) return role;
  throw new ProblemError(400, "A token needs a role", {
    parameter: "role",
    accepted: TOKEN_ROLES.join(", "),
  });
}

function scopesOf(
  { parameters }: Call,
  name: "host" | "topic",
  canBeUsed: (text: string) => boolean,
): readonly string[] {
  const scopes = parameters.get(name) ?? [];
  const areShort = scopes.every((text) => text.length <= TOKEN_TEXT_LENGTH_MAX);
  if (scopes.length <= TOKEN_SCOPES_MAX && areShort && scopes.every(canBeUsed)) return scopes;
  throw new ProblemError(400, `The ${name}s cannot be used`, {
    parameter: name,
    accepted: name === "host"
      ? `at most ${TOKEN_SCOPES_MAX} names of hosts, * only at the end`
      : `at most ${TOKEN_SCOPES_MAX} topics such as file or process/exec`,
  });
}

function describeToken(name: string, token: Token, { nowUs }: Pick<Call["time"], "nowUs">) {
  const { role, hosts, topics, createdAtMs, expiresAtMs, by } = token;
  return {
    ...{ name, role, hosts, topics },
    created: new Date(createdAtMs).toISOString(),
    expires: new Date(expiresAtMs).toISOString(),
    expired: nowUs >= expiresAtMs * 1000,
    by,
  };
}
