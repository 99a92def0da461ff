/** The place of a row in the order of answers, read out of its JSON. */
import { parseEventId } from "../event/event-id.ts";
import type { RowPlace } from "./cursor.ts";
import { parseTime } from "./time-text.ts";

/** Throws RangeError for what is no event. */
export function rowPlaceOf(line: string): RowPlace {
  const event: unknown = JSON.parse(line);
  const { id = "", time = "" } = typeof event === "object" && event !== null
    ? Object.fromEntries(Object.entries(event))
    : {};
  const place = parseEventId(String(id));
  const timeUs = parseTime(String(time), { nowUs: 0, bootUs: 0 });
  if (place === undefined || timeUs === undefined) {
    throw new RangeError(`Cannot tell the place of an event that has none: ${line.slice(0, 200)}`);
  }
  return { timeUs, ...place };
}
