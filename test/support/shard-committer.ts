/**
 * A process that commits rounds of one shard as a roll-up does, among others that may do the same. Arguments: URL, shard,
 * name, rounds. It prints `ready`, waits for a line, works, and prints one line of JSON per round.
 */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { dataFile, shardWork } from "./shard-work.ts";

const [url = "", shard = "", name = "", rounds = ""] = process.argv.slice(2);
const endpoint = process.env["TEST_S3_ENDPOINT"];
const log = createLog({ level: "error" });

await using store = await openStore({
  url,
  ...(endpoint === undefined ? {} : { endpoint, pathStyle: true }),
  log,
});
const table = openTable({ store, clock: systemClock, log });
say("ready");
await once(process.stdin, "data");
for (let round = 0; round < Number(rounds); round++) {
  const at = (await table.refresh()).shards.get(shard);
  const first = (at?.sequence ?? 0) + 1;
  const last = first + 2;
  // The work itself takes its time, so that others come between.
  await delay(Math.random() * 20);
  const files = [dataFile(`event_date=2026-01-02/${shard}-${first}-${last}-${name}.parquet`)];
  const work = shardWork({ shard, startedFrom: at?.version, first, last, files });
  const result = await table.commit(work);
  say(result.kind === "superseded" ? { name, first } : { name, first, version: result.version });
}
process.stdin.destroy();

function say(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
