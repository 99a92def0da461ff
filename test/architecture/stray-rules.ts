/**
 * Rules about names that belong to one contract: spelled anywhere else, they could come to differ. Only strings and
 * templates are looked at; comments may name what they like.
 */
import { COLUMNS } from "../../src/event/columns.ts";
import { HEADER } from "../../src/event/wire.ts";
import type { Rule, Violation } from "./language-rules.ts";
import type { TextFile } from "./repository.ts";
import { isText } from "./tokens.ts";

interface Name {
  readonly what: string;
  readonly owners: readonly string[];
  readonly pattern: RegExp;
}

/** `Probity-Count` is also a header of HTTP answers, and `Content-Encoding` is everyone's. */
const WIRE_HEADERS = Object.values(HEADER)
  .filter((name) => name !== "Content-Encoding" && name !== HEADER.count);

const NAMES: readonly Name[] = [
  {
    what: "a header of the wire",
    owners: ["src/event/wire.ts"],
    pattern: new RegExp(`^(${WIRE_HEADERS.join("|")})$`, "i"),
  },
  {
    what: "a subject",
    owners: ["src/event/wire.ts"],
    pattern: /^(audit\.($|[0-9*>])|probity\.commit)/,
  },
  { what: "a stream's name", owners: ["src/event/wire.ts"], pattern: /^AUDIT_/ },
  {
    what: "a key-value bucket",
    owners: ["src/event/watermark.ts", "src/event/wire.ts"],
    pattern: /^(KV_)?PROBITY_[a-z]/,
  },
  {
    what: "a key of the bucket",
    owners: ["src/storage/layout.ts"],
    pattern: /^\/?(table|evidence|quarantine|registry|tlog)\/($|[^ ])|_delta_log/,
  },
];

/** So many columns in a row are a list of columns. */
const COLUMNS_IN_A_ROW = 8;

export const contractNames: Rule = ({ path, scan: { tokens } }) =>
  NAMES.filter(({ owners }) => !owners.includes(path)).flatMap(({ what, pattern }) =>
    tokens
      .filter((token) => isText(token) && pattern.test(token.text))
      .map(({ line, text }) => `${path}:${line}: ${what}: "${text}"`)
  );

export const oneListOfColumns: Rule = ({ path, scan: { tokens } }) => {
  if (path === "src/event/columns.ts") return [];
  const names = new Set<string>(COLUMNS.map(({ name }) => name));
  const found: Violation[] = [];
  let run = 0;
  for (const token of tokens) {
    const { kind, text, line } = token;
    if (kind === "sign" && text === ",") continue;
    if (!isText(token)) {
      run = 0;
      continue;
    }
    const parts = text.split(",").map((part) => part.trim().replace(/^"|"$/g, "").split(/[ :]/)[0]);
    for (const part of parts) {
      run = part !== undefined && names.has(part) ? run + 1 : 0;
      if (run === COLUMNS_IN_A_ROW) found.push(`${path}:${line}: a list of columns`);
    }
  }
  return found;
};

/**
 * What is installed or made is no part of the repository. Committed as a link, `node_modules` replaces the folder of
 * everyone who pulls it.
 */
export function nothingInstalled(paths: readonly string[]): Violation[] {
  return paths
    .filter((path) => /(^|\/)(node_modules|probity-data|\.tmp)(\/|$)/.test(path))
    .map((path) => `${path}: is installed or made, not written`);
}

/** Paths of the machine that someone happened to build on. */
const MACHINE_PATHS = [["/wo", "rk/"], ["/tmp/", "wt"], ["/tmp/bash_", "jobs"]].map((parts) =>
  parts.join("")
);

export function noMachinePaths({ path, text }: TextFile): Violation[] {
  return text.split("\n").flatMap((line, at) =>
    MACHINE_PATHS.filter((each) => hasPath(line, each))
      .map((each) => `${path}:${at + 1}: a path of somebody's machine: ${each}`)
  );
}

/** Whether the path begins there, rather than being the tail of a longer one. */
function hasPath(line: string, path: string): boolean {
  const at = line.indexOf(path);
  return at >= 0 && !/[\w.~-]/.test(line.charAt(at - 1));
}
