/**
 * The sinks of a query service: a runner for each, and what people ask about and do with them. Those that other
 * processes feed are seen here as well, since their places are in the registry.
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import {
  createDeadLetterRegistry,
  createSinkRegistry,
  type DeadLetter,
  type SinkState,
} from "../../storage/sink.ts";
import type { Audit } from "../audit.ts";
import { ProblemError } from "../problem.ts";
import type { Since } from "../request.ts";
import { skipToPresent, skipToSince } from "../subscriptions/skip.ts";
import type { TailSource } from "../tail/follow.ts";
import {
  createState,
  principalOfSink,
  requestOfSink,
  runSink,
  type SinkFigures,
} from "./runner.ts";
import type { SinkSettings } from "./target.ts";

export interface KnownSink {
  readonly sink: SinkSettings;
  /** Undefined until a process has fed it for the first time. */
  readonly state: SinkState | undefined;
}

export interface Sinks extends AsyncDisposable {
  list(signal: AbortSignal): Promise<readonly KnownSink[]>;
  /** Throws 404 for one that is not configured. */
  get(name: string, signal: AbortSignal): Promise<KnownSink>;
  /** Puts it forward without delivering; how many events were left out, null when that is not known. */
  skip(name: string, to: "now" | Since, signal: AbortSignal): Promise<number | null>;
  deadLetters(name: string, signal: AbortSignal): Promise<readonly DeadLetter[]>;
  /** Forgets them; how many. */
  clear(name: string, signal: AbortSignal): Promise<number>;
}

export interface SinksOptions {
  readonly settings: readonly SinkSettings[];
  readonly source: TailSource;
  readonly store: ObjectStore;
  readonly audit: Pick<Audit, "read">;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Of the service. */
  readonly host: string;
}

export function openSinks(options: SinksOptions): Sinks {
  const { settings, source, store, audit, clock, log, metrics, host } = options;
  const place = { store, nowMs: () => clock.nowUs() / 1_000 };
  const registry = createSinkRegistry(place);
  const deadLetters = createDeadLetterRegistry(place);
  const end = new AbortController();
  const running = settings.map((sink) => {
    const figures: SinkFigures = { delivered: 0, retries: 0, dead: 0, reachedUs: undefined };
    const more = { sink, source, registry, deadLetters, audit, clock, log, figures, host };
    return { sink, figures, done: runSink({ ...more, signal: end.signal }) };
  });
  observe(metrics, running, clock);

  const settingsOf = (name: string): SinkSettings => {
    const found = settings.find((sink) => sink.name === name);
    if (found === undefined) {
      throw new ProblemError(404, `There is no sink "${name.slice(0, 100)}"`);
    }
    return found;
  };

  return {
    async list(signal) {
      return await Promise.all(settings.map(async (sink) => ({
        sink,
        state: (await registry.get(sink.name, { signal }))?.value,
      })));
    },
    async get(name, signal) {
      const sink = settingsOf(name);
      return { sink, state: (await registry.get(name, { signal }))?.value };
    },
    async skip(name, to, signal) {
      const sink = settingsOf(name);
      for (;;) {
        const entry = await registry.get(name, { signal });
        if (entry === undefined) {
          await registry.create(name, await createState({ sink, source, clock, signal }), {
            signal,
          });
          continue;
        }
        const more = {
          subscription: entry.value,
          request: requestOfSink(sink, clock),
          principal: principalOfSink(sink),
          signal,
        };
        const skip = to === "now"
          ? await skipToPresent(source, more)
          : await skipToSince(source, { ...more, since: to });
        // Whoever feeds it sees that somebody else has written, and begins anew from there.
        const value = { ...entry.value, place: skip.place, ahead: skip.ahead };
        if (await registry.replace(entry, value, { signal }) !== undefined) return skip.count;
      }
    },
    async deadLetters(name, signal) {
      settingsOf(name);
      return (await deadLetters.get(name, { signal }))?.value ?? [];
    },
    async clear(name, signal) {
      settingsOf(name);
      for (;;) {
        const entry = await deadLetters.get(name, { signal });
        if (entry === undefined) return 0;
        if (await deadLetters.remove(entry, { signal })) return entry.value.length;
      }
    },
    async [Symbol.asyncDispose]() {
      end.abort(new DOMException("The service is stopping", "AbortError"));
      await Promise.allSettled(running.map(({ done }) => done));
    },
  };
}

interface Running {
  readonly sink: SinkSettings;
  readonly figures: SinkFigures;
}

function observe(metrics: Metrics, running: readonly Running[], clock: Clock): void {
  const each = (
    name: string,
    help: string,
    value: (figures: SinkFigures) => number | undefined,
  ): void =>
    metrics.observedEach(
      name,
      { help, labels: ["sink"] },
      () =>
        running.flatMap(({ sink, figures }) => {
          const number = value(figures);
          return number === undefined ? [] : [[{ sink: sink.name }, number] as const];
        }),
    );
  each("probity_sink_delivered_total", "Events that a sink has taken.", (of) => of.delivered);
  each("probity_sink_retries_total", "Attempts to deliver that failed.", (of) => of.retries);
  each("probity_sink_dead_letters_total", "Events that a sink refused for good.", (of) => of.dead);
  each(
    "probity_sink_lag_seconds",
    "Since a sink was last known to be at the present.",
    (of) =>
      of.reachedUs === undefined
        ? undefined
        : Math.max(0, clock.nowUs() - of.reachedUs) / 1_000_000,
  );
}
