/** `rollup status`: per shard, how far the archive is, how far behind the log that is, and who works on it. */
import { systemClock } from "../runtime/clock.ts";
import { connectNats } from "../runtime/nats.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import { openTable } from "../storage/delta-table.ts";
import { openStore } from "../storage/open-store.ts";
import type { ShardStatus } from "../pipeline/rollup-status.ts";
import { defineCommand } from "./command.ts";
import { CommandError, EXIT } from "./exit.ts";
import { natsAccessOf } from "./nats-access.ts";
import { NATS_OPTIONS, ROLLUP_OPTIONS, STORE_OPTIONS } from "./options.ts";
import type { Output } from "./output.ts";
import { shardNames } from "./shards.ts";
import { storeOptionsOf } from "./store-options.ts";
import { dataFolderAt } from "./up/data-folder.ts";

/** How long to wait for the broker, in milliseconds. */
const CONNECT_LIMIT_MS = 10_000;

export const rollupStatusCommand = defineCommand({
  name: "rollup status",
  summary: "how far the archive is, and how far behind the log",
  examples: [["probity rollup status", "the shards of the data folder's broker and bucket"]],
  options: {
    nats: NATS_OPTIONS,
    store: STORE_OPTIONS,
    rollup: { shards: ROLLUP_OPTIONS.shards },
  },
  run: async ({ settings, global, log, output, signal }) => {
    const { readRollupStatus } = await import("../pipeline/rollup-status.ts");
    const folder = dataFolderAt(global.data);
    const access = natsAccessOf(settings.nats, { folder, role: "rollup" });
    const limit = timeLimit(CONNECT_LIMIT_MS);
    await using store = await openStore({ ...storeOptionsOf(settings.store, folder), log });
    await using connection = await connectNats({
      ...access,
      name: "probity rollup status",
      log,
      signal: AbortSignal.any([signal, limit]),
    }).catch((cause: unknown) => {
      const message = `Cannot reach the broker at ${access.url}`;
      throw new CommandError(EXIT.unreachable, message, { cause });
    });
    const clock = systemClock;
    const table = openTable({ store, clock, log });
    const shards = shardNames(settings.rollup.shards);
    const statuses = await readRollupStatus({ store, table, connection, shards, clock, signal });
    if (output.isForPeople) await printTable(statuses, output);
    else for (const each of statuses) await output.json(each);
    return EXIT.ok;
  },
});

async function printTable(statuses: readonly ShardStatus[], output: Output): Promise<void> {
  const right = "right" as const;
  const text = (value: number | null): string => value === null ? "-" : String(value);
  const rows = statuses.map((each) => [
    each.shard,
    text(each.committedSequence),
    text(each.lastSequence),
    text(each.lagMessages),
    each.lagSeconds === null ? "-" : `${each.lagSeconds.toFixed(1)} s`,
    text(each.version),
    each.committedAt ?? "-",
    String(each.agents),
    each.worker ?? output.paint("yellow", "nobody"),
    noteOf(each),
  ]);
  await output.table([
    { name: "shard" },
    { name: "committed", align: right },
    { name: "last", align: right },
    { name: "behind", align: right },
    { name: "since", align: right },
    { name: "version", align: right },
    { name: "at" },
    { name: "agents", align: right },
    { name: "worker" },
    { name: "" },
  ], rows);
}

function noteOf({ forks, isContinued, version, lastSequence }: ShardStatus): string {
  const notes = forks.length > 0 ? [`${forks.length} agents do not continue the record`] : [];
  if (lastSequence === null) notes.push("the stream is not there");
  else if (version !== null && !isContinued) notes.push("the stream was made again");
  return notes.join(", ");
}
