/** Which batches are read back from the log: those that came to disk while somebody asked, and no others. */
import { describe, expect, it } from "vitest";
import { createReadBacks } from "../../src/producer/read-back.ts";
import type { NatsConnection } from "../../src/runtime/nats.ts";
import { systemClock } from "../../src/runtime/clock.ts";

/** A spool with batches, of which none is published yet. */
function createWorld(onDisk: number) {
  const world = { onDisk, published: 0, asked: [] as number[], lines: [] as string[] };
  const backs = createReadBacks(systemClock, (_connection, { ordinal }) => {
    world.asked.push(ordinal);
    return ordinal === 13 ? Promise.reject(new Error("gone")) : Promise.resolve([`of ${ordinal}`]);
  });
  const open = () =>
    backs.add((lines) => void world.lines.push(...lines), {
      highest: () => world.onDisk,
      isPublished: () => world.published === world.onDisk,
    });
  /** The broker takes the next batches. */
  const publish = async (through: number): Promise<void> => {
    while (world.published < through) {
      world.published += 1;
      // as: what reads here asks nobody
      const connection = {} as NatsConnection;
      const ordinal = world.published;
      await backs.read(connection, { ordinal, stream: "s", subject: "s", sequence: ordinal });
    }
  };
  return Object.assign(world, { open, publish });
}

describe("reading back", () => {
  it("passes over what was on disk before, and what comes after its end", async () => {
    const world = createWorld(1000);
    using reading = world.open();
    world.onDisk = 1003;
    reading.upToNow();
    world.onDisk = 5000;
    await world.publish(1002);
    expect(reading.isCaughtUp()).toBe(false);
    await world.publish(1003);
    expect([reading.isCaughtUp(), reading.fault]).toEqual([true, undefined]);
    await world.publish(5000);
    expect(world.asked).toEqual([1001, 1002, 1003]);
    expect(world.lines).toEqual(["of 1001", "of 1002", "of 1003"]);
  });

  it("reads all from its beginning while it has no end", async () => {
    const world = createWorld(2);
    using reading = world.open();
    world.onDisk = 4;
    await world.publish(3);
    expect(reading.isCaughtUp()).toBe(false);
    await world.publish(4);
    expect([reading.isCaughtUp(), world.asked]).toEqual([true, [3, 4]]);
  });

  it("has a fault when a batch cannot be read, or went without being read", async () => {
    const refused = createWorld(12);
    using reading = refused.open();
    refused.onDisk = 13;
    await refused.publish(13);
    expect(reading.fault).toBe("gone");
    const passed = createWorld(1);
    using other = passed.open();
    passed.onDisk = 2;
    expect(other.fault).toBeUndefined();
    // The broker had it already, and nobody was told.
    passed.published = 2;
    expect(other.fault).toBe("1 batches were stored without being read back");
  });
});
