/** Events of any shape as OCSF has them: valid, the same each time, and whole. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { TOPICS } from "../../src/event/topic.ts";
import { ocsfEvent } from "../../src/query/ocsf/event.ts";
import { ocsfLine } from "../../src/query/ocsf/line.ts";
import { mappingOf } from "../../src/query/ocsf/topics.ts";
import { ocsfSamples } from "../support/ocsf-samples.ts";
import { violationsOf } from "../support/ocsf-schema.ts";

const OPTIONS = { version: "1.2.3" };
const SAMPLES = ocsfSamples();

describe("any event", () => {
  // Texts that occur once, so that each can be found again.
  const token = fc.uuid().map((text) => `t-${text}`);
  const leaf = fc.oneof(
    token,
    fc.maxSafeInteger(),
    fc.constantFrom(true, false, null, "", "create", "success", "10.0.0.1"),
  );
  const members = (names: readonly string[], value: fc.Arbitrary<unknown>): fc.Arbitrary<object> =>
    fc.dictionary(
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, {
        weight: 1,
        arbitrary: fc.string(),
      }),
      value,
      { maxKeys: 30 },
    );
  const detailNames = [...new Set(SAMPLES.flatMap(({ detail }) => Object.keys(Object(detail))))];
  const inner = fc.oneof(leaf, fc.array(leaf, { maxLength: 3 }), members(detailNames, leaf));
  const topic = fc.constantFrom(...TOPICS, "crypto/a", "app/b/c", "x", "");
  const time = fc.integer({ min: 0, max: 4e12 }).map((ms) =>
    new Date(ms).toISOString().replace("Z", "042Z")
  );
  const event = fc.record({
    base: members(COLUMNS.map(({ name }) => name).filter((name) => name !== "detail"), inner),
    detail: fc.oneof(members(detailNames, inner), leaf),
    topic,
    time,
    severity: fc.constantFrom("info", "low", "medium", "high", "critical"),
    id: token,
    sample: fc.constantFrom(undefined, ...SAMPLES),
  }).map(({ base, sample, ...given }): Record<string, unknown> => ({
    ...sample,
    ...base,
    ...given,
  }));

  /** Texts and numbers in a value, at any depth. */
  function leavesOf(value: unknown): string[] {
    if (typeof value === "string" || typeof value === "number") return [String(value)];
    return typeof value === "object" && value !== null
      ? Object.values(value).flatMap(leavesOf)
      : [];
  }

  /** Is told by a number or another word. */
  const RENAMED: ReadonlySet<string> = new Set(
    ["info", "low", "medium", "high", "critical", "success", "failure", "regular", "directory", ""],
  );

  it("keeps to the schema, its id, its time and its severity, and loses nothing", () => {
    fc.assert(fc.property(event, (given) => {
      const mapped = ocsfEvent(given, OPTIONS);
      const text = JSON.stringify(mapped);
      const parsed = JSON.parse(text);
      expect(violationsOf(parsed)).toEqual([]);
      expect(mappingOf(String(given["topic"])).activities).toContain(parsed.activity_id);
      expect(parsed.metadata.uid).toBe(given["id"]);
      expect(parsed.time_dt).toBe(given["time"]);
      expect(parsed.time).toBe(Date.parse(String(given["time"])));
      const severities = ["Informational", "Low", "Medium", "High", "Critical"];
      expect(parsed.severity).toBe(severities[parsed.severity_id - 1]);
      const kept = new Set(leavesOf(parsed));
      const lost = leavesOf(JSON.parse(JSON.stringify(given)))
        .filter((each) => !kept.has(each) && !RENAMED.has(each))
        .filter((each) =>
          !String(given["id"]).includes(each) && !String(given["time"]).includes(each)
        );
      expect(lost).toEqual([]);
      expect(JSON.stringify(ocsfEvent(structuredClone(given), OPTIONS))).toBe(text);
    }));
  });

  it("of a sample is lost nowhere", () => {
    for (const sample of SAMPLES) {
      const kept = new Set(leavesOf(ocsfEvent(sample, OPTIONS)));
      const lost = leavesOf(sample).filter((each) => !kept.has(each) && !RENAMED.has(each));
      // The place in the log is in the id, the day in the time.
      const told = ["0a1b2c3d", String(sample["idx"]), sample["event_date"]];
      expect(lost.filter((each) => !told.includes(each))).toEqual([]);
    }
  });

  it("keeps numbers that are larger than those of JavaScript", () => {
    const line =
      '{"topic":"app/x","detail":{"a":18446744073709551615,"b":1e400,"c":-9007199254740993,' +
      '"d":"1e400 and 18446744073709551615 \\"1\\\\","e":12345678901234,"f":1.25}}';
    expect(JSON.parse(ocsfLine(line, OPTIONS)).unmapped.detail).toEqual({
      a: "18446744073709551615",
      b: "1e400",
      c: "-9007199254740993",
      d: '1e400 and 18446744073709551615 "1\\',
      e: 12345678901234,
      f: 1.25,
    });
  });
});
