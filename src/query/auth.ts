/**
 * Who asks: bearer tokens to principals. Tokens are the administrator's, from a file, those of the registry, and those of
 * an OpenID Connect issuer, which alone have the form of a JSON Web Token. A token
 * itself is never kept, only its SHA-256, and is compared in constant time.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isJwt, JWT_LENGTH_MAX, type Oidc } from "./oidc/oidc.ts";
import { ADMIN_SCOPES, type Principal } from "./principal.ts";
import { ProblemError } from "./problem.ts";
import type { TokenTable } from "./token-table.ts";
import { isTokenText } from "./token-text.ts";

export interface KnownToken {
  /** SHA-256 of the token. */
  readonly sha256: Uint8Array;
  readonly principal: Principal;
}

export interface Caller {
  readonly principal: Principal;
  /** Aborted when the token ends before the answer does; undefined for one that does not end. */
  readonly ended: AbortSignal | undefined;
}

/** Finds the principal of a request. Throws {@link ProblemError} 401, and 503 when nobody can tell at present. */
export interface Authenticator {
  authenticate(
    authorization: string | undefined,
    options?: AuthenticateOptions,
  ): Promise<Caller>;
}

export interface AuthenticateOptions {
  /** Asks nobody else about a token, and does little about one that is not known yet. */
  readonly isBrief?: boolean;
}

export interface AuthenticatorOptions {
  /** Tokens that stand as long as the process does. */
  readonly fixed: readonly KnownToken[];
  readonly table: Pick<TokenTable, "find" | "fault">;
  /** Knows tokens of an issuer. */
  readonly oidc?: Pick<Oidc, "find"> | undefined;
}

/** The principal of the administrator's token file; no token of the registry has this name. */
export const ADMIN_NAME = "admin";
/** Longest token, in characters; shortest, since shorter ones can be guessed. */
const TOKEN_LENGTH_MAX = 512;
const TOKEN_LENGTH_MIN = 16;
const RETRY_AFTER_SECONDS = 5;

export function digestOfToken(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}

export function createAuthenticator({ fixed, table, oidc }: AuthenticatorOptions): Authenticator {
  const ofIssuer = async (token: string, isBrief: boolean): Promise<Caller> => {
    const found = await oidc?.find(token, { isBrief });
    if (found === undefined) throw unauthorized("The token is not known", "invalid_token");
    if (found === "away") throw notNow();
    return found;
  };
  return {
    async authenticate(authorization, { isBrief = false } = {}) {
      if (authorization === undefined) throw unauthorized("A token is required");
      const match = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization);
      const token = match?.[1] ?? "";
      const isOfIssuer = oidc !== undefined && isJwt(token);
      if (token === "" || token.length > (isOfIssuer ? JWT_LENGTH_MAX : TOKEN_LENGTH_MAX)) {
        throw unauthorized("The header Authorization is malformed", "invalid_request");
      }
      if (isOfIssuer) return await ofIssuer(token, isBrief);
      const digest = digestOfToken(token);
      let found: Principal | undefined;
      // Every token is compared, so that the time says nothing about which one was close.
      for (const { sha256, principal } of fixed) {
        if (timingSafeEqual(sha256, digest)) found = principal;
      }
      if (found !== undefined) return { principal: found, ended: undefined };
      const held = table.find(token);
      if (held !== undefined) {
        if (held.isExpired) throw unauthorized("The token has expired", "invalid_token");
        return held;
      }
      if (table.fault === undefined || !isTokenText(token)) {
        throw unauthorized("The token is not known", "invalid_token");
      }
      // It may have been made while the registry was away: who holds it shall not throw it away.
      throw notNow();
    },
  };
}

function notNow(): ProblemError {
  return new ProblemError(503, "Tokens cannot be looked up at present", {
    headers: { "Retry-After": String(RETRY_AFTER_SECONDS) },
  });
}

export interface TokenFile {
  /** The token that the file holds. */
  readonly token: string;
  readonly known: KnownToken;
}

/** Reads the administrator's token from its file. */
export async function readAdminToken(path: string): Promise<TokenFile> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? cause.code : "unreadable";
    throw new Error(`Cannot read token file "${path}": ${reason}`, { cause });
  }
  const token = text.trim();
  if (!/^[\x21-\x7e]+$/.test(token) || token.length < TOKEN_LENGTH_MIN) {
    throw new Error(
      `Cannot use token file "${path}": expected one token of at least ${TOKEN_LENGTH_MIN} characters`,
    );
  }
  const principal: Principal = { name: ADMIN_NAME, scopes: ADMIN_SCOPES };
  return { token, known: { sha256: digestOfToken(token), principal } };
}

/** RFC 6750, section 3. */
function unauthorized(detail: string, error?: string): ProblemError {
  const challenge = `Bearer realm="probity"${error === undefined ? "" : `, error="${error}"`}`;
  return new ProblemError(401, detail, {
    parameter: "Authorization",
    accepted: "Bearer <token>",
    headers: { "WWW-Authenticate": challenge },
  });
}
