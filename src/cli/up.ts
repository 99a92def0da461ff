/**
 * `up`: everything on this machine. Prepares the data folder, then runs broker, roll-up, query service and agent as
 * supervised processes until it is told to stop.
 *
 * Invariants: one `up` per data folder; processes end in the reverse order of their start, so that each can still
 * reach what it drains into.
 */
import process from "node:process";
import { APPLICATION_OPTIONS } from "./application-options.ts";
import { onHangup } from "../runtime/lifecycle.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import { openFolderLock } from "../storage/fs-lock.ts";
import { agentCommand } from "./agent.ts";
import { type Command, defineCommand, type Invocation } from "./command.ts";
import { CommandError, EXIT, type ExitCode, usageError } from "./exit.ts";
import { listenText, refuseTwoAddresses, refuseWithoutTls } from "./listen.ts";
import {
  AGENT_OPTIONS,
  GRAPHITE_OPTIONS,
  LIMIT_OPTIONS,
  MAINTENANCE_OPTIONS,
  NATS_OPTIONS,
  PORT_OPTION,
} from "./options.ts";
import { ROLLUP_OPTIONS, SERVER_OPTIONS, STORE_OPTIONS } from "./options.ts";
import { rollupCommand } from "./rollup.ts";
import { serveCommand } from "./serve.ts";
import { printSources } from "./source-table.ts";
import { shardNames } from "./shards.ts";
import type { Account } from "./up/account.ts";
import { findStepDown } from "./up/account.ts";
import type { AgentAnnouncement } from "./up/announcement.ts";
import { openBroker } from "./up/broker.ts";
import { type DataFolder, dataFolderAt, ensureAdminToken } from "./up/data-folder.ts";
import {
  makeDataFolder,
  prepareDataFolder,
  type ProcessRole,
  removeNote,
  writeNote,
} from "./up/data-folder.ts";
import { pathsOfProgram, planRole, readAnnouncement } from "./up/role-process.ts";
import { type ProcessPlan, supervise } from "./up/supervisor.ts";

/** How long to wait for another `up` to let go of the data folder, in milliseconds. */
const LOCK_WAIT_MS = 1_000;
/** Longest time an event waits in an open batch when everything runs on one machine. */
const FLUSH_DEFAULT = "100ms";

const OPTIONS = {
  own: PORT_OPTION,
  server: SERVER_OPTIONS,
  agent: AGENT_OPTIONS,
  limits: LIMIT_OPTIONS,
  applications: APPLICATION_OPTIONS,
  graphite: GRAPHITE_OPTIONS,
  nats: NATS_OPTIONS,
  store: STORE_OPTIONS,
  rollup: ROLLUP_OPTIONS,
  maintenance: MAINTENANCE_OPTIONS,
} as const;

type UpInvocation = Invocation<typeof OPTIONS>;

export const upCommand = defineCommand({
  name: "up",
  summary: "run everything on this machine: broker, agent, roll-up and query service",
  examples: [
    ["probity up", "in ./probity-data, at http://127.0.0.1:7333"],
    ["probity up --data /var/lib/probity --port 0", "at any free port"],
    ["probity up --nats nats://log:4222 --nats-credentials-file up.nk", "with a broker of yours"],
  ],
  options: OPTIONS,
  isDaemon: true,
  run: async (invocation) => {
    refuseTwoAddresses(invocation.flags);
    refuseWithoutTls(invocation.settings);
    if (invocation.structures.sinks.some(({ type }) => type === "stdout")) {
      throw usageError('Cannot use a sink of type "stdout" with "up": only "serve" has an output');
    }
    const folder = dataFolderAt(invocation.global.data);
    makeDataFolder(folder);
    await using lock = openFolderLock(folder.lock);
    let isHeld = false;
    const action = (): Promise<ExitCode> => {
      isHeld = true;
      return runAll(invocation, folder);
    };
    try {
      return await lock.run(action, timeLimit(LOCK_WAIT_MS));
    } catch (cause) {
      if (isHeld) throw cause;
      const message = `Cannot start: another "probity up" uses data folder "${folder.path}"`;
      throw new CommandError(EXIT.failed, message, { cause });
    }
  },
});

