/** Certificates of one's own, made by openssl for a test. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { TlsPaths } from "../../src/cli/tls-files.ts";

/**
 * Makes a key and a certificate, signed by itself and good for so many days, of the loopback of this machine unless other
 * names are given.
 */
export function makeCertificate(
  folder: string,
  name: string,
  { days = 90, names = "DNS:localhost,IP:127.0.0.1" }: {
    readonly days?: number;
    readonly names?: string;
  } = {},
): TlsPaths {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  execFileSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
    ...["-keyout", key, "-out", cert, "-days", String(days), "-subj", `/CN=${name}`],
    ...["-addext", `subjectAltName=${names}`],
  ], { stdio: "ignore" });
  return { cert, key };
}

/** Makes a key and a certificate of a client that one made by {@link makeCertificate} has signed. */
export function makeSignedCertificate(folder: string, name: string, by: TlsPaths): TlsPaths {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  const request = join(folder, `${name}.csr`);
  const openssl = (...words: readonly string[]) =>
    execFileSync("openssl", words, { stdio: "ignore" });
  openssl(
    ...["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
    ...["-keyout", key, "-out", request, "-subj", `/CN=${name}`],
  );
  openssl(
    ...["x509", "-req", "-in", request, "-out", cert, "-days", "90"],
    ...["-CA", by.cert, "-CAkey", by.key, "-CAcreateserial"],
  );
  return { cert, key };
}
