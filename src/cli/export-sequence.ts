/** Events of the record as a CBOR sequence of crypto-auditing, on standard output. */
import type { Conditions, RecordedEvent } from "../client/record.ts";
import { isImported } from "../event/crypto/group-events.ts";
import type { CborVariant } from "../event/crypto/group.ts";
import {
  createSequenceWriter,
  MixedSequence,
  type SequenceCounts,
} from "../event/crypto/sequence-writer.ts";
import { CommandError, EXIT } from "./exit.ts";
import type { Output } from "./output.ts";

/** Conditions with that of the form. */
export function sequenceConditions(conditions: Conditions): Conditions {
  return { ...conditions, topic: [conditions.topic ?? [], "crypto"].flat() };
}

/**
 * Events come in the order of time; those of imported files are left out unless the conditions name a service: else what
 * probes told on a host could not be had once a file was imported for it. Throws a {@link CommandError} for events of several hosts or files. */
export async function writeSequence(
  events: AsyncIterable<RecordedEvent>,
  { variant, conditions, output }: {
    readonly variant: CborVariant;
    readonly conditions: Conditions;
    readonly output: Output;
  },
): Promise<void> {
  const writer = createSequenceWriter(variant);
  let imported = 0;
  try {
    for await (const event of events) {
      if (conditions.service === undefined && isImported(event.service)) {
        imported += 1;
        continue;
      }
      const timeUs = timeOf(event);
      for (const bytes of writer.push({ ...event, timeUs })) await output.write(bytes);
    }
  } catch (cause) {
    if (!(cause instanceof MixedSequence)) throw cause;
    const remedy = "choose one with --host, or a file with --service";
    throw new CommandError(EXIT.usage, `Cannot export a sequence: ${cause.message}; ${remedy}`, {
      cause,
    });
  }
  for (const bytes of writer.finish()) await output.write(bytes);
  if (imported > 0) {
    output.notice(`${imported} events of imported files were left out: choose one with --service`);
  }
  tell(writer.counts, output);
}

function tell({ skipped, partial, displaced }: SequenceCounts, output: Output): void {
  if (skipped > 0) output.notice(`${skipped} events are no records of probes, and were left out`);
  if (partial > 0) output.notice(`of ${partial} groups not all events are in what was asked for`);
  if (displaced > 0) output.notice(`${displaced} groups stand later than in their file`);
}

/** Six decimals, of which `Date` reads three. */
function timeOf({ time = "" }: RecordedEvent): number {
  return Date.parse(time) * 1_000 + Number(/\.\d{3}(\d{3})Z$/.exec(time)?.[1] ?? 0);
}
