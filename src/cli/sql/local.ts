/**
 * SQL over a bucket without a server: the query service itself, in this process, over the archive alone. So the gate,
 * the views, the limits and the answers are those of a server.
 *
 * Invariant: nothing is written to the bucket; what is needed beside it lies in a folder that is removed at the end.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Client, createClient } from "../../client/client.ts";
import { openQueryService } from "../../query/open-query.ts";
import { systemClock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { createMetrics } from "../../runtime/metrics.ts";
import { openTable } from "../../storage/delta-table.ts";
import { openStore, type StoreOptions } from "../../storage/open-store.ts";
import { CommandError, EXIT, type ExitCode, usageError } from "../exit.ts";
import { versionOfPackage } from "../program.ts";

export interface LocalOptions {
  /** `s3://…`, `file://…`, or a folder: a bucket, or a data folder that has one. */
  readonly place: string;
  /** How S3 is reached. */
  readonly store: Omit<StoreOptions, "log" | "url">;
  readonly log: Log;
}

export async function withLocalClient(
  { place, store: access, log }: LocalOptions,
  work: (client: Client) => Promise<ExitCode>,
): Promise<ExitCode> {
  await using stack = new AsyncDisposableStack();
  const url = urlOf(place);
  const store = stack.use(await openStore({ ...access, url, log }));
  const table = await openTable({ store, clock: systemClock, log }).refresh();
  if (table.version < 0) {
    throw new CommandError(EXIT.failed, `Cannot read the table in "${place}": there is none`);
  }
  const folder = await mkdtemp(join(tmpdir(), "probity-sql-"));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const token = randomBytes(32).toString("hex");
  const adminTokenFile = join(folder, "token");
  await writeFile(adminTokenFile, `${token}\n`, { mode: 0o600 });
  const service = stack.use(
    await openQueryService({
      store,
      nats: undefined,
      shards: [],
      cacheDirectory: join(folder, "cache"),
      hot: "off",
      tokens: { adminTokenFile },
      host: hostname(),
      producerDirectory: join(folder, "spool"),
      version: versionOfPackage(),
      log,
      metrics: createMetrics(),
    }),
  );
  const client = createClient({
    url: "http://localhost",
    token,
    fetch: (address, init) => service.fetch(new Request(address, init)),
  });
  return await work(client);
}

function urlOf(place: string): string {
  if (/^(s3|file):\/\//.test(place)) return place;
  const folder = resolve(place);
  const bucket = existsSync(join(folder, "table")) ? folder : join(folder, "bucket");
  if (!existsSync(join(bucket, "table"))) {
    throw usageError(`Cannot use "${place}": neither it nor its folder "bucket" has a table`);
  }
  return pathToFileURL(bucket).href;
}
