import { readdirSync, readFileSync, statSync, watch } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KEPT_FILES_MAX, openKeptFiles } from "../../src/query/kept-files.ts";

const textOf = (text: string): Uint8Array => new TextEncoder().encode(text);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "probity-kept-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const open = () => openKeptFiles(folder, (number) => `${number}.text`);

describe("kept files", () => {
  it("have what was written last, whole, and nothing once they are given back", async () => {
    await using files = open();
    const first = files.take();
    const path = await files.write(first, textOf("a long text"));
    expect(readFileSync(path, "utf8")).toBe("a long text");
    await files.write(first, textOf("short"));
    expect(readFileSync(path, "utf8")).toBe("short");
    await files.giveBack(first);
    expect(statSync(path).size).toBe(0);
  });

  it("are different as long as they are not given back", async () => {
    await using files = open();
    const numbers = [files.take(), files.take(), files.take()];
    expect(new Set(numbers).size).toBe(3);
    for (const number of numbers) await files.giveBack(number);
    expect(files.take()).toBe(0);
  });

  it("make, open and remove nothing after the first use", async () => {
    await using files = open();
    const use = async (text: string) => {
      const number = files.take();
      const path = await files.write(number, textOf(text));
      const read = readFileSync(path, "utf8");
      await files.giveBack(number);
      return read;
    };
    await use("first");
    const names: string[] = [];
    const watcher = watch(folder, (kind, name) => {
      if (kind === "rename") names.push(name ?? "");
    });
    watcher.on("error", (error) => {
      throw error;
    });
    const inode = statSync(join(folder, "0.text")).ino;
    for (let round = 0; round < 50; round += 1) expect(await use(`${round}`)).toBe(`${round}`);
    await delay(50);
    watcher.close();
    expect(names).toEqual([]);
    expect(statSync(join(folder, "0.text")).ino).toBe(inode);
  });

  it("are not kept beyond a number, and none is left in the end", async () => {
    const files = open();
    const numbers = Array.from({ length: KEPT_FILES_MAX + 2 }, () => files.take());
    for (const number of numbers) await files.write(number, textOf("x"));
    expect(readdirSync(folder)).toHaveLength(KEPT_FILES_MAX + 2);
    for (const number of numbers) await files.giveBack(number);
    expect(readdirSync(folder)).toHaveLength(KEPT_FILES_MAX);
    await files[Symbol.asyncDispose]();
    expect(readdirSync(folder)).toEqual([]);
  });
});
