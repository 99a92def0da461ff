/** Events that are named by their ids, as bounds of a question: where they lie in the order of time. */
import { formatEventId } from "../../event/event-id.ts";
import type { RowPlace } from "../cursor.ts";
import type { Executor } from "../executor.ts";
import { planEvent } from "../planner.ts";
import type { Principal } from "../principal.ts";
import { ProblemError } from "../problem.ts";
import type { ReadView } from "../read-view.ts";
import { rowPlaceOf } from "../row-place.ts";
import type { Seek } from "./params.ts";

export interface Asker {
  readonly executor: Executor;
  readonly view: ReadView;
  readonly principal: Principal;
  readonly signal: AbortSignal;
}

/** The place of a seek by id. Throws 400 when the principal sees no such event. */
export async function placeOfEvent(
  parameter: string,
  { place }: Extract<Seek, { kind: "event" }>,
  { executor, view, principal, signal }: Asker,
): Promise<RowPlace> {
  const asker = { principal, signal };
  const { steps } = planEvent(place, principal, view);
  for await (const [line] of executor.texts(steps, asker)) {
    if (line !== undefined) return rowPlaceOf(line);
  }
  throw new ProblemError(400, `There is no event "${formatEventId(place)}"`, {
    parameter,
    accepted: "the id of an event, or a time",
  });
}

/** The time that a seek names, µs; an event stands for its time. */
export async function timeOfSeek(
  parameter: string,
  seek: Seek | undefined,
  asker: Asker,
): Promise<number | undefined> {
  if (seek?.kind !== "event") return seek?.timeUs;
  return (await placeOfEvent(parameter, seek, asker)).timeUs;
}

/** By time, then by place in the log: the order of answers. */
export function comparePlaces(a: RowPlace, b: RowPlace): number {
  const byStream = a.incarnation < b.incarnation ? -1 : a.incarnation > b.incarnation ? 1 : 0;
  return a.timeUs - b.timeUs || byStream || a.sequence - b.sequence || a.idx - b.idx;
}
