/**
 * The doctor's examinations, one after the other: runtime, DuckDB, data folder, broker, store, service, account, and
 * every source of events. None leaves anything behind or throws for what is missing.
 */
import { accessSync, constants, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { createClient } from "../../client/client.ts";
import { probeSources } from "../../edge-agent/doctor.ts";
import type { ApplicationSettings } from "../../edge-agent/sources/applications/application-settings.ts";
import type { HookStatus, SourceStatus } from "../../edge-agent/source.ts";
import type { CollectorName } from "../../edge-agent/sources/collectors/collector-names.ts";
import type { CollectorSettings } from "../../edge-agent/sources/collectors/open-collectors.ts";
import {
  type CryptoSettings,
  LIBRARY_HOOK,
} from "../../edge-agent/sources/crypto/crypto-settings.ts";
import { streamOf } from "../../event/wire.ts";
import { createLog, type Log } from "../../runtime/log.ts";
import { connectNats, openStream } from "../../runtime/nats.ts";
import { timeLimit } from "../../runtime/time-limit.ts";
import { openDatabase } from "../../storage/duckdb.ts";
import { openStore } from "../../storage/open-store.ts";
import { natsAccessOf } from "../nats-access.ts";
import type { NATS_OPTIONS, STORE_OPTIONS, Values } from "../options.ts";
import { storeOptionsOf } from "../store-options.ts";
import { ACCOUNT_NAME, findStepDown } from "../up/account.ts";
import { findNatsServer } from "../up/broker.ts";
import { applicationsStatus } from "./applications.ts";
import { type DataFolder, readNote } from "../up/data-folder.ts";
import { pathsOfProgram } from "../up/role-process.ts";

/** What was found about one part. */
export interface Finding {
  readonly name: string;
  readonly status: SourceStatus;
  /** Whether Probity cannot work without it, or cannot do what the configuration names. */
  readonly isNeeded: boolean;
}

export interface ExamineOptions {
  readonly nats: Values<typeof NATS_OPTIONS>;
  readonly store: Values<typeof STORE_OPTIONS>;
  readonly collectors: CollectorSettings;
  readonly disabledSources: readonly CollectorName[];
  readonly crypto: CryptoSettings;
  readonly applications: ApplicationSettings;
  readonly folder: DataFolder;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** How long a broker, a store or a service may take to answer, in milliseconds. */
const ANSWER_LIMIT_MS = 5_000;

export async function* examine(options: ExamineOptions): AsyncIterable<Finding> {
  const needed = { isNeeded: true };
  yield { name: "runtime", status: runtimeStatus(), ...needed };
  yield { name: "duckdb", status: await tried(duckdbStatus, REINSTALL), ...needed };
  yield { name: "data folder", status: folderStatus(options.folder), ...needed };
  yield { name: "broker", status: await brokerStatus(options), ...needed };
  yield { name: "store", status: await storeStatus(options), ...needed };
  yield { name: "service", status: await serviceStatus(options), isNeeded: false };
  yield { name: `user ${ACCOUNT_NAME}`, status: accountStatus(options.folder), isNeeded: false };
  const status = await applicationsStatus(options.applications);
  yield { name: "applications", status, isNeeded: false };
  for (
    const { name, status } of await probeSources({
      collectors: options.collectors,
      disabledSources: options.disabledSources,
      crypto: options.crypto,
      log: createLog({ level: "error" }),
    })
  ) {
    yield { name: `source ${name}`, status: withoutLibraries(status), isNeeded: false };
    yield* librariesOf(status);
  }
}

const OTHER_LIBRARY =
  "correct `libraries` in [crypto], or install a build that has probes (docs/sources.md)";

/** Each file whose probes the configuration asks for is a part of its own: one that has none is an error. */
function* librariesOf(status: SourceStatus): Generator<Finding> {
  for (const hook of hooksOf(status).filter(isOfLibrary)) {
    const state: SourceStatus = hook.state === "on"
      ? { state: "on", how: "its probes can be attached" }
      : { state: "off", reason: hook.reason, remedy: OTHER_LIBRARY };
    yield { name: hook.name, status: state, isNeeded: true };
  }
}

function withoutLibraries(status: SourceStatus): SourceStatus {
  if (status.state === "off" || !hooksOf(status).some(isOfLibrary)) return status;
  return { ...status, hooks: hooksOf(status).filter((hook) => !isOfLibrary(hook)) };
}

function hooksOf(status: SourceStatus): readonly HookStatus[] {
  return status.state === "on" ? status.hooks ?? [] : [];
}

function isOfLibrary({ name }: HookStatus): boolean {
  return name.startsWith(LIBRARY_HOOK);
}

const REINSTALL = "install the npm packages again: npm ci";

function runtimeStatus(): SourceStatus {
  const names = ["node", "deno", "bun"];
  const versions = Object.entries(process.versions).filter(([name]) => names.includes(name));
  const how = versions.map(([name, version]) => `${name} ${version}`).join(", ");
  return { state: "on", how: `${how}, ${process.platform} ${process.arch}` };
}

async function duckdbStatus(): Promise<string> {
  await using database = await openDatabase({
    memoryLimitBytes: 64 * 1024 * 1024,
    threads: 1,
    tempDirectory: join(tmpdir(), "probity-doctor"),
    tempLimitBytes: 0,
  });
  await using connection = await database.connect();
  const { rows } = await connection.query("SELECT version() AS version");
  return `DuckDB ${rows[0]?.["version"]}`;
}

/** The folder that is there, or the nearest one in which it would be made. */
function folderStatus({ path }: DataFolder): SourceStatus {
  let nearest = path;
  while (!existsSync(nearest)) nearest = dirname(nearest);
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch {
    const remedy = "name another with --data, or run as its owner";
    return { state: "off", reason: `"${nearest}" cannot be written`, remedy };
  }
  const how = nearest === path ? path : `${path} (\`probity up\` makes it)`;
  return { state: "on", how };
}

async function brokerStatus(options: ExamineOptions): Promise<SourceStatus> {
  const { nats, folder, environment, log } = options;
  const isNamed = nats.url !== undefined || isUpRunning(folder);
  if (!isNamed) {
    const path = findNatsServer(environment);
    if (path !== undefined) return { state: "on", how: `${path} (\`probity up\` starts it)` };
    const remedy = "apt-get install nats-server, or name a broker with --nats";
    return { state: "off", reason: "there is no nats-server", remedy };
  }
  return await tried(async () => {
    const access = natsAccessOf(nats, { folder, role: "query" });
    await using connection = await connectNats({
      ...access,
      name: "probity doctor",
      log,
      signal: limit(options),
    });
    const stream = await openStream(connection, streamOf("0"));
    const what = stream === undefined ? "no log yet" : `${stream.messages} messages in the log`;
    return `${access.url}, ${what}`;
  }, "check [nats] url and credentials_file, and that the broker runs");
}

async function storeStatus(options: ExamineOptions): Promise<SourceStatus> {
  const { folder, log } = options;
  const settings = storeOptionsOf(options.store, folder);
  if (settings.url.startsWith("file:")) return { state: "on", how: settings.url };
  return await tried(async () => {
    await using store = await openStore({ ...settings, log });
    await store.verifyConditionalPut({ signal: limit(options) });
    return `${settings.url}, which refuses a second conditional put`;
  }, "check [store] url, endpoint and region, and the credentials of the environment");
}

async function serviceStatus({ folder, signal }: ExamineOptions): Promise<SourceStatus> {
  const url = readNote(folder.serverUrl);
  if (url === undefined) {
    const remedy = "start it: probity up";
    return { state: "off", reason: `none runs on "${folder.path}"`, remedy };
  }
  return await tried(async () => {
    const { ready, parts } = await createClient({ url }).status.readiness({
      signal: AbortSignal.any([signal, timeLimit(ANSWER_LIMIT_MS)]),
    });
    if (ready) return url;
    const said = parts.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
    throw new Error(`${url} is not ready: ${said}`);
  }, "see what `probity up` says on standard error");
}

function accountStatus(folder: DataFolder): SourceStatus {
  if (process.getuid?.() !== 0) {
    return { state: "on", how: "not needed: everything runs as who you are" };
  }
  const { account, warning } = findStepDown(pathsOfProgram(folder));
  if (account !== undefined) {
    return {
      state: "on",
      how: `everything runs as ${account.name}, but a small process for the agent`,
    };
  }
  const remedy = "run ./setup, and keep checkout and data folder where that user can reach them";
  return { state: "off", reason: warning ?? "", remedy };
}

function isUpRunning(folder: DataFolder): boolean {
  return readNote(folder.serverUrl) !== undefined;
}

/** On with what the action tells, or off with why it failed. */
async function tried(action: () => Promise<string>, remedy: string): Promise<SourceStatus> {
  try {
    return { state: "on", how: await action() };
  } catch (error) {
    return { state: "off", reason: reasonOf(error), remedy };
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.name === "TimeoutError" ? `no answer within ${ANSWER_LIMIT_MS} ms` : error.message;
}

function limit({ signal }: ExamineOptions): AbortSignal {
  return AbortSignal.any([signal, timeLimit(ANSWER_LIMIT_MS)]);
}
