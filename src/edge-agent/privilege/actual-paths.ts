/**
 * Paths of pins as what stands there, and not where a link leads: whoever owns the pins' folders makes links in them, and
 * puts one in the place of a folder at any time.
 *
 * Invariants: what is acted on was found by its path without a link, and is reached by its descriptor from then on; a
 * name that is made, removed or renamed is looked up in a folder that was found so.
 */
import { basename, dirname } from "node:path";
import { ERRNO, type Libc, O_NOFOLLOW, O_PATH } from "../libc.ts";
import { bytesOf } from "./answers.ts";

const LINK_BYTES = 4096;

/** `act` is given another name of what stands at a path, for as long as it runs; else a negative errno. */
export function onActual(
  libc: Pick<Libc, "open" | "readlink" | "close">,
  path: string,
  act: (own: string) => number,
): number {
  const pathFd = libc.open(bytesOf(path), O_PATH | O_NOFOLLOW);
  if (pathFd < 0) return pathFd;
  try {
    const own = `/proc/self/fd/${pathFd}`;
    const link = Buffer.alloc(LINK_BYTES);
    const length = libc.readlink(own, link);
    const isThere = length >= 0 && link.toString("latin1", 0, length) === path;
    // A link itself, opened as a path, has the path, too: nothing can be opened by it.
    return isThere ? act(own) : -ERRNO.EPERM;
  } finally {
    libc.close(pathFd);
  }
}

/** The same of a name in a folder, whether or not it is there: calls that do not follow the last link are safe. */
export function inActual(
  libc: Pick<Libc, "open" | "readlink" | "close">,
  path: string,
  act: (own: string) => number,
): number {
  return onActual(libc, dirname(path), (folder) => act(`${folder}/${basename(path)}`));
}
