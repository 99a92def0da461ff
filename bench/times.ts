/** How long work took, and what of several times is said. */

export interface Spread {
  readonly p50: number;
  readonly p95: number;
}

/** In milliseconds. */
export async function timeOf(work: () => unknown): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

export function spread(times: readonly number[]): Spread {
  return { p50: rounded(quantile(times, 0.5)), p95: rounded(quantile(times, 0.95)) };
}

export function quantile(times: readonly number[], part: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? NaN;
}

export function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
