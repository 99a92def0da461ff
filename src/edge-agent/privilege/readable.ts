/**
 * Which files the privileged process opens to read for the agent, whoever owns them. Pure.
 *
 * Invariants: what stands below homes is fixed by the rest of the path, not by who has a home: users come while the
 * agent runs, and their keys are to be seen. Nothing is added to it after the start.
 */
import { compilePattern } from "../sources/file-integrity/kinds/linear-pattern.ts";
import { parseGlob } from "../sources/file-integrity/kinds/pattern-syntax.ts";

/** One character for each byte. */
export interface ReadableFiles {
  /** Files, and folders with all that lies below them. */
  readonly contents: readonly string[];
  /** Globs of what may be read below any folder, as `/.ssh/authorized_keys`. */
  readonly belowHomes: readonly string[];
}

/** Whether the file at a path may be read. */
export type IsReadable = (path: string) => boolean;

/** Throws `PatternError` when one is no glob. */
export function createReadable({ contents, belowHomes }: ReadableFiles): IsReadable {
  const patterns = belowHomes.map((glob) => compilePattern(parseGlob(`/**${glob}`)));
  return (path) =>
    contents.some((folder) => isWithin(path, folder)) ||
    patterns.some((pattern) => pattern.test(path));
}

/** Whether all that `some` allows is allowed by `all`, as far as that can be told from the texts. */
export function covers(all: ReadableFiles, some: ReadableFiles): boolean {
  return some.contents.every((path) => all.contents.some((folder) => isWithin(path, folder))) &&
    some.belowHomes.every((glob) => all.belowHomes.includes(glob));
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}
