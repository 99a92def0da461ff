/**
 * Where watching begins for paths of policies: the longest folder that a pattern fixes, and how deep below it matches
 * may lie. The folder may not exist yet: then its nearest parent is watched until it does.
 */

export interface WatchRoot {
  /** Absolute, without a slash at the end (`/` alone aside). */
  readonly folder: string;
  /** Levels below the folder: 1 for its own entries; Infinity below `**` and for expressions. */
  readonly depth: number;
}

/** Most alternatives that braces are taken apart into. */
const ALTERNATIVES_MAX = 256;

/** The roots of patterns, without those that lie within another. */
export function watchRoots(paths: readonly string[], homes: readonly string[]): WatchRoot[] {
  const all = paths.flatMap((path) => {
    if (path.startsWith("re:")) return [rootOfExpression(path.slice(3))];
    const globs = path.startsWith("~/")
      ? homes.map((home) => escaped(home) + path.slice(1))
      : [path];
    return globs.flatMap((glob) => alternatives(glob).map(rootOfGlob));
  });
  const byFolder = new Map<string, number>();
  for (const { folder, depth } of all) {
    byFolder.set(folder, Math.max(depth, byFolder.get(folder) ?? 0));
  }
  const merged = [...byFolder].map(([folder, depth]) => ({ folder, depth }));
  return merged
    .filter((root) => !merged.some((other) => other !== root && covers(other, root)))
    .sort((a, b) => a.folder < b.folder ? -1 : 1);
}

function covers(outer: WatchRoot, inner: WatchRoot): boolean {
  const start = outer.folder === "/" ? "/" : `${outer.folder}/`;
  if (!inner.folder.startsWith(start)) return false;
  const levels = inner.folder.slice(start.length).split("/").length;
  return outer.depth >= levels + inner.depth;
}

/** A home's name as a glob. */
function escaped(text: string): string {
  return text.replace(/\/+$/, "").replace(/[\\*?[\]{},]/g, "\\$&");
}

function rootOfGlob(glob: string): WatchRoot {
  const segments = glob.split("/").slice(1);
  const isFixed = (segment: string): boolean => !/(^|[^\\])(\\\\)*[*?[{]/.test(segment);
  let fixed = 0;
  // The last segment is the name of what is watched, not of a folder.
  while (fixed < segments.length - 1 && isFixed(segments[fixed] ?? "")) fixed += 1;
  const folder = `/${
    segments.slice(0, fixed).map((each) => each.replace(/\\(.)/g, "$1")).join("/")
  }`;
  const rest = segments.slice(fixed);
  // What stands in braces may hold slashes.
  const isDeep = rest.some((each) => each.includes("**") || each.includes("{"));
  return { folder, depth: isDeep ? Infinity : rest.length };
}

/** Only text behind `^` that nothing can make optional is fixed. */
function rootOfExpression(source: string): WatchRoot {
  const [, head = ""] = source.includes("|") ? [] : /^\^((?:[\w/-]|\\[./-])*)/.exec(source) ?? [];
  const isRepeated = /^[*?{]/.test(source.slice(1 + head.length));
  const text = head.replaceAll("\\", "");
  const fixed = isRepeated ? text.slice(0, -1) : text;
  const folder = fixed.slice(0, fixed.lastIndexOf("/"));
  return { folder: folder.startsWith("/") ? folder : "/", depth: Infinity };
}

/** Braces taken apart: `/{a,b}/c` is `/a/c` and `/b/c`. With too many of them the glob stays as it is. */
function alternatives(glob: string): string[] {
  let all = [glob];
  for (;;) {
    const next = all.flatMap(oneBraceApart);
    if (next.length > ALTERNATIVES_MAX) return [glob];
    if (next.every((each, at) => each === all[at])) return next;
    all = next;
  }
}

/** The first brace with more than one choice, taken apart; the glob alone when there is none. */
function oneBraceApart(glob: string): string[] {
  const open = /(?<=(?:^|[^\\])(?:\\\\)*)\{/.exec(glob)?.index;
  if (open === undefined) return [glob];
  const choices: string[] = [];
  let depth = 0;
  let from = open + 1;
  for (let at = open; at < glob.length; at += 1) {
    const character = glob[at];
    if (character === "\\") at += 1;
    else if (character === "{") depth += 1;
    else if (character === "," && depth === 1) {
      choices.push(glob.slice(from, at));
      from = at + 1;
    } else if (character === "}" && --depth === 0) {
      choices.push(glob.slice(from, at));
      return choices.map((choice) => glob.slice(0, open) + choice + glob.slice(at + 1));
    }
  }
  return [glob];
}
