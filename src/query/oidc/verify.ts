/**
 * Whether a JSON Web Token is the issuer's, for us, and good now. The only file that imports jose.
 *
 * Invariant: a token is looked at for what costs nothing first; only one that names our issuer and one of our algorithms
 * lets anybody be asked for keys.
 */
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import type { Claims } from "./grants.ts";
import type { PublicKey } from "./issuer-keys.ts";

/** Signatures by pairs of keys: what verifies cannot sign. */
export const ALGORITHMS = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
] as const;

export interface Expectation {
  readonly issuer: string;
  readonly audience: string;
  readonly algorithms: readonly string[];
  readonly skewSeconds: number;
}

/** The id of the key that a token names. Throws when it is no token of the issuer's at first sight. */
export function keyIdOf(token: string, { issuer, algorithms }: Expectation): string | undefined {
  const { alg, kid } = decodeProtectedHeader(token);
  if (alg === undefined || !algorithms.includes(alg)) throw new Error("another algorithm");
  if (kid !== undefined && (typeof kid !== "string" || kid.length > 256)) throw new Error("no kid");
  if (decodeJwt(token).iss !== issuer) throw new Error("another issuer");
  return kid;
}

/** The issuer that a token names; undefined when it names none. */
export function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined; // No token: whoever looks closer says so.
  }
}

/** Its claims, and when it ends, in milliseconds since the Unix epoch, the skew included. Throws when it is not good. */
export async function verify(
  token: string,
  keys: readonly PublicKey[],
  { issuer, audience, algorithms, skewSeconds, nowMs }: Expectation & { readonly nowMs: number },
): Promise<{ readonly claims: Claims; readonly expiresMs: number }> {
  const { payload } = await jwtVerify(token, createLocalJWKSet({ keys: [...keys] }), {
    issuer,
    audience,
    algorithms: [...algorithms],
    clockTolerance: skewSeconds,
    currentDate: new Date(nowMs),
    requiredClaims: ["exp"],
  });
  return { claims: payload, expiresMs: (Number(payload.exp) + skewSeconds) * 1_000 };
}
