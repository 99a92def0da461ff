/**
 * When a command is due: five cron fields in a time zone, over changes of summer time. The one user of croner.
 *
 * Invariant: nothing runs by itself here: who has a schedule asks it.
 */
import { Cron } from "croner";

export interface Schedule {
  /** The first time after another, in ms since the Unix epoch; undefined when there is none any more. */
  nextMs(afterMs: number): number | undefined;
}

/** Throws when it is no schedule of five fields, or there is no such time zone. */
export function createSchedule(pattern: string, timezone?: string): Schedule {
  const cron = new Cron(pattern, {
    paused: true,
    mode: "5-part",
    ...(timezone === undefined ? {} : { timezone }),
  });
  const schedule: Schedule = {
    nextMs: (afterMs) => cron.nextRun(new Date(afterMs))?.getTime(),
  };
  // Time zones are looked up when they are used.
  schedule.nextMs(0);
  return schedule;
}

/** Why it is no schedule; undefined when it is one. */
export function scheduleFault(pattern: string, timezone?: string): string | undefined {
  try {
    return createSchedule(pattern, timezone).nextMs(Date.now()) === undefined
      ? "it never comes"
      : undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** How often it came after one time and not after another, at most `countMax`. */
export function countBetween(
  schedule: Schedule,
  { afterMs, untilMs, countMax }: {
    readonly afterMs: number;
    readonly untilMs: number;
    readonly countMax: number;
  },
): number {
  let count = 0;
  let atMs = schedule.nextMs(afterMs);
  while (atMs !== undefined && atMs <= untilMs && count < countMax) {
    count += 1;
    atMs = schedule.nextMs(atMs);
  }
  return count;
}
