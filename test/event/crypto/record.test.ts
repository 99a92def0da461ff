import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type CryptoFact,
  cryptoFields,
  type CryptoRecord,
  cryptoTopic,
  type CryptoValue,
  recordOf,
} from "../../../src/event/crypto/record.ts";
import { isTopic } from "../../../src/event/topic.ts";

const CONTEXT = "2fbbb4cbef9df39583d7c747986856d5";

const context = fc.uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString("hex"));
const datum: fc.Arbitrary<CryptoValue> = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .map((value) => ({ type: "word", value }) as const),
  fc.string({ unit: "binary" }).map((value) => ({ type: "string", value }) as const),
  fc.uint8Array().map((value) => ({ type: "blob", value: Buffer.from(value) }) as const),
);
const fact: fc.Arbitrary<CryptoFact> = fc.oneof(
  context.map((parent) => ({ kind: "context", parent }) as const),
  fc.record({
    kind: fc.constant("data" as const),
    key: fc.oneof(fc.constant("name"), fc.string({ unit: "binary", maxLength: 300 })),
    datum,
  }),
);
const record: fc.Arbitrary<CryptoRecord> = fc.record({
  context,
  sinceBootNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fact,
});

test("every record comes back from its event as JSON, below a topic", () => {
  fc.assert(fc.property(record, (each) => {
    const fields = cryptoFields(each, { origin: "00ff" });
    expect(isTopic(fields.topic)).toBe(true);
    expect(recordOf(JSON.parse(JSON.stringify(fields)))).toEqual(each);
  }));
});

test("a key is a topic, and a name the operation's own", () => {
  const word = { type: "word", value: 1n } as const;
  const topicOf = (key: string, value: CryptoValue = word) =>
    cryptoTopic({ kind: "data", key, datum: value });
  expect(topicOf("tls::protocol_version")).toBe("crypto/tls/protocol_version");
  expect(topicOf("tls::ext::extended_master_secret")).toBe(
    "crypto/tls/ext/extended_master_secret",
  );
  expect(topicOf("name", { type: "string", value: "tls::handshake" })).toBe("crypto/tls/handshake");
  expect(topicOf("name")).toBe("crypto/name");
  expect(topicOf("::a b")).toBe("crypto/_/a_b");
  expect(cryptoTopic({ kind: "context", parent: CONTEXT })).toBe("crypto/context");
});

test("what is no record's event gives none", () => {
  const valid = cryptoFields({
    ...{ context: CONTEXT, sinceBootNs: 5n },
    fact: { kind: "data", key: "tls::group", datum: { type: "word", value: 29n } },
  }, {});
  expect(recordOf(valid)).toBeDefined();
  const { detail } = valid;
  for (
    const wrong of [
      { ...valid, context: "2fbb" },
      { ...valid, context: CONTEXT.toUpperCase() },
      { ...valid, detail: { ...detail, since_boot_ns: 5 } },
      { ...valid, detail: { ...detail, since_boot_ns: String(2n ** 64n) } },
      { ...valid, detail: { ...detail, type: "float" } },
      { ...valid, detail: { ...detail, value: "9223372036854775808" } },
      { ...valid, detail: { ...detail, value: 0.5 } },
      { ...valid, detail: { ...detail, type: "blob", value: "0" } },
      { ...valid, detail: { ...detail, type: "string", value: 5 } },
      { ...valid, detail: { ...detail, key: 5 } },
      { ...valid, detail: { since_boot_ns: "5" } },
      { ...valid, detail: { since_boot_ns: "5" }, parent_context: "x" },
    ]
  ) expect(recordOf(wrong)).toBeUndefined();
});
