/**
 * What OCSF 1.8 asks of events, as far as ours are concerned: required attributes, "at least one of" and numbers that
 * are allowed, by class and by object. Facts of https://schema.ocsf.io/1.8.0, written down apart from the mapping.
 */
import { isRecord, type Values } from "../../src/query/ocsf/fields.ts";

/** Facts of the schema, version 1.8: what a class requires beside the base, and the activities it knows. */
interface Facts {
  readonly required: readonly string[];
  readonly atLeastOne?: readonly string[];
  readonly activities: readonly number[];
}

const BASE = [
  "activity_id",
  "category_uid",
  "class_uid",
  "type_uid",
  "severity_id",
  "time",
  "metadata.product",
  "metadata.version",
];
/** What is recommended of every class, and always known. */
export const RECOMMENDED = ["message", "status_id", "timezone_offset", "device.hostname"];
const range = (to: number): number[] => Array.from({ length: to + 1 }, (_, id) => id).concat(99);
const SYSTEM = ["actor", "device"];
const FACTS: Readonly<Record<number, Facts>> = {
  0: { required: [], activities: [0, 99] },
  1001: { required: [...SYSTEM, "file"], activities: range(14) },
  1002: { required: [...SYSTEM, "driver.file"], activities: range(2) },
  1003: { required: [...SYSTEM, "kernel"], activities: range(4) },
  1007: { required: [...SYSTEM, "process"], activities: range(5) },
  1008: {
    required: [],
    atLeastOne: ["log_file", "log_name", "log_provider", "log_type", "log_type_id"],
    activities: range(10),
  },
  3001: { required: ["user"], activities: range(12) },
  3002: { required: ["user"], atLeastOne: ["service", "dst_endpoint"], activities: range(7) },
  3006: { required: ["group"], activities: range(8) },
  4001: { required: [], atLeastOne: ["src_endpoint", "dst_endpoint"], activities: range(7) },
  6002: { required: ["app"], activities: range(8) },
  6003: { required: ["actor", "api", "src_endpoint"], activities: range(4) },
};

/** The same of objects, by the names of attributes that hold them. */
interface ObjectFacts {
  readonly required?: readonly string[];
  readonly atLeastOne?: readonly string[];
  readonly enums?: Readonly<Record<string, readonly number[]>>;
}

const PROCESS: ObjectFacts = { atLeastOne: ["pid", "uid", "cpid"] };
const FILE: ObjectFacts = {
  required: ["name", "type_id"],
  enums: { type_id: [0, 1, 2, 3, 4, 5, 6, 7, 8, 99] },
};
const ENDPOINT: ObjectFacts = {
  atLeastOne: ["ip", "uid", "name", "hostname", "svc_name", "domain"],
};
const NAMED: ObjectFacts = { atLeastOne: ["name", "uid"] };
const OBJECTS: Readonly<Record<string, ObjectFacts>> = {
  process: PROCESS,
  parent_process: PROCESS,
  ancestry: { atLeastOne: ["cmd_line", "name", "path", "pid", "uid", "cpid"] },
  actor: { atLeastOne: ["process", "user", "invoked_by", "session", "app_name", "app_uid"] },
  file: FILE,
  file_result: FILE,
  user: { ...NAMED, enums: { type_id: [0, 1, 2, 3, 4, 99] } },
  group: NAMED,
  app: NAMED,
  product: NAMED,
  service: NAMED,
  device: { required: ["type_id"], atLeastOne: ["hostname", "ip", "uid", "name"] },
  src_endpoint: ENDPOINT,
  dst_endpoint: ENDPOINT,
  connection_info: {
    required: ["direction_id"],
    enums: { direction_id: [0, 1, 2, 3, 4, 99], protocol_ver_id: [0, 4, 6, 99] },
  },
  kernel: { required: ["name", "type_id"], enums: { type_id: [0, 1, 2, 99] } },
  driver: { required: ["file"] },
  api: { required: ["operation"] },
  request: { required: ["uid"] },
  hashes: { required: ["algorithm_id", "value"] },
  environment_variables: { required: ["name", "value"] },
  observables: { required: ["type_id"] },
};
const ENUMS: Readonly<Record<string, readonly number[]>> = {
  severity_id: [0, 1, 2, 3, 4, 5, 6, 99],
  status_id: [0, 1, 2, 99],
  launch_type_id: [0, 1, 2, 3, 99],
  injection_type_id: [0, 1, 2, 3, 99],
  account_switch_type_id: [0, 1, 2, 99],
  logon_type_id: [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 99],
  observation_point_id: [0, 1, 2, 3, 4, 99],
};

export function valueAt(value: Values, path: string): unknown {
  return path.split(".").reduce<unknown>(
    (inner, name) => isRecord(inner) ? inner[name] : undefined,
    value,
  );
}

function lacks(value: Values, atLeastOne: readonly string[] | undefined): string[] {
  const isFine = atLeastOne === undefined || atLeastOne.some((each) => value[each] !== undefined);
  return isFine ? [] : [`one of ${atLeastOne}`];
}

/** What an event of OCSF breaks of the schema, in words. */
export function violationsOf(event: Values): string[] {
  const [classUid, activityId] = [Number(event["class_uid"]), Number(event["activity_id"])];
  const facts = FACTS[classUid];
  if (facts === undefined) return [`class ${classUid}`];
  const { required, atLeastOne, activities } = facts;
  return [
    ...[...BASE, ...required].filter((name) => valueAt(event, name) === undefined),
    ...lacks(event, atLeastOne),
    ...(activities.includes(activityId) ? [] : [`activity ${activityId}`]),
    ...(event["type_uid"] === classUid * 100 + activityId ? [] : ["type_uid"]),
    ...(event["category_uid"] === Math.floor(classUid / 1000) ? [] : ["category_uid"]),
    ...(Number.isSafeInteger(event["time"]) ? [] : ["time"]),
    ...violationsOfEnums(event, ENUMS),
    ...Object.entries(event).flatMap(([name, value]) =>
      name === "unmapped" ? [] : violationsWithin(name, value)
    ),
  ];
}

function violationsWithin(name: string, value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => violationsWithin(name, each));
  if (value === null) return [`${name} null`];
  // What was asked for by a call is JSON of any shape.
  if (!isRecord(value) || name === "data") return [];
  const { required = [], atLeastOne, enums = {} } = OBJECTS[name] ?? {};
  return [
    ...required.filter((each) => value[each] === undefined).map((each) => `${name}.${each}`),
    ...lacks(value, atLeastOne).map((each) => `${name}: ${each}`),
    ...violationsOfEnums(value, enums),
    ...Object.entries(value).flatMap(([inner, each]) => violationsWithin(inner, each)),
  ];
}

function violationsOfEnums(value: Values, enums: NonNullable<ObjectFacts["enums"]>): string[] {
  return Object.entries(enums)
    .filter(([name, allowed]) =>
      value[name] !== undefined && !allowed.includes(Number(value[name]))
    )
    .map(([name]) => `${name} ${value[name]}`);
}
