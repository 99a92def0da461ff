/** A table in a directory store of its own, and ways to look at and to forge its log. */
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openMaintainedTable } from "../../src/storage/delta-table.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { deltaLogKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import type { MaintainedTable } from "../../src/storage/table.ts";
import { shardWork } from "./shard-work.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export interface TableFolder extends AsyncDisposable {
  readonly store: ObjectStore;
  /** A reader and writer of its own, over this store or another. */
  open(over?: ObjectStore): MaintainedTable;
  /** The actions of a version, as plain JSON. */
  entryOf(version: number): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** Puts a version as another engine would. */
  forge(version: number, actions: readonly unknown[]): Promise<void>;
  /** Commits of shard "0", ten sequences each. */
  commitRounds(count: number): Promise<void>;
}

export async function openTableFolder(): Promise<TableFolder> {
  const folder = await openTemporaryFolder("table");
  const store = await openDirectoryStore({ directory: folder.path });
  const open = (over: ObjectStore = store): MaintainedTable =>
    openMaintainedTable({ store: over, clock: systemClock, log: createLog({ level: "error" }) });
  return {
    store,
    open,
    async entryOf(version) {
      const found = await store.get(deltaLogKey(version));
      const lines = Buffer.from(found?.body ?? []).toString().trimEnd().split("\n");
      return lines.map((line) => JSON.parse(line));
    },
    async forge(version, actions) {
      const text = actions.map((action) => `${JSON.stringify(action)}\n`).join("");
      await store.put(deltaLogKey(version), Buffer.from(text));
    },
    async commitRounds(count) {
      const table = open();
      for (let round = 0; round < count; round++) {
        const first = round * 10 + 1;
        const startedFrom = round === 0 ? undefined : round;
        await table.commit(shardWork({ startedFrom, first, last: first + 9 }));
      }
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
