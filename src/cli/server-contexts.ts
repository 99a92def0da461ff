/**
 * Contexts: servers by name, with the files of their tokens, in one file of the user's own. One of them may be the
 * current one, which commands then ask instead of the data folder's.
 *
 * Invariants: the file holds no token; one that others own or can write to is refused, for it says to whom a token goes;
 * a change replaces it whole.
 */
import { lstatSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { makeFolders } from "../runtime/folders.ts";
import { CommandError, EXIT, usageError } from "./exit.ts";

export interface ServerContext {
  readonly server: string;
  readonly tokenFile: string | undefined;
}

export interface ServerContexts {
  readonly current: string | undefined;
  readonly byName: ReadonlyMap<string, ServerContext>;
}

export const CONTEXT_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

const NONE: ServerContexts = { current: undefined, byName: new Map() };

/** `contexts.json` below the user's configuration. */
export function contextsPath(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const own = environment["XDG_CONFIG_HOME"] ?? "";
  return join(own.startsWith("/") ? own : join(homedir(), ".config"), "probity", "contexts.json");
}

/** None when there is no file. Throws a usage error for one that cannot be used. */
export function readContexts(path: string): ServerContexts {
  let text: string;
  try {
    const { uid, mode } = lstatSync(path);
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0) {
      throw usageError(
        `Cannot use contexts of "${path}": others own it or can write to it; they could choose to whom a token goes`,
      );
    }
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return NONE;
    throw new CommandError(EXIT.usage, `Cannot read contexts of "${path}": ${code}`, { cause });
  }
  const contexts = parseContexts(text);
  if (contexts !== undefined) return contexts;
  throw usageError(
    `Cannot use contexts of "${path}": accepted: {"current": "NAME", "contexts": {"NAME": {"server": "URL", "token_file": "FILE"}}}`,
  );
}

export function writeContexts(path: string, { current, byName }: ServerContexts): void {
  const contexts = Object.fromEntries(
    [...byName].toSorted(([a], [b]) => a < b ? -1 : 1).map(([name, { server, tokenFile }]) => [
      name,
      { server, ...(tokenFile === undefined ? {} : { token_file: tokenFile }) },
    ]),
  );
  const value = { ...(current === undefined ? {} : { current }), contexts };
  makeFolders(dirname(path), 0o700);
  const written = `${path}.${process.pid}.new`;
  writeFileSync(written, `${JSON.stringify(value, undefined, 2)}\n`, { mode: 0o600, flag: "wx" });
  renameSync(written, path);
}

/** The context of a name. Throws a usage error that names those there are. */
export function contextNamed({ byName }: ServerContexts, name: string): ServerContext {
  const found = byName.get(name);
  if (found !== undefined) return found;
  const names = [...byName.keys()].join(", ");
  throw usageError(
    `Cannot use context "${name}": there is none of this name; ${
      names === "" ? "make one with `probity context add`" : `accepted: ${names}`
    }`,
  );
}

function parseContexts(text: string): ServerContexts | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // Not JSON: the caller says what would be accepted.
  }
  if (typeof value !== "object" || value === null || !("contexts" in value)) return undefined;
  const { contexts } = value;
  if (typeof contexts !== "object" || contexts === null) return undefined;
  const byName = new Map<string, ServerContext>();
  for (const [name, each] of Object.entries(contexts)) {
    const context = contextOf(each);
    if (context === undefined || !CONTEXT_NAME.test(name)) return undefined;
    byName.set(name, context);
  }
  const current = "current" in value ? value.current : undefined;
  if (current === undefined) return { current, byName };
  return typeof current === "string" && byName.has(current) ? { current, byName } : undefined;
}

function contextOf(value: unknown): ServerContext | undefined {
  if (typeof value !== "object" || value === null || !("server" in value)) return undefined;
  const { server } = value;
  const tokenFile = "token_file" in value ? value.token_file : undefined;
  if (typeof server !== "string" || !/^https?:\/\//.test(server) || !URL.canParse(server)) {
    return undefined;
  }
  if (tokenFile === undefined) return { server, tokenFile };
  return typeof tokenFile === "string" ? { server, tokenFile } : undefined;
}
