/** `[[sinks]]`: where the query service sends events on. Each kind has keys of its own; others are errors. */
import "./schema-settings.ts";
import { resolve } from "node:path";
import { type } from "arktype";
import {
  faultOfAmqp,
  faultOfPostgresUrl,
  faultOfSubject,
  faultOfSyslogUrl,
  faultOfWebhook,
} from "../query/sinks/address.ts";
import type { SinkSettings, SinkType, TargetSettings } from "../query/sinks/target.ts";
import { FILTER_NAMES } from "../query/request.ts";
import { conditionsOf } from "../query/subscriptions/request.ts";
import { isTopic } from "../event/topic.ts";
import { isRegistryName } from "../storage/registry.ts";
import { size } from "./option-type.ts";

/** Of one service. */
export const SINKS_MAX = 100;
const EVENTS_MAX = 100;
const ATTEMPTS_MAX = 10;
const ROTATE_BYTES = 100 * 1024 * 1024;
const KEPT = 5;

const TLS_KEYS = ["tls_ca", "tls_cert", "tls_key"];
/** Keys of each kind, beside those of all. */
const KEYS: Readonly<Record<SinkType, readonly string[]>> = {
  stdout: [],
  file: ["path", "rotate", "keep"],
  webhook: ["url", "secret_file", "mode", "insecure"],
  postgres: ["url", "table", "password_file", ...TLS_KEYS, "insecure"],
  amqp: ["url", "exchange", "routing_key", "password_file", ...TLS_KEYS, "insecure"],
  nats: ["url", "subject", "credentials_file"],
  syslog: ["url", ...TLS_KEYS],
};
const NEEDED: Readonly<Record<SinkType, readonly string[]>> = {
  stdout: [],
  file: ["path"],
  webhook: ["url"],
  postgres: ["url", "table"],
  amqp: ["url", "exchange"],
  nats: ["url", "subject"],
  syslog: ["url"],
};
const SHARED = ["name", "type", "topics", "filters", "since", "batch", "attempts"];
const TYPES = ["stdout", "file", "webhook", "postgres", "amqp", "nats", "syslog"] as const;

export const SINKS_FORM =
  `at most ${SINKS_MAX} tables of name, type, topics, filters, since, batch, attempts and what ` +
  "the type needs; each name once";
const NAME_FORM = "a name of at most 64 letters, digits, dots, dashes and underscores";
const TOPICS_FORM = 'a list of topics such as ["auth/**", "file/change"], each with all below it';
const FILTERS_FORM = 'a table of conditions by column such as {severity = "!info"}';
const SIZE_FORM = 'a size from "64KiB" such as "100MiB"';
const TABLE_FORM = "the name of a table such as audit_events, or schema.table";
const SINCE_FORM = 'a time or an age such as "24h", or the id of an event';

const text = type("string > 0").describe("text that is not empty");
const isSinkTopic = (pattern: string): boolean =>
  pattern === "**" || isTopic(pattern.replace(/\/\*\*$/, ""));

