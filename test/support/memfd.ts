/** A file that lives in memory only (memfd_create(2)), for tests of what has no path. */
import { readFileSync, writeSync } from "node:fs";
import koffi from "koffi";

export interface Memfd extends Disposable {
  /** Through which other processes of this one's tree reach it. */
  readonly path: string;
}

/** Makes one that holds the bytes of a file. */
export function openMemfd(name: string, contentPath: string): Memfd {
  const libc = koffi.load("libc.so.6");
  const fd: number = libc.func("int memfd_create(const char *name, unsigned int flags)")(name, 0);
  const close = libc.func("int close(int fd)");
  writeSync(fd, readFileSync(contentPath));
  return { path: `/proc/${process.pid}/fd/${fd}`, [Symbol.dispose]: () => close(fd) };
}
