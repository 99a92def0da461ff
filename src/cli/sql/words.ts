/** What can be typed at the prompt: completion by the tab key, and what `\d` tells of tables. */
import { COLUMNS } from "../../event/columns.ts";
import { sqlTypeOf } from "../../query/planner/rows.ts";
import { viewColumnsOf } from "../../query/planner/topic-view.ts";
import { EXPRESSION_FUNCTIONS, TABLE_FUNCTIONS } from "../../query/sql/functions.ts";
import { EVENTS, TOPIC_VIEWS } from "../../query/sql/views.ts";

export interface TableWord {
  readonly name: string;
  /** What it holds. */
  readonly text: string;
}

export interface ColumnWord {
  readonly name: string;
  readonly type: string;
}

export const TABLE_WORDS: readonly TableWord[] = [
  { name: EVENTS, text: "all events" },
  ...[...TOPIC_VIEWS].map(([name, topic]) => ({ name, text: `events of ${topic}` })),
];

/** Undefined when there is no such table. */
export function columnWordsOf(table: string): readonly ColumnWord[] | undefined {
  const name = table.toLowerCase();
  const topic = TOPIC_VIEWS.get(name);
  if (topic === undefined && name !== EVENTS) return undefined;
  const own = topic === undefined ? [] : viewColumnsOf(topic);
  return [
    { name: "id", type: "VARCHAR" },
    ...COLUMNS.map((column) => ({
      name: column.name,
      type: column.type === "json" ? "JSON" : sqlTypeOf(column.type),
    })),
    ...own.map(({ column, sqlType }) => ({ name: column, type: sqlType })),
  ];
}

const KEYWORDS =
  ("ALL AND AS ASC BETWEEN BY CASE CAST DESC DISTINCT ELSE END EXCEPT EXISTS FALSE FILTER FROM " +
    "GROUP HAVING ILIKE IN INTERSECT INTERVAL IS JOIN LATERAL LEFT LIKE LIMIT NOT NULL OFFSET ON OR ORDER OVER " +
    "PARTITION QUALIFY SELECT THEN TIMESTAMPTZ TRUE UNION USING VALUES WHEN WHERE WITH").split(" ");

export const COMMANDS = ["\\?", "\\d", "\\dt", "\\q", "\\timing", "\\x"];

const FUNCTIONS = [...EXPRESSION_FUNCTIONS, ...TABLE_FUNCTIONS]
  .filter((name) => /^[a-z]/.test(name))
  .map((name) => `${name}(`);

/** Words that a line may go on with, and the part of it that they complete. `before`: earlier lines of the statement. */
export function complete(line: string, before = ""): [found: string[], part: string] {
  if (line.startsWith("\\")) {
    const [, table] = /^\\d\s+(\w*)$/.exec(line) ?? [];
    if (table !== undefined) return [startingWith(tableNames(), table), table];
    return [startingWith(COMMANDS, line), line];
  }
  const [part = ""] = /\w*$/.exec(line) ?? [];
  const typed = `${before} ${line.slice(0, line.length - part.length)}`;
  if (/\b(?:from|join)\s+$/i.test(typed)) return [startingWith(tableNames(), part), part];
  const named = tableNames().filter((name) => new RegExp(`\\b${name}\\b`, "i").test(typed));
  const columns = (named.length === 0 ? [EVENTS] : named)
    .flatMap((name) => columnWordsOf(name) ?? [])
    .map(({ name }) => name);
  if (part === "") return [[...new Set(columns)], part];
  const keywords = /^[a-z]/.test(part) ? KEYWORDS.map((word) => word.toLowerCase()) : KEYWORDS;
  const words = [...columns, ...tableNames(), ...keywords, ...FUNCTIONS];
  return [[...new Set(startingWith(words, part))], part];
}

function tableNames(): string[] {
  return TABLE_WORDS.map(({ name }) => name);
}

function startingWith(words: readonly string[], part: string): string[] {
  return words.filter((word) => word.toLowerCase().startsWith(part.toLowerCase()));
}
