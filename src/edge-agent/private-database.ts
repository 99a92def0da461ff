/**
 * Databases of the agent's own in its data folder: mode 0600, and a damaged one is put aside for a new one.
 *
 * Invariant: what is put aside is the whole of it, and only when it is damaged or of another version; any other fault
 * (a full disk, a lock) is thrown.
 */
import { closeSync, fchmodSync, openSync, renameSync } from "node:fs";

/** Under which a damaged database is put aside; one that was put aside before is written over. */
const DAMAGED_SUFFIX = ".damaged";
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** Thrown by who opens a database that is whole, and not of a form that it knows. */
export class OtherVersion extends Error {}

/**
 * What `open` makes of the database at a path. One that is no database, or of another version, is put aside as
 * `<path>.damaged` before. Throws when there can be none.
 */
export function openPrivateDatabase<T>(
  path: string,
  open: (options: { readonly wasDamaged: boolean }) => T,
): T {
  makePrivate(path);
  try {
    return open({ wasDamaged: false });
  } catch (error) {
    if (!isDamage(error)) throw error;
    for (const suffix of ["-wal", "-shm"]) renameIfThere(path + suffix);
    renameSync(path, path + DAMAGED_SUFFIX);
    makePrivate(path);
    return open({ wasDamaged: true });
  }
}

function isDamage(error: unknown): boolean {
  if (error instanceof OtherVersion) return true;
  const code = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : 0;
  const text = error instanceof Error ? error.message : "";
  // Deno (2.9) gives no code.
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB ||
    /malformed|not a database/.test(text);
}

function makePrivate(path: string): void {
  const fd = openSync(path, "a", 0o600);
  fchmodSync(fd, 0o600);
  closeSync(fd);
}

function renameIfThere(path: string): void {
  try {
    renameSync(path, path + DAMAGED_SUFFIX);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}
