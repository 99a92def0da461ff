import { describe, expect, test } from "vitest";
import { CIPHER_SUITES, isRsaKeyExchange } from "../../../src/event/crypto/cipher-suites.ts";
import { cryptoFaultOf, cryptoNameOf, isQuantumSafe } from "../../../src/event/crypto/names.ts";
import { cryptoSentence } from "../../../src/event/crypto/sentence.ts";
import type { CryptoValue } from "../../../src/event/crypto/record.ts";

test("no two cipher suites share a code or a name", () => {
  // All that TLS registered but GREASE, private ranges and the two of AEGIS.
  expect(CIPHER_SUITES.size).toBe(350);
  expect(new Set(CIPHER_SUITES.values()).size).toBe(350);
});

/** The ends of each series: an entry too many or too few anywhere moves one of these. */
test.for<readonly [code: number, name: string]>([
  [0x0000, "TLS_NULL_WITH_NULL_NULL"],
  [0x0005, "TLS_RSA_WITH_RC4_128_SHA"],
  [0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"],
  [0x0016, "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA"],
  [0x001b, "TLS_DH_anon_WITH_3DES_EDE_CBC_SHA"],
  [0x002b, "TLS_KRB5_EXPORT_WITH_RC4_40_MD5"],
  [0x003a, "TLS_DH_anon_WITH_AES_256_CBC_SHA"],
  [0x0046, "TLS_DH_anon_WITH_CAMELLIA_128_CBC_SHA"],
  [0x006d, "TLS_DH_anon_WITH_AES_256_CBC_SHA256"],
  [0x0095, "TLS_RSA_PSK_WITH_AES_256_CBC_SHA"],
  [0x009b, "TLS_DH_anon_WITH_SEED_CBC_SHA"],
  [0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"],
  [0x00ad, "TLS_RSA_PSK_WITH_AES_256_GCM_SHA384"],
  [0x00b9, "TLS_RSA_PSK_WITH_NULL_SHA384"],
  [0x00c5, "TLS_DH_anon_WITH_CAMELLIA_256_CBC_SHA256"],
  [0x1305, "TLS_AES_128_CCM_8_SHA256"],
  [0xc019, "TLS_ECDH_anon_WITH_AES_256_CBC_SHA"],
  [0xc022, "TLS_SRP_SHA_DSS_WITH_AES_256_CBC_SHA"],
  [0xc032, "TLS_ECDH_RSA_WITH_AES_256_GCM_SHA384"],
  [0xc03b, "TLS_ECDHE_PSK_WITH_NULL_SHA384"],
  [0xc04f, "TLS_ECDH_RSA_WITH_ARIA_256_CBC_SHA384"],
  [0xc063, "TLS_ECDH_RSA_WITH_ARIA_256_GCM_SHA384"],
  [0xc071, "TLS_ECDHE_PSK_WITH_ARIA_256_CBC_SHA384"],
  [0xc079, "TLS_ECDH_RSA_WITH_CAMELLIA_256_CBC_SHA384"],
  [0xc093, "TLS_RSA_PSK_WITH_CAMELLIA_256_GCM_SHA384"],
  [0xc09b, "TLS_ECDHE_PSK_WITH_CAMELLIA_256_CBC_SHA384"],
  [0xc0ab, "TLS_PSK_DHE_WITH_AES_256_CCM_8"],
  [0xc0af, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8"],
  [0xc0b3, "TLS_ECCPWD_WITH_AES_256_CCM_SHA384"],
  [0xccae, "TLS_RSA_PSK_WITH_CHACHA20_POLY1305_SHA256"],
  [0xd003, "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256"],
])("%i is %s", ([code, name]) => {
  expect(cryptoNameOf("tls::ciphersuite", code)).toBe(name);
});

test("key exchange by RSA is that alone", () => {
  expect([0x2f, 0x35, 0x0a, 0x9c, 0x95, 0xc09d].map(isRsaKeyExchange)).not.toContain(
    false,
  );
  expect([0xc02f, 0x9e, 0x10, 0x1301, 0xa8, 0xffff].map(isRsaKeyExchange)).not.toContain(true);
});

test.for<readonly [key: string, value: number | bigint | string, name: string | undefined]>([
  ["tls::protocol_version", 0x0304n, "TLS 1.3"],
  ["tls::protocol_version", 0xfefd, "DTLS 1.2"],
  ["tls::group", 23, "secp256r1"],
  ["tls::group", 25, "secp521r1"],
  ["tls::group", 29, "x25519"],
  ["tls::group", 33, "brainpoolP512r1tls13"],
  ["tls::group", 41, "curveSM2"],
  ["tls::group", 260, "ffdhe8192"],
  ["tls::group", 514, "MLKEM1024"],
  ["tls::group", 4588, "X25519MLKEM768"],
  ["tls::group", 0x639a, "SecP256r1Kyber768Draft00"],
  ["tls::signature_algorithm", 0x0203, "ecdsa_sha1"],
  ["tls::signature_algorithm", 0x0807, "ed25519"],
  ["tls::signature_algorithm", 0x080b, "rsa_pss_pss_sha512"],
  ["tls::signature_algorithm", 0x0906, "mldsa87"],
  ["tls::ciphersuite", 50_336_514, "TLS_AES_256_GCM_SHA384"],
  ["tls::key_exchange_algorithm", 4, "DHE-PSK"],
  ["tls::group", 0x0a0a, undefined],
  ["tls::group", "x25519", undefined],
  ["tls::group", -1, undefined],
  ["pk::bits", 29, undefined],
])("%s %s is %s", ([key, value, name]) => {
  expect(cryptoNameOf(key, value)).toBe(name);
});

test.for<readonly [key: string, value: string, fault: string | undefined]>([
  ["tls::protocol_version", String(0x0300), "TLS below 1.2"],
  ["tls::protocol_version", String(0x0302), "TLS below 1.2"],
  ["tls::protocol_version", String(0xfeff), "TLS below 1.2"],
  ["tls::protocol_version", String(0x0303), undefined],
  ["tls::protocol_version", String(0xfefd), undefined],
  ["tls::signature_algorithm", String(0x0201), "signature with SHA-1"],
  ["tls::signature_algorithm", String(0x0101), "signature with MD5"],
  ["tls::signature_algorithm", String(0x0401), undefined],
  ["tls::ciphersuite", String(0x002f), "key exchange by RSA"],
  ["tls::ciphersuite", String(0xc02f), undefined],
  ["pk::hash", "SHA1", "use of SHA-1"],
  ["pk::hash", "SHA-512", undefined],
  ["ssh::key_algorithm", "ssh-rsa", "signature with SHA-1"],
  ["ssh::key_algorithm", "ssh-rsa-cert-v01@openssh.com", "signature with SHA-1"],
  ["ssh::key_algorithm", "rsa-sha2-512", undefined],
  ["tls::group", "29", undefined],
])("of %s %s is said: %s", ([key, value, fault]) => {
  expect(cryptoFaultOf(key, value)).toBe(fault);
});

test.for<readonly [key: string, value: string, isSafe: boolean | undefined]>([
  ["tls::group", "29", false],
  ["tls::group", "513", true],
  ["tls::group", "4587", true],
  ["tls::group", "4590", true],
  ["tls::group", "25497", true],
  ["tls::group", "65535", false],
  ["ssh::kex_algorithm", "mlkem768x25519-sha256", true],
  ["ssh::kex_algorithm", "sntrup761x25519-sha512@openssh.com", true],
  ["ssh::kex_algorithm", "curve25519-sha256", false],
  ["tls::ciphersuite", "4588", undefined],
])("%s %s withstands quantum computers: %s", ([key, value, isSafe]) => {
  expect(isQuantumSafe(key, value)).toBe(isSafe);
});

describe("a sentence", () => {
  const said = (key: string, datum: CryptoValue) => cryptoSentence({ kind: "data", key, datum });
  test("names what has a name, and gives the value of what has none", () => {
    const version = { type: "word", value: 0x0304n } as const;
    expect(said("tls::protocol_version", version)).toBe("The protocol version is TLS 1.3.");
    expect(said("tls::group", { type: "word", value: 7777n })).toBe(
      "The group of the key exchange is 7777.",
    );
    expect(said("name", { type: "string", value: "tls::handshake" })).toBe(
      "The cryptographic operation is tls::handshake.",
    );
    expect(said("pk::bits", { type: "blob", value: Uint8Array.of(1, 2) })).toBe(
      "The value of pk::bits is 2 bytes.",
    );
    expect(cryptoSentence({ kind: "context", parent: "" })).toBe(
      "A cryptographic operation began.",
    );
  });
  test("is bounded, whatever is told", () => {
    const long = "😀".repeat(10_000);
    expect(said(long, { type: "string", value: long }).length).toBeLessThan(250);
    expect(said("name", { type: "string", value: long }).isWellFormed()).toBe(true);
  });
});
