/**
 * A log that is open to be read, whoever owns it: what the agent's user may not open is asked of the privileged process.
 *
 * Invariant: it is read by its descriptor alone, so that what was opened is what is read, wherever it was renamed to.
 */
import { type FileHandle, open } from "node:fs/promises";
import {
  AT_EMPTY_PATH,
  ERRNO,
  errnoText,
  type Libc,
  loadLibc,
  O_NONBLOCK,
  O_RDONLY,
  STATX_BASIC_STATS,
  STATX_BYTES,
} from "../../libc.ts";

export interface LogFile extends AsyncDisposable {
  /** Device and inode. */
  readonly inode: string;
  readonly sizeBytes: number;
  /** Bytes read from a place on. */
  read(buffer: Uint8Array, offset: number): Promise<number>;
}

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
let libc: Libc | undefined;

/** The file, or why not. Whoever opens it disposes of it. */
export async function openLogFile(
  path: string,
): Promise<LogFile | "absent" | { readonly reason: string }> {
  try {
    return await fileOf(await open(path, O_RDONLY | O_NONBLOCK));
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    if (error.code === "ENOENT") return "absent";
    const isForbidden = error.code === "EACCES" || error.code === "EPERM";
    return isForbidden ? openForbidden(path) : refused(path, String(error.code));
  }
}

/** Whether a log is there and may be read; else why not. */
export async function stateOfLog(
  path: string,
): Promise<"there" | "absent" | { readonly reason: string }> {
  const file = await openLogFile(path);
  if (file === "absent" || "reason" in file) return file;
  await file[Symbol.asyncDispose]();
  return "there";
}

async function fileOf(handle: FileHandle): Promise<LogFile> {
  const stat = await handle.stat({ bigint: true });
  return {
    inode: `${stat.dev}:${stat.ino}`,
    sizeBytes: Number(stat.size),
    read: async (buffer, offset) => (await handle.read(buffer, 0, buffer.length, offset)).bytesRead,
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** The descriptor comes from another process: Deno's own calls know nothing of it. */
function openForbidden(path: string): LogFile | "absent" | { readonly reason: string } {
  const calls = libc ??= loadLibc();
  const fd = calls.open(path, O_RDONLY | O_NONBLOCK);
  if (fd === -ERRNO.ENOENT) return "absent";
  if (fd < 0) return refused(path, errnoText(fd));
  const buffer = new Uint8Array(STATX_BYTES);
  const mask = STATX_BASIC_STATS;
  const status = calls.statx(fd, "", { flags: AT_EMPTY_PATH, mask, buffer });
  const statx = new DataView(buffer.buffer);
  if (status < 0 || (statx.getUint16(28, true) & S_IFMT) !== S_IFREG) {
    calls.close(fd);
    return refused(path, status < 0 ? errnoText(status) : "it is no file");
  }
  return {
    inode: `${deviceOf(statx)}:${statx.getBigUint64(32, true)}`,
    sizeBytes: Number(statx.getBigUint64(40, true)),
    read: (into, offset) => {
      const length = calls.pread(fd, into, offset);
      if (length < 0) throw new Error(`Cannot read "${path}": ${errnoText(length)}`);
      return Promise.resolve(length);
    },
    [Symbol.asyncDispose]: () => {
      calls.close(fd);
      return Promise.resolve();
    },
  };
}

/** As stat(2) writes it (`new_encode_dev`, include/linux/kdev_t.h). */
function deviceOf(statx: DataView): bigint {
  const [major, minor] = [136, 140].map((at) => BigInt(statx.getUint32(at, true)));
  if (major === undefined || minor === undefined) return 0n;
  return (minor & 0xffn) | (major << 8n) | ((minor & ~0xffn) << 12n);
}

function refused(path: string, state: string): { readonly reason: string } {
  return { reason: `Cannot read "${path}": ${state}` };
}
