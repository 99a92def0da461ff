/**
 * Where keys stand in a TOML text, for errors that name a line: the parser gives lines only for wrong syntax.
 * Expects text that the parser has taken.
 */

export type KeyPath = readonly (string | number)[];

/** Returns a function from a key's path (`["files", 1, "paths"]`) to its line, from 1, or its closest parent's. */
export function locateKeys(toml: string): (path: KeyPath) => number {
  const lines = new Map<string, number>();
  const tables = new Map<string, number>();
  let table: KeyPath = [];
  let value = OUTSIDE;
  toml.split("\n").forEach((line, index) => {
    if (value !== OUTSIDE) {
      value = scanValue(line, value);
      return;
    }
    const header = /^\s*(\[\[?)\s*([^\]]+?)\s*\]/.exec(line);
    const key = /^\s*((?:[A-Za-z0-9_.\s-]|"[^"]*"|'[^']*')+?)\s*=/.exec(line);
    if (header !== null) {
      table = enterTable(partsOf(header[2] ?? ""), { isArray: header[1] === "[[", tables });
      lines.set(nameOf(table), index + 1);
    } else if (key !== null) {
      lines.set(nameOf([...table, ...partsOf(key[1] ?? "")]), index + 1);
      value = scanValue(line.slice(key[0].length), OUTSIDE);
    }
  });
  return (path) => {
    for (let length = path.length; length > 0; length--) {
      const line = lines.get(nameOf(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return 1;
  };
}

/** Where the end of a line is: inside how many brackets, and inside which multi-line string. */
interface Place {
  readonly depth: number;
  readonly quote: string;
}

const OUTSIDE: Place = { depth: 0, quote: "" };

/** A table of an array is counted, so that its path has the index that the parsed value has. */
function enterTable(
  parts: readonly string[],
  { isArray, tables }: { readonly isArray: boolean; readonly tables: Map<string, number> },
): KeyPath {
  const path: (string | number)[] = [];
  parts.forEach((part, index) => {
    path.push(part);
    const name = nameOf(path);
    const count = tables.get(name);
    if (isArray && index === parts.length - 1) {
      tables.set(name, (count ?? 0) + 1);
      path.push(count ?? 0);
    } else if (count !== undefined) path.push(count - 1);
  });
  return path;
}

function partsOf(text: string): string[] {
  const parts = text.match(/"[^"]*"|'[^']*'|[^.\s"']+/g) ?? [];
  return parts.map((part) => /^["']/.test(part) ? part.slice(1, -1) : part);
}

function nameOf(path: KeyPath): string {
  return JSON.stringify(path);
}

/** Follows brackets and strings over one line of a value. */
function scanValue(line: string, from: Place): Place {
  let { depth, quote } = from;
  const tokens = line.matchAll(/"""|'''|"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[[{]|[\]}]|#/g);
  for (const [token] of tokens) {
    if (quote !== "") {
      if (token === quote) quote = "";
    } else if (token === '"""' || token === "'''") quote = token;
    else if (token === "#") break;
    else if (token === "[" || token === "{") depth++;
    else if (token === "]" || token === "}") depth--;
  }
  return depth === 0 && quote === "" ? OUTSIDE : { depth, quote };
}
