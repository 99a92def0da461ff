/**
 * Names of TLS cipher suites by their code, as IANA's registry "TLS Cipher Suites" has them.
 *
 * Written on 2026-11-22 from the documents that registered them: RFC 2712, 4279, 4492, 4785, 5054, 5246, 5288, 5289,
 * 5487, 5489, 5746, 5932, 6209, 6367, 6655, 7251, 7507, 7905, 8442, 8446, 8492, 8998, 9150, 9189 and 9367. Codes count up
 * by key exchange and, within one, by cipher, so that a line here is a series of them.
 */

type Series = readonly [first: number, keyExchanges: string, ciphers: string];

const CLASSIC = "RSA DH_DSS DH_RSA DHE_DSS DHE_RSA DH_anon";
const CURVES = "ECDHE_ECDSA ECDH_ECDSA ECDHE_RSA ECDH_RSA";
const SHARED_KEYS = "PSK DHE_PSK RSA_PSK";
const GCM_ORDER = "RSA DHE_RSA DH_RSA DHE_DSS DH_DSS DH_anon";
const DES = "EXPORT_WITH_DES40_CBC_SHA DES_CBC_SHA 3DES_EDE_CBC_SHA";
const OLD_CURVE = "NULL_SHA RC4_128_SHA 3DES_EDE_CBC_SHA AES_128_CBC_SHA AES_256_CBC_SHA";
const SHARED = "RC4_128_SHA 3DES_EDE_CBC_SHA AES_128_CBC_SHA AES_256_CBC_SHA";
const SHARED_NEWER = "AES_128_CBC_SHA256 AES_256_CBC_SHA384 NULL_SHA256 NULL_SHA384";
const both = (cipher: string, mode: string): string =>
  `${cipher}_128_${mode}_SHA256 ${cipher}_256_${mode}_SHA384`;

