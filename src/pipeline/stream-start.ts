/**
 * Where a shard's roll-up reads on: the state of its last commit, once the stream is sure to be the one it tells of.
 *
 * A stream that was made again is another incarnation and is read from its beginning. One that lost its tail is made
 * again here: everything in it is committed or still in a spool. Where it may just as well be the bucket that is wrong
 * (older than what agents were told, another one, other messages than were read), nothing is touched until a person
 * says so.
 *
 * Invariant: no sequence is ever committed twice for one incarnation with different messages behind it.
 */
import { type AcceptanceState, emptyAcceptance, startIncarnation } from "../event/acceptance.ts";
import { incarnationOf } from "../event/event-id.ts";
import { MESSAGE_BYTES_MAX, messageDigestOf, streamOf, subjectsOf } from "../event/wire.ts";
import type { Log } from "../runtime/log.ts";
import {
  deleteStream,
  ensureStream,
  type NatsConnection,
  openStream,
  readMessage,
  type StreamStatus,
} from "../runtime/nats.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readState } from "../storage/state-object.ts";
import type { Table } from "../storage/table.ts";
import { isBeyond, type WatermarkWriter } from "./watermarks.ts";

export interface StreamStart {
  readonly state: AcceptanceState;
  /** The shard's version in the table; undefined before its first commit. */
  readonly startedFrom: number | undefined;
  /** Creation text of the stream the state belongs to. */
  readonly created: string;
  /** Last sequence of the stream when it was looked at. */
  readonly lastSequence: number;
}

export interface FindStartOptions {
  readonly connection: NatsConnection;
  readonly store: ObjectStore;
  readonly table: Table;
  readonly shard: string;
  readonly watermarks: WatermarkWriter;
  /** Make the stream again where otherwise a person is asked. */
  readonly acceptNewStream: boolean;
  readonly log: Log;
  readonly signal?: AbortSignal;
}

/** Stream and bucket do not belong together; only a person can say which is right. */
export class StreamMismatchError extends Error {
  override readonly name = "StreamMismatchError";
}

/** So often a start is looked for when another roll-up keeps committing meanwhile. */
const LOOKS_MAX = 10;

/** Finds where to read on; makes the stream when there is none. Throws {@link StreamMismatchError}. */
export async function findStart(options: FindStartOptions): Promise<StreamStart> {
  for (let look = 1;; look++) {
    const { state, startedFrom } = await readCommitted(options);
    const stream = await makeStream(options);
    const fault = await findFault(options, { state, stream });
    // Another roll-up may have committed and purged since the table was read.
    const isStale = (await readPosition(options))?.version !== startedFrom;
    if (isStale && look < LOOKS_MAX) continue;
    if (fault === undefined) return startOf(state, startedFrom, stream);
    await makeAgain(options, stream, fault);
    if (fault.isAsked) await options.watermarks.reset(await freshState(options, state));
  }
}

/** Whether the stream still holds, at a sequence, the message that was read there. */
export async function isSameMessage(
  options: Pick<FindStartOptions, "connection" | "shard">,
  expected: { readonly created: string; readonly sequence: number; readonly digest: string },
): Promise<boolean> {
  const { connection, shard } = options;
  const { sequence, digest } = expected;
  const stream = await openStream(connection, streamOf(shard));
  if (stream === undefined || stream.created !== expected.created) return false;
  if (sequence === 0) return true;
  const message = await readMessage(connection, { stream: stream.name, sequence });
  return message !== undefined && messageDigestOf(message) === digest;
}

interface Fault {
  readonly reason: string;
  /** Whether a person has to be asked. */
  readonly isAsked: boolean;
}

async function readPosition({ table, shard, signal }: FindStartOptions) {
  return (await table.refresh(signal)).shards.get(shard);
}

async function readCommitted(options: FindStartOptions): Promise<{
  readonly state: AcceptanceState | undefined;
  readonly startedFrom: number | undefined;
}> {
  const position = await readPosition(options);
  if (position === undefined) return { state: undefined, startedFrom: undefined };
  const { store, signal } = options;
  const state = await readState(store, position.state, signal === undefined ? {} : { signal });
  return { state, startedFrom: position.version };
}

function makeStream({ connection, shard }: FindStartOptions): Promise<StreamStatus> {
  return ensureStream(connection, {
    name: streamOf(shard),
    subjects: [subjectsOf(shard)],
    messageBytesMax: MESSAGE_BYTES_MAX,
  });
}

async function findFault(
  options: FindStartOptions,
  { state, stream }: { readonly state: AcceptanceState | undefined; readonly stream: StreamStatus },
): Promise<Fault | undefined> {
  const incarnation = incarnationOf(stream.name, stream.created);
  const known = state ?? emptyAcceptance(incarnation);
  for (const [agent, watermark] of await options.watermarks.read()) {
    if (!isBeyond(watermark, agent, known)) continue;
    const reason = state === undefined
      ? `it has no commit of the shard, but agent "${agent}" was told of some`
      : `its last commit of the shard is older than what agent "${agent}" was told`;
    return {
      reason: `the bucket ${options.store.url} is not the one it was: ${reason}`,
      isAsked: true,
    };
  }
  if (state === undefined || state.incarnation !== incarnation || state.sequence === 0) {
    return undefined;
  }
  const { sequence, digest } = state;
  if (stream.lastSequence < sequence) {
    const reason = `the stream ends at ${stream.lastSequence}, but ${sequence} is committed`;
    return { reason, isAsked: false };
  }
  if (await isSameMessage(options, { created: stream.created, sequence, digest })) return undefined;
  return { reason: `the stream has no or another message at ${sequence}`, isAsked: true };
}

async function makeAgain(
  { connection, log, acceptNewStream, shard }: FindStartOptions,
  stream: StreamStatus,
  { reason, isAsked }: Fault,
): Promise<void> {
  if (isAsked && !acceptNewStream) {
    throw new StreamMismatchError(
      `Cannot roll up stream "${stream.name}": ${reason}; if that is right, --accept-new-stream makes the stream again`,
    );
  }
  log.warn("the stream is made again", { stream: stream.name, shard, reason });
  // Whoever made it again in the meantime has done our work.
  const present = await openStream(connection, stream.name);
  if (present?.created === stream.created) await deleteStream(connection, stream.name);
}

/** The state with which the stream that was just made again begins. */
async function freshState(
  options: FindStartOptions,
  state: AcceptanceState | undefined,
): Promise<AcceptanceState> {
  const stream = await makeStream(options);
  return startOf(state, undefined, stream).state;
}

function startOf(
  state: AcceptanceState | undefined,
  startedFrom: number | undefined,
  { name, created, lastSequence }: StreamStatus,
): StreamStart {
  const incarnation = incarnationOf(name, created);
  const known = state ?? emptyAcceptance(incarnation);
  return {
    state: known.incarnation === incarnation ? known : startIncarnation(known, incarnation),
    startedFrom,
    created,
    lastSequence,
  };
}
