/** Certificates of one's own, made by openssl for a test. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { TlsPaths } from "../../src/cli/tls-files.ts";

/** Makes a key and a certificate of this machine's loopback, signed by itself, good for so many days. */
export function makeCertificate(
  folder: string,
  name: string,
  { days = 90 }: { readonly days?: number } = {},
): TlsPaths {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  execFileSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
    ...["-keyout", key, "-out", cert, "-days", String(days), "-subj", `/CN=${name}`],
    ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
  ], { stdio: "ignore" });
  return { cert, key };
}
