/**
 * Objects whose key says what they hold: data files, evidence, states, quarantine. Whoever wrote one, it is the same.
 *
 * Invariant: when a put returns, the object stands there whole. That it stood there before, or that an answer was lost
 * on the way, makes no difference.
 */
import { AmbiguousWriteError, type ObjectStore, type RequestOptions } from "./object-store.ts";

/** An object is written at most so often when the answers are lost. */
export const CONTENT_ATTEMPTS_MAX = 4;

/**
 * An object that stood there before is part of a commit only if it is at most so old, in milliseconds; an older one may
 * be vacuumed any moment, whose least grace is twice this.
 */
export const REUSE_AGE_MAX_MS = 12 * 3_600_000;

/** Which objects that stand there already may become part of a commit. */
export interface ReuseRule {
  /** Now, ms since the Unix epoch. */
  readonly nowMs: number;
  /** {@link REUSE_AGE_MAX_MS} by default; half of the least grace in any case. */
  readonly reuseAgeMaxMs?: number | undefined;
}

/** Names that one content may have. */
const NAMES_MAX = 1_000;

/** Puts an object under a key that only this content can have. */
export function putContent(
  store: ObjectStore,
  object: { readonly key: string; readonly body: Uint8Array },
  options: RequestOptions = {},
): Promise<unknown> {
  return untilKnown(() => store.putIfAbsent(object.key, object.body, options));
}

/** As {@link putContent}, from a local file of any size. */
export function putContentFile(
  store: ObjectStore,
  object: { readonly key: string; readonly path: string },
  options: RequestOptions = {},
): Promise<unknown> {
  return untilKnown(() => store.putFileIfAbsent(object.key, object.path, options));
}

/**
 * Puts an object that a commit is going to name, and that is vacuumed when none does. Where one stands that is too old
 * to be safe from that, the next name is taken, so that a repeated put comes to the same one. Returns the name.
 */
export async function putForCommit<N>(
  store: ObjectStore,
  object: {
    /** Name of a place from 0. */
    readonly nameAt: (place: number) => N;
    readonly keyOf: (name: N) => string;
    readonly write: (key: string) => Promise<"created" | "exists">;
  },
  options: RequestOptions & ReuseRule,
): Promise<N> {
  const { nowMs, reuseAgeMaxMs = REUSE_AGE_MAX_MS, ...request } = options;
  for (let place = 0; place < NAMES_MAX; place++) {
    const name = object.nameAt(place);
    const key = object.keyOf(name);
    for (let attempt = 1; attempt <= CONTENT_ATTEMPTS_MAX; attempt++) {
      if (await untilKnown(() => object.write(key)) === "created") return name;
      const standing = await store.head(key, request);
      // Vacuumed in this moment: there is room for ours.
      if (standing === undefined) continue;
      if (nowMs - standing.modifiedAtMs <= reuseAgeMaxMs) return name;
      break;
    }
  }
  throw new Error(`Cannot put an object in ${store.url}: all of its names are taken`);
}

async function untilKnown<T>(write: () => Promise<T>): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await write();
    } catch (error) {
      if (!(error instanceof AmbiguousWriteError) || attempt >= CONTENT_ATTEMPTS_MAX) throw error;
    }
  }
}
