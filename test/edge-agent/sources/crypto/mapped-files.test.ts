import { describe, expect, it } from "vitest";
import { parseMappings } from "../../../../src/edge-agent/sources/crypto/mapped-files.ts";

describe("files that a process may execute", () => {
  it("are those of its mappings that have a file, whatever its name is", () => {
    const maps = [
      "00400000-00401000 r--p 00000000 fe:00 17 /usr/bin/none",
      "00401000-00402000 r-xp 00001000 fe:00 17                         /usr/bin/one",
      "7f0000000000-7f0000001000 r-xp 00000000 00:1c 4294967297         /a b/two (deleted)",
      "7f0000002000-7f0000003000 rwxp 00000000 00:00 0 ",
      "7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0                  [vdso]",
      "7f0000004000-7f0000005000 r-xp 00000000 08:10 5                  /\xff\\012x",
    ].join("\n");
    expect(parseMappings(Buffer.from(`${maps}\n`, "latin1"))).toEqual([
      { device: "254:0", inode: 17, path: "/usr/bin/one", name: "401000-402000" },
      {
        device: "0:28",
        inode: 4294967297,
        path: "/a b/two",
        name: "7f0000000000-7f0000001000",
      },
      {
        device: "8:16",
        inode: 5,
        path: "/\\xff\\x5c012x",
        name: "7f0000004000-7f0000005000",
      },
    ]);
  });
});
