/**
 * Times as people write them: RFC 3339, or relative to now. Everything becomes µs since the Unix epoch, UTC.
 */

export const TIME_FORMS =
  "RFC 3339 (2026-01-31T09:30:00Z), an age (15m, 2h, 1d), now, now-2h, today, yesterday or boot";

export interface TimeContext {
  readonly nowUs: number;
  /** When this machine started, µs since the Unix epoch. */
  readonly bootUs: number;
}

const UNIT_US: Readonly<Record<string, number>> = {
  ms: 1_000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
  d: 86_400_000_000,
  w: 7 * 86_400_000_000,
};

const DAY_US = 86_400_000_000;
const SPAN = /^(?:[0-9]{1,9}(?:ms|[smhdw]))+$/;
const SPAN_PART = /([0-9]+)(ms|[smhdw])/g;
/** A space stands where a `+` was not encoded in a URL. */
const RFC_3339 =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:[Zz]|([+ -])([0-9]{2}):([0-9]{2})))?$/;

/** The time a text names; undefined when it is not one of {@link TIME_FORMS}. A day alone is its first moment. */
export function parseTime(text: string, context: TimeContext): number | undefined {
  const { nowUs, bootUs } = context;
  if (text === "now") return nowUs;
  if (text === "today") return startOfDay(nowUs);
  if (text === "yesterday") return startOfDay(nowUs) - DAY_US;
  if (text === "boot") return bootUs;
  const relative = /^(?:now([+ -]))?(.+)$/.exec(text);
  const [, sign = "-", span = ""] = relative ?? [];
  if (SPAN.test(span)) {
    const timeUs = sign === "-" ? nowUs - spanUs(span) : nowUs + spanUs(span);
    return Number.isSafeInteger(timeUs) && timeUs >= 0 ? timeUs : undefined;
  }
  return parseRfc3339(text);
}

function startOfDay(timeUs: number): number {
  return timeUs - (timeUs % DAY_US);
}

/** The length that a text like `90s` or `1h30m` names, µs; undefined when it is none. */
export function parseSpan(text: string): number | undefined {
  const lengthUs = SPAN.test(text) ? spanUs(text) : NaN;
  return Number.isSafeInteger(lengthUs) ? lengthUs : undefined;
}

function spanUs(text: string): number {
  return [...text.matchAll(SPAN_PART)].reduce(
    (total, [, count, unit]) => total + Number(count) * (UNIT_US[String(unit)] ?? NaN),
    0,
  );
}

function parseRfc3339(text: string): number | undefined {
  const match = RFC_3339.exec(text);
  if (match === null) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((part) =>
    Number(part ?? 0)
  );
  if (
    year === undefined || month === undefined || day === undefined || hour === undefined ||
    minute === undefined || second === undefined || hour > 23 || minute > 59 || second > 59
  ) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const isRealDay = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  const [fraction = "", sign, offsetHours = "0", offsetMinutes = "0"] = match.slice(7);
  if (!isRealDay || Number(offsetHours) > 23 || Number(offsetMinutes) > 59) return undefined;
  const offset = (Number(offsetHours) * 60 + Number(offsetMinutes)) * (sign === "-" ? -1 : 1);
  const seconds = ((hour * 60 + minute) - offset) * 60 + second;
  const timeUs = date.getTime() * 1000 + seconds * 1_000_000 +
    Number(fraction.padEnd(6, "0").slice(0, 6));
  return timeUs >= 0 ? timeUs : undefined;
}
