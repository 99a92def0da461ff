/** What may never happen has happened; and comparisons that say so. */

export class ViolationError extends Error {
  override readonly name = "ViolationError";
}

export function demand(holds: boolean, violation: string): asserts holds {
  if (!holds) throw new ViolationError(violation);
}

/** Equal values, each as often, in whatever order. */
export function demandSame(
  what: string,
  found: readonly unknown[],
  wanted: readonly unknown[],
): void {
  // Mostly they are written alike, and are the same then.
  if (JSON.stringify(found) === JSON.stringify(wanted)) return;
  const [ours, theirs] = [found.map(canonical).sort(), wanted.map(canonical).sort()];
  if (ours.join("\n") === theirs.join("\n")) return;
  const more = ours.filter((line) => !theirs.includes(line));
  const less = theirs.filter((line) => !ours.includes(line));
  throw new ViolationError(
    `${what} are not those they should be, ${ours.length} for ${theirs.length}:\n` +
      `${more.join("\n")}\n--\n${less.join("\n")}`,
  );
}

/** Text that is equal for equal values, whatever the order of their fields. */
export function canonical(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  const inOrder = fields.sort(([a], [b]) => a < b ? -1 : 1);
  return `{${
    inOrder.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join()
  }}`;
}
