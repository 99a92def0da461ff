/**
 * Files for what is read once and forgotten, of which the same few are written again and again.
 *
 * Invariant: once there are as many as are needed at a time, none is made, opened or removed any more: each of these is
 * an event on a host that an agent watches, and an event that makes the next message makes events without end.
 */
import { type FileHandle, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Files that are kept open. More are needed only while much is caught up with; they are made and removed. */
export const KEPT_FILES_MAX = 256;

export interface KeptFiles extends AsyncDisposable {
  /** A number that nothing else has until it is given back. */
  take(): number;
  /** Puts content where the file of a number is; its path. */
  write(number: number, content: Uint8Array): Promise<string>;
  /** Frees the room of a number's file, whose path then means nothing. */
  empty(number: number): Promise<void>;
  /** The same, and the number may be taken again. */
  giveBack(number: number): Promise<void>;
}

/** `name`: of the file of a number, in the folder. Opens nothing before it is needed. */
export function openKeptFiles(folder: string, name: (number: number) => string): KeptFiles {
  const kept = new Map<number, FileHandle>();
  const written = new Set<number>();
  const free: number[] = [];
  let next = 0;
  const pathOf = (number: number): string => join(folder, name(number));
  const empty = async (number: number): Promise<void> => {
    if (!written.delete(number)) return;
    await (kept.get(number)?.truncate(0) ?? rm(pathOf(number), { force: true }));
  };
  return {
    take: () => free.pop() ?? next++,
    async write(number, content) {
      const path = pathOf(number);
      const isEmpty = !written.has(number);
      written.add(number);
      if (number >= KEPT_FILES_MAX) {
        await writeFile(path, content, { mode: 0o600 });
        return path;
      }
      const file = kept.get(number) ?? await open(path, "w", 0o600);
      kept.set(number, file);
      if (!isEmpty) await file.truncate(0);
      await writeAll(file, content);
      return path;
    },
    empty,
    async giveBack(number) {
      await empty(number);
      free.push(number);
      // The smallest first: those that are kept.
      free.sort((left, right) => right - left);
    },
    async [Symbol.asyncDispose]() {
      for (const file of kept.values()) await file.close();
      await Promise.all(
        [...kept.keys(), ...written].map((number) => rm(pathOf(number), { force: true })),
      );
      kept.clear();
    },
  };
}

async function writeAll(file: FileHandle, content: Uint8Array): Promise<void> {
  for (let at = 0; at < content.length;) {
    const { bytesWritten } = await file.write(content, at, content.length - at, at);
    at += bytesWritten;
  }
}
