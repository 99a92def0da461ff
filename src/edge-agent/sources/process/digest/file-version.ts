/**
 * Which content a descriptor stands for: the file's identity and the times of its last changes, from statx(2).
 *
 * Invariant: two versions with the same key have the same content, but for changes within one tick of the kernel's clock.
 */
import { AT_EMPTY_PATH, type Libc, STATX_BASIC_STATS, STATX_BTIME } from "../../../libc.ts";

export interface FileVersion {
  /** Device, inode, birth, last change and size, in one text. */
  readonly key: string;
  /** `major:minor` as stat tells it, which on overlay and btrfs is not the kernel's own. */
  readonly device: string;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  readonly sizeBytes: number;
  /** When content or attributes were last changed, and when the content was, µs since the Unix epoch. */
  readonly ctimeUs: number;
  readonly mtimeUs: number;
  readonly isRegular: boolean;
}

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const WORD = 4294967296;

/** Offsets in `struct statx` (include/uapi/linux/stat.h). */
const STATX = {
  mode: 28,
  inode: 32,
  size: 40,
  btime: 80,
  ctime: 96,
  mtime: 112,
  device: 136,
} as const;

/** Undefined when the file cannot be asked. `buffer` has the size of `struct statx`. */
export function readFileVersion(
  libc: Libc,
  fd: number,
  buffer: Uint8Array,
): FileVersion | undefined {
  const mask = STATX_BASIC_STATS | STATX_BTIME;
  if (libc.statx(fd, "", { flags: AT_EMPTY_PATH, mask, buffer }) < 0) return undefined;
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const word = (at: number): number => view.getUint32(at, true);
  const device = `${word(STATX.device)}:${word(STATX.device + 4)}`;
  const inodeLow = word(STATX.inode);
  const inodeHigh = word(STATX.inode + 4);
  const sizeBytes = word(STATX.size + 4) * WORD + word(STATX.size);
  const time = (at: number): string => `${word(at + 4)}.${word(at)}.${word(at + 8)}`;
  const timeUs = (at: number): number =>
    (view.getInt32(at + 4, true) * WORD + word(at)) * 1_000_000 + Math.floor(word(at + 8) / 1000);
  return {
    key: `${device} ${inodeHigh}.${inodeLow} ${time(STATX.btime)} ${time(STATX.ctime)} ` +
      `${time(STATX.mtime)} ${sizeBytes}`,
    device,
    inodeLow,
    inodeHigh,
    sizeBytes,
    ctimeUs: timeUs(STATX.ctime),
    mtimeUs: timeUs(STATX.mtime),
    isRegular: (view.getUint16(STATX.mode, true) & S_IFMT) === S_IFREG,
  };
}
