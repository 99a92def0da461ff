/** JSON that is read strictly and written in one way only: what content-addressed objects and the log have in common. */

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON with keys in code-unit order and no spaces, so that equal values have equal text; undefined is left out. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) => {
    if (!isRecord(each)) return each;
    return Object.fromEntries(
      Object.entries(each).sort(([left], [right]) => (left < right ? -1 : 1)),
    );
  });
}
