/**
 * What the roll-ups of one process have together, however many shards it serves: one connection, one DuckDB, one turn
 * at making rows, one set of figures.
 *
 * Invariant: memory does not grow with the number of shards: rows are made for one of them at a time.
 */
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { connectNats, type NatsConnection } from "../runtime/nats.ts";
import { openDatabase } from "../storage/duckdb.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { createRollupFigures, type RollupFigures } from "./rollup-metrics.ts";
import { type RowMaker, writeRoundRows } from "./round-rows.ts";
import { openScratch, type Scratch } from "./scratch.ts";

/** Lets one piece of work through at a time. */
export interface Turn {
  /** Runs the work once all that came before has ended. Rejects with the signal's reason when it is aborted first. */
  run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export interface RollupParts extends AsyncDisposable {
  readonly connection: NatsConnection;
  readonly rows: RowMaker;
  readonly scratch: Scratch;
  readonly figures: RollupFigures;
}

export interface RollupPartsOptions {
  /** The bucket; stays the caller's to close. */
  readonly store: ObjectStore;
  readonly nats: {
    readonly url: string;
    readonly credentialsFile?: string;
    readonly inboxPrefix?: string;
  };
  /** Folder for payloads and files on their way, up to a few times a segment; need not outlive the process. */
  readonly scratchDirectory: string;
  /** Bound of DuckDB's memory; 384 MiB by default. */
  readonly memoryLimitBytes?: number;
  /** Threads of DuckDB; 2 by default. */
  readonly threads?: number;
  /** What makes rows; by default a DuckDB of its own. */
  readonly rows?: RowMaker;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock?: Clock;
  /** Ends waiting for the broker. */
  readonly signal?: AbortSignal;
}

export const DEFAULT_MEMORY_LIMIT_BYTES = 384 * 1024 * 1024;
/** Spilled data on disk, in bytes. */
const SPILL_BYTES_MAX = 4 * 1024 * 1024 * 1024;

/** Opens them. Rejects when the store does not refuse conditional puts, or the broker refuses us. */
export async function openRollupParts(
  options: RollupPartsOptions & { readonly name: string },
): Promise<RollupParts> {
  const { store, nats, scratchDirectory, log, metrics, clock = systemClock, signal } = options;
  const waiting = signal === undefined ? {} : { signal };
  await using stack = new AsyncDisposableStack();
  await store.verifyConditionalPut(waiting);
  const scratch = stack.use(await openScratch(scratchDirectory));
  const connection = stack.use(
    await connectNats({ ...nats, name: options.name, log, clock, ...waiting }),
  );
  const database = options.rows?.database ?? stack.use(
    await openDatabase({
      memoryLimitBytes: options.memoryLimitBytes ?? DEFAULT_MEMORY_LIMIT_BYTES,
      threads: options.threads ?? 2,
      tempDirectory: `${scratch.path}/spill`,
      tempLimitBytes: SPILL_BYTES_MAX,
    }),
  );
  const write = options.rows?.write ?? writeRoundRows;
  const turn = createTurn();
  const resources = stack.move();
  return {
    connection,
    rows: {
      database,
      write: (rows, round) => turn.run(() => write(rows, round), round.signal),
    },
    scratch,
    figures: createRollupFigures({ metrics, nowUs: () => clock.nowUs() }),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

export function createTurn(): Turn {
  let before: Promise<unknown> = Promise.resolve();
  return {
    async run(work, signal) {
      const previous = before;
      const mine = Promise.withResolvers<void>();
      before = Promise.allSettled([previous, mine.promise]);
      try {
        await untilAborted(previous, signal);
        return await work();
      } finally {
        mine.resolve();
      }
    },
  };
}

async function untilAborted(wait: Promise<unknown>, signal: AbortSignal | undefined) {
  signal?.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([wait, aborted.promise]);
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
