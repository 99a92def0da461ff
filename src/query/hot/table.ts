/**
 * The hot table: accepted events that the table version in use does not hold yet, of all shards, and the views that
 * join the two.
 *
 * Invariant: a view's hot rows begin exactly where the files of its own table version end, for every stream.
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsConnection } from "../../runtime/nats.ts";
import type { Database } from "../../storage/duckdb.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import type { TableSnapshot } from "../../storage/table.ts";
import type { ViewLease } from "../read-view.ts";
import { openHotLoader } from "./loader.ts";
import type { SequenceRange } from "./fresh-lines.ts";
import { createHotSegments, HOT_SCHEMA, type HotSegments } from "./segments.ts";
import { HotShard } from "./shard.ts";

export interface HotFigures {
  readonly jsonBytes: number;
  readonly loadedMessages: number;
  readonly unreadableMessages: number;
}

/** Last sequence that was loaded of a stream that is being read. */
export type Progress = ReadonlyMap<string, number>;

export interface HotTable extends AsyncDisposable {
  /** Takes a newer table version into use. */
  adopt(snapshot: TableSnapshot): void;
  /** What a query that begins now reads. */
  acquire(): ViewLease;
  progress(): Progress;
  /** Committed sequence of every stream whose shard still writes it, by incarnation. */
  committed(): Progress;
  /** Goes up whenever what was loaded before may have been of another chain of messages than what is committed. */
  readonly generation: number;
  /** What of the log cannot be searched yet, in words. */
  missing(): readonly string[];
  /**
   * Calls `listener` when there are new rows or a stream is read anew. Returns a function that ends the calls. Rows that
   * are loaded while any listener wants lines are ready for {@link HotTable.takeLines}, unless they are many.
   */
  onChange(listener: () => void, options?: { readonly wantsLines: () => boolean }): () => void;
  /**
   * All rows of a stream after one sequence up to another that was loaded, as {@link HOT_TAIL_ROW} has them; undefined
   * when they must be asked for. Gives what was loaded once.
   */
  takeLines(incarnation: string, range: SequenceRange): readonly string[] | undefined;
  figures(): HotFigures;
  /** Table version in use. */
  readonly version: number;
  /** Newest broker time that was read, µs. */
  readonly knownUs: number;
}

export interface HotTableOptions {
  readonly database: Database;
  readonly store: ObjectStore;
  /** Undefined when the service answers from the archive alone. */
  readonly nats: (() => NatsConnection) | undefined;
  /** None when the archive is all that is asked about. */
  readonly shards: readonly string[];
  /** Bound of what is held for all shards, in bytes of JSON. */
  readonly limitBytes: number;
  /** Where payloads lie while they are read; small, and best in memory. */
  readonly payloadDirectory: string;
  readonly scratchDirectory: string;
  readonly clock: Clock;
  readonly log: Log;
}

export const ARCHIVE_ONLY = "events after the last commit: there is no hot table here";

interface Part {
  readonly shard: HotShard;
  readonly segments: HotSegments;
}

/** Starts to read at the first {@link HotTable.adopt}. */
export async function openHotTable(options: HotTableOptions): Promise<HotTable> {
  const { database, store, nats, shards, limitBytes, clock, log } = options;
  const { payloadDirectory, scratchDirectory } = options;
  await using stack = new AsyncDisposableStack();
  const catalog = stack.use(await database.connect());
  await catalog.run(`CREATE SCHEMA IF NOT EXISTS ${HOT_SCHEMA}`);
  const listeners = new Map<() => void, () => boolean>();
  const onChange = (): void => listeners.forEach((_, listener) => listener());
  const wantsLines = (): boolean => [...listeners.values()].some((wants) => wants());
  const onError = (error: unknown): void =>
    log.error("a hot table was not dropped", { error: String(error) });
  const parts: Part[] = [];
  for (const name of shards) {
    if (nats === undefined) break;
    const loader = stack.use(
      await openHotLoader({
        connection: await database.connect(),
        shard: name,
        ...{ payloadDirectory, scratchDirectory, clock },
      }),
    );
    const segments = createHotSegments({ connection: catalog, shard: name, onError });
    const shard = new HotShard({
      ...{ shard: name, nats, store, loader, segments, clock, log, onChange, wantsLines },
      limitBytes: limitBytes / shards.length,
    });
    stack.defer(() => shard.stop());
    parts.push({ shard, segments });
  }
  const owned = stack.move();
  let snapshot: TableSnapshot = { version: -1, files: new Map(), shards: new Map() };
  let files = [...snapshot.files.values()];

  const missing = (): readonly string[] =>
    nats === undefined
      ? shards.length === 0 ? [] : [ARCHIVE_ONLY]
      : parts.flatMap(({ shard }) => shard.missing === undefined ? [] : [shard.missing]);
  return {
    get version() {
      return snapshot.version;
    },
    get knownUs() {
      return Math.max(0, ...parts.map(({ shard }) => shard.knownUs));
    },
    adopt(next) {
      if (next.version < snapshot.version) return;
      if (next !== snapshot) files = [...next.files.values()];
      snapshot = next;
      for (const { shard } of parts) {
        shard.adopt(next.shards.get(shard.shard));
        shard.start();
      }
    },
    acquire() {
      const upper = new Map<string, number>();
      for (const { incarnation, sequence } of snapshot.shards.values()) {
        upper.set(incarnation, sequence);
      }
      const held = parts.map(({ shard, segments }) => {
        const { progress } = shard;
        if (progress !== undefined) {
          const committed = upper.get(progress.incarnation) ?? 0;
          upper.set(progress.incarnation, Math.max(committed, progress.loaded));
        }
        return segments.hold(shard.committed);
      });
      let isHeld = true;
      return {
        view: {
          version: snapshot.version,
          files,
          hot: held.flatMap(({ ranges }) => ranges),
          upper,
          missing: missing(),
        },
        [Symbol.dispose]() {
          if (!isHeld) return;
          isHeld = false;
          for (const { release } of held) release();
        },
      };
    },
    progress: () =>
      new Map(
        parts.flatMap(({ shard: { progress } }) =>
          progress === undefined ? [] : [[progress.incarnation, progress.loaded] as const]
        ),
      ),
    committed: () =>
      new Map([...snapshot.shards.values()].map((each) => [each.incarnation, each.sequence])),
    get generation() {
      return parts.reduce((total, { shard }) => total + shard.doubts, 0);
    },
    missing,
    onChange(listener, options) {
      listeners.set(listener, options?.wantsLines ?? (() => false));
      return () => listeners.delete(listener);
    },
    takeLines: (incarnation, range) =>
      parts.find(({ shard }) => shard.progress?.incarnation === incarnation)?.shard.takeLines(
        range,
      ),
    figures: () => ({
      jsonBytes: parts.reduce((total, { segments }) => total + segments.jsonBytes, 0),
      loadedMessages: parts.reduce((total, { shard }) => total + shard.loadedMessages, 0),
      unreadableMessages: parts.reduce((total, { shard }) => total + shard.unreadableMessages, 0),
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
