/** Forms in which events are given to other programs: their own, and those that other tools' readers know. */
import type { Conditions, RecordedEvent } from "../client/record.ts";
import { FILE_CHANGE_TOPIC } from "../event/topic.ts";
import { versionOfPackage } from "./program.ts";

export const FORMATS = ["ndjson", "bpfink"] as const;

export type Format = typeof FORMATS[number];

/** Conditions with those of the form: what has no line in it is not asked for. */
export function formatConditions(conditions: Conditions, format: Format): Conditions {
  if (format === "ndjson") return conditions;
  return { ...conditions, topic: [conditions.topic ?? [], FILE_CHANGE_TOPIC].flat() };
}

/** Makes of an event the object that becomes its line; undefined when it has none in this form. */
export async function createFormat(
  format: Format,
): Promise<(event: RecordedEvent) => object | undefined> {
  switch (format) {
    case "ndjson":
      return (event) => event;
    case "bpfink": {
      const { bpfinkLine } = await import("./bpfink-line.ts");
      const version = versionOfPackage();
      return (event) => bpfinkLine(event, { version });
    }
  }
}
