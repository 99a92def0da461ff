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

/** Texts that may be compared by distance, in characters: the work is the product of their lengths, in one step. */
const DISTANCE_LENGTH_MAX = 256;

/** Before DuckDB's own of the same name. */
const DISTANCES: readonly Macro[] = [
  "levenshtein",
  "editdist3",
  "damerau_levenshtein",
  "jaro_similarity",
  "jaro_winkler_similarity",
]
  .map((name) => ({
    name,
    parameters: ["a", "b"],
    body: `CASE WHEN greatest(length(a), length(b)) > ${DISTANCE_LENGTH_MAX} THEN ` +
      `error('${name} takes texts of at most ${DISTANCE_LENGTH_MAX} characters') ` +
      `ELSE system.main.${name}(a, b) END`,
    text: "",
  }));

/** Statements that make them. */
export const MACRO_STATEMENTS = [...MACROS, ...DISTANCES]
  .map(({ name, parameters, body }) => `CREATE MACRO ${name}(${parameters.join(", ")}) AS ${body};`)
  .join("\n");
