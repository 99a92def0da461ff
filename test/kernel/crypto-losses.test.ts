import { describe, expect, it } from "vitest";
import { setTimeout as delay } from "node:timers/promises";
import type { Source } from "../../src/edge-agent/source.ts";
import { compileProbes, hasProbes, openTestCrypto, runProbed } from "../support/probed-programs.ts";
import { hasBpf, openPinFolder } from "../support/ring-sources.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const HITS = 300_000;
/** Of some hundred records, so that the reader cannot keep up. */
const RING_BYTES = 64 * 1024;
const SETTLE_MS = 30_000;

/** What became of hits that were not told, by the source's own account. */
function counted(source: Source): number {
  const { parts = [], unreadable = 0 } = source.counters();
  return parts.filter(({ kind }) => kind === "crypto_datum").reduce(
    (sum, { ringFull, throttled, filtered, readFault, recursion = 0 }) =>
      sum + ringFull + throttled + filtered + readFault + recursion,
    unreadable,
  );
}

describe.runIf(hasBpf && hasProbes)("hits of a probe in a tight loop", () => {
  it("arrive or are counted, each of them, also when the ring has no room", async () => {
    await using folder = await openTemporaryFolder("crypto");
    using pins = openPinFolder();
    const { program } = compileProbes(folder.path);
    const libraries = { dataDirectory: folder.path, libraries: [program], ringBytes: RING_BYTES };
    await using source = openTestCrypto({ pins, ...libraries });
    expect(await source.probe()).toMatchObject({ state: "on" });
    const stop = new AbortController();
    const values = new Set<number>();
    let arrived = 0;
    let isAttached = false;
    const reading = (async () => {
      for await (const { fields, position } of source.start(stop.signal)) {
        for (const line of fields) {
          const { topic, detail } = JSON.parse(`{${line}`);
          if (topic === "agent/config") isAttached = true;
          if (topic !== "crypto/test/loop") continue;
          arrived += 1;
          values.add(detail.value);
        }
        if (position !== undefined) source.release(position);
      }
    })();
    while (!isAttached) await delay(10);
    await runProbed(program, "loop", String(HITS)).ended();
    for (let waitedMs = 0; waitedMs < SETTLE_MS && arrived + counted(source) < HITS;) {
      await delay(50);
      waitedMs += 50;
    }
    expect(arrived + counted(source)).toBe(HITS);
    expect(values.size).toBe(arrived);
    expect(source.counters().ringFull).toBeGreaterThan(0);
    expect(arrived).toBeGreaterThan(0);
    const told = source.losses().filter((loss) => loss.class === "ring_full");
    expect(told.reduce((sum, { count }) => sum + (count ?? 0), 0)).toBe(source.counters().ringFull);
    stop.abort();
    await reading;
  });
});
