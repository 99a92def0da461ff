import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WHOLE_MESSAGE } from "../../src/event/event-id.ts";
import {
  createCursorCodec,
  type Cursor,
  CURSOR_LENGTH_MAX,
  cursorKeyOf,
  queryDigest,
} from "../../src/query/cursor.ts";
import { decodeTailPlace, encodeTailPlace, type TailPlace } from "../../src/query/tail-place.ts";

const codec = createCursorCodec(cursorKeyOf("a secret of some length"));
const cursor: Cursor = {
  query: queryDigest(["desc", "user=root"]),
  fromUs: 1,
  toUs: 2,
  after: { timeUs: 1, incarnation: "0a1b2c3d", sequence: 7, idx: 0 },
  upper: new Map([["0a1b2c3d", 9], ["ffffffff", 0]]),
};
const natural = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const incarnation = fc.stringMatching(/^[0-9a-f]{8}$/);

describe("a cursor", () => {
  test("comes back as it was given out", () => {
    fc.assert(fc.property(
      fc.tuple(natural, natural, natural, incarnation, natural, fc.nat()),
      fc.array(fc.tuple(incarnation, natural), { maxLength: 20 }),
      ([fromUs, toUs, timeUs, name, sequence, idx], upper) => {
        const given = {
          query: cursor.query,
          fromUs,
          toUs,
          after: { timeUs, incarnation: name, sequence, idx },
          upper: new Map(upper),
        };
        expect(codec.decode(codec.encode(given))).toEqual(given);
      },
    ));
  });

  test("is good in a process with the same secret, and in no other", () => {
    const text = codec.encode(cursor);
    const same = createCursorCodec(cursorKeyOf("a secret of some length"));
    expect(same.decode(text)).toEqual(cursor);
    expect(createCursorCodec(cursorKeyOf("another secret")).decode(text)).toBeUndefined();
  });

  test("is refused when any character of it was changed", () => {
    const text = codec.encode(cursor);
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === "A" ? "B" : "A";
      const changed = `${text.slice(0, at)}${other}${text.slice(at + 1)}`;
      const found = codec.decode(changed);
      // The last character of base64url may have bits that mean nothing.
      if (found !== undefined) expect(found).toEqual(cursor);
    }
  });

  test.each(["", ".", "a.b", "x".repeat(CURSOR_LENGTH_MAX + 1), "é.é", codec.encode(cursor) + "x"])(
    "is none: %.20j",
    (text) => expect(codec.decode(text)).toBeUndefined(),
  );

  test("tells queries apart by filters and order, and not by chance", () => {
    const digests = [[], ["asc"], ["desc"], ["desc", "a=b"], ["desc", "a=b", "c=d"], ["desca=b"]]
      .map(queryDigest);
    expect(new Set(digests).size).toBe(digests.length);
    expect(queryDigest(["desc"])).toBe(queryDigest(["desc"]));
  });
});

describe("a tail's place", () => {
  test("comes back as it was given out", () => {
    const idx = fc.oneof(fc.constant(WHOLE_MESSAGE), fc.nat({ max: 999_999_998 }));
    const sequence = fc.nat({ max: 999_999_999_999_999 });
    fc.assert(fc.property(
      fc.array(fc.tuple(incarnation, fc.record({ sequence, idx })), { maxLength: 10 }),
      natural,
      (streams, knownUs) => {
        const place: TailPlace = { streams: new Map(streams), knownUs };
        const text = encodeTailPlace(place);
        expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(decodeTailPlace(text)).toEqual(place);
      },
    ));
  });

  test.each([
    "",
    "0a1b2c3d-1-0",
    "~",
    Buffer.from("2~0").toString("base64url"),
    Buffer.from("1").toString("base64url"),
    Buffer.from("1~x").toString("base64url"),
    Buffer.from("1~0~0a1b2c3d").toString("base64url"),
    Buffer.from("1~0~0A1B2C3D.1.0").toString("base64url"),
    Buffer.from(`1~0${"~0a1b2c3d.1.0".repeat(257)}`).toString("base64url"),
    "A".repeat(20_000),
  ])("is none: %.30j", (text) => expect(decodeTailPlace(text)).toBeUndefined());
});
