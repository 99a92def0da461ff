/**
 * Makes the table again from the evidence: every message of every segment goes through acceptance, typed read and commit
 * as it did at first, into another bucket. Nothing else of the old bucket is used but the names of the segments that its
 * commits were made from, where there are any, and for a bucket that is kept its holds and subscriptions.
 *
 * Invariants: the old bucket is only read; a segment that is not what its key says ends the replay; of messages that
 * several segments hold at one place all are the same, or the replay ends.
 */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type AcceptanceState, emptyAcceptance, startIncarnation } from "../event/acceptance.ts";
import { messageDigestOf } from "../event/wire.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import {
  addFingerprints,
  fingerprintRows,
  NO_ROWS,
  type RowsFingerprint,
  rowsOfFiles,
} from "../storage/data-rows.ts";
import { openTable } from "../storage/delta-table.ts";
import { type Connection, openDatabase } from "../storage/duckdb.ts";
import { type EvidenceSegment, listEvidence } from "../storage/evidence-list.ts";
import { readLogEvidence } from "../storage/evidence-list.ts";
import { parseEvidenceKey, sha256OfStateKey } from "../storage/layout.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { Table, TableSnapshot } from "../storage/table.ts";
import { commitRound, putEvidence } from "./commit-round.ts";
import { parseRemoval, type RemovalRecord } from "../storage/removal-record.ts";
import { type IncarnationStart, planOfCommits, planOfSegments } from "./replay-plan.ts";
import { firstSegments, type ShardPlan } from "./replay-plan.ts";
import { DEFAULT_MEMORY_LIMIT_BYTES } from "./rollup-parts.ts";
import { copyRegistry } from "./replay-registry.ts";
import { openRound } from "./round.ts";
import { writeRoundRows } from "./round-rows.ts";
import { openScratch, type Scratch } from "./scratch.ts";
import { parseSegment, type Segment } from "./segment.ts";

export interface ReplayOptions {
  /** The bucket whose evidence is replayed. */
  readonly source: ObjectStore;
  /** Where the table is made; there must be none yet. */
  readonly target: ObjectStore;
  /** Folder for what is on its way; need not outlive the process. */
  readonly scratchDirectory: string;
  /** Take every segment there is instead of those that commits name; what one does when there is no log. */
  readonly evidenceOnly: boolean;
  /** The target is there to stay: it takes holds and subscriptions along. */
  readonly isKept: boolean;
  readonly log: Log;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
  /** Bound of DuckDB's memory; 384 MiB by default. */
  readonly memoryLimitBytes?: number;
}

/** A shard made again. */
export interface ReplayedShard {
  readonly shard: string;
  readonly segments: number;
  readonly messages: number;
  /** The rows that were made, whatever their order. */
  readonly rows: RowsFingerprint;
  readonly incarnations: readonly string[];
  /** After the last message. */
  readonly position: { readonly incarnation: string; readonly sequence: number };
  /** SHA-256 of the acceptance state then. */
  readonly stateSha256: string;
}

export interface Replay {
  /** The old table when the replay began; version -1 when there is none. */
  readonly before: TableSnapshot;
  readonly shards: readonly ReplayedShard[];
  /** The table that was made. */
  readonly after: TableSnapshot;
  /** What the old table's log tells of rows that were removed; not looked for where only the evidence is used. */
  readonly removals: readonly RemovalRecord[];
}

/** The evidence is not what it says it is, or some of it is missing. */
export class EvidenceError extends Error {
  override readonly name = "EvidenceError";
}

/** Spilled data on disk, in bytes. */
const SPILL_BYTES_MAX = 4 * 1024 * 1024 * 1024;

