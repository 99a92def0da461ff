/**
 * Adoption as it is asked for, by a command or by the schedule: every epoch that waits for it, one after the other, with
 * one record of all that was done.
 */
import type { NatsConnection } from "../runtime/nats.ts";
import type { Log } from "../runtime/log.ts";
import { type RecordPlace, withRecord } from "../storage/admin-record.ts";
import type { Table } from "../storage/table.ts";
import {
  adopt,
  type Adopted,
  findOutstanding,
  GONE_AFTER_US,
  type Outstanding,
} from "./adoption.ts";

export interface AdoptAllOptions {
  /** Who does it, for the record. */
  readonly by: string;
  /** Only this agent, however lately something of it came; all that are gone when undefined. */
  readonly agent?: string | undefined;
  /** How long ago the last of it must have come where no agent is named, in µs; {@link GONE_AFTER_US} by default. */
  readonly goneAfterUs?: number;
  readonly isDryRun: boolean;
  /** Connects to the broker, once there is something to adopt. */
  readonly connect: () => Promise<NatsConnection>;
  readonly signal?: AbortSignal | undefined;
}

/** What became of one epoch. */
export interface AdoptedEpoch extends Pick<Adopted, "outcome" | "published"> {
  readonly shard: string;
  readonly agent: string;
  readonly epoch: string;
  /** The highest batch that was part of the record before, and the highest that came. */
  readonly accepted: number;
  readonly highest: number;
  /** When the last of them came, RFC 3339. */
  readonly lastAt: string;
  /** Batches that are given up, and batches that are published again. */
  readonly voids: number;
  readonly kept: number;
  /** Why not all of them. */
  readonly ended: string | undefined;
}

export interface AdoptionSummary {
  readonly epochs: readonly AdoptedEpoch[];
  /** Messages that were published. */
  readonly published: number;
}

/** Epochs of one run; the next one goes on. */
export const EPOCHS_PER_RUN_MAX = 1_000;

type Place = RecordPlace & { readonly table: Pick<Table, "refresh"> };

/** Adopts what is to be adopted. What fails for one epoch is logged, and the others go on; throws when all fail. */
export async function adoptAll(place: Place, options: AdoptAllOptions): Promise<AdoptionSummary> {
  const { by, agent, isDryRun, signal } = options;
  const all = await findOutstanding({ store: place.store, table: place.table, signal });
  const due = all
    .filter((each) => agent === undefined ? each.isCurrent || isDryRun : each.agent === agent)
    .slice(0, EPOCHS_PER_RUN_MAX);
  if (due.length === 0) return { epochs: [], published: 0 };
  await using connection = await options.connect();
  const run = (onStart: () => Promise<void>): Promise<AdoptionSummary> =>
    adoptEach(due, { ...options, ...place, connection, onStart });
  if (isDryRun) return await run(() => Promise.resolve());
  const parameters = agent === undefined ? {} : { agent };
  return await withRecord(place, { kind: "adopt", by, parameters }, run);
}

async function adoptEach(
  due: readonly Outstanding[],
  options: Place & AdoptAllOptions & {
    readonly connection: NatsConnection;
    readonly log: Log;
    readonly onStart: () => Promise<void>;
  },
): Promise<AdoptionSummary> {
  const { store, connection, isDryRun, onStart, log, signal } = options;
  const goneAfterUs = options.agent === undefined ? options.goneAfterUs ?? GONE_AFTER_US : 0;
  const epochs: AdoptedEpoch[] = [];
  const failures: unknown[] = [];
  for (const each of due) {
    signal?.throwIfAborted();
    const { shard, agent, epoch } = each;
    try {
      const done = await adopt(each, { store, connection, goneAfterUs, isDryRun, onStart, signal });
      epochs.push(shownOf(each, done));
      if (done.published > 0) {
        log.info("adopted", {
          shard,
          agent,
          epoch,
          outcome: done.outcome,
          messages: done.published,
        });
      }
    } catch (error) {
      signal?.throwIfAborted();
      failures.push(error);
      log.error("cannot adopt what an agent left", { shard, agent, epoch, error: String(error) });
    }
  }
  if (epochs.length === 0) throw failures[0];
  return { epochs, published: epochs.reduce((sum, { published }) => sum + published, 0) };
}

function shownOf(left: Outstanding, { outcome, plan, published }: Adopted): AdoptedEpoch {
  const { shard, agent, epoch, accepted, highest, lastUs } = left;
  const lastAt = new Date(lastUs / 1_000).toISOString();
  const { voids, kept, ended } = plan;
  return {
    ...{ shard, agent, epoch, accepted, highest, lastAt, outcome },
    ...{ voids, kept, published, ended },
  };
}
