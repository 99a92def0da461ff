/**
 * What tells one family of rings from another: its decoder, and the harmless action by which it is proven to work.
 */
import type { Lane } from "../../producer/producer.ts";
import type { KernelContext } from "../kernel-context.ts";
import type { DecoderContext, LineDecoder } from "../line-decoder.ts";

export type RingFamilyName = "process" | "network" | "file";

/** A line as an object. */
export type ParsedLine = Readonly<Record<string, unknown>>;

/** Whether a line is the trace of the action: no, yes, or yes but with a wrong field. */
export type ProofResult = "other" | "proven" | { readonly wrong: string };

export interface ProofAction extends AsyncDisposable {
  check(line: ParsedLine): ProofResult;
}

export interface RingFamily {
  readonly name: RingFamilyName;
  readonly lane: Lane;
  /** Looks at what was there before the programs; to be called when they are attached. */
  prepare(context: KernelContext): Promise<void>;
  createDecoder(context: DecoderContext): LineDecoder;
  /** Does something small that the family's programs must see. */
  prove(): Promise<ProofAction>;
}

/** Compares the fields that a proof expects; the first that differs is named. */
export function compareFields(line: ParsedLine, expected: ParsedLine): ProofResult {
  for (const [name, value] of Object.entries(expected)) {
    if (line[name] !== value) {
      return { wrong: `${name} is ${JSON.stringify(line[name])}, not ${JSON.stringify(value)}` };
    }
  }
  return "proven";
}

/** The `detail` of a line. */
export function detailOf(line: ParsedLine): ParsedLine {
  const { detail } = line;
  // as: narrowed to an object on the same line
  return typeof detail === "object" && detail !== null ? detail as ParsedLine : {};
}
