import { mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { makeFolders } from "../../src/runtime/folders.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

it("folders are made with those above them, and may be there already", async () => {
  await using folder = await openTemporaryFolder("folders");
  const path = join(folder.path, "a", "b", "c");
  makeFolders(path, 0o700);
  makeFolders(path, 0o700);
  makeFolders("/", 0o700);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  symlinkSync(path, join(folder.path, "link"));
  makeFolders(join(folder.path, "link"), 0o700);
});

it.each(["/proc/nope", "/proc/nope/below", "/proc/self/nope"])(
  "%s cannot be made, which is said",
  (path) => {
    expect(() => makeFolders(path, 0o700)).toThrow(
      expect.objectContaining({
        code: "ENOENT",
        message: expect.stringContaining(`Cannot make folder "${path}": ENOENT`),
      }),
    );
  },
);

it("what is no folder stands in the way, also below", async () => {
  await using folder = await openTemporaryFolder("folders");
  const file = join(folder.path, "file");
  writeFileSync(file, "");
  mkdirSync(join(folder.path, "there"));
  expect(() => makeFolders(file, 0o700)).toThrow(/EEXIST/);
  expect(() => makeFolders(join(file, "below"), 0o700)).toThrow(/ENOTDIR/);
});
