/**
 * The agent: opens the producer, proves each source, runs those that work, and tells what it cannot see. It only wires;
 * what is seen is in `sources/`.
 *
 * Invariants: the agent runs whatever the machine allows, and says which sources are off and why; every loss becomes an
 * `agent/gap`; a ring moves on only over what is durable in the spool.
 */
import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { openProducer } from "../producer/open-producer.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { countLines, type Log } from "../runtime/log.ts";
import { createMetrics } from "../runtime/metrics.ts";
import { type AgentReport, hooksOff, type SourceReport, startEvent } from "./agent-events.ts";
import { CANARY_INTERVAL_MS } from "./canary.ts";
import { createAgentMetrics } from "./agent-metrics.ts";
import { type GraphiteSettings, openGraphite } from "./graphite.ts";
import { type Health, type ListenAddress, openAgentHttp } from "./http.ts";
import { createPresence } from "./presence.ts";
import { serveSubscribers } from "./crypto-broker/serve-subscribers.ts";
import { configEvent, refusedConfigEvent } from "./config-events.ts";
import { createProcessIds, readBootId } from "./process-identity.ts";
import { rulePlaces } from "./rule-places.ts";
import { DEFAULT_RULES } from "./rules.ts";
import type { SourceReconfiguration, SourceStatus } from "./source.ts";
import { openSources, type SourceSettings } from "./sources.ts";
import {
  type ApplicationSettings,
  takesMessages,
} from "./sources/applications/application-settings.ts";
import { openApplicationsSource } from "./sources/applications/applications-source.ts";
import { NO_CRYPTO } from "./sources/crypto/crypto-settings.ts";
import { ENVIRONMENT_NAMES } from "./sources/process/environment.ts";
import { watch, type WatchOptions } from "./watch.ts";

export interface AgentOptions extends SourceSettings {
  /** Name of this host in events; the machine's own by default. */
  readonly host?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Unix socket on which subscribers of crypto-auditing are served; nowhere by default. */
  readonly cryptoSocket?: string;
  /** Longest time an event waits in an open batch; {@link FLUSH_MS} by default. */
  readonly flushMs?: number;
  /** How often sources are given canaries to see; {@link CANARY_INTERVAL_MS} by default, 0 for never. */
  readonly canaryMs?: number;
  /** Where `/healthz` and `/metrics` are answered; nowhere by default. */
  readonly listen?: ListenAddress;
  /** Where programs reach the agent with messages; nowhere by default. */
  readonly applications?: ApplicationSettings;
  /** Bytes of the spool's files together; 1 GiB by default. */
  readonly spoolBytes?: number;
  /** Where figures are sent to as well; nowhere by default. */
  readonly graphite?: GraphiteSettings;
  readonly nats: { readonly url: string; readonly credentialsFile?: string };
  /** `0` by default. */
  readonly shard?: string;
  /** Version of the program, for events. */
  readonly version: string;
  readonly log: Log;
  readonly clock?: Clock;
}

export interface AgentStatus extends AgentReport {
  readonly agent: string;
  readonly host: string;
  /** Whether the sources were proven and watching began. */
  readonly isWatching: boolean;
  /** Where it listens; undefined when it does not. */
  readonly listen: ListenAddress | undefined;
}

export interface Agent extends AsyncDisposable {
  /** Watches until the signal is aborted, then reads out what is left; once only. */
  run(signal: AbortSignal): Promise<void>;
  /**
   * Takes what can change while it runs, and tells it as `agent/config`; one call at a time. Rejects when a source refuses:
   * then what held before goes on.
   */
  reconfigure(change: AgentReconfiguration): Promise<void>;
  /** Tells that a configuration was not taken, and why. */
  refuse(reason: string): void;
  status(): AgentStatus;
}

export interface AgentReconfiguration extends SourceReconfiguration {
  /** Keys that changed: those that hold from now on, and those that the next start takes. */
  readonly changed: readonly string[];
  readonly needsRestart: readonly string[];
}

export const FLUSH_MS = 1000;

/**
 * Opens spool and server: `spool/agent` and `agent.json` in the data folder. Rejects when the folder cannot be used,
 * another agent has it, or the address is taken. Disposing drains: what was appended is on disk, and published if the
 * broker answers.
 */
