/**
 * An event as the agent's socket takes it: one line of JSON.
 *
 * Invariant: the line says what was given and nothing else; what JSON cannot say is refused, but for integers beyond
 * doubles, which become text, digit for digit, and for errors, maps and sets, of which JSON would say nothing.
 */

/** One topic or several, each segments joined by `/`, below `app/<service>/`. */
export type Topics = string | readonly [string, ...string[]];

/** Longest line, in UTF-16 units: what the agent takes by default, with room for characters of three bytes. */
export const MESSAGE_LENGTH_MAX = 340_000;
const TOPIC_FORM = "letters, digits, _ . : and -, in segments joined by /";
const TOPIC = /^[a-zA-Z0-9_.:-]+(\/[a-zA-Z0-9_.:-]+)*$/;

/** The event has more characters than the agent takes. */
export class EventTooLargeError extends Error {}

/** The line, without its end. Throws when a topic is none, and when the data cannot be said or is too large. */
export function messageOf(topics: Topics, data: Readonly<Record<string, unknown>>): string {
  const all = typeof topics === "string" ? [topics] : topics;
  for (const topic of all) {
    if (!TOPIC.test(topic)) {
      throw new TypeError(`Cannot audit: ${JSON.stringify(topic)} is no topic: ${TOPIC_FORM}`);
    }
  }
  const named = all.length > 1 ? { topics: all.slice(1) } : {};
  const text = JSON.stringify(
    { ...data, topic: all[0], ...named },
    (_key, value: unknown) => sayable(value),
  );
  if (text.length <= MESSAGE_LENGTH_MAX) return text;
  throw new EventTooLargeError(
    `the event has ${text.length} characters, more than ${MESSAGE_LENGTH_MAX}`,
  );
}

/** What JSON would leave out, in a form that it has. The stack of an error stays where the program runs. */
function sayable(value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  if (!(value instanceof Error)) return value;
  const { name, message, cause } = value;
  const errors = value instanceof AggregateError ? { errors: value.errors } : {};
  return { ...value, name, message, ...errors, ...(cause === undefined ? {} : { cause }) };
}
