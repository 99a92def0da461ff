/** JSON that is read strictly and written in one way only: what content-addressed objects and the log have in common. */

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON with keys in code-unit order and no spaces, so that equal values have equal text; undefined is left out. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(elementText).join(",")}]`;
  if (!isRecord(value)) return JSON.stringify(value);
  let text = "";
  for (const key of Object.keys(value).sort()) {
    const each = value[key];
    if (each === undefined) continue;
    text += `${text === "" ? "" : ","}${JSON.stringify(key)}:${canonicalJson(each)}`;
  }
  return `{${text}}`;
}

/** As in all JSON, an element that is undefined is null. */
function elementText(value: unknown): string {
  return value === undefined ? "null" : canonicalJson(value);
}
