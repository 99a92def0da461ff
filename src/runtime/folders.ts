/**
 * Makes folders that a user names, or that lie in one.
 *
 * Invariant: it ends. The runtime's own way of making folders with those above them never does where the kernel says of
 * an existing folder that nothing is there, as it does for whatever is to be made below /proc (Node 24.21).
 */
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes a folder, and those above it, with a mode. One that is there is fine. Throws with the system's `code` when it
 * cannot.
 */
export function makeFolders(path: string, mode: number): void {
  try {
    makeWithThoseAbove(path, mode);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const error = new Error(`Cannot make folder "${path}": ${reason}`, { cause });
    throw Object.assign(error, { code: codeOf(cause) });
  }
}

function makeWithThoseAbove(path: string, mode: number): void {
  const failure = tryToMake(path, mode);
  if (failure === undefined) return;
  const above = dirname(path);
  if (codeOf(failure) !== "ENOENT" || isFolder(above)) throw failure;
  makeWithThoseAbove(above, mode);
  const again = tryToMake(path, mode);
  if (again !== undefined) throw again;
}

function tryToMake(path: string, mode: number): unknown {
  try {
    mkdirSync(path, { mode });
    return undefined;
  } catch (error) {
    return isFolder(path) ? undefined : error;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
