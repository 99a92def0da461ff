/**
 * Which paths are watched, as which kind, and under which names their events come: a policy names a path as people
 * write it, the kernel tells of it by where it is. Where both differ (a symbolic link above it, another mount of the
 * same directory, an overlay) an alias leads from the one to the other.
 *
 * Invariant: paths in records and events are as policies write them. Aliases are as of the last look; whatever changes
 * a directory above a policy's root asks for a new one.
 */
import { isUnder } from "../filesystem/directory-tree.ts";
import type { FileKind } from "./kinds/file-kind.ts";

/** The policies of a configuration, compiled. Paths are binary. */
export interface WatchPolicies {
  kindOf(path: string): FileKind | undefined;
  /** Whether something below a directory may be watched. */
  mayContain(directory: string): boolean;
  /** Longest paths without a pattern: what is watched is there or below. */
  readonly roots: readonly string[];
  /** Equal for policies that say the same. */
  readonly text: string;
  /** The same without what follows from the host's users: a new user's files are news, those of a new rule are not. */
  readonly rulesText: string;
}

export interface WatchedPlaces {
  kindOf(path: string): FileKind | undefined;
  mayContain(directory: string): boolean;
  readonly roots: readonly string[];
  /** Watched paths, as policies write them, that a path of the kernel's stands for; usually none or one. */
  namesOf(path: string): readonly string[];
  /** As policies write it; what is no alias of anything stays as it is. */
  writtenOf(directory: string): readonly string[];
  /** Whether a change of this name may put something else at a root. */
  isAboveRoot(path: string): boolean;
  /** Looks anew where the roots are. */
  refresh(): void;
  /** See {@link WatchPolicies.text}. */
  readonly text: string;
}

export interface WatchedPlacesOptions {
  readonly policies: WatchPolicies;
  /** The path by which the kernel's events name a directory that is there now; undefined when there is none. */
  readonly pathOf: (directory: string) => string | undefined;
  /** Nothing below it is watched … */
  readonly dataDirectory: string;
  /** … but this file, by which the source proves that it sees. */
  readonly canaryPath: string;
}

interface Alias {
  readonly actual: string;
  readonly written: string;
}

/** Directories above each other that are tried when a root is not there yet. */
const LEVELS_MAX = 256;

export function createWatchedPlaces(options: WatchedPlacesOptions): WatchedPlaces {
  const { policies, pathOf, dataDirectory, canaryPath } = options;
  let aliases: readonly Alias[] = [];
  let above: ReadonlySet<string> = new Set();
  let dataPath: string | undefined;

  const kindOf = (path: string): FileKind | undefined => {
    if (path === canaryPath) return "digest";
    const isOwn = isUnder(path, dataDirectory) ||
      (dataPath !== undefined && isUnder(path, dataPath));
    return isOwn ? undefined : policies.kindOf(path);
  };
  const writtenOf = (path: string): readonly string[] => [
    path,
    ...aliases.filter(({ actual }) => isUnder(path, actual))
      .map(({ actual, written }) => written + path.slice(actual === "/" ? 0 : actual.length)),
  ];
  const refresh = (): void => {
    dataPath = pathOf(dataDirectory);
    const found = policies.roots.flatMap((root): Alias[] => {
      const actual = actualOf(root, pathOf);
      return actual === undefined || actual === root ? [] : [{ actual, written: root }];
    });
    aliases = found;
    const names = new Set<string>();
    for (const root of [...policies.roots, ...found.map(({ actual }) => actual)]) {
      for (let at = root.length; at > 0; at = root.lastIndexOf("/", at - 1)) {
        names.add(root.slice(0, at));
      }
    }
    above = names;
  };
  refresh();
  return {
    kindOf,
    mayContain: (directory) => policies.mayContain(directory),
    roots: [...policies.roots, canaryPath],
    namesOf: (path) => writtenOf(path).filter((name) => kindOf(name) !== undefined),
    writtenOf,
    isAboveRoot: (path) => above.has(path),
    refresh,
    text: policies.text,
  };
}

/** Where a root is, or would be if it were made: by its nearest directory that is there. */
function actualOf(
  root: string,
  pathOf: (directory: string) => string | undefined,
): string | undefined {
  let directory = root;
  for (let level = 0; level < LEVELS_MAX; level += 1) {
    const actual = pathOf(directory);
    if (actual !== undefined) {
      const rest = root.slice(directory === "/" ? 0 : directory.length);
      return actual === "/" ? rest || "/" : actual + rest;
    }
    if (directory === "/") return undefined;
    directory = directory.slice(0, Math.max(1, directory.lastIndexOf("/")));
  }
  return undefined;
}
