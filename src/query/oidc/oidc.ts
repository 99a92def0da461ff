/**
 * Principals by tokens of an OpenID Connect issuer. Each token is verified once and kept, by its SHA-256, until it ends.
 *
 * Invariants: who is refused does not learn why, and costs the issuer nothing; what was begun with a token ends when the
 * token does, when its key is withdrawn, or when no key can be relied on any more; what is kept is bounded.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Principal } from "../principal.ts";
import { createRateLimit } from "../rate-limit.ts";
import { TOKEN_ENDED } from "../token-table.ts";
import { faultOfGrant, type OidcGrant, principalOfClaims } from "./grants.ts";
import { faultOfIssuer, openIssuerKeys } from "./issuer-keys.ts";
import { ALGORITHMS, type Expectation, keyIdOf, verify } from "./verify.ts";

export interface OidcSettings {
  readonly issuer: string;
  readonly audience: string;
  /** Those of {@link ALGORITHMS} that may be used; RS256, PS256, ES256 and EdDSA unless told. */
  readonly algorithms?: readonly string[];
  /** How far the issuer's clock may be off, in seconds; 60 unless told. */
  readonly skewSeconds?: number;
  /** The claim that says who it is; `sub` unless told. */
  readonly nameClaim?: string;
  /** Of the issuer, in the names of its people; without one they are `oidc:` and theirs. */
  readonly name?: string;
  /** The first that fits counts. */
  readonly grants: readonly OidcGrant[];
}

export interface OidcCaller {
  readonly principal: Principal;
  readonly ended: AbortSignal;
}

export interface Oidc extends AsyncDisposable {
  /** Whom a token stands for: nobody when it is not good, `away` when the issuer's keys cannot be had. */
  find(token: string, options?: FindOptions): Promise<OidcCaller | "away" | undefined>;
}

export interface FindOptions {
  /**
   * Asks the issuer nothing, and verifies by keys that are at hand, {@link BRIEF_PER_SECOND} tokens a second at most:
   * who was wrong too often at an address does not lock out others there, nor cost much.
   */
  readonly isBrief?: boolean;
}

export interface OidcOptions extends OidcSettings {
  readonly clock: Clock;
  readonly log: Log;
  readonly cooldownMs?: number;
}

const ALGORITHMS_DEFAULT = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"];
const SKEW_SECONDS = 60;
export const SKEW_SECONDS_MAX = 300;
/** Longest token, in characters. */
export const JWT_LENGTH_MAX = 12_288;
/** Tokens kept; the one that was not used for longest has to make room. */
const KEPT_MAX = 16_384;
/** Tokens verified in a second for all addresses together at which somebody was wrong too often. */
export const BRIEF_PER_SECOND = 200;
/** How often is looked which have ended, in milliseconds. */
const SWEEP_MS = 1_000;

interface Kept extends OidcCaller {
  readonly expiresMs: number;
  readonly kid: string | undefined;
  readonly end: AbortController;
}

/** Throws when the settings cannot be used; an issuer that is away is no such thing. */
export function openOidc(options: OidcOptions): Oidc {
  const expected = expectationOf(options);
  const { nameClaim = "sub", grants, clock, log } = options;
  const kept = new Map<string, Kept>();
  const stop = new AbortController();
  const nowMs = (): number => clock.nowUs() / 1_000;
  const end = (digest: string, { end }: Kept): void => {
    kept.delete(digest);
    end.abort(new DOMException(TOKEN_ENDED, "AbortError"));
  };
  const onWithdrawn = (kids: ReadonlySet<string | undefined>): void => {
    for (const [digest, each] of kept) {
      // A token that names no key may be of any.
      if (each.kid === undefined || kids.has(each.kid)) end(digest, each);
    }
  };
  const keys = openIssuerKeys({ ...options, onWithdrawn });
  const brief = createRateLimit({
    ...{ burst: BRIEF_PER_SECOND, perSecond: BRIEF_PER_SECOND, elapsedMs: clock.elapsedMs },
  });
  const keysFor = async (kid: string | undefined, isBrief: boolean) => {
    if (!isBrief) return await keys.find(kid);
    if (!keys.areReliable) return undefined;
    const found = keys.atHand(kid);
    if (found.length === 0) throw new Error("another key, and nobody is asked for it");
    if (!brief.take("").isAllowed) throw new Error("too many that were wrong too often");
    return found;
  };
  const known = (token: string): Kept | undefined => {
    const digest = digestOf(token);
    const found = kept.get(digest);
    if (found === undefined) return undefined;
    kept.delete(digest);
    if (found.expiresMs > nowMs()) {
      kept.set(digest, found);
      return found;
    }
    end(digest, found);
    return undefined;
  };
  const keep = (token: string, caller: Omit<Kept, "end" | "ended">): Kept => {
    const [oldest] = kept;
    if (kept.size >= KEPT_MAX && oldest !== undefined) end(...oldest);
    const controller = new AbortController();
    const all = { ...caller, end: controller, ended: controller.signal };
    kept.set(digestOf(token), all);
    return all;
  };
  const sweeping = (async () => {
    while (!stop.signal.aborted) {
      await Promise.allSettled([clock.sleep(SWEEP_MS, stop.signal)]);
      if (stop.signal.aborted) return;
      keys.refresh();
      for (const [digest, each] of kept) {
        if (each.expiresMs <= nowMs() || !keys.areReliable) end(digest, each);
      }
    }
  })();
  const find: Oidc["find"] = async (token, { isBrief = false } = {}) => {
    const before = known(token);
    if (before !== undefined) return before;
    try {
      const kid = keyIdOf(token, expected);
      const found = await keysFor(kid, isBrief);
      if (found === undefined) return "away";
      const { claims, expiresMs } = await verify(token, found, { ...expected, nowMs: nowMs() });
      // A key that was withdrawn meanwhile ended what was kept then, and this was not.
      if (keys.atHand(kid) !== found) return await find(token, { isBrief });
      const principal = principalOfClaims(claims, { nameClaim, grants, issuerName: options.name });
      if (principal === undefined) throw new Error(`no name in claim "${nameClaim}"`);
      return known(token) ?? keep(token, { principal, expiresMs, kid });
    } catch (error) {
      log.debug("a token of the issuer was refused", { reason: String(error) });
      return undefined;
    }
  };
  return {
    find,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.all([sweeping, keys[Symbol.asyncDispose]()]);
    },
  };
}

/** Whether a text has the form of a signed token: three parts of base64url. */
export function isJwt(token: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(token);
}

function expectationOf(options: OidcSettings): Expectation {
  const { issuer, audience, algorithms = ALGORITHMS_DEFAULT, grants } = options;
  const { skewSeconds = SKEW_SECONDS } = options;
  const fault = faultOfIssuer(issuer) ??
    grants.map(faultOfGrant).find((each) => each !== undefined) ??
    (audience === "" ? "an audience" : undefined) ??
    (algorithms.length > 0 && algorithms.every((each) => ALGORITHMS.some((one) => one === each))
      ? undefined
      : `algorithms among ${ALGORITHMS.join(", ")}`) ??
    (skewSeconds >= 0 && skewSeconds <= SKEW_SECONDS_MAX
      ? undefined
      : `a skew of at most ${SKEW_SECONDS_MAX} s`);
  if (fault !== undefined) throw new Error(`Cannot use [oidc]: expected ${fault}`);
  return { issuer, audience, algorithms, skewSeconds };
}

function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("base64");
}
