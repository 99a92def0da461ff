import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type BatchHeader,
  batchIdOf,
  digestOf,
  encodeHeaders,
  HEADER,
  isAgentName,
  isShardName,
  messageDigestOf,
  parseHeaders,
  parseSubject,
  resendIdOf,
  streamOf,
  subjectOf,
} from "../../src/event/wire.ts";

const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const BATCH: BatchHeader = {
  host: "web-1",
  agent: "0123456789abcdef",
  epoch: "e1",
  number: 7,
  count: 3,
  firstUs: 10,
  lastUs: 20,
  digest: EMPTY_SHA256,
  previous: "a".repeat(64),
  void: undefined,
};

function parse(changes: Readonly<Record<string, string | undefined>>, agent = BATCH.agent) {
  const headers = new Map(encodeHeaders(BATCH));
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) headers.delete(name);
    else headers.set(name, value);
  }
  return parseHeaders(headers, agent);
}

describe("headers", () => {
  const natural = fc.nat({ max: Number.MAX_SAFE_INTEGER });
  const digest = fc.string({
    unit: fc.constantFrom(..."0123456789abcdef"),
    minLength: 64,
    maxLength: 64,
  });
  const header: fc.Arbitrary<BatchHeader> = fc.record({
    host: fc.string({ minLength: 1, maxLength: 253 }),
    agent: fc.stringMatching(/^[a-z0-9-]{1,63}$/),
    epoch: fc.stringMatching(/^[a-z0-9]{1,32}$/),
    number: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    count: fc.nat({ max: 1_000_000 }),
    firstUs: natural,
    lastUs: natural,
    digest,
    previous: fc.option(digest, { nil: undefined }),
    void: fc.option(fc.string({ maxLength: 200 }), { nil: undefined }),
  }).map((each) => ({
    ...each,
    firstUs: Math.min(each.firstUs, each.lastUs),
    lastUs: Math.max(each.firstUs, each.lastUs),
  }));

  it("are read back as they were written", () => {
    fc.assert(
      fc.property(header, (each) => {
        expect(parseHeaders(encodeHeaders(each), each.agent)).toEqual({ ok: true, header: each });
      }),
      { verbose: true },
    );
  });

  it.each<[string, Readonly<Record<string, string | undefined>>]>([
    [HEADER.schema, { [HEADER.schema]: "2" }],
    [HEADER.schema, { [HEADER.schema]: undefined }],
    [HEADER.encoding, { [HEADER.encoding]: "gzip" }],
    [HEADER.agent, { [HEADER.agent]: "other" }],
    [HEADER.host, { [HEADER.host]: "" }],
    [HEADER.host, { [HEADER.host]: "h".repeat(254) }],
    [HEADER.epoch, { [HEADER.epoch]: "E1" }],
    [HEADER.epoch, { [HEADER.epoch]: undefined }],
    [HEADER.batch, { [HEADER.batch]: "0" }],
    [HEADER.batch, { [HEADER.batch]: "07" }],
    [HEADER.batch, { [HEADER.batch]: "1e3" }],
    [HEADER.batch, { [HEADER.batch]: "9007199254740992" }],
    [HEADER.count, { [HEADER.count]: "-1" }],
    [HEADER.count, { [HEADER.count]: "1000001" }],
    [HEADER.first, { [HEADER.first]: "1.5" }],
    [HEADER.last, { [HEADER.last]: "9" }],
    [HEADER.digest, { [HEADER.digest]: EMPTY_SHA256.toUpperCase() }],
    [HEADER.digest, { [HEADER.digest]: undefined }],
    [HEADER.previous, { [HEADER.previous]: "x" }],
    [HEADER.void, { [HEADER.void]: "v".repeat(201) }],
  ])("are refused, naming %s, when it is %j", (name, changes) => {
    const parsed = parse(changes);
    expect(parsed).toEqual({ ok: false, reason: expect.stringContaining(name) });
  });

  it("name every fault at once", () => {
    const parsed = parseHeaders(new Map(), "a");
    for (const name of [HEADER.schema, HEADER.agent, HEADER.batch, HEADER.digest]) {
      expect(parsed).toEqual({ ok: false, reason: expect.stringContaining(name) });
    }
  });

  it("may be joined by others", () => {
    expect(parse({ [HEADER.messageId]: "x", [HEADER.signature]: "y", Other: "z" }).ok).toBe(true);
  });
});

describe("names", () => {
  it("of streams and subjects are made from shard and agent, and read back", () => {
    expect(streamOf("0")).toBe("AUDIT_0");
    expect(subjectOf("eu1", "web-1")).toBe("audit.eu1.web-1");
    expect(parseSubject("audit.eu1.web-1")).toEqual({ shard: "eu1", agent: "web-1" });
  });

  it.each([
    "audit",
    "audit.0",
    "audit.0.a.b",
    "log.0.a",
    "audit..a",
    "audit.0.",
    "audit.0.A",
    "audit.*.a",
  ])(
    "%j is no subject of ours",
    (subject) => expect(parseSubject(subject)).toBeUndefined(),
  );

  it.each<[string, boolean, boolean]>([
    ["a", true, true],
    ["a-1", true, false],
    ["0".repeat(16), true, true],
    ["0".repeat(17), true, false],
    ["a".repeat(63), true, false],
    ["a".repeat(64), false, false],
    ["", false, false],
    ["A", false, false],
    ["a.b", false, false],
    ["a\n", false, false],
  ])("%j as agent: %s, as shard: %s", (text, isAgent, isShard) => {
    expect(isAgentName(text)).toBe(isAgent);
    expect(isShardName(text)).toBe(isShard);
  });

  it("of messages tell a batch, and a watermark after which it is sent again", () => {
    expect(batchIdOf(BATCH)).toBe("0123456789abcdef/e1/7");
    expect(resendIdOf(BATCH, { incarnation: "0123abcd", sequence: 9 }))
      .toBe("0123456789abcdef/e1/7/0123abcd-9");
  });
});

describe("digests", () => {
  const message = {
    subject: "audit.0.a",
    headers: new Map([["B", "2"], ["A", "1"]]),
    payload: Uint8Array.of(1, 2, 3),
  };

  it("of a payload are SHA-256 in hex", () => {
    expect(digestOf(new Uint8Array())).toBe(EMPTY_SHA256);
  });

  it("of a message do not depend on the order of its headers", () => {
    const turned = { ...message, headers: new Map([["A", "1"], ["B", "2"]]) };
    expect(messageDigestOf(turned)).toBe(messageDigestOf(message));
  });

  it.each([
    ["subject", { ...message, subject: "audit.0.b" }],
    ["a header's value", { ...message, headers: new Map([["B", "2"], ["A", "2"]]) }],
    ["a header's name", { ...message, headers: new Map([["B", "2"], ["C", "1"]]) }],
    ["a further header", { ...message, headers: new Map([...message.headers, ["C", ""]]) }],
    ["the payload", { ...message, payload: Uint8Array.of(1, 2, 4) }],
    ["bytes moved from headers to payload", {
      ...message,
      headers: new Map([["A", "1"]]),
      payload: new TextEncoder().encode("B: 2\n\n\x01\x02\x03"),
    }],
  ])("of a message change with its %s", (_name, other) => {
    expect(messageDigestOf(other)).not.toBe(messageDigestOf(message));
  });
});
