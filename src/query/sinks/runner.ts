/**
 * One sink for as long as the service runs: waits for its turn, opens the target, feeds it, and begins again whatever
 * happens. Every sink has a runner, a place and a connection of its own, so that none waits for another.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { uptime } from "node:os";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { backoffMs } from "../../runtime/retry.ts";
import type { Registry } from "../../storage/registry.ts";
import type { DeadLetter, SinkState } from "../../storage/sink.ts";
import type { Audit } from "../audit.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import { parseSince } from "../request.ts";
import { settledAt } from "../subscriptions/marks.ts";
import { conditionsOf } from "../subscriptions/request.ts";
import { placeSince, presentPlace } from "../subscriptions/skip.ts";
import { removedAfter, type TailSource } from "../tail/follow.ts";
import type { TimeContext } from "../time-text.ts";
import { keepDeadLetter } from "./dead-letter.ts";
import { deliverBatch } from "./delivery.ts";
import { openTarget } from "./open-target.ts";
import { feed } from "./reading.ts";
import { withGap } from "./sink-gap.ts";
import type { SinkEvent, SinkSettings } from "./target.ts";
import { takeTurn, TurnOverError } from "./turn.ts";

export interface RunnerOptions {
  readonly sink: SinkSettings;
  readonly source: TailSource;
  readonly registry: Registry<SinkState>;
  readonly deadLetters: Registry<readonly DeadLetter[]>;
  readonly audit: Pick<Audit, "read">;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly figures: SinkFigures;
  /** Of the service. */
  readonly host: string;
}

/** Of this process. */
export interface SinkFigures {
  delivered: number;
  retries: number;
  dead: number;
  /** As it was read or written last. */
  reachedUs: number | undefined;
}

/** Whether somebody else's turn has ended is looked at so often, in milliseconds. */
const TURN_LOOK_MS = 5_000;
const BACKOFF = { firstMs: 500, maximumMs: 60_000 };

/** Who reads for a sink: it sees its topics and nothing else. */
export function principalOfSink({ name, topics }: SinkSettings): Principal {
  return {
    name: `sink:${name}`,
    scopes: { actions: new Set(["read"]), topics, hosts: "all" },
  };
}

export function timeContextOf(clock: Clock): TimeContext {
  const nowUs = clock.nowUs();
  return { nowUs, bootUs: nowUs - Math.round(uptime() * 1_000_000) };
}

export function requestOfSink({ filters }: SinkSettings, clock: Clock): TailRequest {
  return { conditions: conditionsOf(filters, timeContextOf(clock)), sinceUs: undefined };
}

/** Resolves once the signal is aborted and all is given back. */
export async function runSink(options: RunnerOptions): Promise<void> {
  const { sink: { name }, clock, log, signal } = options;
  let failures = 0;
  while (!signal.aborted) {
    let waitMs = TURN_LOOK_MS;
    try {
      const startMs = performance.now();
      const outcome = await runTurn(options);
      if (outcome === "fed") waitMs = performance.now() - startMs > TURN_LOOK_MS ? 0 : 500;
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      // A skip, or another process: what stands there now is looked at anew.
      if (error instanceof TurnOverError) waitMs = 0;
      else {
        failures += 1;
        waitMs = backoffMs(failures, { backoff: BACKOFF });
        log.warn("a sink was interrupted", { sink: name, waitMs, error: String(error) });
      }
    }
    await nextTurn();
    await Promise.allSettled([clock.sleep(waitMs, signal)]);
  }
}

async function runTurn(options: RunnerOptions): Promise<"fed" | "elsewhere"> {
  const { sink, source, registry, clock, log, audit, figures } = options;
  await using turn = await takeTurn(sink.name, {
    ...{ registry, clock, log, signal: options.signal },
    create: () => createState(options),
  });
  if (turn === undefined) {
    figures.reachedUs = undefined;
    return "elsewhere";
  }
  const signal = AbortSignal.any([options.signal, turn.signal]);
  const principal = principalOfSink(sink);
  audit.read({
    principal,
    route: `sink ${sink.name}`,
    parameters: { type: sink.target.type, topics: sink.topics, ...sink.filters },
    ...{ rows: undefined, bytes: undefined, remote: undefined, outcome: "success" },
  });
  const failed = (reason: string): void => {
    figures.retries += 1;
    turn.failed(reason);
  };
  try {
    await using target = await openTarget(sink.target, { log });
    const bury = async (event: SinkEvent, reason: string): Promise<void> => {
      const letter = { id: event.id, reason, atUs: clock.nowUs() };
      await keepDeadLetter(options.deadLetters, { sink: sink.name, letter, signal });
      figures.dead += 1;
      log.warn("a sink refused an event for good", { sink: sink.name, id: event.id, reason });
      await turn.note((state) => ({ ...state, dead: state.dead + 1 }));
    };
    const deliver = async (events: readonly SinkEvent[]): Promise<void> => {
      await deliverBatch(events, {
        ...{ target, clock, signal, bury, onFailure: failed },
        attemptsMax: sink.attemptsMax,
      });
      turn.succeeded();
      figures.delivered += events.length;
    };
    await feed(source, {
      ...{ turn, principal, clock, signal, deliver, host: options.host },
      onPlace: (reachedUs) => figures.reachedUs = reachedUs,
      onGap: ({ from, reason }) =>
        log.warn("a sink may lack events", { sink: sink.name, from, reason }),
      request: requestOfSink(sink, clock),
      eventsMax: sink.eventsMax,
    });
  } catch (error) {
    if (turn.signal.aborted && !options.signal.aborted) throw turn.signal.reason;
    if (!options.signal.aborted) failed(String(error).slice(0, 300));
    throw error;
  }
  return "fed";
}

/** One that begins where its settings say. */
export async function createState(
  { sink, source, clock, signal }: Pick<RunnerOptions, "sink" | "source" | "clock" | "signal">,
): Promise<SinkState> {
  const principal = principalOfSink(sink);
  const request = requestOfSink(sink, clock);
  const parameters = sink.since === undefined ? new Map() : new Map([["since", [sink.since]]]);
  const since = parseSince(parameters, timeContextOf(clock));
  const begin = since === undefined
    ? presentPlace(source)
    : await placeSince(source, { request, principal, signal, since });
  const gaps = since === undefined ? [] : await gapsSince({
    ...{ source, clock },
    follow: { request, principal, signal, since, place: undefined, isPatient: true },
  });
  const rest = await settledAt(source, { place: begin, ahead: {} }, { floor: {}, signal });
  const nowUs = clock.nowUs();
  return {
    place: { ...rest.place, reachedUs: nowUs },
    ahead: rest.ahead,
    createdUs: nowUs,
    ...{ turn: undefined, lastId: undefined, delivered: 0, retries: 0, dead: 0, fault: undefined },
    gaps,
  };
}

/** What was gone already of what one is to begin with. */
async function gapsSince(
  { source, clock, follow }: Pick<RunnerOptions, "source" | "clock"> & {
    readonly follow: Parameters<typeof removedAfter>[1];
  },
): Promise<SinkState["gaps"]> {
  const removed = await removedAfter(source, follow);
  return removed === undefined ? [] : withGap([], removed, clock.nowUs());
}
