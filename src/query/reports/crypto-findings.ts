/**
 * What of the use of cryptography should end: signatures with SHA-1, TLS below 1.2, key exchange by RSA, and handshakes
 * that never offered a group that withstands quantum computers. Numbers are those of IANA's registries "TLS
 * SignatureScheme", "TLS Cipher Suites" and "TLS Supported Groups" as of 2026-02. Pure.
 */

export interface CryptoUse {
  readonly host: string;
  readonly exe: string;
  /** Build id of the library. */
  readonly library: string;
  readonly key: string;
  readonly value: string;
  readonly count: number;
  readonly first: string;
  readonly last: string;
}

export interface CryptoFinding extends CryptoUse {
  readonly finding: string;
}

const TLS_1_2 = 0x0303;
const DTLS_1_2 = 0xfefd;
/** DTLS counts downwards: 1.0 is 0xfeff, 1.2 is 0xfefd. */
const DTLS_FIRST = 0xfeff;

/** rsa_pkcs1_sha1, dsa_sha1, ecdsa_sha1 */
const SHA1_SCHEMES = new Set([0x0201, 0x0202, 0x0203]);

/** Suites whose key exchange is RSA itself: no forward secrecy. */
const RSA_SUITES = new Set([
  ...[0x0001, 0x0002, 0x0004, 0x0005, 0x0007, 0x000a, 0x002f, 0x0035, 0x003b, 0x003c, 0x003d],
  ...[0x0041, 0x0084, 0x0096, 0x009c, 0x009d, 0x00ba, 0x00c0, 0xc03c, 0xc03d, 0xc050, 0xc051],
  ...[0xc07a, 0xc07b, 0xc09c, 0xc09d, 0xc0a0, 0xc0a1],
]);

/** ML-KEM alone and joined with elliptic curves, and the draft before it that was deployed. */
const QUANTUM_SAFE_GROUPS = new Set([
  ...[0x0200, 0x0201, 0x0202, 0x11eb, 0x11ec, 0x11ed, 0x6399, 0x639a],
]);

/** Findings in uses, in the order of the uses; the first value of each stands for a missing group. */
export function findCrypto(uses: readonly CryptoUse[]): readonly CryptoFinding[] {
  const byProgram = Map.groupBy(
    uses,
    ({ host, exe, library }) => JSON.stringify([host, exe, library]),
  );
  return [...byProgram.values()].flatMap((of) => [
    ...of.flatMap((use) => {
      const finding = findingOf(use);
      return finding === undefined ? [] : [{ ...use, finding }];
    }),
    ...missingGroup(of),
  ]);
}

function findingOf({ key, value }: CryptoUse): string | undefined {
  const code = codeOf(value);
  switch (key) {
    case "tls::protocol_version":
      return isOldVersion(code) ? "TLS below 1.2" : undefined;
    case "tls::signature_algorithm":
      return SHA1_SCHEMES.has(code) ? "signature with SHA-1" : undefined;
    case "tls::ciphersuite":
      return RSA_SUITES.has(code) ? "key exchange by RSA" : undefined;
    case "pk::hash":
      return /^sha-?1$/i.test(value) ? "signature with SHA-1" : undefined;
    default:
      return undefined;
  }
}

function isOldVersion(code: number): boolean {
  const isDatagram = code >= 0xfe00 && code <= DTLS_FIRST;
  return isDatagram ? code > DTLS_1_2 : code < TLS_1_2;
}

function missingGroup(of: readonly CryptoUse[]): CryptoFinding[] {
  const groups = of.filter(({ key }) => key === "tls::group");
  const [first] = groups;
  if (first === undefined) return [];
  if (groups.some(({ value }) => QUANTUM_SAFE_GROUPS.has(codeOf(value)))) return [];
  return [{
    ...first,
    finding: "no post-quantum group",
    value: groups.map(({ value }) => value).join(" "),
    count: groups.reduce((sum, { count }) => sum + count, 0),
    first: groups.reduce((least, each) => each.first < least ? each.first : least, first.first),
    last: groups.reduce((most, each) => each.last > most ? each.last : most, first.last),
  }];
}

/** Some libraries give a suite as 32 bits, of which the lower 16 are IANA's. NaN for what is no number. */
function codeOf(value: string): number {
  if (!/^[0-9]{1,10}$/.test(value)) return NaN;
  return Number(value) % 0x10000;
}
