/**
 * The watermark: what the archive tells an agent about its own batches, rewritten at every commit and at least every
 * {@link WATERMARK_INTERVAL_MS}. One entry per agent in the broker's key-value bucket {@link WATERMARK_BUCKET}.
 */

export const WATERMARK_BUCKET = "PROBITY_watermarks";
export const WATERMARK_INTERVAL_MS = 30_000;

/** Where a fork was seen: a batch that does not continue the chain the record holds. */
export interface Fork {
  readonly epoch: string;
  readonly number: number;
  readonly digest: string;
}

export interface Watermark {
  readonly incarnation: string;
  /** Committed sequence of the agent's stream; everything at or below it was decided. */
  readonly sequence: number;
  /** The agent's epoch that was opened last; "" when nothing of it was ever taken. */
  readonly epoch: string;
  /** Highest accepted batch of the epoch, and its digest; 0 and "" when none is. */
  readonly number: number;
  readonly digest: string;
  readonly fork: Fork | undefined;
  /**
   * First and last of batches up to `number` that the archive gave up for their agent; whoever has one may send it. Left
   * out when there are none.
   */
  readonly givenUp?: readonly (readonly [first: number, last: number])[];
  /** When the roll-up wrote it, µs since the Unix epoch. */
  readonly atUs: number;
}

/** Key of an agent's watermark in the bucket. */
export function watermarkKeyOf(shard: string, agent: string): string {
  return `${shard}.${agent}`;
}

export function encodeWatermark(watermark: Watermark): string {
  return JSON.stringify(watermark);
}

/** The watermark a text holds, or undefined when it is not one. */
export function parseWatermark(text: string): Watermark | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  const { incarnation, sequence, epoch, number, digest, fork, atUs } = value;
  if (
    typeof incarnation !== "string" || !isNatural(sequence) || typeof epoch !== "string" ||
    !isNatural(number) || typeof digest !== "string" || !isNatural(atUs)
  ) return undefined;
  const givenUp = Array.isArray(value.givenUp) ? value.givenUp.filter(isRange) : [];
  return {
    ...{ incarnation, sequence, epoch, number, digest, fork: parseFork(fork), atUs },
    ...(givenUp.length === 0 ? {} : { givenUp }),
  };
}

function parseFork(value: unknown): Fork | undefined {
  if (!isRecord(value)) return undefined;
  const { epoch, number, digest } = value;
  if (typeof epoch !== "string" || !isNatural(number) || typeof digest !== "string") {
    return undefined;
  }
  return { epoch, number, digest };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isRange(value: unknown): value is readonly [number, number] {
  return Array.isArray(value) && value.length === 2 && value.every(isNatural);
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
