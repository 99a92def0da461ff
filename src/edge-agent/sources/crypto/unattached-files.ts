/**
 * Files with probes that cannot be attached, although processes have them mapped: what they tell is missing as long as
 * that is so.
 *
 * Invariants: each is said once as what is wrong, and is a gap from its first mapping to the last look that found it
 * mapped; all of one look are one gap; the list has a limit, and what finds no room in it is part of that gap.
 */
import type { LibraryNotices } from "./library-notices.ts";

const FILES_MAX = 1024;

export interface UnattachedFiles {
  /** `sinceUs`: since when a process has it mapped. */
  found(
    key: string,
    file: { readonly path: string; readonly reason: string; readonly sinceUs: number },
  ): void;
  /** A process has it mapped. */
  seen(key: string): void;
  /** It is attached by now: since when it was not told, µs. */
  forget(key: string): number | undefined;
  /** Tells the gap up to now, and forgets those that were not seen since the last time. Returns keys to be looked at anew. */
  tell(nowUs: number): readonly string[];
  clear(): void;
}

interface Unattached {
  readonly path: string;
  readonly reason: string;
  readonly sinceUs: number;
  readonly isSeen: boolean;
}

export function createUnattachedFiles(
  notices: Pick<LibraryNotices, "fault" | "unattached">,
): UnattachedFiles {
  const files = new Map<string, Unattached>();
  /** Since when there are files beyond the limit. */
  let beyondUs = Infinity;
  const seen = (key: string): void => {
    const file = files.get(key);
    if (file !== undefined) files.set(key, { ...file, isSeen: true });
  };
  return {
    found(key, { path, reason, sinceUs }) {
      notices.fault(path, reason);
      if (files.has(key)) seen(key);
      else if (files.size < FILES_MAX) files.set(key, { path, reason, sinceUs, isSeen: true });
      else beyondUs = Math.min(beyondUs, sinceUs);
    },
    seen,
    forget(key) {
      const sinceUs = files.get(key)?.sinceUs;
      files.delete(key);
      return sinceUs;
    },
    tell(nowUs) {
      const keys = [...files.keys()];
      for (const [key, { isSeen }] of files) if (!isSeen) files.delete(key);
      const [first] = files.values();
      if (first !== undefined) {
        const which = files.size === 1
          ? `the probes of "${first.path}" are`
          : `the probes of ${files.size} files, "${first.path}" is one, are`;
        const fromUs = [...files.values()]
          .reduce((least, { sinceUs }) => Math.min(least, sinceUs), beyondUs);
        notices.unattached(`${which} not attached: ${first.reason}`, { fromUs, toUs: nowUs });
      }
      for (const [key, file] of files) files.set(key, { ...file, sinceUs: nowUs, isSeen: false });
      beyondUs = Infinity;
      return keys;
    },
    clear: () => files.clear(),
  };
}
