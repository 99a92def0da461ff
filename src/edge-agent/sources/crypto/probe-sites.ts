/**
 * The places of a file at which the provider's probes are hit, as the kernel's program is told of them
 * (`struct probity_site` in bpf/crypto-records.h). Pure.
 *
 * Invariant: a probe that has not the arguments of its name is no site.
 */
import {
  OPERAND,
  OPERAND_BYTES,
  OPERAND_KIND,
  PROBE,
  type ProbeName,
  SITE,
  SITE_BYTES,
} from "../../crypto-layout.ts";
import { type Operand, parseArguments } from "./probe-arguments.ts";
import type { ProbeFile, ProbeNote } from "./probe-notes.ts";

export interface ProbeSite extends Pick<ProbeNote, "offset" | "semaphore"> {
  readonly probe: ProbeName;
  readonly operands: readonly Operand[];
}

export interface ProviderSites {
  readonly sites: readonly ProbeSite[];
  /** Probes of the provider that cannot be attached, and why; the first few. */
  readonly faults: readonly string[];
}

/** Arguments of each probe. */
const ARGUMENTS: Readonly<Record<ProbeName, number>> = {
  new_context: 2,
  word_data: 3,
  string_data: 3,
  blob_data: 4,
  data: 3,
  new_context_with_data: 4,
};
const FAULTS_MAX = 8;
const QUOTED_MAX = 80;
const OF_32_BITS = "it is a file of 32 bits, whose probes cannot be attached";

/** Probes of other providers are passed over. */
export function sitesOf({ bits, machine, probes }: ProbeFile, provider: string): ProviderSites {
  const sites: ProbeSite[] = [];
  const faults = new Set<string>();
  // Elements of its arrays, and what is pushed where, are of another size than programs read.
  if (bits === 32) {
    return { sites, faults: probes.some((each) => each.provider === provider) ? [OF_32_BITS] : [] };
  }
  for (const note of probes) {
    if (note.provider !== provider) continue;
    const site = siteOf(note, machine);
    if (typeof site !== "string") sites.push(site);
    else if (faults.size < FAULTS_MAX) faults.add(site);
  }
  return { sites, faults: [...faults] };
}

function siteOf(note: ProbeNote, machine: number): ProbeSite | string {
  const { name, offset, semaphore } = note;
  const quoted = JSON.stringify(name.slice(0, QUOTED_MAX));
  if (!isProbe(name)) return `probe ${quoted} is not known`;
  const operands = parseArguments(note.arguments, machine);
  if (operands === undefined || operands.length !== ARGUMENTS[name]) {
    return `the arguments of probe ${quoted} are not understood: ${
      JSON.stringify(note.arguments.slice(0, QUOTED_MAX))
    }`;
  }
  return { probe: name, operands, offset, semaphore };
}

function isProbe(name: string): name is ProbeName {
  return Object.hasOwn(PROBE, name);
}

/** `file`: the number by which the reader knows it; `group`: 0, or that of sites that may be one place. */
export function encodeSite(
  { probe, operands }: ProbeSite,
  { file, group }: { readonly file: number; readonly group: number },
): Uint8Array {
  const view = new DataView(new ArrayBuffer(SITE_BYTES));
  view.setUint32(SITE.probe, PROBE[probe], true);
  view.setUint32(SITE.file, file, true);
  view.setUint32(SITE.group, group, true);
  for (const [place, operand] of operands.entries()) {
    const at = SITE.arguments + place * OPERAND_BYTES;
    view.setBigInt64(at + OPERAND.value, operand.value, true);
    view.setUint16(at + OPERAND.place, operand.place, true);
    view.setUint16(at + OPERAND.index, operand.index, true);
    view.setUint8(at + OPERAND.kind, OPERAND_KIND[operand.kind]);
    view.setUint8(at + OPERAND.scale, operand.scale);
    view.setUint8(at + OPERAND.size, operand.sizeBytes);
    view.setUint8(at + OPERAND.is_signed, operand.isSigned ? 1 : 0);
  }
  return new Uint8Array(view.buffer);
}
