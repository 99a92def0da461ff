/**
 * Keys of the configuration file that are lists or tables, and therefore neither flags nor variables: their schemas
 * and types. Each schema says the accepted form in its description, which errors quote.
 */
import "./schema-settings.ts";
import { type Type, type } from "arktype";
import { FILTERS_MAX } from "../edge-agent/record-layout.ts";
import { faultOfTopics, FILTER_TOPICS, LIMIT_TOPICS } from "../edge-agent/rules.ts";
import { patternFault } from "../edge-agent/sources/file-integrity/kinds/policy.ts";
import {
  ENVIRONMENT_NAME,
  ENVIRONMENT_NAMES_MAX,
} from "../edge-agent/sources/process/environment.ts";
import { isKeep } from "./keep-rules.ts";
import { oidc, OIDC_FORM, oidcList, type OidcSection } from "./config-oidc.ts";
import { type Collector, collectors, COLLECTORS_FORM } from "./config-collectors.ts";
import { type Sink, sinks, SINKS_FORM } from "./config-sinks.ts";
import { duration } from "./option-type.ts";

const text = type("string > 0").describe("text that is not empty");
const texts = text.array().describe('a list of texts such as ["a", "b"]');
const someTexts = text.array().atLeastLength(1).describe(
  'a list of at least one text, such as ["a"]',
);
const durationText = type("string").narrow((value, context) =>
  duration.parse(value) !== undefined || context.reject({ expected: duration.form })
);

const PATH_FORM = 'a path or glob that begins with "/" or "~/", or an expression behind "re:"';
const watchedPath = text
  .narrow((value, context) =>
    patternFault(value) === undefined || context.reject({ expected: PATH_FORM })
  )
  .describe(PATH_FORM);

const FILE_KINDS = [
  "content-diff",
  "digest",
  "accounts",
  "access",
  "sudoers",
  "units",
  "cron",
] as const;

const fileRule = type({
  "+": "reject",
  paths: watchedPath.array().atLeastLength(1).describe("a list of at least one path or glob"),
  "exclude?": watchedPath.array().describe("a list of paths and globs"),
  "kind?": type.enumerated(...FILE_KINDS).configure({
    expected: `one of ${FILE_KINDS.join(", ")}`,
  }),
});

const labels = type({ "[string]": text }).describe('a table of texts such as {env = "prod"}');
const ENVIRONMENT_FORM =
  `at most ${ENVIRONMENT_NAMES_MAX} names of variables, of three characters ` +
  'or more, such as ["LD_PRELOAD", "PATH"]';
const environment = type(ENVIRONMENT_NAME).describe("the name of a variable, such as LD_PRELOAD")
  .array().atMostLength(ENVIRONMENT_NAMES_MAX).describe(ENVIRONMENT_FORM);
const KEEP_FORM = "a table of topic patterns and durations of a day or more such as " +
  '{"**" = "400d", "file/**@build-*" = "30d"}';
const keep = type({ "[string]": durationText })
  .narrow((value, context) => isKeep(value) || context.reject({ expected: KEEP_FORM }))
  .describe(KEEP_FORM);
const eventsPerSecond = type("0 <= number.integer <= 10000000")
  .describe("a whole number of events per second up to 10000000");
const LIMITS_FORM = "whole numbers of events per second of one executable by topic, such as " +
  '{"process/fork" = 10000, network = 5000}';
const limits = type({ "[string]": eventsPerSecond })
  .narrow((value, context) => {
    const topics = Object.keys(value);
    const fault = faultOfTopics(topics, LIMIT_TOPICS);
    if (fault === undefined) return true;
    return context.reject({
      expected: `events per second by ${fault.expected}`,
      relativePath: [topics[fault.at] ?? ""],
    });
  })
  .describe(LIMITS_FORM);