const SERIES: readonly Series[] = [
  [0x0000, "NULL", "NULL_NULL"],
  [0x0001, "RSA", "NULL_MD5 NULL_SHA EXPORT_WITH_RC4_40_MD5 RC4_128_MD5 RC4_128_SHA"],
  [0x0006, "RSA", `EXPORT_WITH_RC2_CBC_40_MD5 IDEA_CBC_SHA ${DES}`],
  [0x000b, "DH_DSS DH_RSA DHE_DSS DHE_RSA", DES],
  [0x0017, "DH_anon", `EXPORT_WITH_RC4_40_MD5 RC4_128_MD5 ${DES}`],
  [0x001e, "KRB5", "DES_CBC_SHA 3DES_EDE_CBC_SHA RC4_128_SHA IDEA_CBC_SHA"],
  [0x0022, "KRB5", "DES_CBC_MD5 3DES_EDE_CBC_MD5 RC4_128_MD5 IDEA_CBC_MD5"],
  [0x0026, "KRB5_EXPORT", "DES_CBC_40_SHA RC2_CBC_40_SHA RC4_40_SHA"],
  [0x0029, "KRB5_EXPORT", "DES_CBC_40_MD5 RC2_CBC_40_MD5 RC4_40_MD5"],
  [0x002c, SHARED_KEYS, "NULL_SHA"],
  [0x002f, CLASSIC, "AES_128_CBC_SHA"],
  [0x0035, CLASSIC, "AES_256_CBC_SHA"],
  [0x003b, "RSA", "NULL_SHA256 AES_128_CBC_SHA256 AES_256_CBC_SHA256"],
  [0x003e, "DH_DSS DH_RSA DHE_DSS", "AES_128_CBC_SHA256"],
  [0x0041, CLASSIC, "CAMELLIA_128_CBC_SHA"],
  [0x0067, "DHE_RSA", "AES_128_CBC_SHA256"],
  [0x0068, "DH_DSS DH_RSA DHE_DSS DHE_RSA", "AES_256_CBC_SHA256"],
  [0x006c, "DH_anon", "AES_128_CBC_SHA256 AES_256_CBC_SHA256"],
  [0x0084, CLASSIC, "CAMELLIA_256_CBC_SHA"],
  [0x008a, SHARED_KEYS, SHARED],
  [0x0096, CLASSIC, "SEED_CBC_SHA"],
  [0x009c, GCM_ORDER, both("AES", "GCM")],
  [0x00a8, SHARED_KEYS, both("AES", "GCM")],
  [0x00ae, SHARED_KEYS, SHARED_NEWER],
  [0x00ba, CLASSIC, "CAMELLIA_128_CBC_SHA256"],
  [0x00c0, CLASSIC, "CAMELLIA_256_CBC_SHA256"],
  [0x00c6, "", "SM4_GCM_SM3 SM4_CCM_SM3"],
  [0x00ff, "", "EMPTY_RENEGOTIATION_INFO_SCSV"],
  [0x1301, "", "AES_128_GCM_SHA256 AES_256_GCM_SHA384 CHACHA20_POLY1305_SHA256"],
  [0x1304, "", "AES_128_CCM_SHA256 AES_128_CCM_8_SHA256"],
  [0x5600, "", "FALLBACK_SCSV"],
  [0xc001, "ECDH_ECDSA ECDHE_ECDSA ECDH_RSA ECDHE_RSA ECDH_anon", OLD_CURVE],
  [0xc01a, "SRP_SHA SRP_SHA_RSA SRP_SHA_DSS", "3DES_EDE_CBC_SHA"],
  [0xc01d, "SRP_SHA SRP_SHA_RSA SRP_SHA_DSS", "AES_128_CBC_SHA"],
  [0xc020, "SRP_SHA SRP_SHA_RSA SRP_SHA_DSS", "AES_256_CBC_SHA"],
  [0xc023, CURVES, both("AES", "CBC")],
  [0xc02b, CURVES, both("AES", "GCM")],
  [0xc033, "ECDHE_PSK", `${SHARED} ${both("AES", "CBC")} NULL_SHA NULL_SHA256 NULL_SHA384`],
  [0xc03c, `${CLASSIC} ${CURVES}`, both("ARIA", "CBC")],
  [0xc050, `${GCM_ORDER} ${CURVES}`, both("ARIA", "GCM")],
  [0xc064, SHARED_KEYS, both("ARIA", "CBC")],
  [0xc06a, SHARED_KEYS, both("ARIA", "GCM")],
  [0xc070, "ECDHE_PSK", both("ARIA", "CBC")],
  [0xc072, CURVES, both("CAMELLIA", "CBC")],
  [0xc07a, `${GCM_ORDER} ${CURVES} ${SHARED_KEYS}`, both("CAMELLIA", "GCM")],
  [0xc094, `${SHARED_KEYS} ECDHE_PSK`, both("CAMELLIA", "CBC")],
  [0xc09c, "RSA DHE_RSA", "AES_128_CCM AES_256_CCM"],
  [0xc0a0, "RSA DHE_RSA", "AES_128_CCM_8 AES_256_CCM_8"],
  [0xc0a4, "PSK DHE_PSK", "AES_128_CCM AES_256_CCM"],
  [0xc0a8, "PSK PSK_DHE", "AES_128_CCM_8 AES_256_CCM_8"],
  [0xc0ac, "ECDHE_ECDSA", "AES_128_CCM AES_256_CCM AES_128_CCM_8 AES_256_CCM_8"],
  [0xc0b0, "ECCPWD", `${both("AES", "GCM")} ${both("AES", "CCM")}`],
  [0xc0b4, "", "SHA256_SHA256 SHA384_SHA384"],
  [0xc100, "GOSTR341112_256", "KUZNYECHIK_CTR_OMAC MAGMA_CTR_OMAC 28147_CNT_IMIT"],
  [0xc103, "GOSTR341112_256", "KUZNYECHIK_MGM_L MAGMA_MGM_L KUZNYECHIK_MGM_S MAGMA_MGM_S"],
  [
    0xcca8,
    "ECDHE_RSA ECDHE_ECDSA DHE_RSA PSK ECDHE_PSK DHE_PSK RSA_PSK",
    "CHACHA20_POLY1305_SHA256",
  ],
  [0xd001, "ECDHE_PSK", `${both("AES", "GCM")} AES_128_CCM_8_SHA256`],
  [0xd005, "ECDHE_PSK", "AES_128_CCM_SHA256"],
];

/** By code. */
export const CIPHER_SUITES: ReadonlyMap<number, string> = new Map(SERIES.flatMap(namesOf));

/** Whether the key exchange is RSA itself, so that who gets the key later reads what was sent before. */
export function isRsaKeyExchange(code: number): boolean {
  return /^TLS_RSA_(PSK_|EXPORT_)?WITH_/.test(CIPHER_SUITES.get(code) ?? "");
}

function namesOf([first, keyExchanges, ciphers]: Series): [number, string][] {
  const names = keyExchanges.split(" ").flatMap((keyExchange) =>
    ciphers.split(" ").map((cipher) => nameOf(keyExchange, cipher))
  );
  return names.map((name, place) => [first + place, name]);
}

function nameOf(keyExchange: string, cipher: string): string {
  if (keyExchange === "") return `TLS_${cipher}`;
  return cipher.startsWith("EXPORT_")
    ? `TLS_${keyExchange}_${cipher}`
    : `TLS_${keyExchange}_WITH_${cipher}`;
}
