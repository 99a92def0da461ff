/**
 * How long something took or stood, and what went over it, as members of `detail`.
 */
import { u64Text } from "../../decode-record.ts";
import { CLOSE, KIND } from "../../record-layout.ts";
import type { NetworkFacts } from "./network-sentence.ts";

/** What a close ends, by the kind of the record that began it. */
const ENDS: Readonly<Record<number, string>> = {
  [KIND.connect]: "connect",
  [KIND.accept]: "accept",
  [KIND.listen]: "listen",
};

export function durationMember({ durationMs }: NetworkFacts): string {
  return durationMs === undefined ? "" : `,"duration_ms":${durationMs.toFixed(3)}`;
}

/** Of a close: the sums of both directions, unless it ends no more than listening. */
export function sumMembers(facts: NetworkFacts, words: Uint32Array, offset: number): string {
  const { role, ends, isAggregate } = facts;
  const began = ENDS[role];
  const what = (began === undefined ? "" : `,"ends":"${began}"`) +
    (isAggregate ? ',"aggregate":true' : "");
  if (role === KIND.listen) return what;
  const member = (name: keyof typeof CLOSE): string =>
    `,"${name}":${u64Text(words, offset + CLOSE[name])}`;
  return member("bytes_in") + member("bytes_out") +
    (ends.protocol === "udp" ? member("packets_in") + member("packets_out") : "") + what;
}
