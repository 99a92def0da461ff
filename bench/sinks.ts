/**
 * How many events a second go from the archive into a sink: a file, a webhook on loopback, PostgreSQL, AMQP. Beside each,
 * in the same run, a writer that does nothing but give the same lines to the same other side, in batches of the same size
 * and as durably.
 *
 * `node bench/sinks.ts [--events 100000] [--batch 100]`
 */
import { once } from "node:events";
import { open, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect } from "amqplib";
import { Client } from "pg";
import type { TargetSettings } from "../src/query/sinks/target.ts";
import { createBatchAgent, publishAll } from "../test/support/batches.ts";
import { openPostgres } from "../test/support/postgres.ts";
import { openQueryRig } from "../test/support/query-rig.ts";
import { openRabbitMq } from "../test/support/rabbitmq.ts";
import { until } from "../test/support/rollup-rig.ts";
import { printReport } from "./report.ts";
import { eventOf } from "./tail-filters.ts";

const TABLE = "(id text PRIMARY KEY, time timestamptz NOT NULL, topic text NOT NULL, " +
  "host text NOT NULL, severity text NOT NULL, event jsonb NOT NULL)";
const START_US = Date.UTC(2026, 5, 15) * 1_000;
const EVENTS_PER_MESSAGE = 1_000;
const LIMIT_MS = 300_000;
const PLAIN = { caFile: undefined, isInsecure: false };

interface Side {
  readonly target: TargetSettings;
  /** Gives it a batch; resolves when it has it for good. */
  readonly write: (lines: readonly string[]) => Promise<unknown>;
}

const { values } = parseArgs({
  options: {
    events: { type: "string", default: "100000" },
    batch: { type: "string", default: "100" },
    only: { type: "string" },
  },
});
const [events, batch] = [Number(values.events), Number(values.batch)];

await using stack = new AsyncDisposableStack();
const rigs = stack.use(await openQueryRig());
const agent = createBatchAgent("a");
for (let at = 0; at < events; at += EVENTS_PER_MESSAGE) {
  const numbers = Array.from({ length: EVENTS_PER_MESSAGE }, (_, place) => at + place);
  const message = await agent.batch(numbers.map((number) => eventOf(number, START_US + number)));
  await publishAll(rigs.rig.connection, [message]);
}
await rigs.rig.once();

/** As a sink has them, so that both give the same bytes. */
let lines: readonly string[] = [];
{
  await using query = await rigs.start();
  const answer = await query.ask(
    "/v1/events?from=2026-06-15&to=2026-06-16&topic=app/bench&order=asc",
    { accept: "application/x-ndjson" },
  );
  lines = (await answer.text()).trimEnd().split("\n");
}
if (lines.length !== events) throw new Error(`the archive has ${lines.length} of ${events} events`);

const sides: Readonly<Record<string, () => Promise<Side>>> = {
  file: openFile,
  webhook: openWebhook,
  postgres: openTable,
  amqp: openQueue,
};
const figures: Record<string, unknown> = {};
for (const [name, openSide] of Object.entries(sides)) {
  if (values.only !== undefined && values.only !== name) continue;
  const { target, write } = await openSide();
  const plain = await timed(async () => {
    for (let at = 0; at < lines.length; at += batch) await write(lines.slice(at, at + batch));
  });
  const sink = await timed(() => feedSink(name, target));
  process.stderr.write(`${name}: ${JSON.stringify({ plain, sink })}\n`);
  figures[`${name}_events_per_s`] = Math.round(events / sink.seconds);
  figures[`${name}_plain_events_per_s`] = Math.round(events / plain.seconds);
  figures[`${name}_ratio`] = rounded(plain.seconds / sink.seconds);
  figures[`${name}_cpu_us_per_event`] = rounded(sink.cpuUs / events);
  figures[`${name}_plain_cpu_us_per_event`] = rounded(plain.cpuUs / events);
}
printReport("sinks", { events, batch, ...figures });

async function feedSink(name: string, target: TargetSettings): Promise<void> {
  const settings = { name, topics: ["app/bench"], filters: {}, since: "2026-06-01", target };
  await using query = await rigs.start({
    sinks: [{ ...settings, eventsMax: batch, attemptsMax: 10 }],
  });
  const taken = async (): Promise<boolean> =>
    (await query.client.sinks.get(name)).delivered >= events;
  await until(taken, LIMIT_MS);
}

/** Processor time is that of this process; other sides have their own, but for the webhook's. */
async function timed(work: () => Promise<void>) {
  const [startMs, before] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(before);
  return { seconds: (performance.now() - startMs) / 1_000, cpuUs: user + system };
}

async function openFile(): Promise<Side> {
  const path = join(rigs.rig.folder, "plain.ndjson");
  const handle = await open(path, "a");
  stack.defer(() => handle.close());
  stack.defer(() => rm(path));
  return {
    target: {
      ...{ type: "file", path: join(rigs.rig.folder, "sink.ndjson") },
      ...{ rotateBytes: 2 ** 30, kept: 1 },
    },
    async write(some) {
      await handle.appendFile(some.map((line) => `${line}\n`).join(""));
      await handle.sync();
    },
  };
}

async function openWebhook(): Promise<Side> {
  const server = createServer((request, response) => {
    request.resume().on("end", () => response.writeHead(204).end());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/`;
  return {
    target: { type: "webhook", url, secretFile: undefined, mode: "batch", isInsecure: false },
    async write(some) {
      const answer = await fetch(url, { method: "POST", body: `[${some.join(",")}]` });
      await answer.body?.cancel();
    },
  };
}

async function openTable(): Promise<Side> {
  const server = stack.use(await openPostgres());
  await server.query(`CREATE TABLE taken ${TABLE}; CREATE TABLE plain ${TABLE}`);
  const { passwordFile, url, password } = server;
  const client = new Client(url.replace("@", `:${encodeURIComponent(password)}@`));
  await client.connect();
  stack.defer(() => client.end());
  const insert = "INSERT INTO plain SELECT e->>'id', (e->>'time')::timestamptz, e->>'topic', " +
    "e->>'host', e->>'severity', e FROM unnest($1::jsonb[]) AS given (e) ON CONFLICT DO NOTHING";
  return {
    target: { type: "postgres", url, passwordFile, table: "taken", ...PLAIN },
    write: (some) => client.query(insert, [some]),
  };
}

async function openQueue(): Promise<Side> {
  const { url, passwordFile } = stack.use(await openRabbitMq());
  const model = await connect(url.replace("guest@", "guest:guest@"));
  const channel = await model.createConfirmChannel();
  await channel.assertQueue("taken");
  await channel.assertQueue("plain");
  stack.defer(() => model.close());
  return {
    target: { type: "amqp", url, passwordFile, exchange: "", routingKey: "taken", ...PLAIN },
    async write(some) {
      for (const line of some) {
        channel.sendToQueue("plain", Buffer.from(line), { persistent: true });
      }
      await channel.waitForConfirms();
    },
  };
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
