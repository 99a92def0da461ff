/** What filters name, found on this machine: files by inode and device, cgroups by id. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { kernelDevice } from "./program-settings.ts";
import type { RulePlaces } from "./rules.ts";

const CGROUP_FOLDER = "/sys/fs/cgroup";

export const rulePlaces: RulePlaces = {
  fileAt(path) {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? undefined : { inode: stat.ino, device: kernelDevice(stat.dev) };
  },
  cgroupAt: (path) =>
    statSync(join(CGROUP_FOLDER, path), { bigint: true, throwIfNoEntry: false })?.ino,
};
