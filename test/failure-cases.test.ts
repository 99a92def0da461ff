/** docs/failure-cases.md tells of every case once, and each test that it names exists. */
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";

const CASES = 35;

interface Case {
  readonly number: number;
  readonly state: string;
  readonly proof: string;
}

const text = await readFile(new URL("../docs/failure-cases.md", import.meta.url), "utf8");
const cases = text.split("\n").flatMap((line): Case[] => {
  const cells = line.split("|").slice(1, -1).map((cell) => cell.trim());
  const [number = "", , , state = "", proof = ""] = cells;
  return /^\d+$/.test(number) ? [{ number: Number(number), state, proof }] : [];
});

describe("every failure case", () => {
  it("has its number", () => {
    expect(cases.map(({ number }) => number)).toEqual(
      Array.from({ length: CASES }, (_, at) => at + 1),
    );
  });

  it.each(cases)("$number is tested, superseded or later, with its tests or the reason", (each) => {
    expect(each.state).toMatch(/^(tested|superseded|later)$/);
    expect(each.proof.length).toBeGreaterThan(20);
    if (each.state === "tested") expect(testsOf(each.proof)).not.toEqual([]);
  });

  it.each(cases.flatMap(({ proof }) => testsOf(proof)))(
    "has its test: $path, $name",
    async ({ path, name }) => {
      expect(await namesIn(path)).toContain(name);
    },
  );
});

it("a test that is not there would be missed", async () => {
  expect(await namesIn("test/failure-cases.test.ts")).toContain("has its number");
  expect(await namesIn("test/failure-cases.test.ts")).not.toContain("is no test");
  expect(testsOf("`test/a.test.ts`: one: two<br>words: `test/b.test.ts`: three")).toEqual([
    { path: "test/a.test.ts", name: "one: two" },
    { path: "test/b.test.ts", name: "three" },
  ]);
});

function testsOf(proof: string): readonly { readonly path: string; readonly name: string }[] {
  return proof.split("<br>").flatMap((each) => {
    const [, path, name] = /`(test\/[\w/.-]+\.test\.ts)`: (.+)$/.exec(each) ?? [];
    return path === undefined || name === undefined ? [] : [{ path, name }];
  });
}

/** The names that are given to `it` and `test`, as they stand in the file. */
async function namesIn(path: string): Promise<readonly string[]> {
  const source = await readFile(new URL(`../${path}`, import.meta.url), "utf8");
  const calls = source.matchAll(
    /\b(?:it|test)(?:\.\w+)?(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\(\s*(["`])(.*?)\1/g,
  );
  return [...calls].flatMap(([, , name]) => name ?? []);
}
