/**
 * Texts of lines that differ in numbers and ids alone, made once and filled in: libraries tell the same keys again and
 * again, and a hit of a probe takes less time than to make a line of it from nothing.
 *
 * Invariant: a filled template is the text that {@link cryptoFields} gives for the same record; a test compares the two.
 */
import { type CryptoFact, cryptoFields } from "../../../event/crypto/record.ts";
import { hasCryptoNames } from "../../../event/crypto/names.ts";
import type { TellingFile } from "./crypto-lines.ts";

/** What a line is filled with. */
export interface LineValues {
  /** `"time":"…",`'s text, and the columns of the process, each followed by a comma. */
  readonly time: string;
  readonly columns: string;
  readonly context: string;
  /** Of a context that begins. */
  readonly parent: string;
  /** Of a word; text of a safe integer. */
  readonly word: string;
  readonly sinceBootNs: string;
  readonly tid: number;
}

export type LineTemplate = (values: LineValues) => string;

/** Stand where the values go; no other text of a line has control characters that are not escaped. */
const MARKS = {
  context: "@1\u007f",
  parent: "@2\u007f",
  word: 7_105_991_604_317,
  sinceBootNs: 9_403_115_768_204_117_553n,
  tid: 3_999_117_541,
} as const;
const WORD_MARK = `${MARKS.word}`;
const PLACES = new RegExp(
  `${MARKS.context}|${MARKS.parent}|${WORD_MARK}|${MARKS.sinceBootNs}|${MARKS.tid}`,
  "g",
);

/** Of a probe that tells several data: which one it is, from 0, and of how many. */
export interface DatumPlace {
  readonly place: number;
  readonly count: number;
}

/** Of a fact: of a context its parent, of most words the number stands for any. Undefined for text that has marks itself. */
export function createLineTemplate(
  fact: CryptoFact,
  file: TellingFile | undefined,
  place: DatumPlace | undefined,
): LineTemplate | undefined {
  if (hasMark(fact) || JSON.stringify(file ?? null).search(PLACES) >= 0) return undefined;
  const marked = cryptoFields(
    { context: MARKS.context, sinceBootNs: MARKS.sinceBootNs, fact: withMarks(fact) },
    { ...originOf(file), more: { ...libraryOf(file), tid: MARKS.tid, ...place } },
  );
  const { topic, severity, ...fields } = marked;
  const head = `"topic":${JSON.stringify(topic)},"severity":"${severity}",`;
  const text = JSON.stringify(fields).slice(1);
  const between = text.split(PLACES);
  const kinds = (text.match(PLACES) ?? []).map(kindOf);
  return (values) => {
    let line = `"time":"${values.time}",${head}${values.columns}${between[0] ?? ""}`;
    for (let place = 0; place < kinds.length; place += 1) {
      line += String(values[kinds[place] ?? "tid"]) + (between[place + 1] ?? "");
    }
    return line;
  };
}

/** Whether a template is of the fact's word alone: its sentence has the name that the word has. */
export function isOfWord(fact: CryptoFact): boolean {
  return fact.kind === "data" && fact.datum.type === "word" && hasCryptoNames(fact.key);
}

export function originOf(file: TellingFile | undefined): { readonly origin?: string } {
  return file === undefined || file.origin === "" ? {} : { origin: file.origin };
}

export function libraryOf(file: TellingFile | undefined): { readonly library?: string } {
  return file === undefined ? {} : { library: file.path };
}

function withMarks(fact: CryptoFact): CryptoFact {
  if (fact.kind === "context") return { kind: "context", parent: MARKS.parent };
  if (fact.datum.type !== "word" || isOfWord(fact)) return fact;
  return { ...fact, datum: { type: "word", value: BigInt(MARKS.word) } };
}

function hasMark(fact: CryptoFact): boolean {
  if (fact.kind === "context") return false;
  const { key, datum } = fact;
  const isKept = datum.type === "string" || isOfWord(fact);
  return `${key}\0${isKept ? String(datum.value) : ""}`.search(PLACES) >= 0;
}

function kindOf(mark: string): Exclude<keyof LineValues, "time" | "columns"> {
  switch (mark) {
    case MARKS.context:
      return "context";
    case MARKS.parent:
      return "parent";
    case WORD_MARK:
      return "word";
    case String(MARKS.sinceBootNs):
      return "sinceBootNs";
    default:
      return "tid";
  }
}
