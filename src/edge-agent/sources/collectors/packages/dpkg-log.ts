/**
 * dpkg's log (dpkg(1), --log): what packages became, in order, with times. Pure.
 *
 * Invariant: lines of another shape are passed over; nothing throws. Times are those of the host's time zone, as this
 * process knows it, in whole seconds.
 */
import { packageKey } from "./installed.ts";

/** A package has this version from now on; undefined: it is gone. */
export interface DpkgStep {
  readonly key: string;
  readonly version: string | undefined;
  readonly timeUs: number;
}

const STATUS =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) status (installed|config-files|not-installed) ([A-Za-z0-9+._-]+):([a-z0-9-]+) (\S+)$/;

export function parseDpkgLog(text: string): readonly DpkgStep[] {
  return text.split("\n").flatMap((line): readonly DpkgStep[] => {
    const [, year, month, day, hour, minute, second, state, name = "", arch = "", version = ""] =
      STATUS.exec(line) ?? [];
    if (state === undefined) return [];
    const parts = [year, month, day, hour, minute, second].map(Number);
    const timeUs = localTimeUs(parts);
    if (timeUs === undefined) return [];
    const isThere = state === "installed";
    return [{ key: packageKey(name, arch), version: isThere ? version : undefined, timeUs }];
  });
}

/** Undefined when there is no such time. */
export function localTimeUs(
  [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0]: readonly number[],
): number | undefined {
  const date = new Date(year, month - 1, day, hour, minute, second);
  const isSame = date.getMonth() === month - 1 && date.getDate() === day;
  return isSame && date.getTime() >= 0 ? date.getTime() * 1000 : undefined;
}
