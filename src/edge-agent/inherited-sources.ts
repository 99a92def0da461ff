/**
 * Which sources may go on with what an earlier agent left before anything is proven.
 *
 * Invariant: none is read without those that teach it: lines of what happened while no agent ran would lack the execs,
 * or the names of peers, that still wait in a ring that is not read yet.
 */

/** Who is taught by a source: all that are read by rings, or those named. */
const TEACHERS: readonly { readonly teacher: string; readonly taught: "all" | string }[] = [
  { teacher: "process", taught: "all" },
  { teacher: "flow", taught: "network" },
];

/** Those of the inherited sources that are taught by none which is `enabled` and not inherited itself. */
export function readableAtOnce<T extends { readonly name: string }>(
  inherited: readonly T[],
  enabled: readonly { readonly name: string }[],
): readonly T[] {
  const missing = TEACHERS.filter(({ teacher }) =>
    enabled.some(({ name }) => name === teacher) && !inherited.some(({ name }) => name === teacher)
  );
  return inherited.filter(({ name }) =>
    !missing.some(({ taught }) => taught === "all" || taught === name)
  );
}
