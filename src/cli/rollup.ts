/**
 * `rollup`: moves the log into the archive. For as long as it is let, as one of any number of workers that divide the
 * shards among themselves; or what is there now of every shard with `--once` (for a scheduler or a function runtime).
 */
import { join } from "node:path";
import type { Worker } from "../pipeline/worker.ts";
import { systemClock } from "../runtime/clock.ts";
import { createMetrics, type Metrics } from "../runtime/metrics.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { openStore } from "../storage/open-store.ts";
import { defineCommand, type Invocation } from "./command.ts";
import { CommandError, EXIT, type ExitCode, usageError } from "./exit.ts";
import type { HttpServer } from "./http-server.ts";
import { natsAccessOf } from "./nats-access.ts";
import { type Address, duration, flag } from "./option-type.ts";
import {
  DAY_VARIABLE,
  MAINTENANCE_OPTIONS,
  NATS_OPTIONS,
  option,
  ROLLUP_OPTIONS,
  STORE_OPTIONS,
} from "./options.ts";
import { shardNames } from "./shards.ts";
import { storeOptionsOf } from "./store-options.ts";
import { dataFolderAt } from "./up/data-folder.ts";

const DAY_MS = 86_400_000;
/** Of a trial, in milliseconds. */
const DAY_MS_LEAST = 1_000;
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
  maintenance: MAINTENANCE_OPTIONS,
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
  run: (invocation) => invocation.settings.own.once ? runOnce(invocation) : runOn(invocation),
});

type RollupInvocation = Invocation<typeof OPTIONS>;

/** One run over every shard, one after the other. Safe beside workers and beside itself: each commit is conditional. */
async function runOnce(invocation: RollupInvocation): Promise<ExitCode> {
  const { settings: { rollup }, output, signal } = invocation;
  const { openRollup } = await import("../pipeline/rollup.ts");
  const { openRollupParts } = await import("../pipeline/rollup-parts.ts");
  await using store = await openBucket(invocation);
  const limit = timeLimit(CONNECT_LIMIT_MS);
  const options = {
    ...await optionsOf(invocation, store),
    store,
    signal: AbortSignal.any([signal, limit]),
  };
  await using parts = await reached(
    openRollupParts({ ...options, name: "probity rollup --once" }),
    { url: options.nats.url, limit },
  );
  for (const shard of shardNames(rollup.shards)) {
    await using each = await openRollup({ ...options, parts, shard });
    const done = await each.runOnce(signal);
    await output.json({ shard, ...done });
  }
  const { openMaintainedTable } = await import("../storage/delta-table.ts");
  const { systemClock } = await import("../runtime/clock.ts");
  const table = openMaintainedTable({ store, clock: systemClock, log: invocation.log });
  if ((await table.refresh(signal)).version >= 0) await table.checkpoint(signal);
  return EXIT.ok;
}

/** A worker that serves its share of the shards. */
async function runOn(invocation: RollupInvocation): Promise<ExitCode> {
  const { settings: { rollup, maintenance: settings }, structures, output, signal } = invocation;
  const { openWorker } = await import("../pipeline/worker.ts");
  await using store = await openBucket(invocation);
  const options = { ...await optionsOf(invocation, store), store, signal };
  await using worker = await openWorker({ ...options, shards: shardNames(rollup.shards) });
  const { openRollupMaintenance } = await import("./rollup-maintenance.ts");
  await using maintenance = await openRollupMaintenance({
    ...options,
    settings,
    keep: structures.keep,
    folder: dataFolderAt(invocation.global.data),
    shard: shardNames(rollup.shards)[0] ?? "0",
  });
  await using server = await openStatus(rollup.listen, { worker, metrics: options.metrics });
  await output.json({
    command: "rollup",
    ...(server === undefined ? {} : { listen: server.listen }),
  });
  const end = new AbortController();
  const keeping = maintenance.run(AbortSignal.any([signal, end.signal]));
  try {
    await worker.run(signal);
  } finally {
    end.abort();
    await keeping;
  }
  return EXIT.ok;
}

async function openBucket(
  { settings, global, log }: RollupInvocation,
): Promise<ObjectStore> {
  const folder = dataFolderAt(global.data);
  return await openStore({ ...storeOptionsOf(settings.store, folder), log });
}

async function optionsOf(invocation: RollupInvocation, store: ObjectStore) {
  const { settings, global, log } = invocation;
  const { createSubscriptionReaders } = await import("../pipeline/subscription-readers.ts");
  const folder = dataFolderAt(global.data);
  const { intervalMs, segmentMaxBytes, keepMs, keepUnread } = settings.rollup;
  const readers = createSubscriptionReaders({ store, clock: systemClock, log });
  return {
    nats: natsAccessOf(settings.nats, { folder, role: "rollup" }),
    intervalMs,
    segmentMaxBytes,
    truncation: { keepMs, ...(keepUnread ? { readers } : {}) },
    scratchDirectory: join(folder.cache, "rollup"),
    acceptNewStream: settings.own.acceptNewStream,
    ...daysOf(invocation),
    log,
    metrics: createMetrics(),
  };
}

/**
 * How long a day is to maintenance, and up to which age the roll-up takes objects into a commit, where that follows from
 * it: half of the grace, since nothing of a trial is 24 h old.
 */
function daysOf({ environment, settings: { maintenance }, log }: RollupInvocation) {
  const text = environment[DAY_VARIABLE];
  if (text === undefined) return { dayMs: DAY_MS, reuseAgeMaxMs: undefined };
  const dayMs = duration.parse(text) ?? 0;
  if (dayMs < DAY_MS_LEAST || dayMs > DAY_MS) {
    throw usageError(`Cannot use ${DAY_VARIABLE}: it is "${text}", not a duration of 1s to 24h`);
  }
  log.warn("a day of maintenance is short, which is for trials only", { day: text });
  return { dayMs, reuseAgeMaxMs: maintenance.graceMs / DAY_MS * dayMs / 2 };
}

async function reached<T>(
  opening: Promise<T>,
  { url, limit }: { readonly url: string; readonly limit: AbortSignal },
): Promise<T> {
  try {
    return await opening;
  } catch (cause) {
    if (!limit.aborted) throw cause;
    const message = `Cannot reach the broker at ${url} within ${CONNECT_LIMIT_MS} ms`;
    throw new CommandError(EXIT.unreachable, message, { cause });
  }
}

/** Health and figures over HTTP, where an address for them is given. */
async function openStatus(
  address: Address | undefined,
  { worker, metrics }: { readonly worker: Worker; readonly metrics: Metrics },
): Promise<HttpServer | undefined> {
  if (address === undefined) return undefined;
  const { openHttpServer } = await import("./http-server.ts");
  return await openHttpServer({
    fetch: (request) => answer(request, { worker, metrics }),
    address,
    tls: undefined,
  });
}

async function answer(
  { url, method }: Request,
  { worker, metrics }: { readonly worker: Worker; readonly metrics: Metrics },
): Promise<Response> {
  if (method !== "GET" && method !== "HEAD") return new Response("only GET\n", { status: 405 });
  switch (new URL(url).pathname) {
    case "/healthz":
      return new Response("ok\n");
    case "/readyz":
      return Response.json({ worker: worker.name, shards: worker.shards() });
    case "/metrics":
      return new Response(await metrics.text(), {
        headers: { "content-type": metrics.contentType },
      });
    default:
      return new Response("not found\n", { status: 404 });
  }
}
