/**
 * Which policy a path falls under, and where watching begins. Include and exclude take globs and, behind `re:`,
 * regular expressions (which match anywhere in the path unless they have `^` and `$`); a path that begins with `~/`
 * stands below every home.
 *
 * Paths are binary (one character per byte), as names of files are; policies and homes are text and made binary here.
 *
 * Invariants: of several policies that match, the one of the more specific kind wins (in the order of `FILE_KINDS`),
 * of equal kinds the first; a file of password hashes or of keys that let in is never a mere `content-diff`; matching
 * takes time linear in the path.
 */
import { accountFieldsOf } from "./account-lines.ts";
import { FILE_KINDS, type FileKind } from "./file-kind.ts";
import { isKeyFile } from "./key-file.ts";
import { compilePattern, type Pattern } from "./linear-pattern.ts";
import {
  ANYTHING,
  literalNode,
  parseExpression,
  parseGlob,
  PatternError,
  type PatternNode,
} from "./pattern-syntax.ts";
import { hasAccountLines } from "./reduce-content.ts";
import { type WatchRoot, watchRoots } from "./watch-roots.ts";

/** A policy as the configuration has it. */
export interface FileRule {
  readonly paths: readonly string[];
  readonly exclude?: readonly string[] | undefined;
  readonly kind?: FileKind | undefined;
}

export interface PolicyMatch {
  /** What is recorded: the policy's kind, or `accounts` where content has password hashes or keys. */
  readonly kind: FileKind;
  /** Place of the policy in the configuration. */
  readonly rule: number;
}

export interface Policies {
  /** The policy of an absolute path; undefined when none includes it. */
  match(path: string): PolicyMatch | undefined;
  /** Whether anything below a folder may be included: a walk can leave out the rest. */
  mayHoldBelow(folder: string): boolean;
  /** Where watching begins, whether or not it exists yet; none lies below another. */
  readonly roots: readonly WatchRoot[];
}

export interface PolicyOptions {
  /** Homes of all users, for paths that begin with `~/`. */
  readonly homes: readonly string[];
}

/** Most homes that `~/` stands for. */
export const HOMES_MAX = 4_096;

interface Compiled {
  readonly rule: number;
  readonly kind: FileKind;
  readonly include: readonly Pattern[];
  readonly exclude: readonly Pattern[];
}

/** Throws {@link PatternError} naming the pattern. */
export function createPolicies(rules: readonly FileRule[], { homes }: PolicyOptions): Policies {
  const known = [...new Set(homes.map(binaryOf))].filter((home) => /^\/./.test(home))
    .slice(0, HOMES_MAX);
  const compiled = rules
    .map(({ paths, exclude = [], kind = "content-diff" }, rule): Compiled => ({
      rule,
      kind,
      include: paths.flatMap((path) => includePatterns(path, known)),
      exclude: exclude.flatMap((path) => includePatterns(path, known)),
    }))
    .sort((a, b) => FILE_KINDS.indexOf(a.kind) - FILE_KINDS.indexOf(b.kind) || a.rule - b.rule);
  return {
    match: (path) => {
      for (const { rule, kind, include, exclude } of compiled) {
        if (!include.some((pattern) => pattern.test(path))) continue;
        if (exclude.some((pattern) => pattern.test(path))) continue;
        return { kind: safeKind(kind, path), rule };
      }
      return undefined;
    },
    mayHoldBelow: (folder) => {
      const start = folder.endsWith("/") ? folder : `${folder}/`;
      return compiled.some(({ include }) => include.some((each) => each.canStartWith(start)));
    },
    roots: watchRoots(rules.flatMap(({ paths }) => paths.map(binaryOf)), known),
  };
}

/** Why a path of a policy cannot be used; undefined when it can. */
export function patternFault(path: string): string | undefined {
  try {
    includePatterns(path, []);
    return undefined;
  } catch (error) {
    if (error instanceof PatternError) return error.message;
    throw error;
  }
}

/** Text as the bytes that a file's name has. */
function binaryOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** Diffs of password hashes and keys are never those of mere text. */
function safeKind(kind: FileKind, path: string): FileKind {
  if (kind !== "content-diff") return kind;
  const isAccounts = accountFieldsOf(path) !== undefined && hasAccountLines(kind, path);
  return isAccounts || isKeyFile(path) ? "accounts" : kind;
}

/** The patterns of one path; several when it stands below every home. */
function includePatterns(path: string, homes: readonly string[]): Pattern[] {
  const fail = (why: string): never => {
    throw new PatternError(`Cannot use path "${path}": ${why}`);
  };
  try {
    return nodesOf(binaryOf(path), homes).map(compilePattern);
  } catch (error) {
    if (error instanceof PatternError && !error.message.startsWith("Cannot use")) {
      return fail(error.message);
    }
    throw error;
  }
}

function nodesOf(path: string, homes: readonly string[]): PatternNode[] {
  if (path.startsWith("re:")) {
    const node = parseExpression(path.slice(3));
    return [isAnchored(node) ? node : { kind: "sequence", nodes: [ANYTHING, node] }];
  }
  if (path.startsWith("~/")) {
    const below = parseGlob(path.slice(1));
    return homes.map((home) => ({
      kind: "sequence",
      nodes: [literalNode(home.replace(/\/+$/, "")), withoutBegin(below)],
    }));
  }
  if (!path.startsWith("/")) {
    throw new PatternError('it begins neither with "/" nor with "~/" or "re:"');
  }
  return [parseGlob(path)];
}

/** Whether an expression matches at the begin alone. */
function isAnchored(node: PatternNode): boolean {
  if (node.kind === "begin") return true;
  if (node.kind === "choice") return node.nodes.every(isAnchored);
  if (node.kind !== "sequence") return false;
  const [first] = node.nodes;
  return first !== undefined && isAnchored(first);
}

/** A glob behind other text: the pattern begins there, at the begin. */
function withoutBegin(glob: PatternNode): PatternNode {
  if (glob.kind !== "sequence") return glob;
  return { kind: "sequence", nodes: glob.nodes.slice(1) };
}
