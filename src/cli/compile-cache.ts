/**
 * Where Node keeps the compiled code of this program between starts: most of a start's time is taking the types off
 * the sources and compiling them.
 *
 * Invariant: code comes only from a folder that nobody with fewer rights can write to: none on the way to it belongs to
 * another user but root, or can be written by others; and who has capabilities without being root uses none, since
 * other processes of the same user have no capabilities. Without such a folder everything is compiled anew.
 */
import { lstatSync, readFileSync, realpathSync } from "node:fs";
import module from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { makeFolders } from "../runtime/folders.ts";

/** When compiled code is written down at the latest; it also is at the end, of which many processes have none. */
const WRITE_AFTER_MS = 5_000;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/** To be called before anything else is imported. A variable of Node's, `NODE_COMPILE_CACHE`, wins. */
export function useCompileCache(): void {
  // Deno has a cache of its own.
  if (process.versions["deno"] !== undefined || process.versions["bun"] !== undefined) return;
  const folder = cacheFolder(process.env);
  if (folder === undefined) return;
  module.enableCompileCache(folder);
  setTimeout(writeCompiled, WRITE_AFTER_MS).unref();
}

/** Writes down what was compiled until now: for a process that will be replaced or killed. */
export function writeCompiled(): void {
  if (process.versions["deno"] === undefined) module.flushCompileCache();
}

/** `probity/compiled` among the caches of this user; undefined when others could write to it. */
export function cacheFolder(
  environment: Readonly<Record<string, string | undefined>>,
): string | undefined {
  try {
    const caches = environment["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
    const folder = join(caches, "probity", "compiled");
    if (hasMoreThanItsUser()) return undefined;
    makeFolders(folder, 0o700);
    const path = realpathSync(folder);
    return isOnlyOurs(path, 0) && isWayOurs(dirname(path)) ? folder : undefined;
  } catch {
    return undefined; // No home, or one that cannot be written to.
  }
}

function hasMoreThanItsUser(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return process.getuid?.() !== 0 && !/^0+$/.test(effective ?? "");
}

function isWayOurs(path: string): boolean {
  return isOnlyOurs(path, STICKY) && (path === dirname(path) || isWayOurs(dirname(path)));
}

/** In a folder with the `allowed` bit others may make files, but not take away ours. */
function isOnlyOurs(path: string, allowed: number): boolean {
  const { uid, mode } = lstatSync(path);
  const isTrusted = uid === 0 || uid === process.getuid?.();
  return isTrusted && ((mode & WRITABLE_BY_OTHERS) === 0 || (mode & allowed) !== 0);
}
