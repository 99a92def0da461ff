/** Answers of JSON, looked at just enough to tell whether they are what was asked for. */

/** The object in a value, which has to have this member. Throws TypeError when it is none. */
export function objectWith(member: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && member in value) return { ...value };
  throw new TypeError(`Cannot read the answer: it has no "${member}"`);
}