const sink = type({
  "+": "reject",
  name: type("string").narrow((value, context) =>
    isRegistryName(value) || context.reject({ expected: NAME_FORM })
  ).describe(NAME_FORM),
  type: type.enumerated(...TYPES).configure({ expected: `one of ${TYPES.join(", ")}` }),
  "topics?": text.array().atLeastLength(1).narrow((value, context) =>
    value.every(isSinkTopic) || context.reject({ expected: TOPICS_FORM })
  ).describe(TOPICS_FORM),
  "filters?": type({ "[string]": text.or(text.array()) }).narrow((value, context) =>
    isFilters(value) || context.reject({ expected: FILTERS_FORM })
  ).describe(FILTERS_FORM),
  "since?": text.describe(SINCE_FORM),
  "batch?": type("1 <= number.integer <= 1000").describe("a number of events up to 1000"),
  "attempts?": type("1 <= number.integer <= 1000").describe("a number of attempts up to 1000"),
  "path?": type(/^\//).describe("a path that begins with /"),
  "rotate?": type("string").narrow((value, context) =>
    (size.parse(value) ?? 0) >= 65_536 || context.reject({ expected: SIZE_FORM })
  ).describe(SIZE_FORM),
  "keep?": type("0 <= number.integer <= 1000").describe("a number of files up to 1000"),
  "url?": text,
  "secret_file?": text,
  "mode?": type.enumerated("batch", "single").configure({ expected: "one of batch, single" }),
  "insecure?": "boolean",
  "table?": type(/^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$/)
    .describe(TABLE_FORM),
  "password_file?": text,
  "tls_ca?": text,
  "tls_cert?": text,
  "tls_key?": text,
  "exchange?": type("string <= 127").describe('an exchange; "" for the default one'),
  "routing_key?": type("string <= 255").describe("a routing key; from the topic without it"),
  "subject?": text,
  "credentials_file?": text,
}).narrow((value, context) => {
  const fault = faultOf(value);
  return fault === undefined ||
    context.reject({ expected: fault.expected, relativePath: [fault.key] });
});

export type Sink = {
  readonly name: string;
  readonly type: SinkType;
  readonly topics?: readonly string[];
  readonly filters?: Readonly<Record<string, string | readonly string[]>>;
  readonly since?: string;
  readonly batch?: number;
  readonly attempts?: number;
  readonly path?: string;
  readonly rotate?: string;
  readonly keep?: number;
  readonly url?: string;
  readonly secret_file?: string;
  readonly mode?: "batch" | "single";
  readonly insecure?: boolean;
  readonly table?: string;
  readonly password_file?: string;
  readonly tls_ca?: string;
  readonly tls_cert?: string;
  readonly tls_key?: string;
  readonly exchange?: string;
  readonly routing_key?: string;
  readonly subject?: string;
  readonly credentials_file?: string;
};

export const sinks = sink.array().atMostLength(SINKS_MAX).narrow((all, context) =>
  new Set(all.map(({ name }) => name)).size === all.length ||
  context.reject({ expected: SINKS_FORM })
).describe(SINKS_FORM);

interface Fault {
  readonly key: string;
  readonly expected: string;
}

function faultOf(value: Sink): Fault | undefined {
  const given = Object.keys(value);
  const known = [...SHARED, ...KEYS[value.type]];
  const foreign = given.find((key) => !known.includes(key));
  if (foreign !== undefined) {
    return { key: foreign, expected: `for type ${value.type}: ${known.join(", ")}` };
  }
  const missing = NEEDED[value.type].find((key) => !given.includes(key));
  if (missing !== undefined) {
    return { key: missing, expected: `what type ${value.type} needs: ${NEEDED[value.type]}` };
  }
  const { url = "", subject = "", insecure: isInsecure = false, tls_ca: caFile } = value;
  const urlFault = {
    webhook: () => faultOfWebhook({ url, isInsecure }),
    postgres: () => faultOfPostgresUrl(url),
    amqp: () => faultOfAmqp({ url, caFile, isInsecure }),
    syslog: () => faultOfSyslogUrl(url),
    nats: () =>
      /^(nats|tls):\/\/[^@]+$/.test(url) ? undefined : "an address such as nats://host:4222",
    file: () => undefined,
    stdout: () => undefined,
  }[value.type]();
  if (urlFault !== undefined) return { key: "url", expected: urlFault };
  if ((value.tls_cert === undefined) !== (value.tls_key === undefined)) {
    const key = value.tls_cert === undefined ? "tls_key" : "tls_cert";
    return { key, expected: "tls_cert and tls_key together" };
  }
  const isPlain = /^(amqp|tcp|udp):/.test(url);
  const tlsKey = TLS_KEYS.find((each) => isPlain && given.includes(each));
  if (tlsKey !== undefined) return { key: tlsKey, expected: "an address of TLS beside it" };
  const subjectFault = value.type === "nats" ? faultOfSubject(subject) : undefined;
  return subjectFault === undefined ? undefined : { key: "subject", expected: subjectFault };
}

function isFilters(filters: NonNullable<Sink["filters"]>): boolean {
  if (!Object.keys(filters).every((name) => FILTER_NAMES.includes(name))) return false;
  try {
    conditionsOf(textsOf(filters), { nowUs: 0, bootUs: 0 });
    return true;
  } catch {
    return false;
  }
}

function textsOf(filters: NonNullable<Sink["filters"]>): Readonly<Record<string, string[]>> {
  return Object.fromEntries(
    Object.entries(filters).map(([name, value]) => [name, [value].flat()]),
  );
}

/** In the names of the query service. */
export function sinkSettingsOf(all: readonly Sink[]): readonly SinkSettings[] {
  return all.map((sink) => {
    const topics = (sink.topics ?? ["**"]).map((pattern) => pattern.replace(/\/\*\*$/, ""));
    return {
      name: sink.name,
      topics: topics.includes("**") ? "all" : topics,
      filters: textsOf(sink.filters ?? {}),
      since: sink.since,
      eventsMax: sink.batch ?? EVENTS_MAX,
      attemptsMax: sink.attempts ?? ATTEMPTS_MAX,
      target: targetOf(sink),
    };
  });
}

function targetOf(sink: Sink): TargetSettings {
  const { type, url = "", insecure: isInsecure = false } = sink;
  const passwordFile = sink.password_file;
  const tls = { caFile: sink.tls_ca, certFile: sink.tls_cert, keyFile: sink.tls_key };
  switch (type) {
    case "stdout":
      return { type };
    case "file": {
      const rotateBytes = sink.rotate === undefined ? undefined : size.parse(sink.rotate);
      const path = resolve(sink.path ?? "");
      return { type, path, rotateBytes: rotateBytes ?? ROTATE_BYTES, kept: sink.keep ?? KEPT };
    }
    case "webhook":
      return { type, url, secretFile: sink.secret_file, mode: sink.mode ?? "batch", isInsecure };
    case "postgres":
      return { type, url, passwordFile, ...tls, isInsecure, table: sink.table ?? "" };
    case "amqp": {
      const { exchange = "", routing_key: routingKey } = sink;
      return { type, url, passwordFile, ...tls, isInsecure, exchange, routingKey };
    }
    case "nats":
      return { type, url, subject: sink.subject ?? "", credentialsFile: sink.credentials_file };
    case "syslog":
      return { type, url, ...tls };
  }
}
