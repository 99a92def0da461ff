/**
 * Every option, declared once: its key, type, default and text. Flags, variables, keys of the configuration file,
 * `config check`, completion, help and the tables in docs come from here.
 *
 * Invariant: key `[a] b_c` is the flag `--a-b-c` and the variable `PROBITY_A_B_C`; the order is flag, variable,
 * file, default.
 */
import {
  address,
  choiceOf,
  duration,
  durationBetween,
  file,
  flag,
  folder,
  hostName,
  origins,
} from "./option-type.ts";
import { COLLECTOR_NAMES } from "../edge-agent/sources/collectors/collector-names.ts";
import { SOCKET_VARIABLE } from "../edge-agent/privilege/socket-variable.ts";
import {
  integerBetween,
  type OptionType,
  powerOfTwo,
  shardName,
  size,
  sizeFrom,
  someOf,
  text,
  urlOf,
} from "./option-type.ts";

/**
 * Where a value may come from: `file` a key of the configuration file (and flag and variable), `variable` a flag and a
 * variable, `flag` the command line alone.
 */
export type OptionReach = "file" | "variable" | "flag";

export interface Option<T> {
  /** `agent.flush`, or one word for options outside the file. */
  readonly key: string;
  readonly reach: OptionReach;
  readonly type: OptionType<unknown>;
  /** Text of the default, as a flag would give it. */
  readonly default: string | undefined;
  /** Short form of the flag: `--nats`. */
  readonly short: string | undefined;
  readonly text: string;
  /** May be given several times; the value is a list. */
  readonly repeats: boolean;
  /** Carries T; never set. */
  readonly value?: T;
}

export type OptionGroup = Readonly<Record<string, Option<unknown>>>;
export type OptionGroups = Readonly<Record<string, OptionGroup>>;

/** Typed values of a group of options. */
export type Values<G extends OptionGroup> = {
  readonly [K in keyof G]: G[K] extends Option<infer T> ? T : never;
};

/** Typed values of the groups that a command declares. */
export type Settings<S extends OptionGroups> = { readonly [K in keyof S]: Values<S[K]> };

interface OptionText {
  readonly text: string;
  readonly short?: string;
}

/** An option with a default. */
export function option<T>(
  key: string,
  type: OptionType<T>,
  more: OptionText & { readonly default: string; readonly reach?: OptionReach },
): Option<T> {
  return { key, type, reach: "file", short: undefined, repeats: false, ...more };
}

/** An option that may be absent. */
export function optional<T>(
  key: string,
  type: OptionType<T>,
  more: OptionText & { readonly reach?: OptionReach },
): Option<T | undefined> {
  return {
    key,
    type,
    reach: "file",
    short: undefined,
    default: undefined,
    repeats: false,
    ...more,
  };
}

/** An option of the command line that may be given several times; its value is a list. */
export function repeated<T>(
  key: string,
  type: OptionType<T>,
  more: OptionText,
): Option<readonly T[]> {
  return {
    key,
    type,
    reach: "flag",
    short: undefined,
    default: undefined,
    repeats: true,
    ...more,
  };
}

/** `--agent-flush` for `agent.flush`. */
export function flagOf({ key }: Pick<Option<unknown>, "key">): string {
  return `--${key.replaceAll(/[._]/g, "-")}`;
}

/** `PROBITY_AGENT_FLUSH` for `agent.flush`. */
export function variableOf({ key }: Pick<Option<unknown>, "key">): string {
  return `PROBITY_${key.replaceAll(".", "_").toUpperCase()}`;
}

export const GLOBAL_OPTIONS = {
  config: optional("config", file, { reach: "variable", text: "configuration file (TOML)" }),
  data: option("data", folder, {
    reach: "variable",
    default: "./probity-data",
    text: "data folder",
  }),
  server: optional("server", urlOf(["http", "https"], "http://127.0.0.1:7333"), {
    reach: "variable",
    text: "query service to ask; default: the one that runs on the data folder",
  }),
  tokenFile: optional("token_file", file, {
    reach: "variable",
    text: "file that holds the token; default: admin.token in the data folder",
  }),
  context: optional("context", text, {
    reach: "variable",
    text: "server by the name that `context add` gave it; default: the one of `context use`",
  }),
  json: option("json", flag, {
    reach: "variable",
    default: "false",
    text: "print JSON lines, also on a terminal",
  }),
  quiet: option("quiet", flag, {
    reach: "variable",
    default: "false",
    text: "print no notices and no progress",
  }),
  color: option("color", choiceOf(["auto", "always", "never"]), {
    reach: "variable",
    default: "auto",
    text: "use color; NO_COLOR is obeyed",
  }),
} as const;

