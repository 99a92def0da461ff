/**
 * The open batch of each lane, and when it closes: when it is full, when its interval is over, or, when somebody waits
 * until it is durable, as soon as the disk has what closed before it.
 *
 * Invariants: a batch that has lines or a mark closes after its interval at the latest. Of awaited batches at most one of
 * a lane is on its way to the disk while another is open: what comes meanwhile shares the next sync, so that a slow disk
 * makes batches larger and not a queue longer.
 */
import { BACKLOG_BATCHES } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import { type Batcher, type ClosedLines, createBatcher } from "./batcher.ts";
import type { Lane } from "./producer.ts";

/** While so many batches wait for the broker, batches stay open longer, so that the spool holds a longer time. */
const LONG_BACKLOG_BATCHES = 1_000;
const FLUSH_MS_MAX = 10_000;
/** For each so many batches that wait for the broker, the time between awaited ones is once more as long, up to a factor. */
const AWAITED_BACKLOG_BATCHES = 5_000;
const AWAITED_BACKLOG_FACTOR = 20;

export interface LanesOptions {
  readonly clock: Clock;
  /** Ends the waiting for intervals. */
  readonly signal: AbortSignal;
  /** An open batch closes after so many milliseconds. */
  readonly flushMs: number;
  /** Batches that the broker has not taken yet. */
  readonly unpublished: () => number;
  /** Told before an open batch closes that may not be full: the last chance to add to it. */
  readonly onClosing: (lane: Lane) => void;
  /** Takes a batch that closed; {@link Lanes.arrived} is to be called once for each. */
  readonly onClosed: (lines: ClosedLines) => void;
  /** Told of a line that is too large for any batch. */
  readonly onRefused: (timeUs: number) => void;
}

export interface Lanes extends Readonly<Record<Lane, Pick<Batcher, OpenUse>>> {
  /** Of the open batches, as `ClosedLines.weight`. */
  readonly weight: number;
  /** Has an open batch closed after its interval even if nothing comes. */
  startInterval(lane: Lane): void;
  /**
   * Closes the open batch as soon as the disk has what closed before; at the earliest so many milliseconds after the one
   * before it, and later with a long backlog, since each batch takes a place in the spool.
   */
  hurry(lane: Lane, spacingMs: number): void;
  /** A batch that closed is on disk, or will never be. */
  arrived(): void;
  /** Closes what is open, bulk first: what an agent says at its end is to come after what it saw. */
  closeAll(): void;
}

type OpenUse = "append" | "appendAll" | "mark";

interface OpenLane {
  readonly name: Lane;
  readonly batcher: Batcher;
  /** Batches closed so far; the open one has this number. */
  closed: number;
  /** When the last of them was, by the clock's even time. */
  closedMs: number;
  /** Whether somebody waits for the open batch, and it is to close once the disk is free. */
  awaited: "no" | "later" | "due";
}

export function createLanes(options: LanesOptions): Lanes {
  const { clock, signal, flushMs, unpublished, onClosing, onClosed, onRefused } = options;
  /** Batches that closed and have not arrived. */
  let onWay = 0;

  const take = (lane: OpenLane, lines: ClosedLines): void => {
    lane.closed += 1;
    lane.closedMs = clock.elapsedMs();
    lane.awaited = "no";
    onWay += 1;
    onClosed(lines);
  };
  const close = (lane: OpenLane): void => {
    onClosing(lane.name);
    lane.awaited = "no";
    const lines = lane.batcher.close();
    if (lines !== undefined) take(lane, lines);
  };
  /** Does something with the batch that is open now, when it still is. */
  const after = async (lane: OpenLane, waitMs: number, then: (lane: OpenLane) => void) => {
    const batch = lane.closed;
    await Promise.allSettled([clock.sleep(waitMs, signal)]);
    if (!signal.aborted && batch === lane.closed) then(lane);
  };
  const startInterval = (lane: OpenLane): void => {
    const isLong = unpublished() > LONG_BACKLOG_BATCHES;
    const waitMs = isLong ? Math.max(flushMs, Math.min(10 * flushMs, FLUSH_MS_MAX)) : flushMs;
    void after(lane, waitMs, close);
  };
  const setDue = (lane: OpenLane): void => {
    lane.awaited = "due";
    if (onWay === 0) close(lane);
  };
  const openLane = (name: Lane): OpenLane => {
    const lane: OpenLane = {
      name,
      batcher: createBatcher({
        lane: name,
        isBacklog: () => unpublished() > BACKLOG_BATCHES,
        onFull: (lines) => take(lane, lines),
        onOpen: () => startInterval(lane),
        onRefused: (_weight, timeUs) => onRefused(timeUs),
      }),
      ...{ closed: 0, closedMs: -Infinity, awaited: "no" },
    };
    return lane;
  };
  const lanes = { critical: openLane("critical"), bulk: openLane("bulk") };

  return {
    critical: lanes.critical.batcher,
    bulk: lanes.bulk.batcher,
    get weight() {
      return lanes.critical.batcher.weight + lanes.bulk.batcher.weight;
    },
    startInterval: (name) => startInterval(lanes[name]),
    hurry(name, spacingMs) {
      const lane = lanes[name];
      if (lane.awaited !== "no") return;
      lane.awaited = "later";
      const factor = Math.min(1 + unpublished() / AWAITED_BACKLOG_BATCHES, AWAITED_BACKLOG_FACTOR);
      const waitMs = lane.closedMs + spacingMs * factor - clock.elapsedMs();
      if (waitMs > 0) void after(lane, waitMs, setDue);
      else setDue(lane);
    },
    arrived() {
      onWay -= 1;
      for (const lane of [lanes.bulk, lanes.critical]) if (lane.awaited === "due") close(lane);
    },
    closeAll() {
      close(lanes.bulk);
      close(lanes.critical);
    },
  };
}
