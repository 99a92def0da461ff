import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { address, choiceOf, duration, flag, hostName } from "../../src/cli/option-type.ts";
import { integerBetween, quoted, size, someOf, text, urlOf } from "../../src/cli/option-type.ts";

describe("duration, in milliseconds", () => {
  it.each([
    ["0s", 0],
    ["100ms", 100],
    ["10s", 10_000],
    ["1.5s", 1500],
    ["15m", 900_000],
    ["1h30m", 5_400_000],
    ["400d", 34_560_000_000],
  ])("%s is %d", (given, value) => expect(duration.parse(given)).toBe(value));

  it.each(["", "10", "s", "10 s", "-1s", "1y", "1s2", "1,5s", "1e3s"])(
    "%j is refused",
    (given) => expect(duration.parse(given)).toBeUndefined(),
  );
});

describe("size, in bytes", () => {
  it.each([
    ["1B", 1],
    ["64KiB", 65_536],
    ["256MiB", 268_435_456],
    ["10GB", 10_000_000_000],
    ["2TiB", 2_199_023_255_552],
    ["1kB", 1000],
  ])("%s is %d", (given, value) => expect(size.parse(given)).toBe(value));

  it.each(["", "1", "1K", "1KB", "MiB", "0.3B", "-1B"])(
    "%j is refused",
    (given) => expect(size.parse(given)).toBeUndefined(),
  );
});

describe("some names", () => {
  const names = someOf(["a", "b", "c"]);
  it.each([["b", ["b"]], ["c,a", ["a", "c"]], ["", []]])(
    "%j are %j",
    (given, value) => expect(names.parse(given)).toEqual(value),
  );
  it.each(["d", "a,", "a,a", "a b"])(
    "%j are refused",
    (given) => expect(names.parse(given)).toBeUndefined(),
  );
  it("are a list in the file", () => {
    expect(names.accept(["b"])).toEqual(["b"]);
    for (const value of ["b", [1], ["a", "d"], null]) expect(names.accept(value)).toBeUndefined();
  });
});

describe("host name", () => {
  it.each(["web-1", "a", "x".repeat(253), "db_1.example.org"])(
    "%s is taken",
    (given) => expect(hostName.parse(given)).toBe(given),
  );

  it.each(["", "two words", "x".repeat(254), "müller", "a\tb", "a\r\nProbity-Void: x"])(
    "%j is refused",
    (given) => expect(hostName.parse(given)).toBeUndefined(),
  );
});

describe("address", () => {
  it.each([
    ["127.0.0.1:7333", { host: "127.0.0.1", port: 7333 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    ["[::1]:65535", { host: "::1", port: 65_535 }],
  ])("%s is taken apart", (given, value) => expect(address.parse(given)).toEqual(value));

  it.each(["7333", ":7333", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "a b:1"])(
    "%j is refused",
    (given) => expect(address.parse(given)).toBeUndefined(),
  );
});

describe("others", () => {
  it("takes URLs of the named schemes only", () => {
    const url = urlOf(["nats", "tls"], "nats://127.0.0.1:4222");
    expect(url.parse("nats://127.0.0.1:4222")).toBe("nats://127.0.0.1:4222");
    expect(url.parse("http://127.0.0.1:4222")).toBeUndefined();
    expect(url.parse("127.0.0.1")).toBeUndefined();
  });

  it.each([
    ["ftp://x", '"ftp://x"'],
    ["127.0.0.1", '"127.0.0.1"'],
    ["http://user:secret@host", "what is given"],
    ["http//user:secret@host", "what is given"],
    ["http://user:secret", "what is given"],
    ["http://host?token=secret", "what is given"],
  ])("quotes of the wrong URL %j only what can be no password", (given, said) => {
    expect(quoted(given, urlOf(["nats"], "nats://127.0.0.1:4222").form)).toBe(said);
    expect(quoted("a@b", "a number")).toBe("what is given");
  });

  it("takes whole numbers between bounds, as text or as the file's numbers", () => {
    const port = integerBetween(0, 65_535);
    expect([port.parse("0"), port.parse("65535"), port.accept(80)]).toEqual([0, 65_535, 80]);
    for (const wrong of ["", "-1", "65536", "1.5", "1e3", "0x10"]) {
      expect(port.parse(wrong)).toBeUndefined();
    }
    for (const wrong of ["80", 1.5, -1, true]) expect(port.accept(wrong)).toBeUndefined();
  });

  it("takes only its choices, and says them", () => {
    const color = choiceOf(["auto", "never"]);
    expect([color.parse("never"), color.parse("Never")]).toEqual(["never", undefined]);
    expect(color.form).toBe('one of "auto", "never"');
  });

  it("takes the file's own types only", () => {
    expect([flag.accept(true), flag.accept("true"), flag.parse("1")]).toEqual([
      true,
      undefined,
      true,
    ]);
    expect([text.accept("a"), text.accept(1), text.accept("")]).toEqual([
      "a",
      undefined,
      undefined,
    ]);
    expect(duration.accept(10)).toBeUndefined();
  });

  it("never throws, whatever the text", () => {
    fc.assert(fc.property(fc.string(), (given) => {
      for (const type of [duration, size, address, flag, integerBetween(0, 9)]) type.parse(given);
    }));
  });
});
