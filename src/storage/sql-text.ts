/** Texts, lists and names as they stand in SQL: the only quoting there is. */

/** Text as a literal of SQL. */
export function literalOf(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A list of texts as a literal of SQL. */
export function listOf(texts: readonly string[]): string {
  return `[${texts.map(literalOf).join(", ")}]`;
}

/** A name as a quoted identifier of SQL. */
export function identifierOf(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
