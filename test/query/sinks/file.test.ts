/** Files of events: their rotation, and how a line that was torn is mended. */
import { appendFile, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createFileTarget } from "../../../src/query/sinks/file.ts";
import { linesOf } from "../../../src/query/sinks/stdout.ts";
import { sinkEvents } from "../../support/sink-events.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../../support/temporary-folder.ts";

const signal = new AbortController().signal;
const EVENTS = sinkEvents(9);
/** Bytes of one line: all are as long. */
const LINE_BYTES = linesOf(EVENTS.slice(0, 1)).length;

let folder: TemporaryFolder;
let path = "";
let files = 0;
beforeAll(async () => {
  folder = await openTemporaryFolder("sink-file");
});
afterAll(() => folder?.[Symbol.asyncDispose]());
beforeEach(() => {
  path = join(folder.path, `${files++}.ndjson`);
});

const open = (lines: number, kept: number) =>
  createFileTarget({ path, rotateBytes: lines * LINE_BYTES, kept });
const numbersIn = async (file: string): Promise<number[]> =>
  (await readFile(file, "utf8")).trimEnd().split("\n").map((line) => JSON.parse(line).pid);

describe("a file", () => {
  test("is rotated before it would be too large, and the oldest goes", async () => {
    await using target = open(2, 2);
    for (const event of EVENTS.slice(0, 7)) await target.deliver([event], signal);
    expect(await numbersIn(path)).toEqual([6]);
    expect(await numbersIn(`${path}.1`)).toEqual([4, 5]);
    expect(await numbersIn(`${path}.2`)).toEqual([2, 3]);
    const names = await readdir(folder.path);
    expect(names.filter((name) => path.endsWith(name.slice(0, 8)))).toHaveLength(3);
  });

  test("of which no older one is kept begins anew", async () => {
    await using target = open(2, 0);
    for (const event of EVENTS.slice(0, 3)) await target.deliver([event], signal);
    expect(await numbersIn(path)).toEqual([2]);
  });

  test("takes a delivery that is larger than it may be as a whole", async () => {
    await using target = open(2, 1);
    await target.deliver(EVENTS.slice(0, 5), signal);
    await target.deliver(EVENTS.slice(5, 6), signal);
    expect(await numbersIn(`${path}.1`)).toEqual([0, 1, 2, 3, 4]);
    expect(await numbersIn(path)).toEqual([5]);
  });

  test("counts what stood there before", async () => {
    {
      await using before = open(2, 1);
      await before.deliver(EVENTS.slice(0, 2), signal);
    }
    await using target = open(2, 1);
    await target.deliver(EVENTS.slice(2, 3), signal);
    expect(await numbersIn(`${path}.1`)).toEqual([0, 1]);
    expect(await numbersIn(path)).toEqual([2]);
  });

  test.each([
    ["a short end", "{"],
    ["an end that is longer than what is read at once", `{"long":"${"x".repeat(200_000)}`],
    ["nothing", ""],
  ])("that was torn loses no whole line: %s", async (_name, torn) => {
    await writeFile(path, linesOf(EVENTS.slice(0, 3)));
    await appendFile(path, torn);
    await using target = open(1_000_000, 1);
    await target.deliver(EVENTS.slice(3, 4), signal);
    expect(await numbersIn(path)).toEqual([0, 1, 2, 3]);
  });

  test("that is nothing but a torn line begins anew", async () => {
    await writeFile(path, `{"long":"${"x".repeat(70_000)}`);
    await using target = open(1_000_000, 1);
    await target.deliver(EVENTS.slice(0, 1), signal);
    expect(await numbersIn(path)).toEqual([0]);
  });

  test("that another program moved away or removed is made anew", async () => {
    await using target = open(1_000_000, 1);
    await target.deliver(EVENTS.slice(0, 1), signal);
    await rename(path, `${path}.moved`);
    await target.deliver(EVENTS.slice(1, 2), signal);
    expect(await numbersIn(`${path}.moved`)).toEqual([0]);
    expect(await numbersIn(path)).toEqual([1]);
    await rm(path);
    await target.deliver(EVENTS.slice(2, 3), signal);
    expect(await numbersIn(path)).toEqual([2]);
    await rename(`${path}.moved`, path);
    await target.deliver(EVENTS.slice(3, 4), signal);
    expect(await numbersIn(path)).toEqual([0, 3]);
  });

  test("that another program cut is as large as it is", async () => {
    await using target = open(2, 1);
    await target.deliver(EVENTS.slice(0, 2), signal);
    await truncate(path, LINE_BYTES);
    await target.deliver(EVENTS.slice(2, 3), signal);
    expect(await numbersIn(path)).toEqual([0, 2]);
  });

  test("in a folder that is not there takes nothing until there is one", async () => {
    path = join(folder.path, "absent", "events.ndjson");
    await using target = open(2, 1);
    await expect(target.deliver(EVENTS.slice(0, 1), signal)).rejects.toThrow("ENOENT");
  });
});
