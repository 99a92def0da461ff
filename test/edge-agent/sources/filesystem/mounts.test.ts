import { describe, expect, it } from "vitest";
import {
  parseMountinfo,
  watchableFilesystems,
} from "../../../../src/edge-agent/sources/filesystem/mounts.ts";

const MOUNTINFO = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /dev rw shared:2 - devtmpfs devtmpfs rw
24 22 0:21 / /proc rw - proc proc rw
25 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
26 22 254:0 /srv/data /mnt/with\\040space\\134 rw - ext4 /dev/vda rw
27 22 254:0 /srv /a rw - ext4 /dev/vda rw
28 22 0:40 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
29 22 0:41 / /home rw - nfs4 server:/home rw
30 22 0:42 / /media rw - fuse.sshfs host: rw
31 22 8:1 /only /srv/only rw master:3 propagate_from:2 - xfs /dev/sda1 rw
`;

describe("mounts", () => {
  it("are read with device, root, point and type", () => {
    expect(parseMountinfo(MOUNTINFO)).toHaveLength(10);
    expect(parseMountinfo(MOUNTINFO)[4]).toEqual({
      device: "254:0",
      root: "/srv/data",
      point: "/mnt/with space\\",
      type: "ext4",
    });
    expect(parseMountinfo("")).toEqual([]);
  });

  it("are watched once per filesystem, by the mount that shows most of it", () => {
    const watched = watchableFilesystems(parseMountinfo(MOUNTINFO));
    expect(watched.map(({ device, type, mounts }) => [device, type, mounts[0]?.point])).toEqual([
      ["254:0", "ext4", "/"],
      ["0:5", "devtmpfs", "/dev"],
      ["8:1", "xfs", "/srv/only"],
    ]);
    expect(watched[0]?.mounts.map(({ root }) => root)).toEqual(["/", "/srv", "/srv/data"]);
  });
});
