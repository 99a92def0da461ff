/**
 * An event as OCSF 1.8 has it. Pure: equal events give equal answers, and an event of any shape gives one.
 *
 * Invariant: nothing of an event is lost. What has no place in its class is in `unmapped`, under its own name; what a
 * class requires and the record does not know is 0 or "unknown".
 */
import { apiAttributes, applicationAttributes, baseAttributes } from "./application-attributes.ts";
import { classificationOf, deviceOf, metadataOf, occurrenceOf } from "./base.ts";
import { type ClassName, classOf } from "./classes.ts";
import { Fields, isRecord, known, type Source, type Values } from "./fields.ts";
import {
  accountAttributes,
  authenticationAttributes,
  groupAttributes,
} from "./identity-attributes.ts";
import { networkAttributes } from "./network-attributes.ts";
import { observablesOf } from "./observables.ts";
import {
  eventLogAttributes,
  fileAttributes,
  kernelAttributes,
  kernelExtensionAttributes,
  processAttributes,
  type Subject,
} from "./system-attributes.ts";
import { mappingOf } from "./topics.ts";

export interface OcsfOptions {
  /** Version of Probity, for `metadata.product`. */
  readonly version: string;
}

const ATTRIBUTES: Readonly<Record<ClassName, (subject: Subject) => Values>> = {
  base: baseAttributes,
  file: fileAttributes,
  kernelExtension: kernelExtensionAttributes,
  kernel: kernelAttributes,
  process: processAttributes,
  eventLog: eventLogAttributes,
  account: accountAttributes,
  authentication: authenticationAttributes,
  group: groupAttributes,
  network: networkAttributes,
  application: applicationAttributes,
  api: apiAttributes,
};

/** Classes in which the column `service` is another thing than who acted. */
const SERVICE_TOLD: ReadonlySet<ClassName> = new Set(["eventLog", "authentication", "api"]);

/** `event` as answers have it, with `detail` an object. */
export function ocsfEvent(event: Values, { version }: OcsfOptions): Values {
  const columns = new Fields(event);
  const source: Source = { columns, detail: new Fields(columns.record("detail") ?? {}) };
  const topic = columns.text("topic") ?? "";
  const { eventClass, activities: [usual], other, choose } = mappingOf(topic);
  const activity = choose?.(source) ?? usual;
  const attributes = withSender(ATTRIBUTES[eventClass]({ source, topic, activity }), {
    source,
    eventClass,
  });
  const isBase = eventClass === "base";
  const whole = {
    ...classificationOf({
      eventClass: classOf(eventClass),
      activity,
      other: isBase && topic !== "" ? topic : other,
    }),
    ...occurrenceOf(source),
    device: deviceOf(source),
    ...attributes,
  };
  const metadata = metadataOf(source, { version, profiles: profilesOf(attributes) });
  return known({
    ...whole,
    metadata: known(metadata),
    observables: nonEmpty(observablesOf(whole)),
    unmapped: unmappedOf(source),
  }) ?? {};
}

/** The application that sent an event acted in it. */
function withSender(
  attributes: Values,
  { source, eventClass }: { readonly source: Source; readonly eventClass: ClassName },
): Values {
  if (SERVICE_TOLD.has(eventClass)) return attributes;
  const sender = source.columns.text("service");
  const { actor } = attributes;
  if (sender === undefined) return attributes;
  return { ...attributes, actor: { ...(isRecord(actor) ? actor : {}), app_name: sender } };
}

/** Attributes of processes that only a profile allows. */
const PROFILES: readonly (readonly [profile: string, attributes: readonly string[]])[] = [
  ["linux/linux_users", ["auid", "euid", "egid", "group"]],
  ["container", ["container", "namespace_pid"]],
];

function profilesOf({ actor, process }: Values): readonly string[] {
  const processes = [isRecord(actor) ? actor["process"] : undefined, process].filter(isRecord);
  const used = PROFILES.filter(([, names]) =>
    processes.some((each) => names.some((name) => each[name] !== undefined))
  );
  return ["host", "datetime", ...used.map(([profile]) => profile)];
}

function unmappedOf({ columns, detail }: Source): Values | undefined {
  const [rest, restOfDetail] = [columns.rest(), detail.rest()];
  const hasDetail = Object.keys(restOfDetail).length > 0;
  if (!hasDetail && Object.keys(rest).length === 0) return undefined;
  return hasDetail ? { ...rest, detail: restOfDetail } : rest;
}

function nonEmpty<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}