async function runAll(invocation: UpInvocation, folder: DataFolder): Promise<ExitCode> {
  const { log, signal } = invocation;
  const { parseAgentAnnouncement, parseRollupAnnouncement, parseServeAnnouncement } = await import(
    "./up/announcement.ts"
  );
  const { account, warning } = findStepDown(pathsOfProgram(folder));
  if (warning !== undefined) log.warn(warning);
  prepareDataFolder(folder, account);
  ensureAdminToken(folder, account);
  await using running = new AsyncDisposableStack();
  const broker = await useBroker({ invocation, folder, account, running });
  // Children get the address in its one long form, and the free port that was taken once is kept over restarts.
  let listen = listenText(invocation.settings);
  const flags = new Map([...invocation.flags].filter(([key]) => key !== PORT_OPTION.port.key));
  const plan = (role: ProcessRole, decided: Readonly<Record<string, string>>): ProcessPlan =>
    planRole({
      ...invocation,
      flags,
      command: COMMAND_OF[role],
      decided: { data: folder.path, ...broker.decidedFor(role), ...decided },
      account: role === "agent" ? undefined : account,
      cache: folder.cache,
    });
  const rollup = running.use(supervise({
    name: "rollup",
    plan: () => plan("rollup", {}),
    whenReady: async (child, gone) => parseRollupAnnouncement(await readAnnouncement(child, gone)),
    log,
  }));
  const serve = running.use(supervise({
    name: "serve",
    plan: () => plan("query", { "server.listen": listen }),
    whenReady: async (child, gone) => {
      const said = parseServeAnnouncement(await readAnnouncement(child, gone));
      listen = said.listen;
      return said;
    },
    log,
  }));
  const flush = invocation.sourceOf(AGENT_OPTIONS.flushMs) === "default"
    ? { [AGENT_OPTIONS.flushMs.key]: FLUSH_DEFAULT }
    : {};
  // It has the account of everything else, or, when there is none, stays who it is.
  const agentUser = account === undefined ? {} : { [AGENT_OPTIONS.user.key]: account.name };
  const agent = running.use(supervise({
    name: "agent",
    plan: () => plan("agent", { ...flush, ...agentUser }),
    whenReady: async (child, gone) => parseAgentAnnouncement(await readAnnouncement(child, gone)),
    log,
  }));
  // The agent reads its configuration again by itself, the query service its certificate.
  running.use(onHangup(() => {
    for (const { pid } of [agent, serve]) {
      const id = pid();
      if (id !== undefined) process.kill(id, "SIGHUP");
    }
  }));
  const stopped = new Promise<undefined>((resolve) => {
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
    if (signal.aborted) resolve(undefined);
  });
  const ready = await Promise.race([
    stopped,
    Promise.all([serve.ready, agent.ready, rollup.ready]),
  ]);
  if (ready === undefined) return EXIT.ok;
  const [{ url }, agentSaid] = ready;
  writeNote(folder.serverUrl, `${url}\n`);
  running.defer(() => removeNote(folder.serverUrl));
  await announce({ invocation, folder, agent: agentSaid, url, brokerUrl: broker.url });
  await stopped;
  return EXIT.ok;
}

const COMMAND_OF: Readonly<Record<ProcessRole, Command>> = {
  agent: agentCommand,
  rollup: rollupCommand,
  query: serveCommand,
};

interface BrokerInUse {
  readonly url: string;
  /** What the role's command line has to say of the broker. */
  decidedFor(role: ProcessRole): Readonly<Record<string, string>>;
}

/** The broker that the settings name, else one of our own. */
async function useBroker(
  { invocation, folder, account, running }: {
    readonly invocation: UpInvocation;
    readonly folder: DataFolder;
    readonly account: Account | undefined;
    readonly running: AsyncDisposableStack;
  },
): Promise<BrokerInUse> {
  const { url } = invocation.settings.nats;
  if (url !== undefined) return { url, decidedFor: () => ({}) };
  const shards = shardNames(invocation.settings.rollup.shards);
  const broker = running.use(await openBroker({ ...invocation, folder, account, shards }));
  return {
    url: broker.url,
    decidedFor: (role) => ({
      [NATS_OPTIONS.url.key]: broker.url,
      [NATS_OPTIONS.credentialsFile.key]: folder.broker.credentials(role),
    }),
  };
}

interface Announced {
  readonly invocation: UpInvocation;
  readonly folder: DataFolder;
  readonly agent: AgentAnnouncement;
  readonly url: string;
  readonly brokerUrl: string;
}

async function announce(announced: Announced): Promise<void> {
  const { invocation: { output }, folder, agent, url, brokerUrl } = announced;
  const { path: data, adminToken: tokenFile } = folder;
  if (!output.isForPeople) {
    await output.json({ ...agent, command: "up", url, tokenFile, data, broker: brokerUrl });
    return;
  }
  await printSources(agent.sources, output);
  await output.write(`
Host    ${agent.host}
Data    ${data}
Token   ${tokenFile}
Listen  ${output.paint("bold", url)}

Ctrl-C stops it.
`);
}
