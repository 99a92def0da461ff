/**
 * What of one source is on disk: a producer that tells lines once they are durable, and forgets them when nobody listens.
 *
 * Invariants: a line is told once, in order, and only when the spool has it; lines that wait are bounded, and what is
 * dropped past the bound is counted.
 */
import type { Producer, RingPosition } from "../../producer/producer.ts";

export interface DurableLinesOptions {
  readonly producer: Producer;
  /** Name of the source's mark. */
  readonly source: string;
  /** Whether anybody listens. */
  readonly isWanted: () => boolean;
  /** Told the lines: text of their JSON objects after the opening brace. */
  readonly onLines: (fields: readonly string[]) => void;
  /** Told how many lines were dropped because too many waited. */
  readonly onDropped: (lines: number) => void;
}

/** Lines that wait for the disk, in UTF-16 units. */
export const WAITING_LENGTH_MAX = 16 * 1024 * 1024;

interface Waiting {
  readonly position: RingPosition;
  readonly fields: readonly string[];
  readonly length: number;
}

/** The same producer, whose lines of the source are told. Disposing ends the telling. */
export function tellDurableLines(
  { producer, source, isWanted, onLines, onDropped }: DurableLinesOptions,
): { readonly producer: Producer } & Disposable {
  let waiting: Waiting[] = [];
  let length = 0;
  const stop = producer.onDurable((positions) => {
    const reached = positions[source];
    if (reached === undefined) return;
    const ready = waiting.findLastIndex(({ position }) =>
      position.ring === reached.ring && position.position <= reached.position
    );
    const durable = waiting.slice(0, ready + 1);
    waiting = waiting.slice(ready + 1);
    length = waiting.reduce((sum, each) => sum + each.length, 0);
    if (isWanted()) { for (const { fields } of durable) onLines(fields); }
  });
  const appendAll: Producer["appendAll"] = (lines, options) => {
    producer.appendAll(lines, options);
    const mark = options?.mark;
    if (mark?.name !== source || lines.fields.length === 0 || !isWanted()) return;
    const own = lines.fields.reduce((sum, text) => sum + text.length, 0);
    if (length + own > WAITING_LENGTH_MAX) return onDropped(lines.fields.length);
    waiting.push({ position: mark.position, fields: [...lines.fields], length: own });
    length += own;
  };
  const told = new Proxy(producer, {
    get(target, name) {
      if (name === "appendAll") return appendAll;
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  return { producer: told, [Symbol.dispose]: stop };
}
