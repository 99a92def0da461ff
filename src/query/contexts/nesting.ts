/**
 * Which operation may lie in which, for contexts that leave it to the reader: probes that say their own context as
 * parent. Names as crypto-auditing's schema has them, older ones included; `*` at the end stands for all of a scope.
 */

const INSIDE: Readonly<Record<string, readonly string[]>> = {
  "tls::handshake": [
    ...["tls::sign", "tls::verify", "tls::key_exchange", "tls::verify_cert_chain"],
    ...["tls::certificate_sign", "tls::certificate_verify"],
  ],
  "tls::key_exchange": ["pk::derive", "pk::generate", "pk::encapsulate", "pk::decapsulate"],
  "tls::sign": ["pk::sign"],
  "tls::verify": ["pk::verify"],
  "tls::verify_cert_chain": ["pk::verify", "tls::verify"],
  "tls::certificate_sign": ["pk::sign"],
  "tls::certificate_verify": ["pk::verify"],
  "ssh::handshake": ["ssh::key_exchange", "ssh::client_key", "ssh::server_key"],
  "ssh::key_exchange": ["pk::derive", "pk::generate", "pk::encapsulate", "pk::decapsulate"],
  "ssh::client_key": ["pk::sign", "pk::verify"],
  "ssh::server_key": ["pk::sign", "pk::verify"],
};

/** Names that mean another. */
const SAME: Readonly<Record<string, string>> = {
  "tls::handshake_client": "tls::handshake",
  "tls::handshake_server": "tls::handshake",
  "ssh::handshake_client": "ssh::handshake",
  "ssh::handshake_server": "ssh::handshake",
};

export function mayContain(outer: string | undefined, inner: string): boolean {
  if (outer === undefined) return false;
  const name = Object.hasOwn(SAME, outer) ? SAME[outer] ?? outer : outer;
  return Object.hasOwn(INSIDE, name) && (INSIDE[name] ?? []).includes(inner);
}
