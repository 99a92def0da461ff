/**
 * What could not be taken of applications, and why: counted by reason, logged at most once a second per reason, and told
 * as losses where a message that was sent is missing.
 */
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import type { SourceLoss } from "../../source.ts";

/** Why a message or a connection was refused. */
export const REFUSALS = {
  too_large: "a message was larger than the limit",
  held: "too many unfinished messages waited in memory",
  cut: "a connection ended within a message",
  handshake: "the first message asked for what there is not",
  connections: "too many connections were open",
  datagram: "datagrams came while the spool could not take more",
  relay: "messages could not be kept for the KMS",
} as const;

export type Refusal = keyof typeof REFUSALS;

/** Those after which a message is missing that its sender sent whole. */
const LOSING: readonly Refusal[] = ["too_large", "held", "datagram", "relay"];
const LOG_EVERY_MS = 1_000;

export interface Refusals {
  readonly counts: Readonly<Record<Refusal, number>>;
  /** Messages that are missing since the beginning. */
  readonly lost: number;
  /** `count` messages or connections at once; one by default. */
  add(refusal: Refusal, from: string, count?: number): void;
  /** Losses since the last call. */
  losses(): readonly SourceLoss[];
}

export function createRefusals(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Refusals {
  const counts: Record<Refusal, number> = {
    ...{
      too_large: 0,
      held: 0,
      cut: 0,
      handshake: 0,
      connections: 0,
      datagram: 0,
      relay: 0,
    },
  };
  const told = { ...counts };
  const logged = new Map<Refusal, { readonly atMs: number; readonly count: number }>();
  return {
    counts,
    get lost() {
      return LOSING.reduce((sum, each) => sum + counts[each], 0);
    },
    add(refusal, from, count = 1) {
      counts[refusal] += count;
      const last = logged.get(refusal);
      const atMs = clock.elapsedMs();
      if (last !== undefined && atMs - last.atMs < LOG_EVERY_MS) return;
      log.warn("message of an application refused", {
        reason: REFUSALS[refusal],
        from,
        count: counts[refusal] - (last?.count ?? 0),
      });
      logged.set(refusal, { atMs, count: counts[refusal] });
    },
    losses() {
      return LOSING.flatMap((each): SourceLoss[] => {
        const count = counts[each] - told[each];
        told[each] = counts[each];
        return count === 0 ? [] : [{ class: `message_${each}`, count, reason: REFUSALS[each] }];
      });
    },
  };
}
