import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { LONGEST } from "./longest-first.ts";

it("every file that is to start first is there", () => {
  const tests = join(import.meta.dirname, "..");
  expect(LONGEST.filter((file) => !existsSync(join(tests, file)))).toEqual([]);
});
