/**
 * Settings of the function handlers: the same options as the command line's, from variables alone. The data folder is
 * scratch space that need not outlive an instance.
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog, type Log } from "../../src/runtime/log.ts";
import type { StoreOptions } from "../../src/storage/open-store.ts";
import { usageError } from "../../src/cli/exit.ts";
import { type NatsAccess, natsAccessOf } from "../../src/cli/nats-access.ts";
import { GLOBAL_OPTIONS, NATS_OPTIONS, ROLLUP_OPTIONS } from "../../src/cli/options.ts";
import { STORE_OPTIONS, type Values } from "../../src/cli/options.ts";
import { resolveSettings } from "../../src/cli/settings.ts";
import { storeOptionsOf } from "../../src/cli/store-options.ts";
import { type DataFolder, dataFolderAt } from "../../src/cli/up/data-folder.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface FunctionSettings {
  readonly folder: DataFolder;
  readonly store: StoreOptions;
  readonly rollup: Values<typeof ROLLUP_OPTIONS>;
  readonly tokenFile: string | undefined;
  readonly log: Log;
  /** The broker; throws a usage error when none is named. */
  nats(): NatsAccess;
}

/** Reads PROBITY_STORE_URL and the others; throws a usage error for a wrong value, or without a store. */
export function readFunctionSettings(environment: Environment): FunctionSettings {
  const groups = {
    global: GLOBAL_OPTIONS,
    nats: NATS_OPTIONS,
    store: STORE_OPTIONS,
    rollup: ROLLUP_OPTIONS,
  };
  const data = environment["PROBITY_DATA"] ?? join(tmpdir(), "probity");
  const { settings } = resolveSettings(groups, {
    flags: new Map(),
    environment: { ...environment, PROBITY_DATA: data },
    file: undefined,
  });
  if (settings.store.url === undefined) {
    throw usageError("Cannot find the bucket: PROBITY_STORE_URL is not set");
  }
  const log = createLog({ level: "info" });
  const folder = dataFolderAt(data);
  return {
    folder,
    store: { ...storeOptionsOf(settings.store, folder), log },
    rollup: settings.rollup,
    tokenFile: settings.global.tokenFile,
    log,
    nats: () => natsAccessOf(settings.nats, { folder, role: "rollup" }),
  };
}
