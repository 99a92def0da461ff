/**
 * What tells one family of rings from another: its decoder, and the harmless action by which it is proven to work.
 */
import type { Lane } from "../../producer/producer.ts";
import type { KernelContext } from "../kernel-context.ts";
import type { Libbpf } from "../libbpf.ts";
import type { DecoderContext, LineDecoder } from "../line-decoder.ts";
import type { PinnedPrograms } from "../pinned-programs.ts";
import type { ProgramObject, ProgramVariant } from "../program-object.ts";
import type { SourceReconfiguration } from "../source.ts";

/** Families that are sources of their own. */
export type RingFamilyName = "process" | "control" | "network" | "flow" | "file" | "crypto";

/** A line as an object. */
export type ParsedLine = Readonly<Record<string, unknown>>;

/** Whether a line is the trace of the action: no, yes, or yes but with a wrong field. */
export type ProofResult = "other" | "proven" | { readonly wrong: string };

/** Finds the trace of an action in a line. */
export type ProofCheck = (line: ParsedLine) => ProofResult;

export interface ProofAction extends AsyncDisposable {
  /** Name of the hook without which the family is off, and its trace. */
  readonly hook: string;
  check(line: ParsedLine): ProofResult;
  /** Further hooks that the action triggers, with their traces: one that is not proven is off alone. */
  readonly further?: Readonly<Record<string, ProofCheck>>;
  /** Hooks that cannot be triggered on this machine, and why. */
  readonly untried?: Readonly<Record<string, string>>;
}

export interface RingFamily {
  /** `integrity` is read by the source of file integrity. */
  readonly name: RingFamilyName | "integrity";
  readonly lane: Lane;
  /** Values that the programs start with, by the names of their maps, each at key 0. */
  readonly values?: Readonly<Record<string, Uint8Array>>;
  /** Takes what concerns it of a configuration read anew, also in `values`; the values that the programs need now. */
  reconfigure?(settings: SourceReconfiguration): Readonly<Record<string, Uint8Array>>;
  /** Variants that its programs have; both of tracepoints when it does not say. */
  readonly variants?: readonly ProgramVariant[];
  /**
   * Whether its programs do not tell again what they told, for a while or at all. Those of a proof, whose events are not
   * told, then cannot be those that stay.
   */
  readonly tellsOnce?: boolean;
  /** Looks at what was there before the programs; to be called when they are attached. */
  prepare(context: KernelContext): Promise<void>;
  createDecoder(context: DecoderContext): LineDecoder;
  /** Told of the programs that take events from now on, before a record of theirs is read. */
  opened?(programs: PinnedPrograms): void;
  /** Does something small that each of the family's programs, loaded as `object` for a trial, must see. */
  prove(libbpf: Libbpf, object?: Pick<ProgramObject, "mapFd" | "pin">): Promise<ProofAction>;
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
