/**
 * What of the use of cryptography should end: signatures with SHA-1, TLS below 1.2, key exchange by RSA, and programs
 * that never used a group that withstands quantum computers. What a value means is said in `event/crypto/names.ts`. Pure.
 */
import { cryptoFaultOf, cryptoNameOf, isQuantumSafe } from "../../event/crypto/names.ts";

export interface CryptoUse {
  readonly host: string;
  readonly exe: string;
  /** Build id of the library. */
  readonly library: string;
  readonly key: string;
  readonly value: string;
  /** What IANA calls the value; empty when it has no name. */
  readonly meaning: string;
  readonly count: number;
  readonly first: string;
  readonly last: string;
}

export interface CryptoFinding extends CryptoUse {
  readonly finding: string;
}

/** What IANA calls a value; empty when it has no name. */
export function meaningOf(key: string, value: string): string {
  return cryptoNameOf(key, value) ?? "";
}

/** Findings in uses, in the order of the uses; the first value of each stands for a missing group. */
export function findCrypto(uses: readonly CryptoUse[]): readonly CryptoFinding[] {
  const byProgram = Map.groupBy(
    uses,
    ({ host, exe, library }) => JSON.stringify([host, exe, library]),
  );
  return [...byProgram.values()].flatMap((of) => [
    ...of.flatMap((use) => {
      const finding = cryptoFaultOf(use.key, use.value);
      return finding === undefined ? [] : [{ ...use, finding }];
    }),
    ...missingGroup(of),
  ]);
}

function missingGroup(of: readonly CryptoUse[]): CryptoFinding[] {
  const exchanges = of.filter(({ key, value }) => isQuantumSafe(key, value) !== undefined);
  const [first] = exchanges;
  if (first === undefined) return [];
  if (exchanges.some(({ key, value }) => isQuantumSafe(key, value) === true)) return [];
  return [{
    ...first,
    finding: "no post-quantum group",
    value: exchanges.map(({ value }) => value).join(" "),
    meaning: exchanges.map(({ meaning }) => meaning).filter((name) => name !== "").join(" "),
    count: exchanges.reduce((sum, { count }) => sum + count, 0),
    first: exchanges.reduce((least, each) => each.first < least ? each.first : least, first.first),
    last: exchanges.reduce((most, each) => each.last > most ? each.last : most, first.last),
  }];
}
