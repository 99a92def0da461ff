/**
 * Hands every freshly loaded row to the live clients that want it: one query per load at most, however many they are.
 *
 * Invariants: rows of a stream are handed out once and in order; a client that joins is told from where on, so that it
 * can read what lies before by itself, and is told when the streams no longer continue what it was given.
 */
import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import type { Log } from "../../runtime/log.ts";
import type { Connection } from "../../storage/duckdb.ts";
import type { HotTable } from "../hot/table.ts";
import { joinJsonParts, readTailValues } from "../planner/rows.ts";
import { INTERESTS_MAX, planLoaded, type TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import type { HotRange } from "../read-view.ts";
import { createDistribution } from "./distribution.ts";
import { createLiveQueue, type LiveQueue, type TailRow } from "./live-queue.ts";

export interface Membership {
  /** Last sequence handed out of every stream before this client joined. */
  readonly from: ReadonlyMap<string, number>;
  readonly queue: LiveQueue;
  leave(): void;
}

export interface Dispatcher extends AsyncDisposable {
  /** A durable client can read what it could not take by itself, and is never waited for. */
  join(
    request: TailRequest,
    principal: Principal,
    options?: { readonly isDurable: boolean },
  ): Membership;
  /** Last sequence handed out, per stream: all rows up to there are in the queues of those who want them. */
  readonly dispatched: ReadonlyMap<string, number>;
}

export interface DispatcherOptions {
  readonly hot: HotTable;
  readonly connection: Connection;
  readonly log: Log;
  readonly createQueue?: (options: { readonly isDurable: boolean }) => LiveQueue;
}

/** How long others wait for a client whose queue fills, in milliseconds; once it has missed something, not at all. */
const GRACE_MS = 100;
const GRACE_STEP_MS = 2;
/** Rows are handed to the queues in pieces of about so many characters. */
const PIECE_LENGTH = 512 * 1024;
/** Longest time in which nothing but rows is looked at, in milliseconds. */
const TURN_MS = 10;

/** Clients with one filter and one principal's scopes. */
interface Group {
  readonly request: TailRequest;
  readonly principal: Principal;
  readonly queues: Set<LiveQueue>;
}

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { hot, connection, log, createQueue = createLiveQueue } = options;
  const groups = new Map<string, Group>();
  const distribution = createDistribution<Group>();
  /** Last sequence that is being handed out; who joins reads up to there by itself. */
  const assigned = new Map<string, number>(hot.progress());
  const dispatched = new Map(assigned);
  let running: Promise<void> | undefined;
  let hasNews = false;
  let isClosed = false;

  const breakAll = (): void => {
    for (const { queues } of groups.values()) queues.forEach((queue) => queue.break());
  };
  const dispatch = async (): Promise<void> => {
    using lease = hot.acquire();
    for (const [incarnation, upTo] of hot.progress()) {
      const from = assigned.get(incarnation);
      if (from !== undefined && from >= upTo) continue;
      const fresh = hot.takeLines(incarnation, { after: from ?? upTo, upTo });
      const ranges = lease.view.hot.filter((each) => each.incarnation === incarnation);
      const isSeamless = fresh !== undefined ||
        ranges.length > 0 && ranges.every(({ after }) => from !== undefined && after <= from);
      assigned.set(incarnation, upTo);
      if (from === undefined || !isSeamless) breakAll();
      else await handOut(incarnation, { from, fresh, ranges });
      dispatched.set(incarnation, upTo);
    }
  };
  const handOut = async (
    incarnation: string,
    { from, fresh, ranges }: {
      readonly from: number;
      readonly fresh: readonly string[] | undefined;
      readonly ranges: readonly HotRange[];
    },
  ): Promise<void> => {
    const present = new Map([...groups.values()].map((group) => [group, [...group.queues]]));
    const wanted = ranges.flatMap((each) => each.upTo > from ? [{ ...each, after: from }] : []);
    if (present.size === 0 || (fresh === undefined && wanted.length === 0)) return;
    const loaded = fresh === undefined ? askFor([...present.keys()], wanted) : [fresh];
    // Rows of a single interest's plan are those that it wants.
    const wantedBy = fresh === undefined && present.size === 1
      ? () => present.keys()
      : (text: string) => distribution.wantedBy(readTailValues(text));
    for await (const lines of loaded) {
      for (const piece of piecesOf(lines)) {
        const given = await divide(piece, { incarnation, wantedBy });
        // Who came meanwhile reads these rows by itself.
        for (const [group, rows] of given) present.get(group)?.forEach((queue) => queue.push(rows));
        await room([...given.keys()].flatMap((group) => present.get(group) ?? []));
      }
    }
  };
  const askFor = (
    present: readonly Group[],
    ranges: readonly HotRange[],
  ): AsyncIterable<readonly string[]> => {
    const { sql, parameters } = planLoaded(present, ranges);
    const values = parameters.filter((each) => typeof each !== "symbol");
    return connection.streamText(sql, { parameters: values });
  };
  const run = async (): Promise<void> => {
    while (hasNews && !isClosed) {
      hasNews = false;
      try {
        await dispatch();
      } catch (error) {
        log.error("live events were not handed out", { error: String(error) });
        // Whoever is live reads on from the record itself.
        breakAll();
        for (const [incarnation, upTo] of assigned) dispatched.set(incarnation, upTo);
      }
    }
    running = undefined;
  };
  const endChanges = hot.onChange(() => {
    hasNews = true;
    running ??= run();
    // For few, the plan gives only what they want.
  }, { wantsLines: () => groups.size > INTERESTS_MAX });

  return {
    dispatched,
    join(request, principal, { isDurable } = { isDurable: false }) {
      const key = JSON.stringify([request, scopesKey(principal)]);
      const known = groups.get(key);
      const group = known ?? { request, principal, queues: new Set() };
      if (known === undefined) distribution.add(group);
      groups.set(key, group);
      const queue = createQueue({ isDurable });
      if (isClosed) queue.close();
      group.queues.add(queue);
      return {
        from: new Map(assigned),
        queue,
        leave() {
          group.queues.delete(queue);
          if (group.queues.size > 0 || groups.get(key) !== group) return;
          groups.delete(key);
          distribution.remove(group);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      endChanges();
      await running;
      for (const { queues } of groups.values()) queues.forEach((queue) => queue.close());
      await connection[Symbol.asyncDispose]();
    },
  };
}

/** Rows by the groups that want them. Others get turns of the event loop meanwhile. */
async function divide(
  lines: readonly string[],
  { incarnation, wantedBy }: {
    readonly incarnation: string;
    readonly wantedBy: (text: string) => Iterable<Group>;
  },
): Promise<ReadonlyMap<Group, readonly TailRow[]>> {
  const given = new Map<Group, TailRow[]>();
  let turnMs = performance.now();
  for (const line of lines) {
    const { row, text } = splitLine(line, incarnation);
    for (const group of wantedBy(text)) {
      const rows = given.get(group);
      if (rows === undefined) given.set(group, [row]);
      else rows.push(row);
    }
    if (performance.now() - turnMs < TURN_MS) continue;
    await nextTurn();
    turnMs = performance.now();
  }
  return given;
}

/** Lines in pieces that are small beside a client's queue. */
function* piecesOf(lines: readonly string[]): Generator<readonly string[]> {
  let from = 0;
  let length = 0;
  for (const [at, line] of lines.entries()) {
    length += line.length;
    if (length < PIECE_LENGTH && at + 1 < lines.length) continue;
    yield lines.slice(from, at + 1);
    from = at + 1;
    length = 0;
  }
}

/** A burst shall not overflow clients that read as fast as they can: they get a moment to take what waits. */
async function room(queues: readonly LiveQueue[]): Promise<void> {
  const startedMs = performance.now();
  while (queues.some((queue) => queue.isFilling)) {
    if (performance.now() - startedMs > GRACE_MS) return;
    await delay(GRACE_STEP_MS);
  }
}

/** Reads a row as the plans of a tail write it: `<seq> <idx> <parts of JSON>`. */
export function parseTailRow(line: string, incarnation: string): TailRow {
  return splitLine(line, incarnation).row;
}

function splitLine(
  line: string,
  incarnation: string,
): { readonly row: TailRow; readonly text: string } {
  const first = line.indexOf(" ");
  const second = line.indexOf(" ", first + 1);
  const text = line.slice(second + 1);
  const row = {
    incarnation,
    sequence: Number(line.slice(0, first)),
    idx: Number(line.slice(first + 1, second)),
    json: joinJsonParts(text),
  };
  return { row, text };
}

function scopesKey({ scopes }: Principal): unknown {
  return [scopes.topics, scopes.hosts];
}
