/** What filters name, found on this machine: files by inode and device, cgroups by id. */
import { join } from "node:path";
import { cgroupMounts } from "./cgroup-root.ts";
import { kernelFileIdentity, readKernelText } from "./kernel-files.ts";
import type { RulePlaces } from "./rules.ts";

export const rulePlaces: RulePlaces = {
  fileAt: kernelFileIdentity,
  cgroupAt(path) {
    // The id of a cgroup is the inode of its folder.
    for (const mount of cgroupMounts(readKernelText("/proc/self/mountinfo") ?? "")) {
      const found = kernelFileIdentity(join(mount, path));
      if (found !== undefined) return found.inode;
    }
    return undefined;
  },
};
