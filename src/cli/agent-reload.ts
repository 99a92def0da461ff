/**
 * The agent's configuration, read anew on SIGHUP.
 *
 * Invariants: a file with a fault changes nothing, and that is told; one reading at a time, and however many signals come
 * meanwhile, one more; what cannot change while the agent runs is named, not half taken.
 */
import type { Agent } from "../edge-agent/agent.ts";
import { DEFAULT_RULES, type RuleSettings } from "../edge-agent/rules.ts";
import {
  type CryptoSettings,
  isCryptoWanted,
} from "../edge-agent/sources/crypto/crypto-settings.ts";
import { ENVIRONMENT_NAMES } from "../edge-agent/sources/process/environment.ts";
import { onHangup } from "../runtime/lifecycle.ts";
import type { Configuration } from "./command.ts";
import type { FileRule } from "./config-structures.ts";
import { APPLICATION_OPTIONS } from "./application-options.ts";
import {
  AGENT_OPTIONS,
  CRYPTO_OPTIONS,
  GRAPHITE_OPTIONS,
  LIMIT_OPTIONS,
  NATS_OPTIONS,
} from "./options.ts";

export const AGENT_OPTION_GROUPS = {
  agent: AGENT_OPTIONS,
  graphite: GRAPHITE_OPTIONS,
  nats: NATS_OPTIONS,
  limits: LIMIT_OPTIONS,
  applications: APPLICATION_OPTIONS,
  crypto: CRYPTO_OPTIONS,
} as const;

export type AgentConfiguration = Configuration<typeof AGENT_OPTION_GROUPS>;

/** Keys, and sections, that hold as soon as they are read. */
const LIVE_KEYS: readonly string[] = ["limits", "filters", "files", "agent.environment"];
/** Those that do when there is a source for them since the start. */
const CRYPTO_KEYS: readonly string[] = ["crypto.libraries", "crypto.discover"];
/** Lists and tables of the file that concern an agent. */
const AGENT_STRUCTURES = [
  "labels",
  "environment",
  "limits",
  "filters",
  "files",
  "collectors",
  "libraries",
] as const;

/** What the kernel's programs are not to tell. */
export function rulesOf({ settings, structures }: AgentConfiguration): RuleSettings {
  const { burstMs, sampleEvery, cgroupFactor } = settings.limits;
  const limits = { ...DEFAULT_RULES.limits, ...structures.limits };
  return { limits, burstMs, sampleEvery, cgroupFactor, filters: structures.filters };
}

/** Which libraries tell what they do. */
export function cryptoOf({ settings, structures }: AgentConfiguration): CryptoSettings {
  const { discover, provider } = settings.crypto;
  return { libraries: structures.libraries, discover, provider };
}

export interface Reloadable extends AgentConfiguration {
  /** Reads the file anew; rejects when it has a fault. */
  readAgain(): Promise<AgentConfiguration>;
}

export interface Reloading extends Disposable {
  /** Gives the agent what is read, also for a signal that came before, until the result is disposed. */
  serve(agent: Pick<Agent, "reconfigure" | "refuse">): Disposable;
}

/**
 * Takes SIGHUP until it is disposed: to be opened before the agent and closed after it, since the signal ends a process
 * that does not listen. The file is read anew as long as there is an agent to serve. `isRestartNeeded` says of the files
 * that are watched from then on whether some cannot be read before the next start.
 */
export function reloadOnHangup(
  configuration: Reloadable,
  isRestartNeeded: (files: readonly FileRule[]) => Promise<boolean> = () => Promise.resolve(false),
): Reloading {
  let held: AgentConfiguration = configuration;
  let served: Pick<Agent, "reconfigure" | "refuse"> | undefined;
  let [isReading, isAskedAgain] = [false, false];
  const reload = async (agent: Pick<Agent, "reconfigure" | "refuse">): Promise<void> => {
    try {
      const next = await configuration.readAgain();
      const { files, environment = ENVIRONMENT_NAMES } = next.structures;
      const settings = { rules: rulesOf(next), files, environment, crypto: cryptoOf(next) };
      const { changed, needsRestart } = changesBetween(held, next);
      const isPartly = changed.includes("files") && await isRestartNeeded(files);
      await agent.reconfigure({
        ...settings,
        changed,
        needsRestart: isPartly ? [...needsRestart, "files"] : needsRestart,
      });
      held = next;
    } catch (error) {
      agent.refuse(error instanceof Error ? error.message : String(error));
    }
  };
  const takeAll = async (): Promise<void> => {
    if (isReading) return;
    isReading = true;
    while (isAskedAgain && served !== undefined) {
      isAskedAgain = false;
      await reload(served);
    }
    isReading = false;
  };
  const listening = onHangup(() => {
    isAskedAgain = true;
    void takeAll();
  });
  return {
    serve(agent) {
      served = agent;
      void takeAll();
      return { [Symbol.dispose]: () => served = undefined };
    },
    [Symbol.dispose]: () => listening[Symbol.dispose](),
  };
}

/** Keys whose values differ: those that hold at once, and those that the next start takes. */
export function changesBetween(
  before: AgentConfiguration,
  after: AgentConfiguration,
): { readonly changed: readonly string[]; readonly needsRestart: readonly string[] } {
  const [old, now] = [valuesOf(before), valuesOf(after)];
  const differing = [...old.keys()].filter((key) => old.get(key) !== now.get(key));
  const live = isCryptoWanted(cryptoOf(before)) ? [...LIVE_KEYS, ...CRYPTO_KEYS] : LIVE_KEYS;
  const isLive = (key: string): boolean =>
    live.some((each) => key === each || key.startsWith(`${each}.`));
  return {
    changed: differing.filter(isLive),
    needsRestart: differing.filter((key) => !isLive(key)),
  };
}

/** Values as text, by key. */
function valuesOf({ settings, structures }: AgentConfiguration): ReadonlyMap<string, string> {
  const groups: Readonly<Record<string, Readonly<Record<string, unknown>>>> = settings;
  const options = Object.entries(AGENT_OPTION_GROUPS).flatMap(([section, group]) =>
    Object.entries(group).map(([name, { key }]) =>
      [key, JSON.stringify(groups[section]?.[name] ?? null)] as const
    )
  );
  const lists = AGENT_STRUCTURES.map((name) =>
    [KEY_OF[name], JSON.stringify(structures[name] ?? null)] as const
  );
  return new Map([...options, ...lists]);
}

const KEY_OF: Readonly<Record<typeof AGENT_STRUCTURES[number], string>> = {
  labels: "agent.labels",
  environment: "agent.environment",
  limits: "limits.per_second",
  filters: "filters",
  files: "files",
  collectors: "collectors",
  libraries: "crypto.libraries",
};
