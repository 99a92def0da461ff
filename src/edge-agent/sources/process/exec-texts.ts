/**
 * Arguments and chosen environment of an exec's record, as lists of texts: what they are before they are joined, and
 * without their secrets.
 *
 * Invariants: secrets are taken out before any text is made that could be told; one argument that is not UTF-8 makes
 * all of them escaped, because the field is, and its backslashes must mean one thing; the environment likewise.
 */
import { isUtf8 } from "node:buffer";
import { escapedTextOf } from "../../byte-text.ts";
import { isPlain } from "../../decode-text.ts";
import type { Redactor } from "../../redaction.ts";
import type { RecordMemory } from "../../ring-buffer.ts";
import type { ExecParts } from "./exec-parts.ts";

export interface ExecTexts {
  readonly argv: readonly string[];
  /** Names and values, in the order of the environment; of a name that is there again the first, as `getenv` has it. */
  readonly env: ReadonlyMap<string, string>;
  /** Those whose name was there before, `NAME=value`: some programs take the last. */
  readonly envRepeated: readonly string[];
  /** Bytes that are no UTF-8 were written as `\xNN`. */
  readonly isArgvEscaped: boolean;
  readonly isEnvEscaped: boolean;
  /** Where secrets were replaced: `argv[2]`, `env.PATH`. */
  readonly redacted: readonly string[];
}

export interface ExecTextOptions {
  /** Names of the variables that are told. */
  readonly environment: ReadonlySet<string>;
  readonly redactor: Redactor;
}

export function readExecTexts(
  { bytes }: RecordMemory,
  { envFrom, argvFrom, end }: ExecParts,
  { environment, redactor }: ExecTextOptions,
): ExecTexts {
  const argv = argvFrom === end ? NOTHING : redactor.argv(stringsIn(bytes, argvFrom, end));
  const chosen = envFrom === argvFrom
    ? ""
    : stringsIn(bytes, envFrom, argvFrom).split("\0").filter((entry) =>
      environment.has(nameOf(entry))
    ).join("\0");
  const env = chosen === "" ? NOTHING : redactor.environment(chosen);
  const argvTexts = decoded(argv.parts);
  const envTexts = decoded(env.parts);
  return {
    argv: argvTexts.texts,
    ...variablesIn(envTexts.texts),
    isArgvEscaped: argvTexts.isEscaped,
    isEnvEscaped: envTexts.isEscaped,
    redacted: [
      ...argv.places.map((place) => `argv[${place}]`),
      ...env.places.map((place) => `env.${nameOf(env.parts[place] ?? "")}`),
    ],
  };
}

function variablesIn(entries: readonly string[]): Pick<ExecTexts, "env" | "envRepeated"> {
  const env = new Map<string, string>();
  const envRepeated: string[] = [];
  for (const entry of entries) {
    const name = nameOf(entry);
    if (env.has(name)) envRepeated.push(entry);
    else env.set(name, entry.slice(name.length + 1));
  }
  return { env, envRepeated };
}

const NOTHING = { parts: [], places: [] };

/** Strings that end in NUL each, but the last one may not: one character per byte, without the last NUL. */
function stringsIn(bytes: Buffer, from: number, to: number): string {
  return bytes.toString("latin1", from, bytes[to - 1] === 0 ? to - 1 : to);
}

/** Binary texts as what they say. */
function decoded(
  parts: readonly string[],
): { readonly texts: readonly string[]; readonly isEscaped: boolean } {
  if (parts.every(isPlain)) return { texts: parts, isEscaped: false };
  const asBytes = parts.map((text) => Buffer.from(text, "latin1"));
  const isEscaped = !asBytes.every((text) => isUtf8(text));
  return {
    texts: asBytes.map((text) => isEscaped ? escapedTextOf(text) : text.toString("utf8")),
    isEscaped,
  };
}

/** Name of a variable, `NAME=value`; the whole text when it has no `=`. */
function nameOf(text: string): string {
  const end = text.indexOf("=");
  return end < 0 ? text : text.slice(0, end);
}
