/**
 * How often somebody may: a bucket of tokens for each key, filled evenly, and a word for the audit once in a while
 * instead of once a refusal.
 *
 * Invariant: what is kept is bounded however many keys there are. Where there are more than that, those that come later
 * share one bucket, so that many keys together get no more than a few would.
 */

export interface RateLimit {
  /** Takes one; what it says when there is none tells how long to wait. */
  take(key: string): Allowance;
  /** Whether there is one, without taking it. */
  has(key: string): boolean;
  /** Counts a refusal that was decided elsewhere: how many are to be told of now; 0 for none. */
  refused(key: string): number;
}

export interface Allowance {
  readonly isAllowed: boolean;
  /** Seconds until there is one. */
  readonly retryAfterSeconds: number;
  /** Refusals since they were last told of, when they are to be told of now; else 0. */
  readonly untold: number;
}

export interface RateLimitOptions {
  /** How many there are at first, and at most. */
  readonly burst: number;
  readonly perSecond: number;
  readonly elapsedMs: () => number;
  readonly keysMax?: number;
}

/** Keys that have a bucket of their own. */
export const KEYS_MAX = 4_096;
/** Refusals of one key are told of this often, in milliseconds. */
export const TELL_INTERVAL_MS = 60_000;
/** How often buckets that are full are looked for, when there is no room for another, in milliseconds. */
const SWEEP_MS = 1_000;
/** Of all keys for which there is no room; no principal and no address is named so. */
const OTHERS = "\0others";

interface Bucket {
  tokens: number;
  atMs: number;
  toldMs: number;
  untold: number;
}

export function createRateLimit(options: RateLimitOptions): RateLimit {
  const { burst, perSecond, elapsedMs, keysMax = KEYS_MAX } = options;
  const buckets = new Map<string, Bucket>();
  let sweptMs = -Infinity;

  const tokensOf = ({ tokens, atMs }: Bucket, nowMs: number): number =>
    Math.min(burst, tokens + (nowMs - atMs) / 1_000 * perSecond);
  const isIdle = (bucket: Bucket, nowMs: number): boolean =>
    tokensOf(bucket, nowMs) >= burst && nowMs - bucket.toldMs >= TELL_INTERVAL_MS;
  const sweep = (nowMs: number): void => {
    if (nowMs - sweptMs < SWEEP_MS) return;
    sweptMs = nowMs;
    for (const [key, bucket] of buckets) if (isIdle(bucket, nowMs)) buckets.delete(key);
  };
  const bucketOf = (key: string, nowMs: number): Bucket => {
    const known = buckets.get(key);
    if (known !== undefined) return known;
    if (buckets.size >= keysMax) sweep(nowMs);
    if (buckets.size >= keysMax && key !== OTHERS) return bucketOf(OTHERS, nowMs);
    const bucket = { tokens: burst, atMs: nowMs, toldMs: -Infinity, untold: 0 };
    buckets.set(key, bucket);
    return bucket;
  };
  const tell = (bucket: Bucket, nowMs: number): number => {
    bucket.untold += 1;
    if (nowMs - bucket.toldMs < TELL_INTERVAL_MS) return 0;
    const { untold } = bucket;
    bucket.toldMs = nowMs;
    bucket.untold = 0;
    return untold;
  };
  return {
    take(key) {
      const nowMs = elapsedMs();
      const bucket = bucketOf(key, nowMs);
      bucket.tokens = tokensOf(bucket, nowMs);
      bucket.atMs = nowMs;
      if (bucket.tokens >= 1) {
        bucket.tokens -= 1;
        return { isAllowed: true, retryAfterSeconds: 0, untold: 0 };
      }
      const retryAfterSeconds = Math.ceil((1 - bucket.tokens) / perSecond);
      return { isAllowed: false, retryAfterSeconds, untold: tell(bucket, nowMs) };
    },
    has(key) {
      const bucket = buckets.get(key) ??
        (buckets.size >= keysMax ? buckets.get(OTHERS) : undefined);
      return bucket === undefined || tokensOf(bucket, elapsedMs()) >= 1;
    },
    refused(key) {
      const nowMs = elapsedMs();
      return tell(bucketOf(key, nowMs), nowMs);
    },
  };
}
