import { describe, expect, it } from "vitest";
import { FLAG } from "../../../../src/edge-agent/record-layout.ts";
import type {
  ExecDigests,
  ExecutedImage,
  LateDigest,
} from "../../../../src/edge-agent/sources/process/digest/exec-digests.ts";
import { createProcessDecoder } from "../../../../src/edge-agent/sources/process/process-lines.ts";
import { createTestContext } from "../../../support/decoders.ts";
import { execRecord, exitRecord, locate } from "../../../support/records.ts";
import { parseLine } from "../../../support/source-run.ts";

const pid = 11;

function createFakeDigests(): ExecDigests & { asked: ExecutedImage[]; ready: LateDigest[] } {
  const fake = {
    asked: [] as ExecutedImage[],
    ready: [] as LateDigest[],
    collect: () => undefined,
    isEarly: (executed: ExecutedImage) => {
      fake.asked.push(executed);
      return true;
    },
    members: (_executed: ExecutedImage, told: LateDigest["told"]) => {
      const members = `"sha256":"ab","size":3`;
      fake.ready.push({ told, members, isKnown: true, timeUs: 1_795_000_001_000_000 });
      return ',"sha256_pending":true';
    },
    late: () => fake.ready.splice(0),
    giveUp: () => undefined,
    losses: () => [{ class: "overflow", count: null, reason: "full" }],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return fake;
}

describe("digests in lines", () => {
  const digests = createFakeDigests();
  const decoder = createProcessDecoder({ ...createTestContext(), digests });
  const exec = locate(
    execRecord({ pid, exe: "/opt/a b", flags: FLAG.memfd, timeNs: 5_000_000_000n, argv: "x\0" }),
    { timeUs: 1_795_000_000_000_000 },
  );

  it("only execs are asked for, by what their records say", () => {
    expect(decoder.isEarly?.(locate(exitRecord({ pid })))).toBe(false);
    expect(decoder.isEarly?.(exec)).toBe(true);
    expect(digests.asked).toEqual([{
      pid,
      device: "0:0",
      inodeLow: 0,
      inodeHigh: 0,
      timeNs: 5_000_000_000,
      timeUs: 1_795_000_000_000_000,
      isMemfd: true,
    }]);
  });

  it("are members of the exec's detail, and lines of their own when they come late", () => {
    decoder.learn(exec);
    const line = parseLine(decoder.line(exec) ?? "");
    expect(line.detail["sha256_pending"]).toBe(true);
    const [further, ...more] = decoder.further?.() ?? [];
    expect(more).toEqual([]);
    expect(further?.timeUs).toBe(1_795_000_001_000_000);
    const hash = parseLine(further?.fields ?? "");
    expect(hash).toMatchObject({
      topic: "process/hash",
      severity: "info",
      pid,
      process_id: line["process_id"],
      exe: "/opt/a b",
      message: "The digest of /opt/a b is known",
      detail: { sha256: "ab", size: 3 },
    });
    expect(decoder.further?.()).toEqual([]);
    expect(decoder.losses?.()).toEqual([{ class: "overflow", count: null, reason: "full" }]);
  });

  it("are left out when nobody asked for them", () => {
    const plain = createProcessDecoder(createTestContext());
    expect(plain.isEarly?.(exec)).toBe(false);
    plain.learn(exec);
    expect(plain.line(exec)).not.toContain("sha256");
    expect(plain.further?.()).toEqual([]);
  });
});
