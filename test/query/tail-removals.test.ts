/** What is said of events that may be gone from between a place and what is left. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { formatTime } from "../../src/event/event.ts";
import { WHOLE_MESSAGE } from "../../src/event/event-id.ts";
import type { ReadView } from "../../src/query/read-view.ts";
import { createRemovals, type Removals } from "../../src/query/tail/removals.ts";
import { createLog } from "../../src/runtime/log.ts";
import { deltaLogKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { openStore } from "../../src/storage/open-store.ts";
import type { DataFile } from "../../src/storage/table.ts";
import { clockAt } from "../support/data-table.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const NOW = "2026-03-20T06:00:00Z";
const OLD = "0a1b2c3d";
const NEW = "1a1b2c3d";
const log = createLog({ level: "error" });

let folder: TemporaryFolder;
let store: ObjectStore;
let removals: Removals;
beforeEach(async () => {
  folder = await openTemporaryFolder("tail-removals");
  const bucket = join(folder.path, "bucket");
  await mkdir(bucket);
  store = await openStore({ url: pathToFileURL(bucket).href, log });
  removals = createRemovals({ store, clock: clockAt(NOW), log });
});
afterEach(() => folder[Symbol.asyncDispose]());

/** A version of the table in which a retention removed what was before a day, or nothing was. */
async function writeVersion(version: number, before?: string): Promise<void> {
  const record = { kind: "retain", rows: 1, before: { "**": Date.parse(before ?? "1970-01-01") } };
  const maintenance = before === undefined ? undefined : record;
  const text = JSON.stringify({ commitInfo: { probity: { maintenance } } });
  await store.put(deltaLogKey(version), new TextEncoder().encode(text));
}

function fileOf(
  { seq, logged, incarnations = [OLD, OLD] }: {
    readonly seq: readonly [number, number];
    readonly logged: readonly [string, string];
    readonly incarnations?: readonly [string, string];
  },
): DataFile {
  const [first, last] = logged.map((day) => formatTime(Date.parse(day) * 1_000));
  return {
    ...{ path: `${seq}`, sizeBytes: 1, rows: 10, eventDate: "1970-01-01", sha256: "" },
    nullCount: {},
    minimum: { seq: seq[0], incarnation: incarnations[0], logged_at: first ?? "" },
    maximum: { seq: seq[1], incarnation: incarnations[1], logged_at: last ?? "" },
  };
}

function after(sequence: number, view: Partial<ReadView>): Promise<readonly string[]> {
  const streams = new Map([[OLD, { sequence, idx: WHOLE_MESSAGE }]]);
  return removals.after({ streams, knownUs: Date.parse(NOW) * 1_000 }, {
    request: { conditions: [], sinceUs: undefined },
    view: { version: 0, files: [], hot: [], upper: new Map(), missing: [], ...view },
  });
}

test("what the newest version of the table removed is told, however lately rules were read", async () => {
  const files = [fileOf({ seq: [1, 9], logged: ["2026-03-05", "2026-03-05"] })];
  await writeVersion(0);
  expect(await after(5, { version: 0, files })).toEqual([]);
  await writeVersion(1, "2026-03-10");
  expect(await after(5, { version: 1, files })).toEqual([`${OLD}-6-0`]);
});

test("where it cannot be told what was removed, events count as perhaps gone", async () => {
  const files = [fileOf({ seq: [1, 9], logged: ["2026-03-05", "2026-03-05"] })];
  await store.put(deltaLogKey(0), new TextEncoder().encode("{"));
  expect(await after(5, { version: 0, files })).toEqual([`${OLD}-6-0`]);
  expect(await after(9, { version: 0, files, upper: new Map([[OLD, 9]]) })).toEqual([]);
});

test("the last time of a file that another stream shares says nothing of what comes next", async () => {
  await writeVersion(0, "2026-03-10");
  const logged = ["2026-03-01", "2026-03-15"] as const;
  const files = [fileOf({ seq: [1, 5], logged, incarnations: [OLD, NEW] })];
  expect(await after(5, { files })).toEqual([`${OLD}-6-0`]);
  expect(await after(5, { files: [fileOf({ seq: [1, 5], logged })] })).toEqual([]);
});
