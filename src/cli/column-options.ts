/** A flag for every column, so that each can be filtered by; derived from the list of columns. */
import { type ColumnName, COLUMNS } from "../event/columns.ts";
import type { Conditions } from "../client/record.ts";
import { SEVERITIES } from "../event/event.ts";
import { TOPICS } from "../event/topic.ts";
import { type OptionType, text } from "./option-type.ts";
import { type Option, repeated } from "./options.ts";

type FilterColumn = Exclude<ColumnName, "time">;
type ColumnOptions = { readonly [N in FilterColumn]: Option<readonly string[]> };

/** Of columns whose own name is that of a global option. */
const OTHER_KEYS: Readonly<Record<string, string>> = { context: "context_id" };

/** Values that completion offers; any other text is taken as well, and patterns and comparisons. */
const OFFERED: Readonly<Record<string, readonly string[]>> = {
  outcome: ["success", "failure"],
  protocol: ["tcp", "udp"],
  severity: SEVERITIES,
  topic: [...new Set(TOPICS.flatMap(withThoseAbove))].concat("app", "crypto"),
};

/** `--topic`, `--src-ip` and so on; time is filtered by the range. Given twice, both conditions must hold. */
export const COLUMN_OPTIONS = Object.fromEntries(
  COLUMNS.filter(({ name }) => name !== "time").map((column) => [
    column.name,
    repeated(OTHER_KEYS[column.name] ?? column.name, typeOf(column.name), { text: column.text }),
  ]),
) as ColumnOptions; // as: the keys are the names of all columns but time

/** The conditions that were given. */
export function conditionsOf(
  values: { readonly [N in FilterColumn]: readonly string[] },
): Conditions {
  return Object.fromEntries(Object.entries(values).filter(([, given]) => given.length > 0));
}

function typeOf(column: string): OptionType<string> {
  const choices = OFFERED[column];
  return choices === undefined ? text : { ...text, choices };
}

function withThoseAbove(topic: string): string[] {
  const segments = topic.split("/");
  return segments.map((_, at) => segments.slice(0, at + 1).join("/"));
}
