/** Sinks beside one whose other side hangs, and one whose other side flaps: none waits for another. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "amqplib";
import { expect, test } from "vitest";
import type { SinkSettings, TargetSettings } from "../../src/query/sinks/target.ts";
import { createBatchAgent } from "../support/batches.ts";
import { openMoodyProxy } from "../support/moody-proxy.ts";
import { canRunNats } from "../support/nats-server.ts";
import { canRunPostgres, openPostgres } from "../support/postgres.ts";
import { openQueryRig } from "../support/query-rig.ts";
import { canRunRabbitMq, openRabbitMq } from "../support/rabbitmq.ts";
import { publishNumbers, range, until } from "../support/rollup-rig.ts";
import { openWebhookReceiver } from "../support/webhook-receiver.ts";

const CREATE_TABLE = "CREATE TABLE audit_events (id text PRIMARY KEY, time timestamptz NOT NULL, " +
  "topic text NOT NULL, host text NOT NULL, severity text NOT NULL, event jsonb NOT NULL)";
const EVENTS = 300;
/** The end of a service waits for no other side longer than this. */
const END_LIMIT_MS = 10_000;
const isComplete = [canRunNats(), canRunPostgres(), canRunRabbitMq()].every(Boolean);

test.runIf(isComplete)(
  "neither block nor double what the others are given, and go on when theirs is back",
  async () => {
    await using stack = new AsyncDisposableStack();
    const rigs = stack.use(await openQueryRig());
    const [postgres, rabbit] = await Promise.all([openPostgres(), openRabbitMq()]);
    for (const each of [postgres, rabbit]) stack.use(each);
    await postgres.query(CREATE_TABLE);
    const receiver = stack.use(await openWebhookReceiver(randomBytes(32)));
    const behind = async (url: string) => {
      const proxy = stack.use(await openMoodyProxy({ port: Number(new URL(url).port) }));
      return { proxy, url: url.replace(/:[0-9]+(?=[/]|$)/, `:${proxy.port}`) };
    };
    const rows = await behind(postgres.url);
    const queue = await behind(rabbit.url);
    const hook = await behind(receiver.url);
    const model = await connect(rabbit.url.replace("guest@", "guest:guest@"));
    stack.defer(() => model.close());
    const channel = await model.createChannel();
    await channel.assertQueue("events");
    const path = join(rigs.rig.folder, "events.ndjson");
    const open = { caFile: undefined, isInsecure: false };
    const sink = (name: string, target: TargetSettings): SinkSettings => ({
      ...{ name, topics: ["app/test"], filters: {}, since: "2026-06-01", attemptsMax: 2 },
      ...{ eventsMax: 20, target },
    });
    const sinks = [
      sink("file", { type: "file", path, rotateBytes: 1e7, kept: 1 }),
      sink("rows", {
        ...{ type: "postgres", url: rows.url, table: "audit_events", ...open },
        passwordFile: postgres.passwordFile,
      }),
      sink("queue", {
        ...{ type: "amqp", url: queue.url, passwordFile: rabbit.passwordFile, exchange: "" },
        ...{ ...open, routingKey: "events" },
      }),
      sink("hook", {
        ...{ type: "webhook", url: hook.url, secretFile: undefined, mode: "batch" },
        isInsecure: false,
      }),
    ];
    const agent = createBatchAgent("a");
    const linesOf = async (): Promise<{ readonly id: string; readonly pid: number }[]> => {
      const text = await readFile(path, "utf8").catch(() => "");
      return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    };
    {
      await using query = await rigs.start({ sinks });
      const deliveredBy = async () =>
        Object.fromEntries((await query.client.sinks.list()).map((each) => [each.name, each]));
      await publishNumbers(rigs.rig, agent, range(0, EVENTS / 3));
      // The one that hangs has not even said no; the others have all.
      queue.proxy.turn("flap");
      await until(async () => (await linesOf()).length === EVENTS / 3, 15_000);
      hook.proxy.turn("pass");
      await until(async () => (await deliveredBy())["hook"]?.delivered === EVENTS / 3);
      await until(() => Promise.resolve(queue.proxy.accepted() > 1));
      await publishNumbers(rigs.rig, agent, range(EVENTS / 3, EVENTS));
      await until(async () => (await deliveredBy())["hook"]?.delivered === EVENTS);
      // How a sink fares is written with the next change or renewal of its turn.
      await expect.poll(deliveredBy, { timeout: 20_000 }).toMatchObject({
        file: { delivered: EVENTS, retries: 0, state: "running" },
        rows: { delivered: 0 },
        queue: { delivered: 0, state: "failing" },
      });
      // In the middle of its work, too, an other side comes and goes.
      rows.proxy.turn("pass");
      queue.proxy.turn("pass");
      await until(async () => Number((await deliveredBy())["rows"]?.delivered) > 0);
      rows.proxy.turn("hang");
      queue.proxy.turn("flap");
      const startMs = performance.now();
      await query[Symbol.asyncDispose]();
      expect(performance.now() - startMs).toBeLessThan(END_LIMIT_MS);
    }
    rows.proxy.turn("pass");
    queue.proxy.turn("pass");
    await using query = await rigs.start({ sinks });
    await until(async () =>
      (await query.client.sinks.list()).every((each) => each.delivered >= EVENTS)
    );
    const ids = (await linesOf()).map(({ id }) => id);
    expect(new Set(ids).size).toBe(EVENTS);
    expect(ids).toHaveLength(EVENTS);
    expect(receiver.received.map(({ id }) => id)).toEqual(ids);
    const [counted] = await postgres.query("SELECT count(*)::int AS rows FROM audit_events");
    expect(counted).toEqual({ rows: EVENTS });
    const queued = new Set<unknown>();
    for (let each = await channel.get("events", { noAck: true }); each !== false;) {
      queued.add(each.properties.messageId);
      each = await channel.get("events", { noAck: true });
    }
    expect(queued).toEqual(new Set(ids));
  },
  120_000,
);
