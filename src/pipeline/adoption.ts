/**
 * Adoption: batches that came ahead of a hole, and whose sender is gone, become part of the record all the same. The
 * roll-up publishes them again in the sender's place, behind a void for each batch that never came; acceptance then
 * takes them as it takes all others.
 *
 * Invariant: it begins only where all that the stream holds of the sender was decided and committed, and each message
 * names the one it follows. So a sender that comes back, or another adoption, ends this one at the next message, and
 * what was published until then is what acceptance takes from either.
 */
import type { AcceptanceState } from "../event/acceptance.ts";
import { type AdoptionPlan, planAdoption } from "../event/adoption.ts";
import { incarnationOf } from "../event/event-id.ts";
import type { AheadRange } from "../event/outstanding.ts";
import { adoptionIdOf, encodeHeaders, HEADER, streamOf, subjectOf } from "../event/wire.ts";
import { type NatsConnection, openStream, readMessage } from "../runtime/nats.ts";
import { lastSequenceOf, publishBehind } from "../runtime/subject-writer.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readState } from "../storage/state-object.ts";
import type { Table } from "../storage/table.ts";
import { type KeptBatch, readKept } from "./kept-batches.ts";

/** A sender is taken for gone when no batch behind the hole came for so long, in µs, by the times of the log. */
export const GONE_AFTER_US = 86_400_000_000;

/** An epoch of which batches lie ahead of a hole. */
export interface Outstanding {
  readonly shard: string;
  readonly agent: string;
  readonly epoch: string;
  /** As of the last commit. */
  readonly state: AcceptanceState;
  /** The highest accepted batch, and the highest that came. */
  readonly accepted: number;
  readonly digest: string;
  readonly highest: number;
  readonly ahead: readonly AheadRange[];
  /** When the broker stored the last of them, µs. */
  readonly lastUs: number;
  /**
   * Whether the agent began no later epoch. What a spool has not released it takes along into the next one: adopting it
   * would double it.
   */
  readonly isCurrent: boolean;
}

export interface Adopted {
  /**
   * `planned`: it was only asked; `waiting`: not gone for long enough; `moved`: went on in a later epoch; `unsettled`:
   * try again later; `stuck`: nothing of it can be taken.
   */
  readonly outcome: "adopted" | "planned" | "waiting" | "moved" | "unsettled" | "stuck";
  readonly plan: Pick<AdoptionPlan<KeptBatch>, "voids" | "kept" | "ended">;
  /** Messages that were stored. */
  readonly published: number;
}

export interface AdoptionOptions {
  readonly store: ObjectStore;
  readonly connection: NatsConnection;
  /** How long ago the last of it must have come, in µs; 0 where an operator says that the sender is gone. */
  readonly goneAfterUs: number;
  readonly isDryRun: boolean;
  /** Called before the first message is published. */
  readonly onStart: () => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

const NOTHING = { voids: 0, kept: 0, ended: undefined };

/** Every epoch with batches ahead of a hole, as of the shards' last commits. */
export async function findOutstanding(
  { store, table, signal }: {
    readonly store: ObjectStore;
    readonly table: Pick<Table, "refresh">;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<readonly Outstanding[]> {
  const request = signal === undefined ? {} : { signal };
  const found: Outstanding[] = [];
  for (const [shard, position] of (await table.refresh(signal)).shards) {
    found.push(...outstandingIn(shard, await readState(store, position.state, request)));
  }
  return found;
}

/** The same of one shard's state. Pure. */
export function outstandingIn(shard: string, state: AcceptanceState): readonly Outstanding[] {
  return Object.entries(state.agents).flatMap(([agent, { current, epochs }]) =>
    Object.entries(epochs).flatMap(([epoch, { number, digest, ahead = [] }]) =>
      ahead.length === 0 ? [] : [{
        ...{ shard, agent, epoch, state, digest, ahead, accepted: number },
        highest: Math.max(...ahead.map((each) => each.highest)),
        lastUs: Math.max(...ahead.map((each) => each.lastUs)),
        isCurrent: epoch === current,
      }]
    )
  );
}

/** Adopts what one epoch has left, if its sender is gone. Throws what store and broker throw. */
export async function adopt(left: Outstanding, options: AdoptionOptions): Promise<Adopted> {
  const { store, connection, goneAfterUs, isDryRun, signal } = options;
  if (!left.isCurrent) return { outcome: "moved", plan: NOTHING, published: 0 };
  const settled = await lookAtLog(connection, left);
  if (settled === undefined) return { outcome: "unsettled", plan: NOTHING, published: 0 };
  if (settled.nowUs - left.lastUs < goneAfterUs) {
    return { outcome: "waiting", plan: NOTHING, published: 0 };
  }
  const plan = planAdoption(
    { number: left.accepted, digest: left.digest },
    await readKept(store, left, signal),
  );
  if (plan.steps.length === 0) return { outcome: "stuck", plan, published: 0 };
  if (isDryRun) return { outcome: "planned", plan, published: 0 };
  const published = await publish(plan, { left, options, expected: settled.last });
  const outcome = published === plan.steps.length ? "adopted" : "unsettled";
  return { outcome, plan, published };
}

/**
 * The time of the log and the sequence of the sender's last message there; undefined while something of it is not
 * committed, or the stream is not the one that the state is of.
 */
async function lookAtLog(
  connection: NatsConnection,
  { shard, agent, state }: Outstanding,
): Promise<{ readonly nowUs: number; readonly last: number } | undefined> {
  const stream = await openStream(connection, streamOf(shard));
  if (stream === undefined) return undefined;
  if (incarnationOf(stream.name, stream.created) !== state.incarnation) return undefined;
  const subject = subjectOf(shard, agent);
  const last = await lastSequenceOf(connection, { stream: stream.name, subject });
  if (last > state.sequence) return undefined;
  // Truncation leaves it where it is.
  const newest = await readMessage(connection, { stream: stream.name, sequence: state.sequence });
  return newest === undefined ? undefined : { nowUs: newest.storedAtUs, last };
}

/** How many were stored: all, or those before somebody else's message. */
async function publish(
  { steps }: AdoptionPlan<KeptBatch>,
  { left, options, expected: first }: {
    readonly left: Outstanding;
    readonly options: AdoptionOptions;
    readonly expected: number;
  },
): Promise<number> {
  const { connection, onStart, signal } = options;
  const { shard, agent, state } = left;
  let expected = first;
  let published = 0;
  for (const step of steps) {
    signal?.throwIfAborted();
    if (published === 0) await onStart();
    const header = step.kind === "void" ? step.header : step.batch.header;
    const sequence = await publishBehind(connection, {
      subject: subjectOf(shard, agent),
      messageId: adoptionIdOf(header, state),
      headers: step.kind === "void" ? encodeHeaders(header) : ownHeaders(step.batch.headers),
      payload: step.kind === "void" ? new Uint8Array() : step.batch.payload,
      expected,
    });
    if (sequence === undefined) return published;
    expected = sequence;
    published += 1;
  }
  return published;
}

/** A message's headers as its sender made them, without those that say how it was to be stored. */
function ownHeaders(headers: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const sending: readonly string[] = [HEADER.messageId, HEADER.expectedLastSubjectSequence];
  return new Map([...headers].filter(([name]) => !sending.includes(name)));
}
