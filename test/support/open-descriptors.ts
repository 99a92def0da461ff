/** Descriptors that this process holds on files of a folder: of others, a test's surroundings open and close some. */
import { readdirSync, readlinkSync } from "node:fs";

export function descriptorsBelow(folder: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;
}
