import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareText,
  encodeStatistics,
  openStatistics,
  parseStatistics,
  statisticsOfCopy,
  TEXT_BOUND_LENGTH,
} from "../../src/storage/delta-statistics.ts";

/** One column as DuckDB describes it. */
function copied(name: string, least: string, greatest = least): unknown {
  return [{
    key: `"${name}"`,
    value: [
      { key: "column_size_bytes", value: "27" },
      { key: "max", value: greatest },
      { key: "min", value: least },
      { key: "null_count", value: "2" },
      { key: "num_values", value: "1000" },
    ],
  }];
}

function boundsOf(name: string, least: string, greatest = least) {
  const { minimum, maximum } = statisticsOfCopy(copied(name, least, greatest));
  return [minimum[name], maximum[name]];
}

describe("statistics of a copy", () => {
  test("keep numbers as numbers and count nulls", () => {
    expect(statisticsOfCopy(copied("seq", "-5", "9007199254740991"))).toEqual({
      minimum: { seq: -5 },
      maximum: { seq: 9007199254740991 },
      nullCount: { seq: 2 },
    });
  });

  test("are the same whether maps come as lists or as objects", () => {
    const asObject = { '"seq"': { min: "1", max: "2", null_count: "0" } };
    expect(statisticsOfCopy(asObject)).toEqual({
      minimum: { seq: 1 },
      maximum: { seq: 2 },
      nullCount: { seq: 0 },
    });
  });

  test("leave out what is not known: no values, no column, nested or unindexed ones", () => {
    const empty = { '"comm"': { null_count: "1000", num_values: "1000" } };
    expect(statisticsOfCopy(empty)).toEqual({
      minimum: {},
      maximum: {},
      nullCount: { comm: 1000 },
    });
    for (
      const name of ["cmdline", "detail", "unknown", "topics", 'topics"."element', "event_date"]
    ) {
      expect(statisticsOfCopy(copied(name, "a"))).toEqual({
        minimum: {},
        maximum: {},
        nullCount: {},
      });
    }
    for (const nothing of [null, undefined, [], {}, "x", [5], [{ key: 1 }]]) {
      expect(statisticsOfCopy(nothing)).toEqual({ minimum: {}, maximum: {}, nullCount: {} });
    }
  });

  test("leave out numbers that JSON cannot hold exactly", () => {
    expect(boundsOf("uid", "-9007199254740993", "9007199254740993")).toEqual([
      undefined,
      undefined,
    ]);
    expect(boundsOf("uid", "1", "18446744073709551615")).toEqual([1, undefined]);
    expect(boundsOf("uid", "NaN", "1e3")).toEqual([undefined, undefined]);
  });

  const times: readonly [string, string | undefined, string | undefined][] = [
    [
      "2026-01-01 00:00:00.123456+00",
      "2026-01-01T00:00:00.123Z",
      "2026-01-01T00:00:00.124Z",
    ],
    ["2026-01-01 00:00:00.123+00", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123Z"],
    ["2026-01-01 00:00:00+00", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"],
    ["2026-01-01 00:00:00.1+00", "2026-01-01T00:00:00.100Z", "2026-01-01T00:00:00.100Z"],
    ["2026-12-31 23:59:59.999999+00", "2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00.000Z"],
    ["1969-12-31 23:59:59.9999+00", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z"],
    ["2026-01-01 00:00:00.000001+02", undefined, undefined],
    ["infinity", undefined, undefined],
    ["290309-12-22 (BC) 00:00:00+00", undefined, undefined],
  ];
  for (const [text, least, greatest] of times) {
    test(`round the time ${text} outward`, () => {
      expect(boundsOf("time", text)).toEqual([least, greatest]);
    });
  }

  test("keep short text, cut long text, and end a cut maximum in the greatest code point", () => {
    expect(boundsOf("host", "", "häst")).toEqual(["", "häst"]);
    const full = "x".repeat(TEXT_BOUND_LENGTH);
    expect(boundsOf("host", full)).toEqual([full, full]);
    expect(boundsOf("host", `${full}y`)).toEqual([full, `${full}\u{10ffff}`]);
    expect(boundsOf("host", `${full}\u{10ffff}y`)).toEqual([full, undefined]);
    const pairs = "😀".repeat(TEXT_BOUND_LENGTH + 1);
    expect(boundsOf("host", pairs)).toEqual([
      "😀".repeat(TEXT_BOUND_LENGTH),
      `${"😀".repeat(TEXT_BOUND_LENGTH)}\u{10ffff}`,
    ]);
    expect(boundsOf("host", "a\ufffd", "b\ud800")).toEqual([undefined, undefined]);
  });

  test("never bound text more narrowly than it is", () => {
    const text = fc.array(
      fc.constantFrom("a", "z", "\u{7f}", "é", "\uffff", "\ue000", "😀", "\u{10ffff}"),
      { maxLength: TEXT_BOUND_LENGTH + 3 },
    ).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (values) => {
        const sorted = values.toSorted(compareText);
        const [least, greatest] = boundsOf("host", sorted[0] ?? "", sorted.at(-1));
        for (const value of values) {
          if (typeof least === "string") expect(compareText(least, value)).toBeLessThanOrEqual(0);
          if (typeof greatest === "string") {
            expect(compareText(greatest, value)).toBeGreaterThanOrEqual(0);
          }
        }
      }),
      { verbose: 1 },
    );
  });
});

describe("the stats text", () => {
  test("is read back as it was written", () => {
    const statistics = {
      rows: 7,
      minimum: { time: "2026-01-01T00:00:00.123Z", seq: 1, host: 'a"\\\u{10ffff}' },
      maximum: { time: "2026-01-01T00:00:00.124Z", seq: 9007199254740991, host: "b" },
      nullCount: { time: 0, host: 3 },
    };
    const text = encodeStatistics(statistics);
    expect(text).toContain('"seq":9007199254740991');
    expect(parseStatistics(text)).toEqual(statistics);
    expect(openStatistics(text)).toEqual(statistics);
  });

  test("are the same however they are read, and unknown where the rest is damaged", () => {
    const texts = [
      '{"numRecords":3,"minValues":{"seq":1},"maxValues":{"seq":3},"nullCount":{"seq":0}}',
      '{"minValues":{"seq":1},"numRecords":3}',
      '{ "numRecords": 3 }',
      '{"numRecords":3}',
      '{"numRecords":3,"minValues":7}',
      '{"numRecords":-1,"minValues":{}}',
      "rubbish",
    ];
    for (const text of texts) expect(openStatistics(text), text).toEqual(parseStatistics(text));
    expect(openStatistics('{"numRecords":3,"minValues":{"seq":'))
      .toEqual({ rows: 3, minimum: {}, maximum: {}, nullCount: {} });
  });

  test("without a row count is not understood", () => {
    for (const text of ["", "{", "5", "null", "{}", '{"numRecords":-1}', '{"numRecords":"1"}']) {
      expect(parseStatistics(text), text).toBeUndefined();
    }
  });

  test("of another engine keeps only bounds that are exact", () => {
    const text = '{"numRecords":1,"minValues":{"seq":9007199254740993,"host":5,"time":"soon",' +
      '"user":"x","nested":{"a":1}},"maxValues":7,"nullCount":{"seq":-1,"host":2}}';
    expect(parseStatistics(text)).toEqual({
      rows: 1,
      minimum: { user: "x" },
      maximum: {},
      nullCount: { host: 2 },
    });
  });
});
