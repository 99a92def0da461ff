/** Filesystems made for one test: a tmpfs, an overlay, ext4 or xfs on a loop device, mounted in a new temporary folder. */
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface MountedFilesystem extends Disposable {
  readonly path: string;
}

const EXT4_BYTES = 32 * 1024 * 1024;
/** The smallest that mkfs.xfs makes. */
const XFS_BYTES = 300 * 1024 * 1024;

/** Half of the machine's memory unless told. */
export function mountTmpfs(
  { sizeMiB }: { readonly sizeMiB?: number } = {},
): MountedFilesystem {
  const size = sizeMiB === undefined ? [] : ["-o", `size=${sizeMiB}m`];
  return mountAt((point) => execFileSync("mount", ["-t", "tmpfs", ...size, "probity-test", point]));
}

export function mountExt4(): MountedFilesystem {
  return mountImage(EXT4_BYTES, ["mkfs.ext4", "-q", "-F"]);
}

export function mountXfs(): MountedFilesystem {
  return mountImage(XFS_BYTES, ["mkfs.xfs", "-q"]);
}

export interface MountedOverlay extends MountedFilesystem {
  /** Where what is written to the overlay lies. */
  readonly upper: string;
}

/** On a tmpfs of its own, which holds its layers. */
export function mountOverlay(): MountedOverlay {
  const layers = mountTmpfs();
  const layer = (name: string): string => join(layers.path, name);
  const [lower, upper, work] = [layer("lower"), layer("upper"), layer("work")];
  for (const folder of [lower, upper, work]) mkdirSync(folder);
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  const merged = mountAt((point) =>
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", options, point])
  );
  return {
    path: merged.path,
    upper,
    [Symbol.dispose]() {
      merged[Symbol.dispose]();
      layers[Symbol.dispose]();
    },
  };
}

function mountImage(
  sizeBytes: number,
  [make, ...options]: readonly [string, ...string[]],
): MountedFilesystem {
  return mountAt((point, folder) => {
    const image = join(folder, "image");
    const fd = openSync(image, "w");
    ftruncateSync(fd, sizeBytes);
    closeSync(fd);
    execFileSync(make, [...options, image]);
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
      unmount(point);
      rmSync(folder, { recursive: true });
    },
  };
}

const UNMOUNT_LIMIT_MS = 5_000;
const UNMOUNT_WAIT_MS = 50;

/** Unmounts; whoever watches files may have one open for a moment, and an administrator would try again. */
export function unmount(point: string): void {
  const untilMs = performance.now() + UNMOUNT_LIMIT_MS;
  for (;;) {
    const { status, stderr } = spawnSync("umount", [point], { encoding: "utf8" });
    if (status === 0) return;
    if (!stderr.includes("busy") || performance.now() > untilMs) {
      throw new Error(`Cannot unmount ${point}: ${stderr}`);
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, UNMOUNT_WAIT_MS);
  }
}
