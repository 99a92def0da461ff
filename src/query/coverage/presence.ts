/**
 * When an agent was at work on a host, and when not and why: from what it said of itself. Pure.
 *
 * Invariants: ranges follow each other without a seam from the begin of what is known to its end; silence is never taken
 * for a stop, nor a stop for silence.
 */
import { SILENT_US } from "../planner/coverage.ts";
import type { Span } from "./layers.ts";
import type { Sign } from "./told.ts";

/**
 * Why nobody was there: it was told to stop, and is away still or came back (`stopped`), came back as another version
 * (`upgraded`) or after the host was started again (`rebooted`), came back without having said that it stops
 * (`restarted`), or says nothing (`silent`).
 */
export type AwayCause = "stopped" | "upgraded" | "rebooted" | "restarted" | "silent";

export interface Presence {
  readonly fromUs: number;
  /** Infinity when it goes on. */
  readonly toUs: number;
  /** `unknown`: nothing was told of this time. */
  readonly state: "here" | "away" | "unknown";
  readonly cause: AwayCause | undefined;
  /** Of who is there, or came back. */
  readonly version: string | undefined;
  readonly versionBefore: string | undefined;
  readonly boot: string | undefined;
  /** Whether the host ran on meanwhile, so that programs of the kernel may have gone on recording. */
  readonly isSameBoot: boolean;
}

/** Signs of one line of agents by time; `nowUs` is the last moment of which a sign could have been heard. */
export function presenceOf(signs: readonly Sign[], nowUs: number): readonly Presence[] {
  const ranges: Presence[] = [];
  let [version, boot]: (string | undefined)[] = [];
  let start = 0;
  let last: Sign | undefined;
  const add = (range: Partial<Presence> & Pick<Presence, "fromUs" | "toUs" | "state">): void => {
    if (range.toUs <= range.fromUs) return;
    const facts = { cause: undefined, version, versionBefore: undefined, boot, isSameBoot: true };
    ranges.push({ ...facts, ...range });
  };
  for (const sign of signs) {
    const gone = last === undefined ? undefined : absenceBefore(sign, { version, boot });
    if (last === undefined) {
      add({ fromUs: 0, toUs: sign.timeUs, state: "unknown" });
      start = sign.timeUs;
    } else if (gone !== undefined) {
      const awayUs = Math.max(start, sign.before?.timeUs ?? start);
      add({ fromUs: start, toUs: awayUs, state: "here" });
      add({ fromUs: awayUs, toUs: sign.timeUs, state: "away", ...gone });
      start = sign.timeUs;
    }
    version = sign.version ?? version;
    boot = sign.boot ?? boot;
    last = sign;
  }
  if (last === undefined) return [];
  const isStopped = last.what === "stop";
  if (isStopped || nowUs - last.timeUs > SILENT_US) {
    add({ fromUs: start, toUs: last.timeUs, state: "here" });
    const cause = isStopped ? "stopped" : "silent";
    add({ fromUs: Math.max(start, last.timeUs), toUs: Infinity, state: "away", cause });
  } else add({ fromUs: start, toUs: Infinity, state: "here" });
  return ranges;
}

/** Ranges of a list up to a moment; after it nothing, or nothing that is known. */
export function presenceUntil(
  presence: readonly Presence[],
  untilUs: number,
  after: "nothing" | "unknown",
): readonly Presence[] {
  const before = presence.filter(({ fromUs }) => fromUs < untilUs)
    .map((each) => ({ ...each, toUs: Math.min(each.toUs, untilUs) }));
  const last = before.at(-1);
  if (after === "nothing" || last === undefined) return before;
  return [...before, {
    ...{ ...last, state: "unknown", cause: undefined, versionBefore: undefined },
    ...{ fromUs: untilUs, toUs: Infinity },
  }];
}

/** Of times of which nothing is kept any more nobody knows whether the agent was there. */
export function presenceWithout(
  presence: readonly Presence[],
  gone: readonly Span[],
): readonly Presence[] {
  const nothing = { cause: undefined, versionBefore: undefined } as const;
  return presence.flatMap((each): Presence[] => {
    const parts: Presence[] = [];
    let { fromUs } = each;
    for (const span of gone) {
      if (span.toUs <= fromUs || span.fromUs >= each.toUs) continue;
      if (span.fromUs > fromUs) parts.push({ ...each, fromUs, toUs: span.fromUs });
      const from = Math.max(span.fromUs, fromUs);
      fromUs = Math.min(span.toUs, each.toUs);
      parts.push({ ...each, ...nothing, state: "unknown", fromUs: from, toUs: fromUs });
    }
    return fromUs < each.toUs ? [...parts, { ...each, fromUs }] : parts;
  });
}

const GRAVITY: Readonly<Record<Presence["state"], number>> = { unknown: 0, here: 1, away: 2 };

/** Of several lines of agents at each moment the gravest: who is away is not made up for by who is there. */
export function gravestPresence(lists: readonly (readonly Presence[])[]): readonly Presence[] {
  if (lists.length < 2) return lists[0] ?? [];
  const edges = lists.flatMap((list) => list.flatMap(({ fromUs, toUs }) => [fromUs, toUs]));
  const moments = [...new Set(edges)].toSorted((a, b) => a - b);
  const places = lists.map(() => 0);
  const ranges: Presence[] = [];
  let shown: Presence | undefined;
  for (const [at, fromUs] of moments.entries()) {
    const toUs = moments[at + 1];
    if (toUs === undefined) break;
    const now = lists.flatMap((list, number) => {
      let place = places[number] ?? 0;
      while ((list[place]?.toUs ?? Infinity) <= fromUs) place += 1;
      places[number] = place;
      const each = list[place];
      return each !== undefined && each.fromUs <= fromUs ? [each] : [];
    });
    const top = now.reduce<Presence | undefined>(
      (worst, each) =>
        worst === undefined || GRAVITY[each.state] > GRAVITY[worst.state] ? each : worst,
      undefined,
    );
    const last = ranges.at(-1);
    if (last !== undefined && shown === top) ranges[ranges.length - 1] = { ...last, toUs };
    else if (top !== undefined) ranges.push({ ...top, fromUs, toUs });
    shown = top;
  }
  return ranges;
}

type Absence = Pick<Presence, "cause" | "version" | "versionBefore" | "boot" | "isSameBoot">;

/** What lies between a sign and the one before it, unless the agent was there all the time. */
function absenceBefore(
  { what, timeUs, before, ...now }: Sign,
  known: { readonly version: string | undefined; readonly boot: string | undefined },
): Absence | undefined {
  if (before === undefined) return undefined;
  const isStart = what === "start";
  const isSilent = timeUs - before.timeUs > SILENT_US;
  if (!isStart && !before.isStop && !isSilent) return undefined;
  const version = now.version ?? known.version;
  const boot = now.boot ?? known.boot;
  const isRebooted = known.boot !== undefined && boot !== known.boot;
  const isUpgraded = known.version !== undefined && version !== known.version;
  const cause = isRebooted
    ? "rebooted"
    : isStart && isUpgraded
    ? "upgraded"
    : before.isStop
    ? "stopped"
    : isStart
    ? "restarted"
    : "silent";
  return {
    cause,
    version,
    versionBefore: isUpgraded ? known.version : undefined,
    boot,
    // What is not known to be the same boot is taken for another.
    isSameBoot: boot !== undefined && boot === known.boot,
  };
}
