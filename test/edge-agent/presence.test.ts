import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createPresence } from "../../src/edge-agent/presence.ts";

describe("presence", () => {
  let folder: string;
  beforeEach(() => folder = mkdtempSync(join(tmpdir(), "probity-presence-")));
  afterEach(() => rmSync(folder, { recursive: true }));

  it("knows no one before the first agent, then the last moment of each", () => {
    const path = join(folder, "agent.json");
    const first = createPresence(path);
    expect(first.lastUs).toBeUndefined();
    first.touch(5_000_001);
    first.touch(6_000_001);
    expect(first.lastUs).toBeUndefined();
    expect(createPresence(path).lastUs).toBe(6_000_001);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it.each(["", "{", "null", "{}", '{"here_us":"soon"}'])("takes %j for no one", (text) => {
    const path = join(folder, "agent.json");
    writeFileSync(path, text);
    expect(createPresence(path).lastUs).toBeUndefined();
  });
});