/** Replays all shards. Throws {@link EvidenceError}, and what the stores throw. */
export async function replayEvidence(options: ReplayOptions): Promise<Replay> {
  const { source, target, log, clock = systemClock, signal } = options;
  const request = signal === undefined ? {} : { signal };
  await target.verifyConditionalPut(request);
  const table = openTable({ store: target, clock, log });
  if ((await table.refresh(signal)).version >= 0) {
    throw new RangeError(`Cannot replay into ${target.url}: there is a table already`);
  }
  const before = await openTable({ store: source, clock, log }).refresh(signal);
  const { plans, removals } = options.evidenceOnly
    ? { plans: await planAll(source, signal), removals: [] }
    : await planCommitted(source, before, signal);
  // Before the first commit: there is no table there that retention might find without its holds.
  const copied = options.isKept ? await copyRegistry(options) : undefined;
  await using bench = await openBench(options);
  const { scratch, connection } = bench;
  const shards: ReplayedShard[] = [];
  for (const plan of plans) {
    const context = { source, target, table, scratch, connection, log, clock, signal };
    shards.push(await replayShard(context, plan));
  }
  if (copied !== undefined) await copyRegistry(options, copied);
  return { before, after: table.current(), shards, removals };
}

/** A scratch folder and a DuckDB of bounded memory. */
export interface Bench extends AsyncDisposable {
  readonly scratch: Scratch;
  readonly connection: Connection;
}

