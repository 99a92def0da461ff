/**
 * Whether what an event has in `detail` stands in the list of `src/query/sql/detail-keys.ts`, of which views and
 * documents are made. Asked of every line that a test reads from a source or a log.
 */
import { detailKeysOf } from "../../src/query/sql/detail-keys.ts";

/** Throws for a member of `detail` that the list does not have for its topic. */
export function requireListedDetail(line: Readonly<Record<string, unknown>>): void {
  const { topic, detail } = line;
  if (typeof topic !== "string" || typeof detail !== "object" || detail === null) return;
  // What applications send is theirs.
  if (topic.startsWith("app/")) return;
  const listed = new Set(detailKeysOf(topic).map(({ name }) => name));
  const unlisted = Object.keys(detail).filter((name) => !listed.has(name));
  if (unlisted.length === 0) return;
  throw new Error(`detail-keys.ts does not list of "${topic}": ${unlisted.join(", ")}`);
}
