import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { unmount } from "../support/mounts.ts";
import { requireCapability } from "../support/require.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const isAble = process.getuid?.() === 0 && existsSync("/sbin/mkfs.ext4");
const IMAGE_BYTES = 64 * 1024 * 1024;

/**
 * A file system on a loop device: what its file holds at any moment is what a disk would hold if the power went. A copy
 * of that file, mounted, is the machine after the next start.
 */
describe.runIf(requireCapability("root", isAble, "mounting needs root and mkfs.ext4"))(
  "a power cut",
  () => {
    test("right after an answer loses nothing that was answered", async () => {
      await using folder = await openTemporaryFolder("power-cut");
      const image = join(folder.path, "image");
      const disk = join(folder.path, "disk");
      const after = join(folder.path, "after");
      for (const path of [disk, after]) await mkdir(path);
      await using file = await open(image, "w");
      await file.truncate(IMAGE_BYTES);
      await run("/sbin/mkfs.ext4", ["-q", "-F", image]);
      await using mounted = new AsyncDisposableStack();
      await run("mount", ["-o", "loop", image, disk]);
      mounted.defer(() => unmount(disk));

      const promised = new Map<string, string>();
      const lookAfterCut = async (): Promise<ReadonlyMap<string, string | undefined>> => {
        const copy = join(folder.path, "copy");
        await copyFile(image, copy);
        await run("mount", ["-o", "loop", copy, after]);
        try {
          await using store = await openDirectoryStore({ directory: join(after, "bucket") });
          const found = new Map<string, string | undefined>();
          for (const key of promised.keys()) {
            const object = await store.get(key);
            found.set(key, object && Buffer.from(object.body).toString());
          }
          found.set("control", existsSync(join(after, "control")) ? "there" : undefined);
          return found;
        } finally {
          unmount(after);
        }
      };

      await using store = await openDirectoryStore({ directory: join(disk, "bucket") });
      const source = join(folder.path, "source");
      const content = (name: string): Buffer => Buffer.from(name.repeat(5_000));
      for (let round = 0; round < 3; round++) {
        const name = `round-${round}`;
        await store.putIfAbsent(`new/${name}/folder/${name}`, content(name));
        promised.set(`new/${name}/folder/${name}`, content(name).toString());
        await expectKept();

        await writeFile(source, content(`file-${name}`));
        await store.putFileIfAbsent(`file/${name}`, source);
        promised.set(`file/${name}`, content(`file-${name}`).toString());
        await expectKept();

        await store.put("over", content(`over-${name}`));
        promised.set("over", content(`over-${name}`).toString());
        await expectKept();

        const etag = (await store.get("over"))?.etag ?? "";
        await store.replace("over", content(`again-${name}`), etag);
        promised.set("over", content(`again-${name}`).toString());
        await expectKept();
      }
      // The same without fsync is lost: the cut is a real one.
      await writeFile(join(disk, "control"), "control");
      expect((await lookAfterCut()).get("control")).toBeUndefined();
      expect(await readFile(join(disk, "control"), "utf8")).toBe("control");

      async function expectKept(): Promise<void> {
        const found = await lookAfterCut();
        for (const [key, body] of promised) expect(found.get(key) === body, key).toBe(true);
      }
    });
  },
);
