/**
 * Keeps the newest table version in use: told of commits by the broker, and asking by itself in case it was not told.
 *
 * Invariant: while the bucket is away the version in use stays, and that it cannot be renewed is known.
 */
import { commitSubjectOf } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { NatsConnection } from "../runtime/nats.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import type { Table, TableSnapshot } from "../storage/table.ts";

export interface TableWatch extends AsyncDisposable {
  /** Why the last look at the bucket failed; undefined when it did not. */
  readonly fault: string | undefined;
  /** When the bucket last told which version is the newest, µs; undefined when it never did. */
  readonly checkedUs: number | undefined;
  /** Listens for commits on a connection, until that is closed. */
  listen(nats: NatsConnection, shards: readonly string[]): void;
  /** Looks at the bucket now; resolves when that was done, whatever came of it. */
  look(): Promise<void>;
}

export interface TableWatchOptions {
  readonly table: Table;
  readonly onSnapshot: (snapshot: TableSnapshot) => void;
  readonly intervalMs?: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** How often the bucket is asked when nobody tells, in milliseconds. */
export const LOOK_INTERVAL_MS = 3_000;
/** A look that takes longer counts as failed, in milliseconds. */
const LOOK_LIMIT_MS = 30_000;

export function startTableWatch(options: TableWatchOptions): TableWatch {
  const { table, onSnapshot, intervalMs = LOOK_INTERVAL_MS, clock, log } = options;
  const end = new AbortController();
  let fault: string | undefined = "it has not been asked yet";
  let checkedUs: number | undefined;
  let looking: Promise<void> | undefined;
  let isAskedAgain = false;

  const lookOnce = async (): Promise<void> => {
    try {
      const limit = timeLimit(LOOK_LIMIT_MS);
      const startedUs = clock.nowUs();
      onSnapshot(await table.refresh(AbortSignal.any([end.signal, limit])));
      checkedUs = startedUs;
      if (fault !== undefined) log.debug("the bucket answers");
      fault = undefined;
    } catch (error) {
      if (end.signal.aborted) return;
      if (fault === undefined) log.warn("the bucket does not answer", { error: String(error) });
      fault = error instanceof Error ? error.message : String(error);
    }
  };
  const look = (): Promise<void> => {
    // A commit that comes while the bucket is read may have come too late for that reading.
    if (looking !== undefined) isAskedAgain = true;
    looking ??= (async () => {
      do {
        isAskedAgain = false;
        await lookOnce();
      } while (isAskedAgain && !end.signal.aborted);
      looking = undefined;
    })();
    return looking;
  };
  const polling = (async () => {
    while (!end.signal.aborted) {
      await look();
      await Promise.allSettled([clock.sleep(intervalMs, end.signal)]);
    }
  })();
  return {
    get fault() {
      return fault;
    },
    get checkedUs() {
      return checkedUs;
    },
    look,
    listen(nats, shards) {
      for (const shard of shards) {
        nats.subscribe(commitSubjectOf(shard), { callback: () => void look() });
      }
    },
    async [Symbol.asyncDispose]() {
      end.abort();
      await polling;
      await looking;
    },
  };
}
