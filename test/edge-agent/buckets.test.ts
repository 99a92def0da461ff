import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Bucket, createThrottleWatch, decodeBucket } from "../../src/edge-agent/buckets.ts";
import {
  BUCKET,
  BUCKET_BYTES,
  BUCKET_KEY,
  BUCKET_KEY_BYTES,
} from "../../src/edge-agent/record-layout.ts";

const S = 1_000_000_000;
const bucket: Bucket = {
  scope: "executable",
  place: 2,
  id: 42,
  device: 7,
  fromNs: 10 * S,
  lastNs: 10 * S,
  beyond: 1,
  samples: 0,
  pid: 5,
  startNs: 3,
};

describe("a run of events beyond a limit", () => {
  it("begins once and ends once, after five quiet seconds", () => {
    const watch = createThrottleWatch();
    expect(watch.update([bucket], 10.5 * S)).toEqual([{ phase: "begin", bucket }]);
    const later = { ...bucket, lastNs: 13 * S, beyond: 900, samples: 9 };
    expect(watch.update([later], 14 * S)).toEqual([]);
    expect(watch.isActive).toBe(true);
    expect(watch.update([later], 18 * S)).toEqual([]);
    expect(watch.update([later], 18 * S + 1)).toEqual([{ phase: "end", bucket: later }]);
    expect(watch.update([later], 30 * S)).toEqual([]);
    expect(watch.isActive).toBe(false);
  });

  it("that another one followed between two looks ends with what was known of it", () => {
    const watch = createThrottleWatch();
    watch.update([bucket], 10 * S);
    const next = { ...bucket, fromNs: 40 * S, lastNs: 40 * S, beyond: 3 };
    expect(watch.update([next], 41 * S)).toEqual([
      { phase: "end", bucket },
      { phase: "begin", bucket: next },
    ]);
  });

  it("whose bucket was put out of the map ends", () => {
    const watch = createThrottleWatch();
    watch.update([bucket], 10 * S);
    expect(watch.update([], 11 * S)).toEqual([{ phase: "end", bucket }]);
  });

  it("that was over before the first look is not told", () => {
    expect(createThrottleWatch().update([bucket], 16 * S)).toEqual([]);
  });

  it("has as many ends as begins, whatever is seen", () => {
    const seen = fc.array(
      fc.record({ id: fc.integer({ min: 0, max: 3 }), atS: fc.integer({ min: 1, max: 60 }) }),
      { maxLength: 8 },
    );
    fc.assert(fc.property(fc.array(seen, { maxLength: 40 }), (looks) => {
      const watch = createThrottleWatch();
      const open = new Map<string, number>();
      const note = (notices: ReturnType<typeof watch.update>): void => {
        for (const { phase, bucket: { id } } of notices) {
          const count = (open.get(String(id)) ?? 0) + (phase === "begin" ? 1 : -1);
          expect([0, 1]).toContain(count);
          open.set(String(id), count);
        }
      };
      looks.forEach((look, second) =>
        note(watch.update(
          look.map(({ id, atS }) => ({ ...bucket, id, fromNs: atS * S, lastNs: atS * S })),
          second * S,
        ))
      );
      note(watch.update([], 1000 * S));
      expect([...open.values()].every((count) => count === 0)).toBe(true);
    }));
  });
});

describe("a bucket", () => {
  it("that was never empty is none", () => {
    expect(decodeBucket(new Uint8Array(BUCKET_KEY_BYTES), new Uint8Array(BUCKET_BYTES)))
      .toBeUndefined();
  });

  it("is read from its bytes", () => {
    const key = new DataView(new ArrayBuffer(BUCKET_KEY_BYTES));
    key.setBigUint64(BUCKET_KEY.id, 99n, true);
    key.setUint16(BUCKET_KEY.class, 3, true);
    key.setUint16(BUCKET_KEY.scope, 2, true);
    const value = new DataView(new ArrayBuffer(BUCKET_BYTES));
    value.setBigUint64(BUCKET.from_ns, 5n, true);
    value.setBigUint64(BUCKET.last_ns, 6n, true);
    value.setBigUint64(BUCKET.beyond, 7n, true);
    value.setUint32(BUCKET.pid, 8, true);
    expect(decodeBucket(new Uint8Array(key.buffer), new Uint8Array(value.buffer))).toEqual({
      scope: "cgroup",
      place: 3,
      id: 99,
      device: 0,
      fromNs: 5,
      lastNs: 6,
      beyond: 7,
      samples: 0,
      pid: 8,
      startNs: 0,
    });
  });
});
