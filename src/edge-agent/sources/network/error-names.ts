/**
 * Names of the error numbers that a TCP connect ends with; Linux on x86-64 and arm64.
 */

const NAMES: Readonly<Record<number, string>> = {
  13: "EACCES",
  99: "EADDRNOTAVAIL",
  101: "ENETUNREACH",
  103: "ECONNABORTED",
  104: "ECONNRESET",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  112: "EHOSTDOWN",
  113: "EHOSTUNREACH",
};

export function errorName(error: number): string {
  return NAMES[error] ?? `error ${error}`;
}
