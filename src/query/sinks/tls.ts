/**
 * TLS of sinks: the files it needs, and in words what is wrong when a connection fails.
 *
 * Invariant: a server is always verified; there is no setting that trusts any.
 */
import { readFile } from "node:fs/promises";
import { readSecretFile } from "./secret-file.ts";

export interface TlsFiles {
  /** Authorities that are trusted instead of the system's; PEM, as the others. */
  readonly caFile: string | undefined;
  /** What this side shows of itself; both or none. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface TlsTexts {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Read for each connection, so that a file that was mended or renewed counts. */
export async function readTls({ caFile, certFile, keyFile }: TlsFiles): Promise<TlsTexts> {
  return {
    ...(caFile === undefined ? {} : { ca: await readFile(caFile, "utf8") }),
    ...(certFile === undefined ? {} : { cert: await readFile(certFile, "utf8") }),
    ...(keyFile === undefined ? {} : { key: await readSecretFile(keyFile) }),
  };
}

/** OpenSSL's codes by what they mean to whoever operates the sink. */
const FAULTS: readonly (readonly [RegExp, string])[] = [
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(VERIFY|GET)_.*|CERT_SIGNATURE_FAILURE|CERT_UNTRUSTED)$/,
    "the server's certificate is of no authority that this sink trusts",
  ],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, "the server's certificate is for another name"],
  [/^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/, "the server's certificate is not valid now"],
  [
    /^(ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG|ERR_SSL_UNSUPPORTED_PROTOCOL)$/,
    "the server does not speak TLS here",
  ],
  [
    /^ERR_SSL_.*ALERT_(CERTIFICATE_|NO_CERTIFICATE|BAD_CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE|HANDSHAKE_FAILURE)/,
    "the server does not take the certificate that it was shown, or none",
  ],
];

/** The error in words, with itself as the cause; itself when it is not about TLS. */
export function tlsFault(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = "code" in error ? String(error.code) : "";
  const known = FAULTS.find(([pattern]) => pattern.test(code))?.[1];
  const isPlain = /does not support SSL/.test(error.message);
  const text = isPlain ? "the server does not speak TLS here" : known;
  return text === undefined ? error : new Error(`${text}: ${detailOf(error)}`, { cause: error });
}

/** Without OpenSSL's places in its source. */
function detailOf({ message }: Error): string {
  return /:error:[0-9A-F]+:[^:]*:[^:]*:([^:]+):/.exec(message)?.[1] ?? message;
}
