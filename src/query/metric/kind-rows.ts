/**
 * What tallies know of a view's events, as rows that each stand for many of them.
 *
 * Invariant: the rows with the events of the files that are left, which have to be read, are all that the principal may
 * see of the view's files.
 */
import type { DataFile } from "../../storage/table.ts";
import type { Condition } from "../filter.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { type KnownTallies, takeCounted } from "./counted-kinds.ts";

/** What a tally knows of an event and has one value of. */
export type KindColumn = "topic" | "host";

export interface KindRows {
  readonly columns: readonly KindColumn[];
  /** Values of these columns, and how many events the row stands for; no two rows have the same values. */
  readonly rows: readonly (readonly (string | number | null)[])[];
  /** Files whose events are not among them. */
  readonly files: readonly DataFile[];
}

export interface KindRowsOptions {
  /** Such as `areOfKinds` knows. */
  readonly conditions: readonly Condition[];
  readonly columns: readonly KindColumn[];
  readonly view: Pick<ReadView, "files">;
  readonly principal: Principal;
}

export function kindRowsOf(
  tallies: KnownTallies,
  { conditions, columns, view, principal }: KindRowsOptions,
): KindRows {
  const range = { fromUs: -Infinity, toUs: Infinity };
  const countOfKind = new Map<number, number>();
  const files = takeCounted(tallies, { ...range, conditions }, {
    ...{ view, principal },
    take({ kinds, rows }, places) {
      for (const at of places) {
        const kind = kinds[at] ?? 0;
        countOfKind.set(kind, (countOfKind.get(kind) ?? 0) + (rows[at] ?? 0));
      }
    },
  });
  const counts = new Map<string, { values: readonly (string | null)[]; rows: number }>();
  for (const [place, rows] of countOfKind) {
    const kind = tallies.book.kinds[place];
    const values = columns.map((column) => kind?.[column] ?? null);
    const key = JSON.stringify(values);
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { values, rows });
    else known.rows += rows;
  }
  return {
    columns,
    files,
    rows: [...counts.values()].map(({ values, rows }) => [...values, rows]),
  };
}
