/**
 * The agent's figures for Graphite, in its plaintext protocol (`name value seconds\n`), under the names that bpfink
 * gave them, so that dashboards made for it go on.
 *
 * Invariants: figures are sent, never asked for; a Graphite that is slow, gone or refuses costs nothing but its own
 * figures; one connection at a time, each closed after {@link SEND_MS_MAX} at the latest.
 */
import { connect } from "node:net";
import type { Clock } from "../runtime/clock.ts";
import { type Log, LOG_LEVELS, type LogLevel } from "../runtime/log.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import type { AgentReport } from "./agent-events.ts";
import type { ListenAddress } from "./http.ts";

/** How often figures of the minute are sent; those of the hour go out sixty times less often. */
export const GRAPHITE_INTERVAL_MS = 30_000;
const HOURLY_EVERY = 60;
export const SEND_MS_MAX = 5_000;
/** What bpfink calls a host without a role. */
export const UNKNOWN_ROLE = "unknown_role";

export interface GraphiteSettings {
  readonly address: ListenAddress;
  /** Put before every name as it is. */
  readonly prefix: string;
  readonly role: string;
}

export interface GraphiteOptions extends GraphiteSettings {
  readonly host: string;
  readonly report: () => Pick<AgentReport, "version" | "sources">;
  /** Lines logged so far, by level. */
  readonly logged: () => Readonly<Record<LogLevel, number>>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Sends at once and then every {@link GRAPHITE_INTERVAL_MS}; disposing ends it. */
export function openGraphite(options: GraphiteOptions): AsyncDisposable {
  const stop = new AbortController();
  const work = send(options, stop.signal);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await work;
    },
  };
}

async function send(options: GraphiteOptions, signal: AbortSignal): Promise<void> {
  const { clock, log } = options;
  const figures = createFigures(options);
  let isReached = true;
  for (let round = 0; !signal.aborted; round += 1) {
    const text = figures.text({ nowUs: clock.nowUs(), isHourly: round % HOURLY_EVERY === 0 });
    const [sent] = await Promise.allSettled([sendText(options.address, text, signal)]);
    if (signal.aborted) return;
    if (sent.status === "rejected" && isReached) {
      log.warn("cannot send figures to Graphite", { error: String(sent.reason) });
    }
    isReached = sent.status === "fulfilled";
    await Promise.allSettled([clock.sleep(GRAPHITE_INTERVAL_MS, signal)]);
  }
}

export interface Figures {
  /** Every line that is due. */
  text(due: { readonly nowUs: number; readonly isHourly: boolean }): string;
}

/** Rates are of what happened since the text before. */
export function createFigures(
  { prefix, role, host, report, logged }: Pick<
    GraphiteOptions,
    "prefix" | "role" | "host" | "report" | "logged"
  >,
): Figures {
  const of = `by_role.${nodeOf(role)}.${nodeOf(host)}`;
  const before = new Map<string, { readonly hits: number; readonly misses: number }>();
  return {
    text({ nowUs, isHourly }) {
      const seconds = Math.floor(nowUs / 1_000_000);
      const lines: string[] = [];
      const add = (name: string, value: number): void =>
        void lines.push(`${prefix}${name} ${value} ${seconds}\n`);
      const { version, sources } = report();
      const counts = logged();
      for (const level of LOG_LEVELS) add(`log_level.${level}.${of}.count.minutely`, counts[level]);
      const caught = sources.reduce((sum, { counters }) => sum + counters.submitted, 0);
      add(`bpf.events_caught.${of}.count.minutely`, caught);
      for (const { name, counters } of sources) {
        const { submitted: hits, ringFull, throttled, readFault } = counters;
        const misses = ringFull + throttled + readFault;
        const last = before.get(name) ?? { hits: 0, misses: 0 };
        before.set(name, { hits, misses });
        const [newHits, newMisses] = [hits - last.hits, misses - last.misses];
        const all = newHits + newMisses;
        const probe = `bpf.${of}.${nodeOf(name)}.kprobe`;
        add(`${probe}.hit_rate.minutely`, all > 0 ? newHits / all : 1);
        add(`${probe}.miss_rate.minutely`, all > 0 ? newMisses / all : 0);
      }
      if (isHourly) {
        add(`installed.${of}.count.hourly`, 1);
        add(`installed.${of}.version.hourly`, Number(version.replace(/\D/g, "")));
      }
      return lines.join("");
    },
  };
}

/** One part of a name: lower-case letters, digits and `-`; runs of anything else are one `_`. */
function nodeOf(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9-]+/g, "_");
}

function sendText(address: ListenAddress, text: string, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, timeLimit(SEND_MS_MAX)]);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address.host, port: address.port, signal: limit });
    socket.once("error", reject);
    socket.once("close", () => resolve());
    socket.resume();
    socket.end(text);
  });
}
