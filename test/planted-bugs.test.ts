/** The lines that a simulation plants bugs in still stand in the sources. */
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { MUTATIONS, plant } from "./simulation/mutations.ts";

describe("the line that a planted bug takes the place of", () => {
  it.each(MUTATIONS)("stands in src/$file: $name", async (mutation) => {
    const text = await readFile(new URL(`../src/${mutation.file}`, import.meta.url), "utf8");
    expect(plant(text, mutation)).not.toBe(text);
  });

  it("would be missed", () => {
    const mutation = { name: "none", file: "x.ts", line: "a();", becomes: "" };
    expect(() => plant("b();\n", mutation)).toThrow("0 lines");
    expect(() => plant("a();\n  a();\n", mutation)).toThrow("2 lines");
  });
});
