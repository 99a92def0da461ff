/**
 * What of the use of cryptography should end: signatures with SHA-1, TLS below 1.2, key exchange by RSA, and programs
 * that used TLS or SSH and never a group that withstands quantum computers. What a value means is said in `event/crypto/names.ts`. Pure.
 */
import {
  CRYPTO_QUESTIONS,
  cryptoFaultOf,
  cryptoNameOf,
  isQuantumSafe,
} from "../../event/crypto/names.ts";

export interface CryptoUse {
  readonly host: string;
  readonly exe: string;
  /** Path of the library, as the process sees it; empty when it is not known. */
  readonly library: string;
  readonly build_id: string;
  readonly key: string;
  readonly value: string;
  /** What IANA calls the value; empty when it has no name. */
  readonly meaning: string;
  /** Processes that used it; 0 when nobody knows, as of a log that was imported. */
  readonly processes: number;
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
    programOf,
  );
  return [...byProgram.values()].flatMap((of) => [
    ...of.flatMap((use) => {
      const finding = cryptoFaultOf(use.key, use.value);
      return finding === undefined ? [] : [{ ...use, finding }];
    }),
    ...missingGroup(of),
  ]);
}

/** What is to be said when only the first of the uses that are judged were read; undefined when all were. */
export function judgedOf(read: number, total: number): string | undefined {
  if (read >= total) return undefined;
  return `"Uses that should end" was found in the first ${read} of ${total} uses that are judged: ` +
    "findings may be missing, and of a program that is cut off a group may be; a shorter range, or " +
    "one host, has them.";
}

/** How many hosts and programs have each finding: what is asked of all first, also when nobody has it. */
export interface CryptoSummary {
  readonly finding: string;
  readonly hosts: number;
  readonly programs: number;
  readonly count: number;
}

export function summarizeFindings(findings: readonly CryptoFinding[]): readonly CryptoSummary[] {
  const names = new Set([...CRYPTO_QUESTIONS, ...findings.map(({ finding }) => finding)]);
  return [...names].map((finding) => {
    const of = findings.filter((each) => each.finding === finding);
    return {
      finding,
      hosts: new Set(of.map(({ host }) => host)).size,
      programs: new Set(of.map(programOf)).size,
      count: of.reduce((sum, { count }) => sum + count, 0),
    };
  });
}

function programOf(
  { host, exe, library, build_id }: Pick<CryptoUse, "host" | "exe" | "library" | "build_id">,
): string {
  return JSON.stringify([host, exe, library, build_id]);
}

/** Whoever used TLS and told no group, as with key exchange by RSA, had none that withstands either. */
function missingGroup(of: readonly CryptoUse[]): CryptoFinding[] {
  const exchanges = of.filter(({ key, value }) => isQuantumSafe(key, value) !== undefined);
  const handshakes = of.filter(({ key }) => key === "tls::protocol_version");
  const told = exchanges.length > 0 ? exchanges : handshakes;
  const [first] = told;
  if (first === undefined) return [];
  if (exchanges.some(({ key, value }) => isQuantumSafe(key, value) === true)) return [];
  const isTold = exchanges.length > 0;
  return [{
    ...first,
    ...{ finding: "no post-quantum group", key: isTold ? first.key : "tls::group" },
    value: exchanges.map(({ value }) => value).join(" "),
    meaning: isTold
      ? exchanges.map(({ meaning }) => meaning).filter((name) => name !== "").join(" ")
      : "no group was told",
    processes: told.reduce((most, { processes }) => Math.max(most, processes), 0),
    count: told.reduce((sum, { count }) => sum + count, 0),
    first: told.reduce((least, each) => each.first < least ? each.first : least, first.first),
    last: told.reduce((most, each) => each.last > most ? each.last : most, first.last),
  }];
}
