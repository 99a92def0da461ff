import { describe, expect, it } from "vitest";
import {
  encodeWatermark,
  parseWatermark,
  type Watermark,
  watermarkKeyOf,
} from "../../src/event/watermark.ts";

const WATERMARK: Watermark = {
  incarnation: "0123abcd",
  sequence: 77,
  epoch: "e1",
  number: 5,
  digest: "d5",
  fork: undefined,
  atUs: 1_700_000_000_000_000,
};

describe("a watermark", () => {
  it.each<[string, Watermark]>([
    ["plain", WATERMARK],
    ["with a fork", { ...WATERMARK, fork: { epoch: "e0", number: 3, digest: "x" } }],
    ["with what was given up", { ...WATERMARK, givenUp: [[2, 2], [4, 5]] }],
    ["of nothing", { ...WATERMARK, epoch: "", number: 0, digest: "", sequence: 0 }],
  ])("%s is read back as it was written", (_name, each) => {
    expect(parseWatermark(encodeWatermark(each))).toEqual(each);
  });

  it.each<[string, unknown]>([
    ["no object", 7],
    ["null", null],
    ["a list", []],
    ["a negative number", { ...WATERMARK, number: -1 }],
    ["a fraction", { ...WATERMARK, sequence: 1.5 }],
    ["an unsafe integer", { ...WATERMARK, sequence: 2 ** 60 }],
    ["no digest", { ...WATERMARK, digest: undefined }],
    ["a number as epoch", { ...WATERMARK, epoch: 1 }],
    ["no time", { ...WATERMARK, atUs: "1" }],
  ])("is not %s", (_name, value) => {
    expect(parseWatermark(JSON.stringify(value))).toBeUndefined();
  });

  it.each(["", "{", "undefined"])("is not the text %j", (text) => {
    expect(parseWatermark(text)).toBeUndefined();
  });

  it("leaves out a fork that is none", () => {
    const text = JSON.stringify({ ...WATERMARK, fork: { epoch: "e0" } });
    expect(parseWatermark(text)).toEqual(WATERMARK);
  });

  it("has its place by shard and agent", () => {
    expect(watermarkKeyOf("0", "0123456789abcdef")).toBe("0.0123456789abcdef");
  });
});
