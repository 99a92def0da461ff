/**
 * Statements that were typed before, for the arrow keys: in a file of its user alone.
 *
 * Invariants: the file is bounded; what cannot be read or written costs the history, never the session.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** Statements that are kept, and the longest, in characters. */
export const STATEMENTS_MAX = 1_000;
export const STATEMENT_LENGTH_MAX = 10_000;

export interface History {
  /** Newest first, as the arrow keys meet them. */
  readonly entries: readonly string[];
  add(statement: string): void;
  /** Writes the file; says why it could not, in words. */
  save(): string | undefined;
}

/** Where the history of whoever has this environment is (XDG Base Directory Specification 0.8). */
export function historyPath(environment: Readonly<Record<string, string | undefined>>): string {
  const state = environment["XDG_STATE_HOME"] ?? "";
  const base = state.startsWith("/")
    ? state
    : join(environment["HOME"] ?? homedir(), ".local", "state");
  return join(base, "probity", "sql_history");
}

export function openHistory(path: string): History {
  let entries: readonly string[] = readLines(path);
  return {
    get entries() {
      return entries;
    },
    add(statement) {
      const line = statement.replaceAll(/\s*[\r\n]+\s*/g, " ").trim();
      // A comment to the end of a line would swallow what follows it, once all is one line.
      const isWhole = line !== "" && line.length <= STATEMENT_LENGTH_MAX &&
        !(statement.includes("--") && /\n/.test(statement.trim()));
      if (!isWhole) return;
      entries = [line, ...entries.filter((each) => each !== line)].slice(0, STATEMENTS_MAX);
    },
    save() {
      const partial = `${path}.new`;
      try {
        mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
        writeFileSync(partial, entries.toReversed().map((each) => `${each}\n`).join(""), {
          mode: 0o600,
        });
        chmodSync(partial, 0o600);
        renameSync(partial, path);
        return undefined;
      } catch (error) {
        return `Cannot keep the history in "${path}": ${codeOf(error)}`;
      }
    },
  };
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n")
      .filter((line) => line !== "" && line.length <= STATEMENT_LENGTH_MAX)
      .slice(-STATEMENTS_MAX)
      .reverse();
  } catch (error) {
    if (["ENOENT", "EACCES", "ENOTDIR"].includes(codeOf(error))) return [];
    throw error;
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
