/**
 * `doctor`: what works on this machine, found out by trying; what does not, why, and what would turn it on. Sources
 * that are off are no failure: everything else works without them.
 */
import type { HookStatus } from "../edge-agent/source.ts";
import { APPLICATION_OPTIONS } from "./application-options.ts";
import { applicationsOf } from "./applications.ts";
import { defineCommand } from "./command.ts";
import { EXIT } from "./exit.ts";
import { collectorSettingsOf } from "./collector-settings.ts";
import { AGENT_OPTIONS, CRYPTO_OPTIONS, NATS_OPTIONS, STORE_OPTIONS } from "./options.ts";
import { sidecarVariablesOf } from "./sidecar-variables.ts";
import { dataFolderAt } from "./up/data-folder.ts";

export const doctorCommand = defineCommand({
  name: "doctor",
  summary: "say what works on this machine, and what would turn on the rest",
  examples: [["probity doctor", "sources of events, broker, store, DuckDB, runtime"]],
  options: {
    agent: { dropFolder: AGENT_OPTIONS.dropFolder, collectorsOff: AGENT_OPTIONS.collectorsOff },
    nats: NATS_OPTIONS,
    store: STORE_OPTIONS,
    crypto: CRYPTO_OPTIONS,
    applications: APPLICATION_OPTIONS,
  },
  run: async ({ settings, structures, global, environment, output, log, signal }) => {
    const { examine } = await import("./doctor/examine.ts");
    const folder = dataFolderAt(global.data);
    const collectors = collectorSettingsOf({
      dropFolder: settings.agent.dropFolder,
      collectors: structures.collectors,
    });
    const crypto = { ...settings.crypto, libraries: structures.libraries };
    const applications = applicationsOf(settings.applications, sidecarVariablesOf(environment));
    const disabledSources = settings.agent.collectorsOff ?? [];
    const parts = { applications, crypto, collectors, disabledSources, folder, environment };
    const findings = examine({ ...settings, ...parts, log, signal });
    let isBroken = false;
    const rows: string[][] = [];
    for await (const { name, status, isNeeded } of findings) {
      isBroken ||= isNeeded && status.state === "off";
      if (!output.isForPeople) {
        await output.json({ name, ...status });
        continue;
      }
      const isOn = status.state === "on";
      rows.push([
        name,
        isOn ? output.paint("green", "on") : output.paint(isNeeded ? "red" : "yellow", "off"),
        isOn ? [status.how, ...hooksOff(status)].join("; ") : `${status.reason}; ${status.remedy}`,
      ]);
    }
    if (output.isForPeople) {
      await output.table([{ name: "what" }, { name: "state" }, { name: "how" }], rows);
    }
    return isBroken ? EXIT.failed : EXIT.ok;
  },
});

/** Hooks that are off although their source is on. */
function hooksOff({ hooks = [] }: { readonly hooks?: readonly HookStatus[] }): string[] {
  return hooks.flatMap((hook) => hook.state === "off" ? [`not ${hook.name}: ${hook.reason}`] : []);
}
