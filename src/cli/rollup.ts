/**
 * `rollup`: moves the log of every shard into the archive, for as long as it is let, or one round with `--once` (for a
 * scheduler or a function runtime).
 */
import { join } from "node:path";
import { createMetrics } from "../runtime/metrics.ts";
import { openStore } from "../storage/open-store.ts";
import type { Rollup } from "../pipeline/rollup.ts";
import { defineCommand, type Invocation } from "./command.ts";
import { CommandError, EXIT } from "./exit.ts";
import { natsAccessOf } from "./nats-access.ts";
import { flag } from "./option-type.ts";
import { NATS_OPTIONS, option, ROLLUP_OPTIONS, STORE_OPTIONS } from "./options.ts";
import { shardNames } from "./shards.ts";
import { storeOptionsOf } from "./store-options.ts";
import { dataFolderAt } from "./up/data-folder.ts";

/** How long one round waits for the broker, in milliseconds. */
const CONNECT_LIMIT_MS = 30_000;

const OPTIONS = {
  own: {
    once: option("once", flag, {
      reach: "flag",
      default: "false",
      text: "commit what the log holds now, then end",
    }),
    acceptNewStream: option("accept_new_stream", flag, {
      reach: "flag",
      default: "false",
      text: "make the stream anew where it does not continue the archive, instead of stopping",
    }),
  },
  nats: NATS_OPTIONS,
  store: STORE_OPTIONS,
  rollup: ROLLUP_OPTIONS,
} as const;

export const rollupCommand = defineCommand({
  name: "rollup",
  summary: "move the log into the archive, on and on or one round",
  examples: [
    ["probity rollup --once", "one round over the log of the data folder's broker"],
    ["probity rollup --nats nats://log:4222 --store-url s3://audit/prod", "from there to there"],
  ],
  options: OPTIONS,
  isDaemon: true,
  run: async (invocation) => {
    const { settings: { own, rollup }, output, signal } = invocation;
    const connectLimit = own.once ? AbortSignal.timeout(CONNECT_LIMIT_MS) : undefined;
    await using resources = new AsyncDisposableStack();
    const rollups = await openRollups(invocation, { resources, connectLimit });
    if (own.once) {
      for (const [index, each] of rollups.entries()) {
        const done = await each.runOnce(signal);
        await output.json({ shard: shardNames(rollup.shards)[index], ...done });
      }
      return EXIT.ok;
    }
    await output.json({ command: "rollup" });
    await Promise.all(rollups.map((each) => each.run(signal)));
    return EXIT.ok;
  },
});

interface OpenRollups {
  readonly resources: AsyncDisposableStack;
  /** Ends waiting for the broker. */
  readonly connectLimit: AbortSignal | undefined;
}

async function openRollups(
  { settings, global, log, signal }: Invocation<typeof OPTIONS>,
  { resources, connectLimit }: OpenRollups,
): Promise<Rollup[]> {
  const folder = dataFolderAt(global.data);
  const nats = natsAccessOf(settings.nats, { folder, role: "rollup" });
  const { openRollup } = await import("../pipeline/rollup.ts");
  const store = resources.use(await openStore({ ...storeOptionsOf(settings.store, folder), log }));
  const { intervalMs, segmentMaxBytes, shards } = settings.rollup;
  const opening = shardNames(shards).map(async (shard) =>
    resources.use(
      await openRollup({
        store,
        nats,
        shard,
        intervalMs,
        segmentMaxBytes,
        scratchDirectory: join(folder.cache, "rollup", shard),
        acceptNewStream: settings.own.acceptNewStream,
        log,
        metrics: createMetrics(),
        signal: connectLimit === undefined ? signal : AbortSignal.any([signal, connectLimit]),
      }),
    )
  );
  try {
    return await Promise.all(opening);
  } catch (cause) {
    await Promise.allSettled(opening);
    if (connectLimit?.aborted !== true) throw cause;
    const message = `Cannot reach the broker at ${nats.url} within ${CONNECT_LIMIT_MS} ms`;
    throw new CommandError(EXIT.unreachable, message, { cause });
  }
}