export const AGENT_OPTIONS = {
  host: optional("agent.host", hostName, { text: "name of this host; default: the machine's" }),
  flushMs: option("agent.flush", duration, {
    default: "1s",
    text: "longest time an event waits in an open batch; `up` sets 100ms",
  }),
  shard: option("agent.shard", shardName, {
    default: "0",
    text:
      "shard of the log that this host's events go to; what is spooled for another one goes there first",
  }),
  listen: option("agent.listen", address, {
    default: "127.0.0.1:7334",
    text: "where the agent answers /healthz and /metrics and takes events",
  }),
  compat: option("agent.compat", flag, {
    default: "false",
    text:
      "see calls of 32-bit programs and by int 0x80, too; costs every call of the host about 0.1 µs",
  }),
  canaryMs: option("agent.canary", durationBetween("0s", "1d"), {
    default: "60s",
    text: "how often each source must prove by an event in the log that it is not blind; 0s: never",
  }),
  spoolBytes: option("agent.spool", sizeFrom("16MiB"), {
    default: "1GiB",
    text:
      "most that waits on disk for the archive; past it the oldest go, of files and network first",
  }),
  digestBytesPerSecond: option("agent.digest_rate", size, {
    default: "64MiB",
    text: "most that is read in a second of executed files to tell their SHA-256; 0B: no digests",
  }),
  dropFolder: optional("agent.drop", folder, {
    text: "folder in which other programs leave files of events; default: none",
  }),
  collectorsOff: optional("agent.collectors_off", someOf(COLLECTOR_NAMES), {
    text: "collectors that are not to run; default: none",
  }),
  user: option("agent.user", text, {
    default: "probity",
    text:
      "system user that the agent becomes when root starts it; a small process keeps the rights",
  }),
} as const;

export const GRAPHITE_OPTIONS = {
  address: optional("graphite.address", address, {
    text: "where an agent sends its figures in Graphite's plaintext protocol; default: nowhere",
  }),
  prefix: optional("graphite.prefix", text, {
    text: "put before every name as it is, such as `servers.`",
  }),
  role: option("graphite.role", text, {
    default: "unknown_role",
    text: "role of this host in the names",
  }),
} as const;

export const NATS_OPTIONS = {
  url: optional("nats.url", urlOf(["nats", "tls", "ws", "wss"], "nats://127.0.0.1:4222"), {
    short: "--nats",
    text: "broker; without it `up` runs its own",
  }),
  credentialsFile: optional("nats.credentials_file", file, {
    text: "credentials of the broker's user: a .creds file or a bare nkey seed",
  }),
} as const;

export const STORE_OPTIONS = {
  url: optional("store.url", urlOf(["file", "s3"], "s3://bucket/prefix"), {
    text: "bucket: file:///… or s3://bucket/prefix; default: bucket/ in the data folder",
  }),
  endpoint: optional("store.endpoint", urlOf(["http", "https"], "https://s3.example.org"), {
    text: "S3 endpoint, when it is not Amazon's",
  }),
  region: optional("store.region", text, { text: "S3 region" }),
  pathStyle: option("store.path_style", flag, {
    default: "false",
    text: "put the bucket's name in the path instead of the host name",
  }),
  encryption: option("store.encryption", choiceOf(["bucket", "s3", "kms"]), {
    default: "bucket",
    text:
      "server-side encryption that S3 is asked for: as the bucket does by itself, SSE-S3 or SSE-KMS",
  }),
  kmsKey: optional("store.kms_key", text, {
    text: "id or ARN of the key for SSE-KMS; default: the account's own for S3",
  }),
  lock: option("store.lock", choiceOf(["none", "governance", "compliance"]), {
    default: "none",
    text: "Object Lock of evidence, quarantine and the table's log",
  }),
  lockForMs: optional("store.lock_for", duration, {
    text: "how long each of them is locked after it is written",
  }),
} as const;

export const ROLLUP_OPTIONS = {
  intervalMs: option("rollup.interval", duration, {
    default: "10s",
    text: "time between two rounds",
  }),
  segmentMaxBytes: option("rollup.segment_max", size, {
    default: "256MiB",
    text: "most JSON that one round takes",
  }),
  keepMs: option("rollup.keep", duration, {
    default: "0s",
    text: "age that a committed message has at least before it leaves the log",
  }),
  keepUnread: option("rollup.keep_unread", flag, {
    default: "false",
    text: "keep messages in the log until every subscription has read or skipped them",
  }),
  shards: option("rollup.shards", integerBetween(1, 64), {
    default: "1",
    text: "streams that the hosts are spread over",
  }),
  listen: optional("rollup.listen", address, {
    text: "where a roll-up answers /healthz, /readyz and /metrics; default: nowhere",
  }),
} as const;

