/**
 * The forensic-logging sidecar's own variables, under their old names: `SIDE_PORT`, `SIDE_KMS__URL` and so on.
 *
 * Invariants: whatever is said in our own way (flag, `PROBITY_*`, file) wins; a value of another form is an error that
 * names it, as for our own; what has no use here is reported, never taken in silence.
 */
import {
  KMS_DEFAULTS,
  type KmsSettings,
} from "../edge-agent/sources/applications/kms/kms-settings.ts";
import { usageError } from "./exit.ts";
import { integerBetween, type OptionType, quoted, text, urlOf } from "./option-type.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What the variables say; undefined where they say nothing. */
export interface SidecarVariables {
  readonly port: number | undefined;
  readonly healthPort: number | undefined;
  readonly service: string | undefined;
  /** How batches are relayed; where to, only where `SIDE_KMS__URL` says so. */
  readonly kms: Omit<KmsSettings, "url"> & { readonly url: string | undefined };
  /** Sentences about what is not used. */
  readonly notices: readonly string[];
}

const port = integerBetween(0, 65_535);
const positive = integerBetween(1, 2 ** 31 - 1);

const NAMES = [
  "SIDE_PORT",
  "SIDE_HEALTH_PORT",
  "SIDE_SERVICE",
  "SIDE_DATABASE_URI",
  "SIDE_BATCH_SIZE",
  "SIDE_BATCH_TIME_INTERVAL",
  "SIDE_KMS__URL",
  "SIDE_KMS__PING_INTERVAL",
  "SIDE_KMS__REQUEST_TIMEOUT",
  "SIDE_KMS__CONNECT_TIMEOUT",
  "SIDE_KMS__RECONNECT_INTERVAL",
] as const;

/** Undefined when no variable of the sidecar is set. */
export function sidecarVariablesOf(environment: Environment): SidecarVariables | undefined {
  const given = Object.entries(environment)
    .filter(([name, value]) => name.startsWith("SIDE_") && (value ?? "") !== "")
    .map(([name]) => name);
  // A variable of another program that begins so must not open a port.
  if (!given.some((name) => NAMES.some((known) => known === name))) return undefined;
  const read = <T>(name: typeof NAMES[number], type: OptionType<T>): T | undefined => {
    const value = environment[name] ?? "";
    if (value === "") return undefined;
    const parsed = type.parse(value);
    if (parsed !== undefined) return parsed;
    throw usageError(`Cannot use ${name} ${quoted(value, type.form)}: accepted: ${type.form}`);
  };
  const defaults = KMS_DEFAULTS;
  const url = read("SIDE_KMS__URL", urlOf(["ws", "wss"], "ws://localhost:8080/sidecar"));
  const kms = {
    ...defaults,
    pingIntervalMs: read("SIDE_KMS__PING_INTERVAL", positive) ?? defaults.pingIntervalMs,
    requestTimeoutMs: read("SIDE_KMS__REQUEST_TIMEOUT", positive) ?? defaults.requestTimeoutMs,
    connectTimeoutMs: read("SIDE_KMS__CONNECT_TIMEOUT", positive) ?? defaults.connectTimeoutMs,
    reconnectIntervalMs: read("SIDE_KMS__RECONNECT_INTERVAL", positive) ??
      defaults.reconnectIntervalMs,
    batchSize: read("SIDE_BATCH_SIZE", positive) ?? defaults.batchSize,
    batchIntervalMs: read("SIDE_BATCH_TIME_INTERVAL", positive) ?? defaults.batchIntervalMs,
  };
  const settings = {
    port: read("SIDE_PORT", port),
    healthPort: read("SIDE_HEALTH_PORT", port),
    service: read("SIDE_SERVICE", text),
    kms: { ...kms, url },
  };
  const unknown = given.filter((name) => !NAMES.some((known) => known === name));
  return {
    ...settings,
    notices: [
      ...given.includes("SIDE_DATABASE_URI")
        ? ["SIDE_DATABASE_URI is not used: events go to the agent's spool and the log"]
        : [],
      ...unknown.map((name) => `${name} is not used: the sidecar had no such variable`),
    ],
  };
}
