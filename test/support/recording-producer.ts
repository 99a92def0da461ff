/** A producer that keeps in memory what it is told, in order; nothing is durable but on command. */
import { lineFields } from "../../src/event/event.ts";
import type { Producer, RingPositions } from "../../src/producer/producer.ts";
import { type Line, parseLine } from "./source-run.ts";

export function createRecordingProducer() {
  const lines: Line[] = [];
  const told: string[] = [];
  const listeners = new Set<(positions: RingPositions) => void>();
  let flushes: Promise<void> = Promise.resolve();
  const producer: Producer = {
    agent: "a",
    host: "h",
    positions: {},
    emit: (event) => producer.append(lineFields(event), event.timeUs),
    append(fields) {
      const line = parseLine(fields);
      lines.push(line);
      told.push(line.topic);
    },
    mark: (name, { position }) => void told.push(`${name}@${position}`),
    appendAll({ fields, timesUs }, { mark: covered } = {}) {
      fields.forEach((text, place) => producer.append(text, timesUs[place] ?? 0));
      if (covered !== undefined) producer.mark(covered.name, covered.position);
    },
    onDurable(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    writable: () => Promise.resolve(),
    flush: () => flushes,
    readBack: () => ({
      upToNow: () => undefined,
      isCaughtUp: () => true,
      fault: undefined,
      [Symbol.dispose]: () => undefined,
    }),
    unpublished: () => 0,
    counters: () => ({
      eventsAppended: lines.length,
      eventsLost: 0,
      batchesClosed: 0,
      batchesPublished: 0,
      batchesResent: 0,
      batchesReleased: 0,
      eventsVoided: 0,
      spoolBytes: 5,
      spoolBatches: 0,
    }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return {
    producer,
    lines,
    told,
    listeners,
    durable: (positions: RingPositions) => listeners.forEach((listener) => listener(positions)),
    refuse: () => flushes = new Promise(() => {}),
  };
}
