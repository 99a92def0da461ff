import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openRedactionKey, REDACTION_KEY_FILE } from "../../src/edge-agent/redaction-key.ts";

const root = mkdtempSync(join(tmpdir(), "probity-redaction-key-"));
afterAll(() => rmSync(root, { recursive: true }));

describe("the redaction key", () => {
  it("is made once, for its owner alone, and is the same from then on", () => {
    const folder = join(root, "made");
    const key = openRedactionKey(folder);
    expect(key.byteLength).toBe(32);
    expect(new Set(key).size).toBeGreaterThan(8);
    expect(Buffer.from(openRedactionKey(folder)).equals(key)).toBe(true);
    expect(statSync(join(folder, REDACTION_KEY_FILE)).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual([REDACTION_KEY_FILE]);
    expect(Buffer.from(openRedactionKey(join(root, "other"))).equals(key)).toBe(false);
  });

  it("is closed to others again when someone opened it", () => {
    const folder = join(root, "opened");
    openRedactionKey(folder);
    chmodSync(join(folder, REDACTION_KEY_FILE), 0o644);
    openRedactionKey(folder);
    expect(statSync(join(folder, REDACTION_KEY_FILE)).mode & 0o777).toBe(0o600);
  });

  it("is not replaced when it is damaged, and the error does not show it", () => {
    const folder = join(root, "damaged");
    openRedactionKey(folder);
    const path = join(folder, REDACTION_KEY_FILE);
    writeFileSync(path, "short and secret");
    expect(() => openRedactionKey(folder)).toThrow(
      `Cannot use "${path}": it has 16 bytes instead of 32`,
    );
    expect(readFileSync(path, "utf8")).toBe("short and secret");
  });
});
