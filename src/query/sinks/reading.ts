/**
 * Feeds one sink from the record while it has the turn: from its place to the present, and on as events come.
 *
 * Invariants: the place is written after the sink has taken the events, so that nothing is left out; an event comes
 * again only when the process ends between the two, and then with its id. At most one batch is on its way. What is gone
 * is told before anything that comes after it.
 */
import { formatEventId } from "../../event/event-id.ts";
import type { Clock } from "../../runtime/clock.ts";
import { commitsOf, confirmed } from "../subscriptions/marks.ts";
import {
  pass,
  type Passed,
  type Progress,
  progressOf,
  tailPlaceOf,
} from "../subscriptions/progress.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import type { SinkGap } from "../../storage/sink.ts";
import type { Removed } from "../tail/removals.ts";
import type { TailRow } from "../tail/live-queue.ts";
import { follow, type TailItem, type TailSource } from "../tail/follow.ts";
import { asTold, noticeOf, withGap } from "./sink-gap.ts";
import type { SinkEvent } from "./target.ts";
import type { SinkTurn } from "./turn.ts";

export interface ReadingOptions {
  readonly turn: SinkTurn;
  readonly principal: Principal;
  readonly request: TailRequest;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly eventsMax: number;
  /** Told of the time up to which the sink has everything, as it moves, µs. */
  readonly onPlace: (reachedUs: number) => void;
  /** Told of a gap that was not met before. */
  readonly onGap: (gap: SinkGap) => void;
  /** Resolves when the sink has taken all of them. */
  readonly deliver: (events: readonly SinkEvent[]) => Promise<void>;
  /** Of the service, whose word a gap is. */
  readonly host: string;
}

/** JSON of the events of one delivery, in characters; one event may be longer. */
export const BATCH_LENGTH_MAX = 1_048_576;
/** How far it has come is written down so often where no event is, in milliseconds. */
const PLACE_INTERVAL_MS = 10_000;
const QUIET_MS = 2_000;
/** While one batch follows the other, the place is written so often: what was taken since comes again after a crash. */
const DELIVERED_INTERVAL_MS = 250;

/** Ends with the signal, or when the service stops. */
export async function feed(source: TailSource, options: ReadingOptions): Promise<void> {
  const feeding = new Feeding(source, options);
  while (!options.signal.aborted && await feeding.run() === "again");
}

/** Guards what was passed over but not written down yet. */
class Feeding {
  readonly #source: TailSource;
  readonly #options: ReadingOptions;
  #progress: Progress;
  #writtenMs = performance.now();
  /** Whether the sink has taken what is not written down. */
  #hasTaken = false;
  #hasReachedPresent = false;

  constructor(source: TailSource, options: ReadingOptions) {
    this.#source = source;
    this.#options = options;
    this.#progress = progressOf(options.turn.state);
  }

  async run(): Promise<"again" | "ended"> {
    const { request, principal, signal } = this.#options;
    const { hot } = this.#source;
    const { generation } = hot;
    this.#progress = progressOf(this.#progress);
    this.#hasReachedPresent = false;
    await this.#tellGaps();
    const groups = follow(this.#source, {
      ...{ request, principal, signal },
      place: tailPlaceOf(this.#progress.place),
      since: undefined,
      quietMs: QUIET_MS,
      isDurable: true,
      isPatient: true,
    });
    for await (const group of groups) {
      // What was loaded may have been of messages that the broker lost: what is ahead of the commit is met again.
      if (hot.generation !== generation) return "again";
      await this.#take(group);
    }
    return "ended";
  }

  async #take(group: readonly TailItem[]): Promise<void> {
    const rows = group.flatMap((item) => item.kind === "row" ? [item] : []);
    const committedOf = commitsOf(this.#source.hot);
    for (const batch of batchesOf(rows, this.#options.eventsMax)) {
      const end = batch.at(-1)?.place;
      if (end === undefined) continue;
      const passed = pass(this.#progress, batch.map(({ row }) => row), { end, committedOf });
      if (passed.rows.length > 0) await this.#deliver(passed);
      else this.#progress = passed.progress;
      const isDue = performance.now() - this.#writtenMs >= DELIVERED_INTERVAL_MS;
      if (this.#hasTaken && isDue) await this.#write();
    }
    if (this.#hasTaken) await this.#write();
    const last = group.at(-1);
    if (last === undefined || last.kind === "row") return;
    if (last.kind === "removed") return await this.#meetGap(last.removed);
    if (last.kind === "present") this.#hasReachedPresent = true;
    const isDue = performance.now() - this.#writtenMs >= PLACE_INTERVAL_MS;
    if (last.kind === "present" || isDue) {
      this.#progress = await confirmed(this.#source, this.#progress, this.#options);
    }
    const { progress } = pass(this.#progress, [], { end: last.place, committedOf });
    const { place } = progress;
    const reachedUs = this.#hasReachedPresent
      ? Math.max(place.reachedUs, this.#options.clock.nowUs())
      : place.reachedUs;
    this.#progress = { ...progress, place: { ...place, reachedUs } };
    this.#options.onPlace(reachedUs);
    if (isDue) await this.#write();
  }

  /** It is written down before it is told, so that it is known also while the other side is away. */
  async #meetGap(removed: Removed): Promise<void> {
    const { turn, clock, onGap } = this.#options;
    const gaps = withGap(turn.state.gaps, removed, clock.nowUs());
    if (gaps === turn.state.gaps) return;
    await turn.note((state) => ({ ...state, gaps }));
    const [met] = gaps.slice(-1);
    if (met !== undefined) onGap(met);
    await this.#tellGaps();
  }

  async #tellGaps(): Promise<void> {
    const { turn, host, deliver } = this.#options;
    for (const gap of turn.state.gaps.filter(({ isTold }) => !isTold)) {
      await deliver([noticeOf(gap, { host })]);
      await turn.note((state) => ({ ...state, gaps: asTold(state.gaps, gap) }));
    }
  }

  async #deliver({ rows, progress }: Passed): Promise<void> {
    const events = rows.map(eventOf);
    await this.#options.deliver(events);
    this.#progress = progress;
    const { place, ahead } = progress;
    this.#options.turn.noteLater((state) => ({
      ...{ ...state, place, ahead },
      delivered: state.delivered + events.length,
      lastId: events.at(-1)?.id ?? state.lastId,
    }));
    this.#hasTaken = true;
  }

  async #write(): Promise<void> {
    const { place, ahead } = this.#progress;
    await this.#options.turn.note((state) => ({ ...state, place, ahead }));
    this.#hasTaken = false;
    this.#writtenMs = performance.now();
    this.#options.onPlace(place.reachedUs);
  }
}

type RowItem = Extract<TailItem, { readonly kind: "row" }>;

function batchesOf(items: readonly RowItem[], eventsMax: number): readonly (readonly RowItem[])[] {
  const batches: RowItem[][] = [];
  let length = 0;
  for (const item of items) {
    const last = batches.at(-1);
    length += item.row.json.length;
    if (last === undefined || last.length >= eventsMax || length > BATCH_LENGTH_MAX) {
      batches.push([item]);
      length = item.row.json.length;
    } else last.push(item);
  }
  return batches;
}

function eventOf(row: TailRow): SinkEvent {
  const value: unknown = JSON.parse(row.json);
  const fields: Readonly<Record<string, unknown>> = typeof value === "object" && value !== null
    ? { ...value }
    : {};
  const text = (name: string): string => String(fields[name] ?? "");
  return {
    id: formatEventId(row),
    topic: text("topic"),
    time: text("time"),
    host: text("host"),
    severity: text("severity"),
    json: row.json,
  };
}
