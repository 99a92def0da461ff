/**
 * The issuer's public keys, by its discovery document (OpenID Connect Discovery 1.0, section 4), kept in memory.
 *
 * Invariants: whatever tokens come, the issuer is asked no more often than once in {@link COOLDOWN_MS}; while it is away
 * its keys stay good for {@link STALE_MAX_MS}, and then none is; only keys of pairs are kept.
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";

/** A JSON Web Key (RFC 7517), public half of a pair. */
export interface PublicKey {
  readonly kty: "RSA" | "EC" | "OKP";
  readonly kid?: string;
  readonly [name: string]: unknown;
}

export interface IssuerKeys extends AsyncDisposable {
  /** Keys that are known, asking the issuer where the named one is not. Undefined when none can be relied on. */
  find(kid: string | undefined): Promise<readonly PublicKey[] | undefined>;
  /** Those that are known if the named one is among them, asking nobody. */
  atHand(kid: string | undefined): readonly PublicKey[];
  /** Asks for them again when they are old. */
  refresh(): void;
  /** Whether there are keys that can be relied on. */
  readonly areReliable: boolean;
}

export interface IssuerKeysOptions {
  readonly issuer: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Called with the ids of keys that are no longer there, or are others now. */
  readonly onWithdrawn: (kids: ReadonlySet<string | undefined>) => void;
  readonly cooldownMs?: number;
}

/** The issuer is not asked again sooner, whether it answered or not, in milliseconds. */
export const COOLDOWN_MS = 30_000;
/** Older keys are asked for again. */
const AGE_MAX_MS = 600_000;
/** Keys that are older are not relied on. */
export const STALE_MAX_MS = 3_600_000;
/** Longest time of one answer, and its largest size in bytes. */
const ANSWER_LIMIT_MS = 5_000;
const ANSWER_BYTES_MAX = 1_048_576;
const KEYS_MAX = 100;

export function openIssuerKeys(options: IssuerKeysOptions): IssuerKeys {
  const { issuer, clock, log, onWithdrawn, cooldownMs = COOLDOWN_MS } = options;
  const stop = new AbortController();
  let keys: readonly PublicKey[] = [];
  let fetchedMs = -Infinity;
  let askedMs = -Infinity;
  let asking: Promise<void> | undefined;

  const ask = async (): Promise<void> => {
    try {
      const next = await fetchKeys(issuer, stop.signal);
      const after = new Set(next.map((key) => JSON.stringify(key)));
      const gone = keys.filter((key) => !after.has(JSON.stringify(key)));
      keys = next;
      fetchedMs = clock.elapsedMs();
      if (gone.length > 0) onWithdrawn(new Set(gone.map(({ kid }) => kid)));
    } catch (error) {
      if (stop.signal.aborted) return;
      log.warn("the issuer's keys cannot be had", { issuer, error: String(error) });
    }
  };
  const askSoon = (): Promise<void> | undefined => {
    if (asking === undefined && clock.elapsedMs() - askedMs >= cooldownMs) {
      askedMs = clock.elapsedMs();
      asking = ask().finally(() => {
        asking = undefined;
      });
    }
    return asking;
  };
  const ageOf = (): number => clock.elapsedMs() - fetchedMs;
  const has = (kid: string | undefined): boolean =>
    keys.some((key) => kid === undefined || key.kid === kid);
  void askSoon();
  return {
    async find(kid) {
      const ageMs = ageOf();
      const isKnown = has(kid);
      if (ageMs > AGE_MAX_MS || !isKnown) {
        const asked = askSoon();
        // Who has a key that is known need not wait for an issuer that is slow.
        if (!isKnown || ageMs > STALE_MAX_MS) await asked;
      }
      return ageOf() > STALE_MAX_MS ? undefined : keys;
    },
    atHand: (kid) => has(kid) ? keys : [],
    refresh() {
      if (ageOf() > AGE_MAX_MS) void askSoon();
    },
    get areReliable() {
      return ageOf() <= STALE_MAX_MS;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await asking;
    },
  };
}

/** What is wrong with an issuer's address; undefined when nothing is. */
export function faultOfIssuer(issuer: string): string | undefined {
  const form = "an address such as https://login.example.org/realm, without query";
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined;
  if (url === undefined || url.search !== "" || url.hash !== "" || url.username !== "") return form;
  return isSafe(url) ? undefined : `${form}; http only of this machine itself`;
}

async function fetchKeys(issuer: string, signal: AbortSignal): Promise<readonly PublicKey[]> {
  const base = issuer.replace(/\/$/, "");
  const discovery = await fetchObject(`${base}/.well-known/openid-configuration`, signal);
  if (discovery["issuer"] !== issuer) throw new Error("Cannot use discovery: another issuer's");
  const uri = discovery["jwks_uri"];
  const isUsable = typeof uri === "string" && URL.canParse(uri) && isSafe(new URL(uri)) &&
    (issuer.startsWith("http:") || uri.startsWith("https:"));
  if (!isUsable) throw new Error("Cannot use discovery: jwks_uri is no address with TLS");
  const { keys } = await fetchObject(uri, signal);
  if (!Array.isArray(keys)) throw new Error("Cannot use key set: no list of keys");
  const found = keys.slice(0, KEYS_MAX).filter(isPublicKey);
  if (found.length === 0) throw new Error("Cannot use key set: no key of a pair in it");
  return found;
}

async function fetchObject(
  url: string,
  signal: AbortSignal,
): Promise<Readonly<Record<string, unknown>>> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new Error("It took too long")), ANSWER_LIMIT_MS);
  try {
    const response = await fetch(url, {
      headers: { accept: "application/json" },
      redirect: "error",
      signal: AbortSignal.any([signal, limit.signal]),
    });
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) throw new Error("Cannot use answer: it is too large");
      chunks.push(chunk);
    }
    if (!response.ok) throw new Error(`Cannot fetch "${url}": ${response.status}`);
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString());
    if (typeof value !== "object" || value === null) {
      throw new Error("Cannot use answer: no object");
    }
    return Object.fromEntries(Object.entries(value));
  } finally {
    clearTimeout(timer);
  }
}

function isPublicKey(key: unknown): key is PublicKey {
  if (typeof key !== "object" || key === null || !("kty" in key)) return false;
  if ("use" in key && key.use === "enc") return false;
  return key.kty === "RSA" || key.kty === "EC" || key.kty === "OKP";
}

/** With TLS, or on this machine. */
function isSafe({ protocol, hostname }: URL): boolean {
  if (protocol === "https:") return true;
  return protocol === "http:" && /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname);
}
