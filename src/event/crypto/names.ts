/**
 * What numbers in crypto-auditing's events are called: versions, groups, signature schemes and cipher suites as IANA's
 * registries "TLS Supported Groups", "TLS SignatureScheme" and "TLS Cipher Suites" have them. And which of them should
 * no longer be used. Pure.
 *
 * Written on 2026-11-22 from RFC 5246, 6101, 6347, 7027, 7919, 8422, 8446, 8734, 8998, 9147, 9189, 9847 and the drafts
 * that registered ML-KEM (512 to 514), its hybrids (4587 to 4590) and ML-DSA (0x0904 to 0x0906).
 */
import { CIPHER_SUITES, isRsaKeyExchange } from "./cipher-suites.ts";

const VERSIONS: ReadonlyMap<number, string> = new Map([
  [0x0002, "SSL 2.0"],
  [0x0300, "SSL 3.0"],
  [0x0301, "TLS 1.0"],
  [0x0302, "TLS 1.1"],
  [0x0303, "TLS 1.2"],
  [0x0304, "TLS 1.3"],
  // As OpenSSL had it before the number was given.
  [0x0100, "DTLS 1.0"],
  [0xfeff, "DTLS 1.0"],
  [0xfefd, "DTLS 1.2"],
  [0xfefc, "DTLS 1.3"],
]);

const GROUPS: ReadonlyMap<number, string> = new Map([
  ...numbered(1, "sect163k1 sect163r1 sect163r2 sect193r1 sect193r2 sect233k1 sect233r1"),
  ...numbered(8, "sect239k1 sect283k1 sect283r1 sect409k1 sect409r1 sect571k1 sect571r1"),
  ...numbered(15, "secp160k1 secp160r1 secp160r2 secp192k1 secp192r1 secp224k1 secp224r1"),
  ...numbered(22, "secp256k1 secp256r1 secp384r1 secp521r1"),
  ...numbered(26, "brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 x25519 x448"),
  ...numbered(31, "brainpoolP256r1tls13 brainpoolP384r1tls13 brainpoolP512r1tls13"),
  ...numbered(34, "GC256A GC256B GC256C GC256D GC512A GC512B GC512C curveSM2"),
  ...numbered(256, "ffdhe2048 ffdhe3072 ffdhe4096 ffdhe6144 ffdhe8192"),
  ...numbered(512, "MLKEM512 MLKEM768 MLKEM1024"),
  ...numbered(4587, "SecP256r1MLKEM768 X25519MLKEM768 SecP384r1MLKEM1024 curveSM2MLKEM768"),
  ...numbered(25497, "X25519Kyber768Draft00 SecP256r1Kyber768Draft00"),
  ...numbered(65281, "arbitrary_explicit_prime_curves arbitrary_explicit_char2_curves"),
]);

const SCHEMES: ReadonlyMap<number, string> = new Map([
  ...numbered(0x0101, "rsa_pkcs1_md5 dsa_md5 ecdsa_md5"),
  ...numbered(0x0201, "rsa_pkcs1_sha1 dsa_sha1 ecdsa_sha1"),
  ...numbered(0x0301, "rsa_pkcs1_sha224 dsa_sha224 ecdsa_sha224"),
  ...numbered(0x0401, "rsa_pkcs1_sha256 dsa_sha256 ecdsa_secp256r1_sha256"),
  ...numbered(0x0420, "rsa_pkcs1_sha256_legacy"),
  ...numbered(0x0501, "rsa_pkcs1_sha384 dsa_sha384 ecdsa_secp384r1_sha384"),
  ...numbered(0x0520, "rsa_pkcs1_sha384_legacy"),
  ...numbered(0x0601, "rsa_pkcs1_sha512 dsa_sha512 ecdsa_secp521r1_sha512"),
  ...numbered(0x0620, "rsa_pkcs1_sha512_legacy"),
  ...numbered(0x0708, "sm2sig_sm3 gostr34102012_256a gostr34102012_256b gostr34102012_256c"),
  ...numbered(0x070c, "gostr34102012_256d gostr34102012_512a gostr34102012_512b"),
  ...numbered(0x070f, "gostr34102012_512c"),
  ...numbered(0x0804, "rsa_pss_rsae_sha256 rsa_pss_rsae_sha384 rsa_pss_rsae_sha512"),
  ...numbered(0x0807, "ed25519 ed448 rsa_pss_pss_sha256 rsa_pss_pss_sha384 rsa_pss_pss_sha512"),
  ...numbered(0x081a, "ecdsa_brainpoolP256r1tls13_sha256 ecdsa_brainpoolP384r1tls13_sha384"),
  ...numbered(0x081c, "ecdsa_brainpoolP512r1tls13_sha512"),
  ...numbered(0x0904, "mldsa44 mldsa65 mldsa87"),
]);

