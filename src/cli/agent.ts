/** `agent`: records what happens on this host until it is told to stop. Runs without rights too, and says what is off. */
import { createHash } from "node:crypto";
import process from "node:process";
import { covers } from "../edge-agent/privilege/readable.ts";
import type { SourceStatus } from "../edge-agent/source.ts";
import { systemClock } from "../runtime/clock.ts";
import { AGENT_OPTION_GROUPS, cryptoOf, reloadOnHangup, rulesOf } from "./agent-reload.ts";
import { applicationsOf } from "./applications.ts";
import { contentsOf, divideRights, guardPrivileged } from "./agent-rights.ts";
import { collectorSettingsOf } from "./collector-settings.ts";
import { defineCommand } from "./command.ts";
import { EXIT, usageError } from "./exit.ts";
import { natsAccessOf } from "./nats-access.ts";
import { SUPERVISED_VARIABLE } from "./options.ts";
import type { Output } from "./output.ts";
import { versionOfPackage } from "./program.ts";
import { dataFolderAt } from "./up/data-folder.ts";
import { sidecarVariablesOf } from "./sidecar-variables.ts";
import { printSources } from "./source-table.ts";
import type { AgentAnnouncement } from "./up/announcement.ts";

/** How often the agent is asked whether it has begun, in milliseconds. */
const ASK_MS = 20;

export const agentCommand = defineCommand({
  name: "agent",
  summary: "record what happens on this host",
  examples: [
    ["probity agent --nats nats://log:4222 --nats-credentials-file agent.nk", "a host of a fleet"],
  ],
  options: AGENT_OPTION_GROUPS,
  isDaemon: true,
  run: async (invocation) => {
    const { settings, global, structures, environment, output, log, signal } = invocation;
    const isSupervised = environment[SUPERVISED_VARIABLE] === "1";
    if (structures.sinks.length > 0 && !isSupervised) {
      throw usageError("Cannot use [[sinks]] on an agent: sinks belong to the server");
    }
    const sidecar = sidecarVariablesOf(environment);
    for (const notice of sidecar?.notices ?? []) log.warn(notice);
    const isRestartNeeded = async (files: typeof structures.files): Promise<boolean> =>
      privileged !== undefined &&
      !covers(await contentsOf(structures.files), await contentsOf(files));
    using reloading = reloadOnHangup(invocation, isRestartNeeded);
    const folder = dataFolderAt(global.data);
    const { host, flushMs, shard, listen, spoolBytes, canaryMs, compat, digestBytesPerSecond } =
      settings.agent;
    const { brokerSocket: cryptoSocket } = settings.crypto;
    const { address: graphite, prefix = "", role } = settings.graphite;
    const pinDirectory = `/sys/fs/bpf/${pinNameOf(folder.path)}`;
    const privileged = await divideRights({
      folder,
      pinDirectory,
      user: settings.agent.user,
      readable: [global.config, settings.nats.credentialsFile].filter((path) => path !== undefined),
      contents: () => contentsOf(structures.files, structures.libraries),
      log,
    });
    // Loaded here only: other commands do without the C library, and Deno lets them do without it.
    const { openAgent } = await import("../edge-agent/agent.ts");
    await using agent = await openAgent({
      dataDirectory: folder.path,
      pinDirectory,
      ...(host === undefined ? {} : { host }),
      ...(isSupervised ? { supervisorPid: process.ppid } : {}),
      labels: structures.labels,
      ...(structures.environment === undefined ? {} : { environment: structures.environment }),
      rules: rulesOf(invocation),
      files: structures.files,
      collectors: collectorSettingsOf({
        dropFolder: settings.agent.dropFolder,
        collectors: structures.collectors,
      }),
      disabledSources: settings.agent.collectorsOff ?? [],
      crypto: cryptoOf(invocation),
      ...(cryptoSocket === undefined ? {} : { cryptoSocket }),
      ringBytes: { crypto: settings.crypto.ringBytes },
      flushMs,
      shard,
      listen,
      spoolBytes,
      canaryMs,
      compat,
      digestBytesPerSecond,
      applications: applicationsOf(settings.applications, sidecar),
      ...(graphite === undefined ? {} : { graphite: { address: graphite, prefix, role } }),
      nats: natsAccessOf(settings.nats, { folder, role: "agent" }),
      version: versionOfPackage(),
      log,
    });
    using _serving = reloading.serve(agent);
    using guard = guardPrivileged(privileged, log);
    const stop = AbortSignal.any([signal, guard.signal]);
    const watching = agent.run(stop);
    while (!agent.status().isWatching && !stop.aborted) {
      await Promise.race([watching, systemClock.sleep(ASK_MS)]);
    }
    if (!stop.aborted) await announce(agent.status(), output);
    await watching;
    return guard.signal.aborted ? EXIT.failed : EXIT.ok;
  },
});

/** Several agents may run on one machine, each on a data folder and with programs of its own. */
function pinNameOf(data: string): string {
  return `probity-${createHash("sha256").update(data).digest("hex").slice(0, 12)}`;
}

type Status = Pick<AgentAnnouncement, "agent" | "host"> & {
  readonly sources: readonly { readonly name: string; readonly status: SourceStatus }[];
};

async function announce({ agent, host, sources }: Status, output: Output): Promise<void> {
  const said = sources.map(({ name, status }) => ({ name, ...status }));
  if (!output.isForPeople) {
    await output.json({ command: "agent", agent, host, sources: said });
    return;
  }
  await printSources(said, output);
}
