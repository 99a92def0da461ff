/**
 * Which hosts were heard of before a range, and when last, however long ago: what tallies know costs no reading; files
 * that are not tallied are read as far back as reports look, and how far that reaches is told.
 *
 * Invariant: a host whose last event is newer than `knownFromUs` is among them.
 */
import type { SqlRow } from "../../storage/duckdb.ts";
import type { DataFile } from "../../storage/table.ts";
import { kindFilter } from "../metric/kind-filter.ts";
import type { Tallies } from "../metric/tallies.ts";
import type { Tally } from "../metric/tally.ts";
import { SIGNS } from "../planner/coverage.ts";
import type { EventsRequest } from "../planner.ts";
import { timeRangeOf } from "../planner/pruning.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";

/** Files without a tally are read so far back: 30 days, µs. */
export const UNTALLIED_LOOK_BACK_US = 30 * 86_400_000_000;

export interface Heard {
  /** Its last event before the range, µs. */
  readonly lastUs: number;
  /** The last one in which an agent said something of itself, µs, and where it is; undefined when that is not tallied. */
  readonly sign: { readonly timeUs: number; readonly file: DataFile } | undefined;
}

export interface TalliedHosts {
  readonly hosts: Map<string, Heard>;
  /** Files of which no tally tells, and that lie no further back than is read. */
  readonly unread: readonly DataFile[];
  readonly knownFromUs: number;
}

/** What tallies know of hosts before the range of a request, whose conditions are on `host` alone. */
export function talliedHosts(
  { book, tallyOf }: Pick<Tallies, "book" | "tallyOf">,
  { conditions, fromUs }: EventsRequest,
  { view, principal }: { readonly view: ReadView; readonly principal: Principal },
): TalliedHosts {
  const isSeen = kindFilter(conditions, principal.scopes);
  const kinds = book.kinds.map((kind) => kind.host !== null && isSeen(kind) ? kind : undefined);
  const hosts = new Map<string, Heard>();
  const unread: DataFile[] = [];
  let knownFromUs = 0;
  for (const file of view.files) {
    const range = timeRangeOf(file);
    if (range.from >= fromUs) continue;
    const tally = tallyOf(file);
    if (tally !== undefined && isBefore(tally, fromUs)) {
      for (let at = 0; at < tally.kinds.length; at++) {
        const kind = kinds[tally.kinds[at] ?? 0];
        const lastUs = tally.lastUs[at] ?? 0;
        if (kind === undefined || kind.host === null || lastUs >= fromUs) continue;
        const isSign = kind.topic !== null && SIGNS.includes(kind.topic);
        hear(hosts, kind.host, { lastUs, sign: isSign ? { timeUs: lastUs, file } : undefined });
      }
    } else if (range.to >= fromUs - UNTALLIED_LOOK_BACK_US) unread.push(file);
    else knownFromUs = Math.max(knownFromUs, range.to);
  }
  return { hosts, unread, knownFromUs };
}

/** Adds hosts that were read, as rows of `host` and `last_us`. */
export function addHeard(hosts: Map<string, Heard>, rows: readonly SqlRow[]): void {
  for (const row of rows) {
    hear(hosts, String(row["host"]), { lastUs: Number(row["last_us"]), sign: undefined });
  }
}

function hear(hosts: Map<string, Heard>, host: string, { lastUs, sign }: Heard): void {
  const known = hosts.get(host);
  if (known === undefined) hosts.set(host, { lastUs, sign });
  else if (lastUs > known.lastUs || (sign?.timeUs ?? 0) > (known.sign?.timeUs ?? 0)) {
    hosts.set(host, {
      lastUs: Math.max(lastUs, known.lastUs),
      sign: (sign?.timeUs ?? 0) > (known.sign?.timeUs ?? 0) ? sign : known.sign,
    });
  }
}

/** Whether of no kind that began before a moment some events may lie after it, and which are last is not known. */
function isBefore({ firstUs, lastUs }: Tally, momentUs: number): boolean {
  for (let at = 0; at < firstUs.length; at++) {
    if ((firstUs[at] ?? 0) < momentUs && (lastUs[at] ?? 0) >= momentUs) return false;
  }
  return true;
}