/** Of older GnuTLS. */
const KEY_EXCHANGES: ReadonlyMap<number, string> = new Map(
  numbered(0, "ECDHE DHE PSK ECDHE-PSK DHE-PSK"),
);

const TABLES: ReadonlyMap<string, ReadonlyMap<number, string>> = new Map([
  ["tls::protocol_version", VERSIONS],
  ["tls::ciphersuite", CIPHER_SUITES],
  ["tls::signature_algorithm", SCHEMES],
  ["tls::group", GROUPS],
  ["tls::key_exchange_algorithm", KEY_EXCHANGES],
]);

/** Key exchanges of SSH that withstand quantum computers. */
const SAFE_SSH_EXCHANGE = /^(?:sntrup761|mlkem(?:512|768|1024))/;

/** Whether numbers of a key have names. */
export function hasCryptoNames(key: string): boolean {
  return TABLES.has(key);
}

/** What a value of a key is called; undefined when it is no number of a registry. */
export function cryptoNameOf(key: string, value: string | number | bigint): string | undefined {
  return TABLES.get(key)?.get(codeOf(value));
}

/** What an auditor asks of each program, in this order; {@link cryptoFaultOf} may find more. */
export const CRYPTO_QUESTIONS: readonly string[] = [
  "signature with SHA-1",
  "TLS below 1.2",
  "key exchange by RSA",
  "no post-quantum group",
];

/** Why a value should no longer be used; undefined when nothing is known against it. */
export function cryptoFaultOf(key: string, value: string | number | bigint): string | undefined {
  return FAULTS.get(key)?.(String(value));
}

/** Whether the group or key exchange withstands quantum computers; undefined when the key says nothing of it. */
export function isQuantumSafe(key: string, value: string | number | bigint): boolean | undefined {
  return EXCHANGES.get(key)?.(String(value));
}

const SHA1_SIGNATURE = "signature with SHA-1";
const sshFault = (value: string): string | undefined =>
  /^ssh-(?:rsa|dss)(?:-cert|$)/.test(value) ? SHA1_SIGNATURE : undefined;

const FAULTS: ReadonlyMap<string, (value: string) => string | undefined> = new Map([
  ["tls::protocol_version", (value: string) => {
    const name = VERSIONS.get(codeOf(value)) ?? "";
    return /^SSL|^D?TLS 1\.[01]$/.test(name) ? "TLS below 1.2" : undefined;
  }],
  ["tls::signature_algorithm", (value: string) => {
    // The hash of schemes before TLS 1.3 is their upper byte: 1 is MD5, 2 is SHA-1.
    const hash = codeOf(value) >> 8;
    return hash === 2 ? SHA1_SIGNATURE : hash === 1 ? "signature with MD5" : undefined;
  }],
  [
    "tls::ciphersuite",
    (value: string) => isRsaKeyExchange(codeOf(value)) ? "key exchange by RSA" : undefined,
  ],
  // Of signatures, but of key derivation and padding as well.
  ["pk::hash", (value: string) => /^sha-?1$/i.test(value) ? "use of SHA-1" : undefined],
  ["ssh::key_algorithm", sshFault],
  ["ssh::cert_signature_algorithm", sshFault],
]);

const EXCHANGES: ReadonlyMap<string, (value: string) => boolean> = new Map([
  ["tls::group", (value: string) => /MLKEM|Kyber/.test(GROUPS.get(codeOf(value)) ?? "")],
  ["ssh::kex_algorithm", (value: string) => SAFE_SSH_EXCHANGE.test(value)],
]);

/** Keys whose values say what should no longer be used, or what withstands quantum computers. */
export const JUDGED_KEYS: readonly string[] = [...FAULTS.keys(), ...EXCHANGES.keys()];

/** Some libraries give a suite as 32 bits, of which the lower 16 are IANA's. NaN for what is no number. */
function codeOf(value: string | number | bigint): number {
  const text = String(value);
  return /^[0-9]{1,10}$/.test(text) ? Number(text) % 0x10000 : NaN;
}

function numbered(first: number, names: string): [number, string][] {
  return names.split(" ").map((name, place) => [first + place, name]);
}