export const MAINTENANCE_OPTIONS = {
  compactMs: option("maintenance.compact", duration, {
    default: "15m",
    text: "time between two compactions; 0s for none",
  }),
  retain: option("maintenance.retain", choiceOf(["daily", "never"]), {
    default: "daily",
    text: "when rows past their time are removed",
  }),
  vacuum: option("maintenance.vacuum", choiceOf(["daily", "never"]), {
    default: "daily",
    text: "when files that no version needs are removed",
  }),
  graceMs: option("maintenance.grace", durationBetween("24h", "13d"), {
    default: "7d",
    text: "how long a file stays that the table no longer needs; 24h to 13d",
  }),
} as const;

export const SERVER_OPTIONS = {
  listen: option("server.listen", address, {
    default: "127.0.0.1:7333",
    short: "--listen",
    text: "where the query service listens; port 0 takes a free one",
  }),
  requestsPerSecond: option("server.requests_per_second", integerBetween(1, 1_000_000), {
    default: "200",
    text: "requests of one principal, on average; ten times as many at once",
  }),
  plain: option("server.plain", flag, {
    default: "false",
    text: "listen beyond loopback without TLS, as behind a proxy that has it",
  }),
  origins: optional("server.origins", origins, {
    text: "origins of pages that may ask from a browser, beside the service's own; default: none",
  }),
  tlsCert: optional("server.tls_cert", file, { text: "certificate chain (PEM) for HTTPS" }),
  tlsKey: optional("server.tls_key", file, { text: "private key (PEM) for HTTPS" }),
} as const;

export const CRYPTO_OPTIONS = {
  discover: option("crypto.discover", flag, {
    default: "false",
    text:
      "look at every file that a process maps to execute for crypto probes, besides `crypto.libraries`",
  }),
  provider: option("crypto.provider", text, {
    default: "crypto_auditing",
    text: "USDT provider of the probes",
  }),
  brokerSocket: optional("crypto.broker_socket", file, {
    text: "Unix socket on which crypto-auditing's subscribers read what libraries tell",
  }),
  ringBytes: option("crypto.ring", powerOfTwo("4KiB", "512MiB"), {
    default: "4MiB",
    text: "room for what libraries tell until the agent has read it: a power of two",
  }),
} as const;

export const LIMIT_OPTIONS = {
  burstMs: option("limits.burst", durationBetween("0s", "1h"), {
    default: "5s",
    text: "for how long an executable may save up what it did not use of its limits",
  }),
  sampleEvery: option("limits.sample", integerBetween(2, 1_000_000), {
    default: "100",
    text: "of the events beyond a limit, each n-th (2 and more) is told as a sample",
  }),
  cgroupFactor: option("limits.cgroup_factor", integerBetween(1, 1_000_000), {
    default: "4",
    text: "a cgroup may emit this many times as much as one executable",
  }),
} as const;

/** `--port N`, short for `--listen 127.0.0.1:N`. */
export const PORT_OPTION = {
  port: optional("port", integerBetween(0, 65_535), {
    reach: "flag",
    text: "short for --listen 127.0.0.1:N",
  }),
} as const;

/** Set to 1 for children of `up`: they end when their standard input does. */
export const SUPERVISED_VARIABLE = "PROBITY_SUPERVISED";

/**
 * What children of `up` are started with before `main.ts`, as words with `{role}` for the command's name. Deno's tasks
 * set it to name the permissions of each; without it, it is the runtime that `up` itself runs in, with its options.
 */
export const CHILD_COMMAND_VARIABLE = "PROBITY_CHILD_COMMAND";

/**
 * How long a day is to the maintenance of a roll-up, as a duration: for trials, in which nobody can wait for real days.
 * All times of `[maintenance]`, and the least ones, shrink with it. Every roll-up of a bucket needs the same.
 */
export const DAY_VARIABLE = "PROBITY_DAY";

/** Variables that are ours without being options. */
export const OTHER_VARIABLES: readonly string[] = [
  SUPERVISED_VARIABLE,
  CHILD_COMMAND_VARIABLE,
  DAY_VARIABLE,
  SOCKET_VARIABLE,
  "PROBITY_LOG",
  "PROBITY_REQUIRE",
];
