/**
 * The tables of people's SQL: `events`, and one view for every fixed topic and every topic above one, named with `_`
 * for `/` (`process_exec`, `process`, `crypto`).
 */
import { TOPICS } from "../../event/topic.ts";

export const EVENTS = "events";

/** Roots whose further segments their senders name. */
const OPEN_TOPICS = ["app", "crypto"];

/** Topic of each view by its name. */
export const TOPIC_VIEWS: ReadonlyMap<string, string> = new Map(
  [...TOPICS, ...OPEN_TOPICS].flatMap(ancestry).map((topic) => [topic.replaceAll("/", "_"), topic]),
);

/** Every table that a statement may read. */
export const TABLES: ReadonlySet<string> = new Set([EVENTS, ...TOPIC_VIEWS.keys()]);

function ancestry(topic: string): string[] {
  const segments = topic.split("/");
  return segments.map((_, at) => segments.slice(0, at + 1).join("/"));
}
