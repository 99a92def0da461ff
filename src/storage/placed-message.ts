/**
 * From acceptance's decision to rows: how many rows a message has, what they have in common, and the text of its gap
 * rows. Pure, so that archive, hot table and tail make the same rows of the same message.
 *
 * Invariant: `idx` of a message's rows is 0, 1, 2 …: its own lines first, then what its acceptance revealed.
 */
import type { Gap, Verdict } from "../event/acceptance.ts";
import { gapLines } from "../event/gap.ts";
import type { BatchHeader } from "../event/wire.ts";
import type { PlacedMessage } from "./typed-read.ts";

/** A message that acceptance decided on. */
export interface DecidedMessage {
  readonly incarnation: string;
  readonly sequence: number;
  readonly loggedAtUs: number;
  /** From the subject; undefined when that is none of ours. */
  readonly agent: string | undefined;
  /** Undefined when the headers cannot be trusted. */
  readonly header: BatchHeader | undefined;
  readonly verdict: Verdict;
  readonly gaps: readonly Gap[];
}

export interface PlacedRows {
  readonly message: PlacedMessage;
  /** NDJSON of its gap rows; empty when there are none. */
  readonly gapText: string;
}

/** The rows of a message whose lines can be read, or that has none. */
export function placeReadable(decided: DecidedMessage): PlacedRows {
  return place(decided, ownRowsOf(decided), decided.gaps);
}

/** The rows of an accepted message whose lines cannot be read: its gaps, and one more that says why. */
export function placeUnreadable(decided: DecidedMessage, reason: string): PlacedRows {
  const { header } = decided;
  const gap: Gap = {
    class: "unreadable",
    count: header?.count ?? null,
    reason,
    agent: decided.agent,
    epoch: header?.epoch,
    batches: header === undefined ? undefined : [header.number, header.number],
    ...(header === undefined ? {} : { times: [header.firstUs, header.lastUs] as const }),
  };
  return place(decided, 0, [...decided.gaps, gap]);
}

/** How many lines of a message are part of the record. */
export function ownRowsOf({ verdict, header }: Pick<DecidedMessage, "verdict" | "header">): number {
  return verdict === "accepted" ? header?.count ?? 0 : 0;
}

function place(decided: DecidedMessage, ownRows: number, gaps: readonly Gap[]): PlacedRows {
  const { incarnation, sequence, loggedAtUs, agent, header } = decided;
  return {
    message: {
      incarnation,
      sequence,
      loggedAtUs,
      host: header?.host ?? null,
      agent: agent ?? null,
      epoch: header?.epoch ?? null,
      batch: header?.number ?? null,
      lastUs: header?.lastUs ?? loggedAtUs,
      rows: ownRows + gaps.length,
    },
    gapText: gapLines(gaps, loggedAtUs, ownRows),
  };
}
