/** Filesystems made for one test: a tmpfs or an ext4 on a loop device, mounted in a new temporary folder. */
import { execFileSync } from "node:child_process";
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface MountedFilesystem extends Disposable {
  readonly path: string;
}

const EXT4_BYTES = 32 * 1024 * 1024;

/** Half of the machine's memory unless told. */
export function mountTmpfs(
  { sizeMiB }: { readonly sizeMiB?: number } = {},
): MountedFilesystem {
  const size = sizeMiB === undefined ? [] : ["-o", `size=${sizeMiB}m`];
  return mountAt((point) => execFileSync("mount", ["-t", "tmpfs", ...size, "probity-test", point]));
}

export function mountExt4(): MountedFilesystem {
  return mountAt((point, folder) => {
    const image = join(folder, "image");
    const fd = openSync(image, "w");
    ftruncateSync(fd, EXT4_BYTES);
    closeSync(fd);
    execFileSync("mkfs.ext4", ["-q", "-F", image]);
    execFileSync("mount", ["-o", "loop", image, point]);
  });
}

function mountAt(mount: (point: string, folder: string) => void): MountedFilesystem {
  const folder = mkdtempSync(join(tmpdir(), "probity-mount-"));
  const point = join(folder, "point");
  mkdirSync(point);
  mount(point, folder);
  return {
    path: point,
    [Symbol.dispose]() {
      execFileSync("umount", [point]);
      rmSync(folder, { recursive: true });
    },
  };
}