const absolutePath = type(/^\//).describe("a path that begins with /");
const FILTER_FORM = "a table of at least one of topics, path, uid, exe and cgroup, and a reason";
const filter = type({
  "+": "reject",
  "topics?": someTexts.narrow((value, context) => {
    const fault = faultOfTopics(value, FILTER_TOPICS);
    if (fault === undefined) return true;
    return context.reject({ expected: fault.expected, relativePath: [fault.at] });
  }),
  "path?": absolutePath,
  "uid?": type("0 <= number.integer <= 4294967294").describe("a user's number"),
  "exe?": absolutePath,
  "cgroup?": absolutePath,
  "reason?": text,
}).narrow(({ reason: _reason, ...conditions }, context) =>
  Object.keys(conditions).length > 0 || context.reject({ expected: FILTER_FORM })
);
const filters = filter.array().atMostLength(FILTERS_MAX)
  .describe(`at most ${FILTERS_MAX} tables of topics, path, uid, exe, cgroup and reason`);

/** Files that are watched, and what is recorded of a change. */
export type FileRule = typeof fileRule.infer;
/** Events that the kernel's programs do not tell. */
export type Filter = typeof filter.infer;

/** Lists and tables of the configuration file; absent ones are empty. */
export interface Structures {
  readonly labels: Readonly<Record<string, string>>;
  /** Environment variables that an exec tells; undefined when nothing is said of them. */
  readonly environment: readonly string[] | undefined;
  /** Durations as written, by topic pattern. */
  readonly keep: Readonly<Record<string, string>>;
  readonly files: readonly FileRule[];
  readonly libraries: readonly string[];
  readonly collectors: readonly Collector[];
  readonly sinks: readonly Sink[];
  /** Most events per second of one executable, by topic; undefined when nothing is said of it. */
  readonly limits: Readonly<Record<string, number>> | undefined;
  readonly filters: readonly Filter[];
  /** Issuers of tokens; undefined when none is named. */
  readonly oidc: OidcSection;
}

export interface StructureKey {
  /** Where it stands in the file. */
  readonly path: readonly [section: string, key?: string];
  readonly schema: Type<unknown>;
  /** Of a list of them, where one alone is no list. */
  readonly list?: Type<unknown>;
  readonly form: string;
}

function key(
  path: StructureKey["path"],
  schema: Type<unknown>,
  form: string = schema.description,
): StructureKey {
  return { path, schema, form };
}

/** Keys that are lists or tables, by the name of the value in {@link Structures}. */
export const STRUCTURE_KEYS: Readonly<Record<keyof Structures, StructureKey>> = {
  labels: key(["agent", "labels"], labels),
  environment: key(["agent", "environment"], environment),
  keep: key(["maintenance", "keep"], keep),
  libraries: key(["crypto", "libraries"], texts),
  limits: key(["limits", "per_second"], limits),
  filters: key(["filters"], filters),
  files: key(["files"], fileRule.array(), "tables of paths, exclude and kind"),
  collectors: key(["collectors"], collectors, COLLECTORS_FORM),
  oidc: { ...key(["oidc"], oidc, OIDC_FORM), list: oidcList },
  sinks: key(["sinks"], sinks, SINKS_FORM),
};

export interface StructureFault {
  readonly path: readonly (string | number)[];
  readonly isUnknown: boolean;
  /** The accepted form; for unknown keys the known ones. */
  readonly expected: string;
  /** What stands there; undefined when nothing does. */
  readonly actual: unknown;
}

/** Faults of a value, by place below the key. */
export function checkStructure(
  { schema, list, form }: StructureKey,
  value: unknown,
): StructureFault[] {
  const result = (Array.isArray(value) ? list ?? schema : schema)(value);
  if (!(result instanceof type.errors)) return [];
  return result.map((error): StructureFault => {
    const path = [...error.path].map((part) => typeof part === "number" ? part : String(part));
    const isUnknown = error.code === "predicate" && error.expected === "removed";
    const expected = isUnknown || path.length === 0 ? form : error.expected;
    return {
      path,
      isUnknown,
      expected,
      actual: error.code === "required" ? undefined : valueAt(value, path),
    };
  });
}

/** A fault that a check of a whole table finds is of one of its values. */
function valueAt(value: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce(
    (at: unknown, part): unknown => isObject(at) ? Reflect.get(at, part) : undefined,
    value,
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
