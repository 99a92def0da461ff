/**
 * Where payloads lie for the moment in which they are read: in memory where the system has a place for it, since on a
 * disk making and removing a file waits for the journal of whoever else writes there, and live events wait with it.
 *
 * Invariant: the folder is new, of this process's user alone, and what an earlier process left behind is removed.
 */
import { createHash } from "node:crypto";
import { access, constants, mkdtemp, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { makeFolders } from "../runtime/folders.ts";

export interface PayloadFolder extends AsyncDisposable {
  readonly path: string;
}

export interface PayloadFolderOptions {
  /** A folder of this process alone; payloads lie there when memory cannot be had. */
  readonly scratchDirectory: string;
  /** Files here are kept in memory; `/dev/shm` (shm_overview(7)) by default. */
  readonly memoryDirectory?: string;
}

const MEMORY_DIRECTORY = "/dev/shm";

/** Disposing removes the folder. Throws when neither place can be written. */
export async function openPayloadFolder(options: PayloadFolderOptions): Promise<PayloadFolder> {
  const { scratchDirectory, memoryDirectory = MEMORY_DIRECTORY } = options;
  const digest = createHash("sha256").update(resolve(scratchDirectory)).digest("hex");
  const prefix = `probity-${digest.slice(0, 16)}-`;
  const path = await inMemory(memoryDirectory, prefix) ?? await onDisk(scratchDirectory);
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

async function onDisk(directory: string): Promise<string> {
  makeFolders(directory, 0o700);
  return await mkdtemp(join(directory, "payloads-"));
}

/** Undefined where there is no such place or it cannot be written. */
async function inMemory(directory: string, prefix: string): Promise<string | undefined> {
  const able = await Promise.allSettled([access(directory, constants.W_OK | constants.X_OK)]);
  if (able.some(({ status }) => status === "rejected")) return undefined;
  const left = (await readdir(directory)).filter((name) => name.startsWith(prefix));
  // Somebody else's folder of such a name is not ours to remove, and no hindrance.
  await Promise.allSettled(
    left.map((name) => rm(join(directory, name), { recursive: true, force: true })),
  );
  return await mkdtemp(join(directory, prefix));
}
