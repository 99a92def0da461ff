/**
 * What `[[collectors]]` and the drop folder make the agent do. Apart from the reading of the file, which needs schemas:
 * every command that may collect loads this.
 */
import { resolve } from "node:path";
import {
  type CommandRule,
  MEMORY_BYTES,
  OUTPUT_BYTES,
  TIMEOUT_MS,
} from "../edge-agent/sources/collectors/commands/command-rule.ts";
import type { CollectorSettings } from "../edge-agent/sources/collectors/open-collectors.ts";
import type { Collector } from "./config-collectors.ts";
import { duration, type OptionType, size } from "./option-type.ts";

/** What an agent collects beside what it does on every host. */
export function collectorSettingsOf(
  { dropFolder, collectors }: {
    readonly dropFolder: string | undefined;
    readonly collectors: readonly Collector[];
  },
): CollectorSettings {
  return {
    commands: commandRulesOf(collectors),
    ...(dropFolder === undefined ? {} : { dropFolder: resolve(dropFolder) }),
  };
}

/** What is not said is as by default. */
function commandRulesOf(all: readonly Collector[]): readonly CommandRule[] {
  const read = (of: OptionType<number>, value: string | undefined, otherwise: number): number =>
    value === undefined ? otherwise : of.parse(value) ?? otherwise;
  return all.map(({ name, command, schedule, timezone, topic, user, ...more }) => ({
    ...{ name, command, schedule, timezone, user },
    topic: topic ?? `app/${name}`,
    timeoutMs: read(duration, more.timeout, TIMEOUT_MS),
    memoryBytes: read(size, more.memory, MEMORY_BYTES),
    outputBytes: read(size, more.output, OUTPUT_BYTES),
    environment: more.environment ?? {},
  }));
}
