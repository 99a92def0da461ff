import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { untilAborted } from "../../../src/query/sinks/until-aborted.ts";

test("what opens too late is discarded, and a discard that fails ends no process", async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  try {
    const opening = Promise.withResolvers<string>();
    const ending = new AbortController();
    const discarded: string[] = [];
    const opened = untilAborted(opening.promise, {
      signal: ending.signal,
      discard: (late) => {
        discarded.push(late);
        return Promise.reject(new Error("the other side is gone"));
      },
    });
    ending.abort(new Error("the service ends"));
    await expect(opened).rejects.toThrow("the service ends");
    opening.resolve("a connection");
    await setTimeout(0);
    await setTimeout(0);
    expect(discarded).toEqual(["a connection"]);
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", note);
  }
});