export async function openAgent(options: AgentOptions): Promise<Agent> {
  await using resources = new AsyncDisposableStack();
  const { clock = systemClock, host = hostname(), shard = "0", version, spoolBytes } = options;
  const { log, counts: logged } = countLines(options.log);
  const registry = createMetrics();
  const metrics = createAgentMetrics(registry);
  const presence = createPresence(join(options.dataDirectory, "agent.json"));
  const producer = resources.use(
    await openProducer({
      directory: join(options.dataDirectory, "spool", "agent"),
      host,
      shard,
      nats: options.nats,
      flushMs: options.flushMs ?? FLUSH_MS,
      ...(spoolBytes === undefined ? {} : { spoolBytesMax: spoolBytes }),
      metrics: registry,
      log,
      clock,
    }),
  );
  const { positions } = producer;
  const { cryptoSocket } = options;
  const served = resources.use(
    await serveSubscribers({ path: cryptoSocket, producer, metrics: registry, log }),
  );
  const sources = resources.use(
    openSources({ ...options, keepsProven: true, positions, clock, log }),
  );
  const settings = options.applications ?? {};
  // Over HTTP they may come always.
  const applications = takesMessages(settings) || options.listen !== undefined
    ? resources.use(
      openApplicationsSource({
        ...{ settings, clock, log },
        ...sources,
        relay: { path: join(options.dataDirectory, "kms.db"), version },
      }),
    )
    : undefined;
  const all = applications === undefined ? sources.all : [...sources.all, applications];
  let statuses: ReadonlyMap<string, SourceStatus> = new Map();
  let stage: "starting" | "watching" | "stopped" = "starting";
  const failed = new Set<string>();
  const blind = new Set<string>();
  const health = (): Health => {
    if (stage !== "watching") return { ready: false, part: "agent" };
    const [part] = failed;
    if (part !== undefined) return { ready: false, part: `source ${part}` };
    const [unseeing] = blind;
    return unseeing === undefined
      ? { ready: true }
      : { ready: false, part: `source ${unseeing} (blind)` };
  };

  const { rules = DEFAULT_RULES, files = [], environment = ENVIRONMENT_NAMES } = options;
  const { crypto = NO_CRYPTO } = options;
  let held: Required<SourceReconfiguration> = { rules, files, environment, crypto };
  const digest = (): string => digestOfSettings({ ...options, host, shard, ...held });
  const { boot } = createProcessIds(readBootId());
  const report = (): AgentReport => ({
    ...{ version, boot },
    pid: process.pid,
    configSha256: digest(),
    sources: all.map((source): SourceReport => ({
      name: source.name,
      status: source.status?.() ?? statuses.get(source.name) ?? NOT_PROVEN,
      isBlind: blind.has(source.name),
      counters: source.counters(),
    })),
    producer: producer.counters(),
  });
  const http = options.listen === undefined ? undefined : resources.use(
    await openAgentHttp({
      listen: options.listen,
      health,
      ...(applications === undefined ? {} : { ingest: applications.ingest }),
      metrics: async () => ({
        text: await metrics.text(report()),
        contentType: metrics.contentType,
      }),
    }),
  );

  if (options.graphite !== undefined) {
    const logs = { logged: () => logged, log, clock };
    resources.use(openGraphite({ ...options.graphite, host, report, ...logs }));
  }

  const { canaryMs = CANARY_INTERVAL_MS } = options;
  const canary: WatchOptions["canary"] = {
    intervalMs: canaryMs,
    hooksOff: (name) => hooksOff(statuses.get(name)).map((hook) => hook.name),
    isFiltering: () => rules.filters.length > 0,
    onOutcome: (name, outcome) => {
      metrics.canary(outcome);
      if (outcome === "missed") blind.add(name);
      if (outcome === "seen") blind.delete(name);
    },
  };
  const refuse = (reason: string): void => {
    log.error("configuration refused; the old one goes on", { reason });
    const refused = { pid: process.pid, now: digest(), reason };
    producer.emit(refusedConfigEvent(refused, clock.nowUs()));
  };

  const begin = async () => {
    const proven = new Map(await sources.probe());
    if (applications !== undefined) proven.set(applications.name, await applications.probe());
    statuses = proven;
    const started = {
      ...report(),
      labels: options.labels ?? {},
      rules: held.rules,
      places: rulePlaces,
    };
    producer.emit(startEvent(started, clock.nowUs()));
    stage = "watching";
    return all.filter(({ name }) => statuses.get(name)?.state === "on");
  };

  const owned = resources.move();
  return {
    async run(signal) {
      await watch({
        producer: served.producer,
        inherited: sources.inherited(),
        begin,
        presence,
        report,
        onGapEvent: metrics.gap,
        onState: (name, state) =>
          void (state === "failed" ? failed.add(name) : failed.delete(name)),
        ...(canaryMs === 0 ? {} : { canary }),
        clock,
        log,
      }, signal);
      stage = "stopped";
    },
    async reconfigure({ changed, needsRestart, ...settings }) {
      const next = { ...held, ...settings };
      await sources.reconfigure(next, held);
      const before = digest();
      held = next;
      const { rules } = held;
      log.info("configuration read anew", {
        changed: changed.join(" "),
        needsRestart: needsRestart.join(" "),
      });
      producer.emit(configEvent(
        {
          ...{ pid: process.pid, before, now: digest(), changed, needsRestart, rules },
          places: rulePlaces,
        },
        clock.nowUs(),
      ));
    },
    refuse,
    status: () => ({
      ...report(),
      agent: producer.agent,
      host: producer.host,
      isWatching: stage === "watching",
      listen: http?.address,
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const NOT_PROVEN: SourceStatus = {
  state: "off",
  reason: "it was not proven yet",
  remedy: "wait until the agent has started",
};

/** SHA-256 of what the agent was told to do, hex; no secret is part of it. */
function digestOfSettings(options: AgentOptions): string {
  const { host, labels, flushMs, listen, nats, shard, disabledSources, ringBytes, files } = options;
  const { spoolBytes, graphite, digestBytesPerSecond, compat, rules, environment } = options;
  const { canaryMs, applications, collectors, cryptoSocket } = options;
  const settings = {
    ...{ host, labels, flushMs, listen, nats, shard, disabledSources, ringBytes, files },
    ...{
      spoolBytes,
      graphite,
      digestBytesPerSecond,
      compat,
      rules,
      environment,
      canaryMs,
      applications,
      collectors,
    },
    crypto: options.crypto,
    cryptoSocket,
  };
  return createHash("sha256").update(JSON.stringify(settings)).digest("hex");
}
