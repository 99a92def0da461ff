import { existsSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, it } from "vitest";
import { makeProofFolder, PROOF_AGE_MAX_MS } from "../../src/edge-agent/proof-folder.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

it("removes what killed agents left of their proofs, and nothing else", async () => {
  await using place = await openTemporaryFolder("proof-folder");
  const at = (name: string): string => join(place.path, name);
  const oldS = (Date.now() - PROOF_AGE_MAX_MS) / 1000 - 60;
  const names = ["probity-probe-killed", "probity-probe-young", "probity-other-old"];
  for (const name of names) {
    mkdirSync(at(name));
    writeFileSync(join(at(name), "made"), "");
    if (!name.endsWith("young")) utimesSync(at(name), oldS, oldS);
  }
  // What a link leads to is not a proof's.
  symlinkSync(at("probity-other-old"), at("probity-probe-link"));
  const made = makeProofFolder(place.path) ?? "";
  expect(basename(made)).toMatch(/^probity-probe-/);
  expect(names.map((name) => existsSync(at(name)))).toEqual([false, true, true]);
  expect(existsSync(join(at("probity-other-old"), "made"))).toBe(true);
});

it("makes none where none can be made", () => {
  expect(makeProofFolder("/proc/nothing")).toBeUndefined();
});
