/**
 * What tallies know of a range of time: the counts that lie in it whole, and the files that have to be read since they
 * have no tally or since some of their counts lie in it only partly.
 *
 * Invariant: each file that may hold a row of the range is either taken in full or is among those to read.
 */
import type { DataFile } from "../../storage/table.ts";
import type { EventsRequest, TimeRange } from "../planner.ts";
import { timeRangeOf } from "../planner/pruning.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { kindFilter } from "./kind-filter.ts";
import type { Tallies } from "./tallies.ts";
import type { Tally } from "./tally.ts";

export type KnownTallies = Pick<Tallies, "book" | "tallyOf">;

/** Gives the counts of one file, as places in its tally. */
export type TakeCounts = (tally: Tally, places: readonly number[]) => void;

/**
 * Gives to `take` what the principal may see and the conditions ask for; returns the files to read. Conditions are
 * such as `areOfKinds` knows.
 */
export function takeCounted(
  { book, tallyOf }: KnownTallies,
  { conditions, ...range }: Pick<EventsRequest, "fromUs" | "toUs" | "conditions">,
  { view, principal, take }: {
    readonly view: Pick<ReadView, "files">;
    readonly principal: Principal;
    readonly take: TakeCounts;
  },
): readonly DataFile[] {
  const counts = kindFilter(conditions, principal.scopes);
  const isCounted = Uint8Array.from(book.kinds, (kind) => counts(kind) ? 1 : 0);
  return view.files.filter((file) => {
    const { from, to } = timeRangeOf(file);
    if (to < range.fromUs || from >= range.toUs) return false;
    const tally = tallyOf(file);
    const places = tally && placesWithin(tally, { ...range, isCounted });
    if (tally === undefined || places === undefined) return true;
    take(tally, places);
    return false;
  });
}

/** Undefined when some kind lies in the range only partly. */
function placesWithin(
  { kinds, firstUs, lastUs }: Tally,
  { fromUs, toUs, isCounted }: TimeRange & { readonly isCounted: Uint8Array },
): readonly number[] | undefined {
  const places: number[] = [];
  for (let at = 0; at < kinds.length; at++) {
    if (isCounted[kinds[at] ?? 0] !== 1) continue;
    const first = firstUs[at] ?? 0;
    const last = lastUs[at] ?? 0;
    if (last < fromUs || first >= toUs) continue;
    if (first < fromUs || last >= toUs) return undefined;
    places.push(at);
  }
  return places;
}
