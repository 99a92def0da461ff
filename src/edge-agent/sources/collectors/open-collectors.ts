/**
 * The collectors of an agent as its sources, in the order in which they are told of.
 *
 * Invariant: each has a memory of its own, so that one that is damaged, or slow, is no other's matter.
 */
import type { RingPositions } from "../../../producer/producer.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import type { Source } from "../../source.ts";
import type { Collector } from "./collector.ts";
import { COLLECTOR_NAMES, type CollectorName } from "./collector-names.ts";
import { createCollectorSource } from "./collector-source.ts";
import type { CommandRule } from "./commands/command-rule.ts";
import { createCommandsCollector } from "./commands/commands-collector.ts";
import { createHostCollector } from "./host/host-collector.ts";
import { HOST_AUDIT } from "./logins/audit-tap.ts";
import { createLoginsCollector } from "./logins/logins-collector.ts";
import { createPackagesCollector } from "./packages/packages-collector.ts";
import { createUnitsCollector } from "./units/units-collector.ts";

export interface CollectorSettings {
  /** Commands by schedule; none by default. */
  readonly commands?: readonly CommandRule[];
  /** Folder that files are dropped in; none by default. */
  readonly dropFolder?: string;
}

export interface OpenCollectorsOptions {
  /** Whether the agent sees who begins to listen when it happens. */
  readonly portsToldBy: "network" | "nobody";
  readonly settings: CollectorSettings;
  readonly dataDirectory: string;
  readonly positions: RingPositions;
  readonly clock: Clock;
  readonly log: Log;
}

/** Opens nothing yet. */
export function openCollectors(options: OpenCollectorsOptions): readonly Source[] {
  const { settings, positions } = options;
  const { commands = [], dropFolder } = settings;
  const collectors: Record<CollectorName, () => Collector> = {
    packages: () => createPackagesCollector(),
    services: () => createUnitsCollector(),
    host: () => createHostCollector({ portsToldBy: options.portsToldBy }),
    logins: () => createLoginsCollector({ audit: HOST_AUDIT }),
    commands: () =>
      createCommandsCollector({
        rules: commands,
        ...(dropFolder === undefined ? {} : { drop: { path: dropFolder } }),
      }),
  };
  return COLLECTOR_NAMES.map((name) =>
    createCollectorSource({ ...options, collector: collectors[name](), position: positions[name] })
  );
}
