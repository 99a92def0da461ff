/**
 * Functions of Probity's own in people's SQL, as macros of DuckDB: made when the database is opened, before it is
 * locked.
 */

export interface Macro {
  readonly name: string;
  readonly parameters: readonly string[];
  /** SQL over the parameters. */
  readonly body: string;
  /** For docs. */
  readonly text: string;
}

export const MACROS: readonly Macro[] = [
  {
    name: "topic_under",
    parameters: ["topic", "prefix"],
    // The first two alone reach the statistics of row groups; `0` is the character behind `/`.
    body: "topic >= prefix AND topic < prefix || '0' AND " +
      "(topic = prefix OR starts_with(topic, prefix || '/'))",
    text: "whether a topic is `prefix` or lies below it",
  },
  {
    name: "ago",
    parameters: ["age"],
    body: "now() - CAST(age AS INTERVAL)",
    text: "the time that long before now: `'15m'`, `'2h'`, `'1d'`, `'1 week'`",
  },
];

/** Statements that make them. */
export const MACRO_STATEMENTS = MACROS
  .map(({ name, parameters, body }) => `CREATE MACRO ${name}(${parameters.join(", ")}) AS ${body};`)
  .join("\n");
