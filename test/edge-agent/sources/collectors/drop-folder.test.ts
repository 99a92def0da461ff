import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { WAITING_SPOOL_PART_MAX } from "../../../../src/edge-agent/source.ts";
import { runSource } from "../../../../src/edge-agent/source-runner.ts";
import {
  createCollectorSource,
} from "../../../../src/edge-agent/sources/collectors/collector-source.ts";
import {
  createCommandsCollector,
} from "../../../../src/edge-agent/sources/collectors/commands/commands-collector.ts";
import {
  openCollectorState,
} from "../../../../src/edge-agent/sources/collectors/collector-state.ts";
import {
  readDropFolder,
  REFUSED_MAX,
} from "../../../../src/edge-agent/sources/collectors/drop/drop-folder.ts";
import {
  DROPPED_BYTES_MAX,
} from "../../../../src/edge-agent/sources/collectors/drop/dropped-file.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { createRecordingProducer } from "../../../support/recording-producer.ts";
import { testLog } from "../../../support/ring-sources.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

const nothing = () => undefined;

it("what is dropped waits for room in the spool and leaves the rest to others", async () => {
  await using folder = await openTemporaryFolder("drop");
  const drop = join(folder.path, "drop");
  mkdirSync(join(drop, "new"), { recursive: true });
  writeFileSync(join(drop, "new", "one"), "said\n");
  const { producer, lines } = createRecordingProducer();
  const parts: unknown[] = [];
  const stopping = new AbortController();
  const writable = (_signal?: AbortSignal, part?: number): Promise<void> => {
    parts.push(part);
    stopping.abort();
    return Promise.resolve();
  };
  await using source = createCollectorSource({
    collector: createCommandsCollector({ rules: [], drop: { path: drop } }),
    ...{ dataDirectory: folder.path, position: undefined, clock: systemClock, log: testLog },
  });
  await runSource({
    ...{ source, producer: { ...producer, writable }, clock: systemClock, log: testLog },
    ...{ onGap: nothing, onState: nothing },
  }, stopping.signal);
  expect(lines.map(({ topic, message }) => [topic, message])).toEqual([["app/drop", "said"]]);
  expect(parts).toEqual([WAITING_SPOOL_PART_MAX]);
});

it("a dropped file of very many lines is taken line by line", async () => {
  await using folder = await openTemporaryFolder("drop");
  mkdirSync(join(folder.path, "new"));
  writeFileSync(join(folder.path, "new", "many"), "a\n".repeat(DROPPED_BYTES_MAX / 2));
  const memory = { get: () => undefined, entries: () => new Map<string, string>() };
  const context = { clock: systemClock, log: testLog, lost: nothing };
  const before = process.memoryUsage().heapUsed;
  const stopping = new AbortController();
  const reading = readDropFolder(folder, { memory, context }, stopping.signal);
  const first = await reading.next();
  expect(first.value?.events).toHaveLength(1000);
  const heldBytes = process.memoryUsage().heapUsed - before;
  expect(heldBytes).toBeLessThan(4 * DROPPED_BYTES_MAX);
  await reading.return(undefined);
  expect(readdirSync(join(folder.path, "new"))).toEqual(["many"]);
});

it("folders that cannot be put away hide no file behind them", async () => {
  await using folder = await openTemporaryFolder("drop");
  for (const name of ["new", "refused"]) mkdirSync(join(folder.path, name));
  for (let each = 0; each < REFUSED_MAX; each += 1) {
    writeFileSync(join(folder.path, "refused", String(each)), "");
  }
  // Names come in any order: it is all but sure that some of the files are behind ten folders.
  for (let each = 0; each < 60; each += 1) {
    if (each % 3 > 0) mkdirSync(join(folder.path, "new", `folder-${each}`));
    else writeFileSync(join(folder.path, "new", `file-${each}`), `said ${each}\n`);
  }
  using state = openCollectorState(join(folder.path, "state.db"));
  const context = { clock: systemClock, log: testLog, lost: nothing };
  const said = new Set<string>();
  const options = { path: folder.path, intervalMs: 1, namesPerLook: 10 };
  const signal = AbortSignal.timeout(20_000);
  for await (const each of readDropFolder(options, { memory: state.memory, context }, signal)) {
    state.commit(each);
    for (const { topic, message } of each.events) if (topic === "app/drop") said.add(`${message}`);
    if (said.size === 20) break;
  }
  expect(said.size).toBe(20);
});
