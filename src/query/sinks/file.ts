/**
 * Events as lines of JSON in a file that is rotated by size: `events.ndjson`, older ones `events.ndjson.1` and so on.
 *
 * Invariants: what was taken is on disk (fsync) before the delivery ends. A line that was torn when the process was
 * killed is cut off before anything follows it; its event comes again whole. A file that another program moved away or
 * removed gets nothing more: nobody would look for it there.
 */
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { SinkTarget, TargetSettings } from "./target.ts";
import { linesOf } from "./stdout.ts";

type FileSettings = Omit<Extract<TargetSettings, { readonly type: "file" }>, "type">;

/** How much is read at once when the end of the last whole line is looked for, in bytes. */
const LOOK_BYTES = 65_536;
const NEWLINE = 10;

export function createFileTarget({ path, rotateBytes, kept }: FileSettings): SinkTarget {
  let file: { readonly handle: FileHandle; readonly sizeBytes: number } | undefined;

  const close = async (): Promise<void> => {
    const { handle } = file ?? {};
    file = undefined;
    await handle?.close();
  };
  const opened = async () => {
    if (file !== undefined) {
      const sizeBytes = await sizeAt(path, file.handle);
      if (sizeBytes !== undefined) return file = { handle: file.handle, sizeBytes };
      await close();
    }
    const handle = await open(path, "a+", 0o640);
    try {
      const sizeBytes = await mend(handle);
      await syncFolder(path);
      return file = { handle, sizeBytes };
    } catch (error) {
      await handle.close();
      throw error;
    }
  };
  const rotate = async (): Promise<void> => {
    await close();
    await rm(numbered(path, kept), { force: true });
    for (let at = kept - 1; at >= 0; at--) {
      await rename(numbered(path, at), numbered(path, at + 1)).catch(ignoreAbsent);
    }
    await syncFolder(path);
  };

  return {
    async deliver(events, signal) {
      signal.throwIfAborted();
      const bytes = Buffer.from(linesOf(events));
      try {
        const { sizeBytes } = await opened();
        if (sizeBytes > 0 && sizeBytes + bytes.length > rotateBytes) await rotate();
        const current = await opened();
        await current.handle.appendFile(bytes);
        await current.handle.sync();
        const { nlink } = await current.handle.stat();
        if (nlink === 0) throw new Error(`Cannot write ${JSON.stringify(path)}: it was removed`);
      } catch (error) {
        // Half of it may stand there: the next opening mends it.
        await Promise.allSettled([close()]);
        throw error;
      }
    },
    [Symbol.asyncDispose]: close,
  };
}

/** Cuts off what follows the last newline; the size that is left. */
async function mend(handle: FileHandle): Promise<number> {
  const { size } = await handle.stat();
  const buffer = Buffer.alloc(LOOK_BYTES);
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - LOOK_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, end - start, start);
    const at = buffer.subarray(0, bytesRead).lastIndexOf(NEWLINE);
    if (at >= 0) {
      const sizeBytes = start + at + 1;
      if (sizeBytes < size) await handle.truncate(sizeBytes);
      return sizeBytes;
    }
    end = start;
  }
  if (size > 0) await handle.truncate(0);
  return 0;
}

/** In bytes; undefined when the path leads to another file by now, or to none. */
async function sizeAt(path: string, handle: FileHandle): Promise<number | undefined> {
  const [there, own] = await Promise.all([
    stat(path, { bigint: true }).catch(ignoreAbsent),
    handle.stat({ bigint: true }),
  ]);
  if (there?.dev !== own.dev || there.ino !== own.ino) return undefined;
  return Number(own.size);
}

/** 0 is the file that is written now. With none kept, the file itself goes. */
function numbered(path: string, at: number): string {
  return at === 0 ? path : `${path}.${at}`;
}

function ignoreAbsent(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
