/**
 * Durable files: how bytes become an object of the directory store.
 *
 * Invariant: a name either does not exist or holds whole content that is on the disk. The content is written to a
 * temporary file of the same folder and fsynced before any other name points to it, and the folder is fsynced after.
 */
import { randomBytes } from "node:crypto";
import { constants, copyFile, type FileHandle, link } from "node:fs/promises";
import { lstat, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

export const FOLDER_MODE = 0o750;
export const FILE_MODE = 0o640;
export const TEMPORARY_PREFIX = ".tmp-";

export type Content = { readonly bytes: Uint8Array } | { readonly file: string };

/** Writes a temporary file beside `path`, durable but for its name; returns its path. Leaves nothing on failure. */
export async function writeTemporary(path: string, content: Content): Promise<string> {
  const temporary = join(
    dirname(path),
    `${TEMPORARY_PREFIX}${process.pid}-${randomBytes(8).toString("hex")}`,
  );
  try {
    await writeDurably(temporary, content);
    return temporary;
  } catch (cause) {
    await removeIfPresent(temporary);
    throw cause;
  }
}

/** Gives a temporary file its name unless something has it; the temporary name is gone afterwards. */
export async function linkIfAbsent(
  temporary: string,
  path: string,
): Promise<"created" | "exists"> {
  try {
    await link(temporary, path);
    return "created";
  } catch (cause) {
    if (codeOf(cause) !== "EEXIST") throw cause;
    return await isSameFile(temporary, path) ? "created" : "exists";
  } finally {
    await removeIfPresent(temporary);
  }
}

/** Gives a temporary file its name, whatever stood there. */
export async function moveOver(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (cause) {
    await removeIfPresent(temporary);
    throw cause;
  }
}

export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync();
}

/** Tries to make one folder, at most. */
const ATTEMPTS_MAX = 10;

/** Makes the folders between `root` and `folder` that are missing, durably. */
export async function ensureFolder(root: string, folder: string): Promise<void> {
  if (folder === root) return;
  const above = dirname(folder);
  for (let attempt = 1;; attempt += 1) {
    try {
      await mkdir(folder, { mode: FOLDER_MODE });
      break;
    } catch (cause) {
      const code = codeOf(cause);
      if (code === "EEXIST") return;
      // Another process may remove an empty folder above; where the root is gone, or takes none, nothing helps.
      if (code !== "ENOENT" || above === root || attempt === ATTEMPTS_MAX) throw cause;
      await ensureFolder(root, above);
    }
  }
  await syncFolder(above);
}

/** Removes a file; whether it was there. */
export async function removeIfPresent(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return false;
    throw cause;
  }
}

/** The system's error code (`ENOENT` and the like), or undefined when it is no system error. */
export function codeOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error) || !("code" in cause)) return undefined;
  return typeof cause.code === "string" ? cause.code : undefined;
}

async function writeDurably(path: string, content: Content): Promise<void> {
  if ("file" in content) {
    await copyFile(content.file, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
  const flags = "file" in content
    ? constants.O_WRONLY
    : constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  await using handle = await open(path, flags | constants.O_NOFOLLOW, FILE_MODE);
  if ("file" in content) await handle.chmod(FILE_MODE);
  else await handle.writeFile(content.bytes);
  await handle.sync();
}

/** NFS may repeat a link that has succeeded and answer EEXIST: then both names are one file. */
async function isSameFile(left: string, right: string): Promise<boolean> {
  const [one, two] = await Promise.all([left, right].map((path) => lstat(path, { bigint: true })));
  return one !== undefined && two !== undefined && one.ino === two.ino && one.dev === two.dev;
}

/** Writes all that comes; how many bytes that was. */
export async function writeStream(
  file: FileHandle,
  stream: ReadableStream<Uint8Array> | undefined,
): Promise<number> {
  let written = 0;
  for await (const chunk of stream ?? []) {
    await file.writeFile(chunk);
    written += chunk.length;
  }
  return written;
}
