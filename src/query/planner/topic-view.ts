/**
 * The view of a topic: its events, with the members of `detail` as typed columns. A member that an event does not have,
 * or that has another form, is null.
 *
 * What a view means is what `topic=` means in a search: events of the topic, of those below it, and those that name it
 * in their further topics. They are two relations, since the first can leave row groups unread by the statistics of
 * `topic`, and the second reads little but the mostly empty `topics`; one condition over both could do neither.
 */
import { findColumn } from "../../event/columns.ts";
import { identifierOf, literalOf } from "../../storage/sql-text.ts";
import { type DetailKey, detailKeysOf, type DetailType } from "../sql/detail-keys.ts";

export interface ViewColumn extends DetailKey {
  /** Its name in the view: the key, with `detail_` before it where that is a column of every event. */
  readonly column: string;
  readonly sqlType: string;
}

export function viewColumnsOf(topic: string): readonly ViewColumn[] {
  return detailKeysOf(topic).map((key) => ({
    ...key,
    column: isTaken(key.name) ? `detail_${key.name}` : key.name,
    sqlType: SQL_TYPES[key.type],
  }));
}

/** The id of an event is made of others, and stands in every answer. */
function isTaken(name: string): boolean {
  return name === "id" || findColumn(name) !== undefined;
}

/** SQL of the view over a relation named `events`; the topic is one of our own. */
export function topicView(topic: string): string {
  const columns = viewColumnsOf(topic)
    .map((column) => `${valueOf(column)} AS ${identifierOf(column.column)}`);
  const isUnder = under("topic", topic);
  const isListed = `len(list_filter(topics, lambda each: ${under("each", topic)})) > 0`;
  return `SELECT ${["*", ...columns].join(", ")} FROM (
SELECT * FROM events WHERE ${isUnder}
UNION ALL
SELECT * FROM events WHERE topics IS NOT NULL AND (${isUnder}) IS NOT TRUE AND ${isListed}
)`;
}

/** `0` is the character behind `/`; the range is what statistics can tell, the rest what is meant. */
function under(name: string, topic: string): string {
  const [is, below, end] = [topic, `${topic}/`, `${topic}0`].map(literalOf);
  return `${name} >= ${is} AND ${name} < ${end} AND (${name} = ${is} OR starts_with(${name}, ${below}))`;
}

const SQL_TYPES: Readonly<Record<DetailType, string>> = {
  text: "VARCHAR",
  long: "BIGINT",
  boolean: "BOOLEAN",
  time: "TIMESTAMP WITH TIME ZONE",
  texts: "VARCHAR[]",
  json: "JSON",
};

function valueOf({ name, type, sqlType }: ViewColumn): string {
  const path = literalOf(`$.${name}`);
  switch (type) {
    case "text":
      return `(detail->>${path})`;
    case "json":
      return `(detail->${path})`;
    case "texts":
      return `TRY_CAST(detail->${path} AS ${sqlType})`;
    case "long":
    case "boolean":
    case "time":
      return `TRY_CAST(detail->>${path} AS ${sqlType})`;
  }
}
