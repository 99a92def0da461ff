/**
 * Reading the database of one package manager again when it changed.
 *
 * Invariant: what cannot be read, or is gone although it was there, is a fault and no change: what was known stays known.
 */
import { readFile, stat } from "node:fs/promises";
import type { Collection, CollectorContext, Memory } from "../collector.ts";
import { DATABASE_BYTES_MAX, PackageDatabaseError } from "./installed.ts";
import type { Manager } from "./package-events.ts";

export interface PackageDatabase {
  readonly manager: Manager;
  /** Whether this host has such a database. */
  isThere(): Promise<boolean>;
  /**
   * What changed since the last look. Rejects with {@link PackageDatabaseError} when it cannot be read; the next look then
   * reads it again once it has changed.
   */
  look(memory: Memory, context: CollectorContext, signal: AbortSignal): AsyncIterable<Collection>;
}

export interface FileStamp {
  /** Changes with the file. */
  readonly text: string;
  /** Changes with what is in the file, as far as its size and time of change tell. */
  readonly content: string;
  readonly modifiedUs: number;
}

/** Undefined when there is no such file. */
export async function stampOf(path: string): Promise<FileStamp | undefined> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return {
      text: [dev, ino, size, mtimeNs, ctimeNs].join(" "),
      content: [dev, ino, size, mtimeNs].join(" "),
      modifiedUs: Number(mtimeNs / 1000n),
    };
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw unreadable(path, error);
  }
}

/** Binary text of a database. */
export async function readDatabase(path: string, signal: AbortSignal): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > DATABASE_BYTES_MAX) throw new Error(`it has more than ${DATABASE_BYTES_MAX} bytes`);
    return await readFile(path, { encoding: "latin1", signal });
  } catch (error) {
    signal.throwIfAborted();
    throw unreadable(path, error);
  }
}

export function isAbsence(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    (error.code === "ENOENT" || error.code === "ENOTDIR");
}

function unreadable(path: string, cause: unknown): PackageDatabaseError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new PackageDatabaseError(`Cannot read "${path}": ${reason}`, { cause });
}
