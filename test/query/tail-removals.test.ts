/** What is said of events that may be gone from between a place and what is left. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { formatTime } from "../../src/event/event.ts";
import { WHOLE_MESSAGE } from "../../src/event/event-id.ts";
import { ADMIN_SCOPES, type Scopes } from "../../src/query/principal.ts";
import type { ReadView } from "../../src/query/read-view.ts";
import { createDeletionReader } from "../../src/query/reports/deletions.ts";
import { createRemovals, type Removals } from "../../src/query/tail/removals.ts";
import { conditionsOf } from "../../src/query/subscriptions/request.ts";
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
  removals = createRemovals({
    deletions: createDeletionReader({ store }),
    clock: clockAt(NOW),
    log,
  });
});
afterEach(() => folder[Symbol.asyncDispose]());

/** A version of the table in which a retention removed what was before a day, or nothing was. */
async function writeVersion(
  version: number,
  before?: string,
  patterns: readonly string[] = ["**"],
): Promise<void> {
  const cutoffs = patterns.map((each) => [each, Date.parse(before ?? "1970-01-01")]);
  const record = { kind: "retain", rows: 1, before: Object.fromEntries(cutoffs) };
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

interface Asking {
  readonly scopes?: Partial<Scopes>;
  readonly filters?: Readonly<Record<string, readonly string[]>>;
  readonly isPatient?: boolean;
}

function options(view: Partial<ReadView>, { scopes, filters = {}, isPatient = false }: Asking) {
  const conditions = conditionsOf(filters, { nowUs: Date.parse(NOW) * 1_000, bootUs: 0 });
  return {
    request: { conditions, sinceUs: undefined },
    principal: { name: "", scopes: { ...ADMIN_SCOPES, ...scopes } },
    view: { version: 0, files: [], hot: [], upper: new Map(), missing: [], ...view },
    isPatient,
    signal: new AbortController().signal,
  };
}

async function after(
  sequence: number,
  view: Partial<ReadView>,
  asking: Asking = {},
): Promise<readonly string[]> {
  const streams = new Map([[OLD, { sequence, idx: WHOLE_MESSAGE }]]);
  const place = { streams, knownUs: Date.parse(NOW) * 1_000 };
  return (await removals.after(place, options(view, asking)))?.from ?? [];
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

describe("a retention that removed other things than are wanted is not told", () => {
  const files = [fileOf({ seq: [1, 9], logged: ["2026-03-05", "2026-03-05"] })];
  const told = [`${OLD}-6-0`];
  const rows: readonly (readonly [string, readonly string[], Asking, readonly string[]])[] = [
    ["of other topics than a sink sees", ["file/**"], { scopes: { topics: ["auth"] } }, []],
    ["of a part of them", ["auth/login"], { scopes: { topics: ["auth"] } }, told],
    ["of all topics", ["**"], { scopes: { topics: ["auth"] } }, told],
    ["of other topics than are asked for", ["file/**"], { filters: { topic: ["auth"] } }, []],
    [
      ...["of what is asked for and not seen", ["file/**"]] as const,
      ...[{ scopes: { topics: ["auth"] }, filters: { topic: ["file,auth"] } }, []] as const,
    ],
    ["of other hosts", ["**@db-*"], { scopes: { hosts: ["web-1"] } }, []],
    ["of other hosts than are asked for", ["**@db-*"], { filters: { host: ["web-1"] } }, []],
    ["of some of the hosts", ["**@db-1"], { scopes: { hosts: ["db-*"] } }, told],
    ["of a further topic's service", ["app/shop/a"], { filters: { topic: ["app/shop/b"] } }, told],
  ];
  test.each(rows)("%s", async (_, patterns, asking, expected) => {
    await writeVersion(0, "2026-03-10", patterns);
    expect(await after(5, { files }, asking)).toEqual(expected);
  });

  test("where a rule of one's own topics keeps longer", async () => {
    const before = { "auth/**": Date.parse("2026-01-01"), "**": Date.parse("2026-03-10") };
    const maintenance = { kind: "retain", rows: 1, before };
    const text = JSON.stringify({ commitInfo: { probity: { maintenance } } });
    await store.put(deltaLogKey(0), new TextEncoder().encode(text));
    expect(await after(5, { files }, { scopes: { topics: ["auth"] } })).toEqual([]);
    expect(await after(5, { files }, { scopes: { topics: ["auth", "file"] } })).toEqual(told);
  });

  test("where whole files before the place held nothing else", async () => {
    await writeVersion(0, "2026-03-10", ["file/**"]);
    const later = [fileOf({ seq: [8, 9], logged: ["2026-03-15", "2026-03-15"] })];
    expect(await after(5, { files: later }, { scopes: { topics: ["auth"] } })).toEqual([]);
    expect(await after(5, { files: later })).toEqual(told);
  });
});

test("of an old log that nobody has taken into account yet, nothing is told that is not so", async () => {
  const versions = 300;
  for (let version = 0; version <= versions; version++) await writeVersion(version);
  const files = [fileOf({ seq: [1, 9], logged: ["2026-03-05", "2026-03-05"] })];
  expect(await after(5, { version: versions, files }, { isPatient: true })).toEqual([]);
});

describe("a tail since a time", () => {
  const since = async (day: string, asking: Asking = {}) =>
    await removals.since(Date.parse(day) * 1_000, options({}, asking));

  test("from which on something was removed is told up to when", async () => {
    await writeVersion(0, "2026-03-10");
    expect(await since("2026-03-01")).toEqual({
      from: ["2026-03-01T00:00:00.000000Z"],
      beforeUs: Date.parse("2026-03-10") * 1_000,
    });
    expect(await since("2026-03-10")).toBeUndefined();
  });

  test("is told nothing where nothing was removed, or nothing that it wants", async () => {
    await writeVersion(0);
    expect(await since("2020-01-01")).toBeUndefined();
    await writeVersion(1, "2026-03-10", ["file/**"]);
    expect(await removals.since(1, options({ version: 1 }, { scopes: { topics: ["auth"] } })))
      .toBeUndefined();
    expect(await removals.since(1, options({ version: 1 }, {}))).toBeDefined();
    expect(await removals.since(0, options({ version: 1 }, {}))).toBeUndefined();
  });
});