export async function openBench(
  { scratchDirectory, memoryLimitBytes = DEFAULT_MEMORY_LIMIT_BYTES }: Pick<
    ReplayOptions,
    "scratchDirectory" | "memoryLimitBytes"
  >,
): Promise<Bench> {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await openScratch(scratchDirectory));
  const tempDirectory = join(scratch.path, "spill");
  const limits = { memoryLimitBytes, threads: 2, tempLimitBytes: SPILL_BYTES_MAX };
  const database = stack.use(await openDatabase({ ...limits, tempDirectory }));
  const connection = stack.use(await database.connect());
  const resources = stack.move();
  return { scratch, connection, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

async function planCommitted(
  source: ObjectStore,
  { version: upTo }: TableSnapshot,
  signal: AbortSignal | undefined,
): Promise<Pick<Replay, "removals"> & { readonly plans: readonly ShardPlan[] }> {
  const request = signal === undefined ? {} : { signal };
  const { commits, removals } = await readLogEvidence(source, { upTo, ...request });
  return {
    plans: planOfCommits(commits),
    removals: removals.flatMap((each) => parseRemoval(each) ?? []),
  };
}

async function planAll(
  source: ObjectStore,
  signal: AbortSignal | undefined,
): Promise<readonly ShardPlan[]> {
  const request = signal === undefined ? {} : { signal };
  const segments = await Array.fromAsync(listEvidence(source, request));
  const starts = new Map<string, IncarnationStart>();
  for (const first of firstSegments(segments)) {
    const { origin: { shard, incarnation }, messages } = await readSegment(source, first, signal);
    starts.set(incarnation, { shard, storedAtUs: messages[0]?.storedAtUs ?? 0 });
  }
  return planOfSegments(segments, starts);
}

interface ReplayContext {
  readonly source: ObjectStore;
  readonly target: ObjectStore;
  readonly table: Table;
  readonly scratch: Scratch;
  readonly connection: Connection;
  readonly log: Log;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

async function replayShard(context: ReplayContext, plan: ShardPlan): Promise<ReplayedShard> {
  const { shard } = plan;
  let state: AcceptanceState | undefined;
  let startedFrom: number | undefined;
  let rows = NO_ROWS;
  let messages = 0;
  const incarnations = new Set<string>();
  const overlap = createOverlap();
  for (const entry of plan.segments) {
    const segment = await readSegment(context.source, entry, context.signal);
    const { incarnation } = segment.origin;
    if (segment.origin.shard !== shard) {
      throw new EvidenceError(
        `Cannot replay ${entry.key}: it is of shard "${segment.origin.shard}", not "${shard}"`,
      );
    }
    const known = state ?? emptyAcceptance(incarnation);
    const start = known.incarnation === incarnation ? known : startIncarnation(known, incarnation);
    incarnations.add(incarnation);
    const fresh = overlap.pass(entry, segment, start.sequence);
    if (fresh.messages.length === 0) continue;
    const done = await replayRound(context, { shard, segment: fresh, state: start, startedFrom });
    ({ state, startedFrom } = done);
    rows = addFingerprints(rows, done.rows);
    messages += fresh.messages.length;
  }
  const position = (await context.table.refresh(context.signal)).shards.get(shard);
  return {
    shard,
    segments: plan.segments.length,
    messages,
    rows,
    incarnations: [...incarnations],
    position: { incarnation: state?.incarnation ?? "", sequence: state?.sequence ?? 0 },
    stateSha256: sha256OfStateKey(position?.state ?? ""),
  };
}

interface RoundWork {
  readonly shard: string;
  readonly segment: Segment;
  readonly state: AcceptanceState;
  readonly startedFrom: number | undefined;
}

/** A segment's messages as a round of their own. */
async function replayRound(
  { target, table, scratch, connection, log, clock, signal }: ReplayContext,
  { shard, segment, state, startedFrom }: RoundWork,
): Promise<{
  readonly state: AcceptanceState;
  readonly startedFrom: number;
  readonly rows: RowsFingerprint;
}> {
  const request = signal === undefined ? {} : { signal };
  await using folder = await scratch.openFolder();
  await using open = await openRound({ folder: folder.path, shard, state });
  for (const message of segment.messages) await open.add(message);
  const round = await open.finish();
  if (round === undefined) throw new Error("Cannot replay a segment: it is empty");
  const tempDirectory = join(scratch.path, "find");
  await mkdir(tempDirectory, { recursive: true });
  const rows = await writeRoundRows(connection, { round, tempDirectory, ...request });
  const paths = rows.files.map(({ path }) => path);
  const fingerprint = paths.length === 0
    ? NO_ROWS
    : await fingerprintRows(connection, rowsOfFiles(paths), signal);
  const evidence = await putEvidence({ store: target, round, ...request });
  const result = await commitRound({
    ...{ store: target, table, shard, startedFrom, round, rows, evidence, log, ...request },
    nowMs: Math.floor(clock.nowUs() / 1_000),
  });
  if (result.kind === "superseded") {
    throw new Error(`Cannot replay into ${target.url}: somebody else writes there`);
  }
  return { state: round.state, startedFrom: result.version, rows: fingerprint };
}

async function readSegment(
  source: ObjectStore,
  { key, range }: EvidenceSegment,
  signal: AbortSignal | undefined,
): Promise<Segment> {
  const found = await source.get(key, signal === undefined ? {} : { signal });
  if (found === undefined) throw new EvidenceError(`Cannot replay ${key}: it is missing`);
  const sha256 = createHash("sha256").update(found.body).digest("hex");
  if (!sha256.startsWith(parseEvidenceKey(key)?.sha256Start ?? "-")) {
    throw new EvidenceError(`Cannot replay ${key}: its content is not that of its digest`);
  }
  let segment: Segment;
  try {
    segment = parseSegment(found.body);
  } catch (cause) {
    throw new EvidenceError(`Cannot replay ${key}: ${String(cause)}`, { cause });
  }
  const isPlaced = segment.origin.incarnation === range.incarnation &&
    segment.messages[0]?.sequence === range.first &&
    segment.messages.at(-1)?.sequence === range.last;
  if (!isPlaced) throw new EvidenceError(`Cannot replay ${key}: it holds another range`);
  return segment;
}

interface Overlap {
  /** The segment without what was passed on before; throws when that was something else. */
  pass(entry: EvidenceSegment, segment: Segment, reached: number): Segment;
}

/** Remembers the messages that a later segment of the same incarnation may hold again. */
function createOverlap(): Overlap {
  let of = "";
  let digests = new Map<number, string>();
  return {
    pass({ key }, { origin, messages }, reached) {
      if (of !== origin.incarnation) digests = new Map();
      of = origin.incarnation;
      const first = messages[0]?.sequence ?? 0;
      // Segments come by their first sequence: nothing before it is asked for again.
      for (const sequence of digests.keys()) if (sequence < first) digests.delete(sequence);
      for (const message of messages) {
        const digest = messageDigestOf(message);
        if ((digests.get(message.sequence) ?? digest) !== digest) {
          throw new EvidenceError(
            `Cannot replay ${key}: another segment holds another message at ${message.sequence}`,
          );
        }
        digests.set(message.sequence, digest);
      }
      return { origin, messages: messages.filter(({ sequence }) => sequence > reached) };
    },
  };
}
