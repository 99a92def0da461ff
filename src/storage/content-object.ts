/**
 * Objects whose key says what they hold: data files, evidence, states, quarantine. Whoever wrote one, it is the same.
 *
 * Invariant: when a put returns, the object stands there whole. That it stood there before, or that an answer was lost
 * on the way, makes no difference.
 */
import { AmbiguousWriteError, type ObjectStore, type RequestOptions } from "./object-store.ts";

/** An object is written at most so often when the answers are lost. */
export const CONTENT_ATTEMPTS_MAX = 4;

/** Puts an object under a key that only this content can have. */
export function putContent(
  store: ObjectStore,
  object: { readonly key: string; readonly body: Uint8Array },
  options: RequestOptions = {},
): Promise<void> {
  return untilKnown(() => store.putIfAbsent(object.key, object.body, options));
}

/** As {@link putContent}, from a local file of any size. */
export function putContentFile(
  store: ObjectStore,
  object: { readonly key: string; readonly path: string },
  options: RequestOptions = {},
): Promise<void> {
  return untilKnown(() => store.putFileIfAbsent(object.key, object.path, options));
}

async function untilKnown(write: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      await write();
      return;
    } catch (error) {
      if (!(error instanceof AmbiguousWriteError) || attempt >= CONTENT_ATTEMPTS_MAX) throw error;
    }
  }
}
