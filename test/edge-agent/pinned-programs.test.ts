import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { removePinFolder, removePins } from "../../src/edge-agent/pinned-programs.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

it.each([
  ["a set that is a link", (folder: string) => removePins(join(folder, "pins", "link"))],
  ["a folder with a link", (folder: string) => removePinFolder(join(folder, "pins"))],
  ["a folder that is a link", (folder: string) => removePinFolder(join(folder, "pins", "link"))],
])("removing %s removes nothing that it leads to", async (_case, remove) => {
  await using folder = await openTemporaryFolder("pins");
  const other = join(folder.path, "other");
  mkdirSync(join(folder.path, "pins"));
  mkdirSync(other);
  writeFileSync(join(other, "file"), "");
  symlinkSync(other, join(folder.path, "pins", "link"));
  remove(folder.path);
  expect(existsSync(join(other, "file"))).toBe(true);
  expect(existsSync(join(folder.path, "pins", "link"))).toBe(false);
});
