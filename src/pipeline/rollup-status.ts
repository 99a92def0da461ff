/**
 * How the roll-up stands, from the outside: what the bucket's last commits say, beside what the broker holds. Nothing is
 * asked of the workers themselves, so that it can be told when there is none.
 */
import { incarnationOf } from "../event/event-id.ts";
import { LEASE_BUCKET, streamOf } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import { type NatsConnection, openBucket, openStream } from "../runtime/nats.ts";
import { deltaLogKey } from "../storage/layout.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readState } from "../storage/state-object.ts";
import type { ShardPosition, Table } from "../storage/table.ts";
import { lookAtLag } from "./lag.ts";
import { LEASE_KEY, type LeaseTable, NO_LEASES, parseLeases } from "./shard-leases.ts";

export interface ShardStatus {
  readonly shard: string;
  /** Of the last commit; all null before the first. */
  readonly incarnation: string | null;
  readonly committedSequence: number | null;
  readonly version: number | null;
  /** By the bucket's clock, RFC 3339. */
  readonly committedAt: string | null;
  /** Agents that the record knows, and those of them that do not continue it. */
  readonly agents: number;
  readonly forks: readonly string[];
  /** Null while the stream is not there. */
  readonly lastSequence: number | null;
  /** Messages of the stream that are not committed, and the age of the oldest. */
  readonly lagMessages: number | null;
  readonly lagSeconds: number | null;
  /** Whether the stream is the one that the last commit is of; another one is read from its beginning. */
  readonly isContinued: boolean;
  /** Who serves the shard, if anybody does. */
  readonly worker: string | null;
}

export interface RollupStatusOptions {
  readonly store: ObjectStore;
  readonly table: Table;
  readonly connection: NatsConnection;
  readonly shards: readonly string[];
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

/** How long to wait for a table of leases that may not exist, in milliseconds. */
const LEASES_LIMIT_MS = 1_000;

/** Looks once at every shard. Throws when bucket or broker cannot be asked. */
export async function readRollupStatus(
  options: RollupStatusOptions,
): Promise<readonly ShardStatus[]> {
  const { table, shards, signal } = options;
  const snapshot = await table.refresh(signal);
  const leases = await readLeases(options);
  const statuses: ShardStatus[] = [];
  for (const shard of new Set([...shards, ...snapshot.shards.keys()])) {
    const position = snapshot.shards.get(shard);
    const worker = leases.shards[shard] ?? null;
    statuses.push(await readShard(options, { shard, position, worker }));
  }
  return statuses;
}

async function readShard(
  { store, connection, clock, signal }: RollupStatusOptions,
  { shard, position, worker }: {
    readonly shard: string;
    readonly position: ShardPosition | undefined;
    readonly worker: string | null;
  },
): Promise<ShardStatus> {
  const request = signal === undefined ? {} : { signal };
  const state = position === undefined
    ? undefined
    : await readState(store, position.state, request);
  const entry = position === undefined
    ? undefined
    : await store.head(deltaLogKey(position.version), request);
  const stream = await openStream(connection, streamOf(shard));
  const isContinued = position !== undefined && stream !== undefined &&
    position.incarnation === incarnationOf(stream.name, stream.created);
  const committedSequence = isContinued ? position.sequence : 0;
  const lag = await lookAtLag(connection, { shard, committedSequence });
  const agents = Object.entries(state?.agents ?? {});
  return {
    shard,
    incarnation: position?.incarnation ?? null,
    committedSequence: position?.sequence ?? null,
    version: position?.version ?? null,
    committedAt: entry === undefined ? null : new Date(entry.modifiedAtMs).toISOString(),
    agents: agents.length,
    forks: agents.flatMap(([agent, { fork }]) => fork === undefined ? [] : [agent]),
    lastSequence: lag?.lastSequence ?? null,
    ...figuresOf(lag, { committedSequence, nowUs: clock.nowUs() }),
    isContinued,
    worker,
  };
}

function figuresOf(
  lag: Awaited<ReturnType<typeof lookAtLag>>,
  { committedSequence, nowUs }: { readonly committedSequence: number; readonly nowUs: number },
): Pick<ShardStatus, "lagMessages" | "lagSeconds"> {
  if (lag === undefined) return { lagMessages: null, lagSeconds: null };
  const { lastSequence, waitingSinceUs } = lag;
  const behindUs = waitingSinceUs === undefined ? 0 : Math.max(0, nowUs - waitingSinceUs);
  return {
    lagMessages: Math.max(0, lastSequence - committedSequence),
    lagSeconds: Math.round(behindUs / 1_000) / 1_000,
  };
}

/** Nobody holds a lease where there is no table of them: workers make it. */
async function readLeases({ connection }: RollupStatusOptions): Promise<LeaseTable> {
  if (await openStream(connection, `KV_${LEASE_BUCKET}`) === undefined) return NO_LEASES;
  const bucket = await openBucket(connection, LEASE_BUCKET, { timeoutMs: LEASES_LIMIT_MS });
  return parseLeases(await bucket.get(LEASE_KEY));
}
