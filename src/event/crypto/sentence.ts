/** What a record of crypto-auditing says, as one English sentence. */
import { cryptoNameOf } from "./names.ts";
import type { CryptoFact } from "./record.ts";

/** Longest part of a name or value that a sentence quotes, in characters. */
const QUOTED_MAX = 80;

const SUBJECTS: ReadonlyMap<string, string> = new Map([
  ["tls::protocol_version", "The protocol version"],
  ["tls::ciphersuite", "The cipher suite"],
  ["tls::signature_algorithm", "The signature scheme"],
  ["tls::group", "The group of the key exchange"],
  ["tls::key_exchange_algorithm", "The key exchange"],
]);

export function cryptoSentence(fact: CryptoFact): string {
  if (fact.kind === "context") return "A cryptographic operation began.";
  const { key, datum } = fact;
  if (key === "name" && datum.type === "string") {
    return `The cryptographic operation is ${quoted(datum.value)}.`;
  }
  const subject = SUBJECTS.get(key) ?? `The value of ${quoted(key)}`;
  if (datum.type === "blob") return `${subject} is ${datum.value.length} bytes.`;
  return `${subject} is ${cryptoNameOf(key, datum.value) ?? quoted(String(datum.value))}.`;
}

function quoted(text: string): string {
  return text.length <= QUOTED_MAX ? text : `${text.slice(0, QUOTED_MAX).toWellFormed()}…`;
}
