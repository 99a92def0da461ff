import { expect, test } from "vitest";
import { findCrypto, meaningOf } from "../../src/query/reports/crypto-findings.ts";

test("findings know codes with 32 bits, DTLS, and names; and hold nothing against what they do not know", () => {
  const use = (key: string, value: string) => ({
    ...{ host: "h", exe: "e", library: "l", build_id: "b", key, value },
    ...{ meaning: meaningOf(key, value), processes: 1, count: 1, first: "a", last: "b" },
  });
  const found = (key: string, value: string) =>
    findCrypto([use(key, value)]).map((each) => each.finding);
  expect(found("tls::ciphersuite", "50331695")).toEqual(["key exchange by RSA"]);
  expect(found("tls::ciphersuite", String(0x03001302))).toEqual([]);
  const group = use("tls::group", "4588");
  const version = (value: string) =>
    findCrypto([use("tls::protocol_version", value), group]).map((each) => each.finding);
  expect(version(String(0xfeff))).toEqual(["TLS below 1.2"]);
  expect(version(String(0xfefd))).toEqual([]);
  expect(version("new")).toEqual([]);
  expect(found("tls::signature_algorithm", "513")).toEqual(["signature with SHA-1"]);
  expect(found("pk::hash", "SHA1")).toEqual(["use of SHA-1"]);
  expect(found("pk::hash", "SHA-512")).toEqual([]);
  expect(findCrypto([use("tls::group", "29"), use("tls::group", "4588")])).toEqual([]);
  // TLS without a group, as with key exchange by RSA, withstands no better.
  expect(findCrypto([use("tls::protocol_version", "771"), use("tls::protocol_version", "772")]))
    .toMatchObject([
      { finding: "no post-quantum group", key: "tls::group", value: "", count: 2 },
    ]);
  expect(findCrypto([use("tls::group", "29"), use("tls::group", "23")])).toMatchObject([
    { finding: "no post-quantum group", value: "29 23", meaning: "x25519 secp256r1", count: 2 },
  ]);
});
