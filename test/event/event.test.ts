import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AuditEvent, formatTime, lineFields } from "../../src/event/event.ts";

const EVENT: AuditEvent = {
  timeUs: Date.UTC(2026, 2, 4, 5, 6, 7) * 1000 + 8,
  topic: "file/write",
  severity: "info",
  path: "/tmp/a",
};

function read(event: AuditEvent): Record<string, unknown> {
  return JSON.parse(`{"idx":0,${lineFields(event)}`);
}

describe("a time", () => {
  it.each([
    [0, "1970-01-01T00:00:00.000000Z"],
    [1, "1970-01-01T00:00:00.000001Z"],
    [Date.UTC(2026, 2, 4, 5, 6, 7, 89) * 1000 + 12, "2026-03-04T05:06:07.089012Z"],
    [1.9, "1970-01-01T00:00:00.000001Z"],
    [-1, "1970-01-01T00:00:00.000000Z"],
    [NaN, "1970-01-01T00:00:00.000000Z"],
    [Infinity, "2255-06-05T23:47:34.740991Z"],
    [Number.MAX_SAFE_INTEGER, "2255-06-05T23:47:34.740991Z"],
  ])("%d is written as %s", (timeUs, expected) => {
    expect(formatTime(timeUs)).toBe(expected);
  });

  it("is read back as it was written", () => {
    fc.assert(
      fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (timeUs) => {
        const text = formatTime(timeUs);
        const [whole = "", decimals = ""] = text.slice(0, -1).split(".");
        expect(Date.parse(`${whole}Z`) * 1000 + Number(decimals)).toBe(timeUs);
        expect(decimals.length).toBe(6);
      }),
      { verbose: true },
    );
  });
});

describe("a line", () => {
  it("follows its number, and begins with the time", () => {
    expect(lineFields(EVENT)).toBe(
      '"time":"2026-03-04T05:06:07.000008Z","topic":"file/write","severity":"info","path":"/tmp/a"}',
    );
  });

  it("leaves out what is absent", () => {
    const { exe, ...rest } = { ...EVENT, exe: undefined };
    expect(exe).toBeUndefined();
    expect(read(rest)).not.toHaveProperty("exe");
  });

  it("has no lone surrogate, in values, in lists, in keys, however deep", () => {
    const detail = {
      "k\ud800": ["\udc00x", { "\udfff": "a\ud83d" }],
      whole: "😀",
      n: null,
      t: true,
    };
    const line = read({ ...EVENT, message: "m\udead", topics: ["t\ud800"], detail });
    expect(line).toMatchObject({
      message: "m\ufffd",
      topics: ["t\ufffd"],
      detail: { "k\ufffd": ["\ufffdx", { "\ufffd": "a\ufffd" }], whole: "😀", n: null, t: true },
    });
  });

  it("keeps text that only looks like an escape", () => {
    const detail = { path: "C:\\ud800", "\\udead": "\\\\udc00" };
    expect(read({ ...EVENT, detail })["detail"]).toEqual(detail);
  });

  it("is one line, well-formed, whatever the text", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, fc.dictionary(text, fc.array(text)), (message, detail) => {
        const line = lineFields({ ...EVENT, message, detail });
        expect(line.includes("\n")).toBe(false);
        expect(line.isWellFormed()).toBe(true);
        expect(/(?<!\\)(\\\\)*\\ud[89a-f]/.test(line)).toBe(false);
        expect(JSON.parse(`{${line}`)["message"]).toBe(message.toWellFormed());
      }),
      { verbose: true },
    );
  });
});
