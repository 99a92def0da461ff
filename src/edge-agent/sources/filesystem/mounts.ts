/**
 * Which filesystems are watched: one per superblock with files of its own, found in mountinfo.
 *
 * Left out: the kernel's own views (proc, sysfs, cgroup …), where no one keeps files; overlay, whose changes are seen on
 * the filesystem below it; network and FUSE filesystems, whose servers could block the agent. What is left out is named
 * with a reason, never silent. Pure.
 */

/** A mount, as mountinfo states it. Texts are binary: one character per byte. */
export interface Mount {
  /** `major:minor` of the superblock (the kernel's `s_dev`; on btrfs not what stat says). */
  readonly device: string;
  /** Directory of the filesystem that is mounted: `/` when it is the whole. */
  readonly root: string;
  readonly point: string;
  readonly type: string;
}

/** A superblock worth watching, with its mounts, best first. */
export interface Filesystem {
  readonly device: string;
  readonly type: string;
  readonly mounts: readonly Mount[];
}

/** Kernel views without files of users; and those seen through the filesystems below them. */
const KERNEL_TYPES: ReadonlySet<string> = new Set([
  "autofs",
  "binfmt_misc",
  "bpf",
  "cgroup",
  "cgroup2",
  "configfs",
  "debugfs",
  "devpts",
  "efivarfs",
  "fusectl",
  "hugetlbfs",
  "mqueue",
  "nsfs",
  "overlay",
  "proc",
  "pstore",
  "resctrl",
  "rpc_pipefs",
  "securityfs",
  "selinuxfs",
  "smackfs",
  "sysfs",
  "tracefs",
]);

const REMOTE_TYPES =
  /^(nfs4?|cifs|smb3|smbfs|9p|afs|ceph|coda|gfs2|glusterfs|lustre|ocfs2|fuse(blk|\..*)?)$/;

/** Mounts of one text of `/proc/self/mountinfo`, read as binary (proc_pid_mountinfo(5)). */
export function parseMountinfo(text: string): readonly Mount[] {
  return text.split("\n").flatMap((line) => {
    const [own = "", rest = ""] = line.split(" - ");
    const [, , device, root, point] = own.split(" ");
    const [type] = rest.split(" ");
    if (device === undefined || root === undefined || point === undefined) return [];
    if (type === undefined || type === "") return [];
    return [{ device, root: unescape(root), point: unescape(point), type }];
  });
}

/** Superblocks to watch, in order of their first mount. */
export function watchableFilesystems(mounts: readonly Mount[]): readonly Filesystem[] {
  const byDevice = new Map<string, Mount[]>();
  for (const mount of mounts) {
    if (isKernelType(mount.type) || isRemoteType(mount.type)) continue;
    const known = byDevice.get(mount.device);
    if (known === undefined) byDevice.set(mount.device, [mount]);
    else known.push(mount);
  }
  return [...byDevice].map(([device, all]) => ({
    device,
    type: all[0]?.type ?? "",
    mounts: all.toSorted(byUsefulness),
  }));
}

export function isKernelType(type: string): boolean {
  return KERNEL_TYPES.has(type);
}

/** Whether opening a file of it may wait for another machine or process. */
export function isRemoteType(type: string): boolean {
  return REMOTE_TYPES.test(type);
}

/** A mount of the whole filesystem names every file; of several, the shortest path is what people call it. */
function byUsefulness(a: Mount, b: Mount): number {
  return a.root.length - b.root.length || a.point.length - b.point.length;
}

/** The kernel writes space, tab, line feed, backslash and # as octal. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_all, octal: string) => {
    return String.fromCharCode(Number.parseInt(octal, 8));
  });
}
