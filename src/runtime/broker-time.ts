/** The broker's own text for times. */

/** Microseconds since the Unix epoch of an RFC 3339 time with up to nine decimals, cut to whole microseconds. */
export function parseBrokerTime(text: string): number {
  const [, seconds, fraction = ""] = /^([^.Z+]+?)(?:\.(\d+))?(?:Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const zone = /(?:Z|[+-]\d\d:\d\d)$/.exec(text)?.[0] ?? "Z";
  const wholeMs = Date.parse(`${seconds}${zone}`);
  if (seconds === undefined || Number.isNaN(wholeMs)) {
    throw new RangeError(`Cannot read the broker's time "${text}": not RFC 3339`);
  }
  return wholeMs * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}
