import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "amqplib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SinkSettings, TargetSettings } from "../../src/query/sinks/target.ts";
import { ensureStream, openStream } from "../../src/runtime/nats.ts";
import { createSinkRegistry } from "../../src/storage/sink.ts";
import { type BatchAgent, createBatchAgent } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { canRunPostgres, openPostgres, type PostgresServer } from "../support/postgres.ts";
import { openQueryRig, type QueryRig, type RunningQuery } from "../support/query-rig.ts";
import { canRunRabbitMq, openRabbitMq, type RabbitMq } from "../support/rabbitmq.ts";
import { publishNumbers, range, until } from "../support/rollup-rig.ts";
import { startScript } from "../support/script-process.ts";
import { openWebhookReceiver, type WebhookReceiver } from "../support/webhook-receiver.ts";

const CREATE_TABLE = "CREATE TABLE audit_events (id text PRIMARY KEY, time timestamptz NOT NULL, " +
  "topic text NOT NULL, host text NOT NULL, severity text NOT NULL, event jsonb NOT NULL)";

function sink(name: string, target: TargetSettings): SinkSettings {
  const shared = { topics: ["app/test"], filters: {}, since: "2026-06-01", attemptsMax: 2 };
  return { name, ...shared, eventsMax: 10, target };
}

/** A real listener of syslog over TCP, which counts octets as RFC 6587 has it. */
async function openSyslog(): Promise<AsyncDisposable & { url: string; messages: string[] }> {
  const messages: string[] = [];
  const server = createServer((socket) => {
    let rest = Buffer.alloc(0);
    socket.on("data", (bytes: Uint8Array) => {
      rest = Buffer.concat([rest, bytes]);
      for (;;) {
        const space = rest.indexOf(0x20);
        const length = Number(rest.subarray(0, space).toString());
        if (space < 0 || rest.length < space + 1 + length) return;
        messages.push(rest.subarray(space + 1, space + 1 + length).toString());
        rest = rest.subarray(space + 1 + length);
      }
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `tcp://127.0.0.1:${port}`,
    messages,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

const isComplete = [canRunNats(), canRunPostgres(), canRunRabbitMq()].every(Boolean);

describe.runIf(isComplete)("sinks of one service", () => {
  const key = randomBytes(32);
  const stack = new AsyncDisposableStack();
  let rigs: QueryRig;
  let agent: BatchAgent;
  let receiver: WebhookReceiver;
  let postgres: PostgresServer;
  let rabbit: RabbitMq;
  let syslog: Awaited<ReturnType<typeof openSyslog>>;
  let settings: readonly SinkSettings[];
  let path = "";
  let published = 0;

  const publish = async (count: number): Promise<void> => {
    await publishNumbers(rigs.rig, agent, range(published, published + count));
    published += count;
  };
  const linesOf = async (): Promise<{ readonly id: string; readonly pid: number }[]> =>
    (await readFile(path, "utf8")).trimEnd().split("\n").map((line) => JSON.parse(line));
  const deliveredBy = async ({ client }: RunningQuery): Promise<Record<string, number>> =>
    Object.fromEntries((await client.sinks.list()).map(({ name, delivered }) => [name, delivered]));

  beforeAll(async () => {
    rigs = stack.use(await openQueryRig());
    receiver = stack.use(await openWebhookReceiver(key));
    [postgres, rabbit] = await Promise.all([openPostgres(), openRabbitMq()]);
    stack.use(postgres);
    stack.use(rabbit);
    syslog = stack.use(await openSyslog());
    agent = createBatchAgent("a");
    await postgres.query(CREATE_TABLE);
    path = join(rigs.rig.folder, "events.ndjson");
    const secretFile = join(rigs.rig.folder, "secret");
    await writeFile(secretFile, `whsec_${key.toString("base64")}\n`, { mode: 0o600 });
    const { passwordFile } = rabbit;
    const open = { caFile: undefined, isInsecure: false };
    settings = [
      sink("file", { type: "file", path, rotateBytes: 1_000_000, kept: 2 }),
      sink("hook", {
        ...{ type: "webhook", url: receiver.url, secretFile, mode: "batch", isInsecure: false },
      }),
      sink("rows", {
        ...{ type: "postgres", url: postgres.url, table: "audit_events", ...open },
        passwordFile: postgres.passwordFile,
      }),
      sink("queue", {
        ...{ type: "amqp", url: rabbit.url, passwordFile, exchange: "", ...open },
        routingKey: "events",
      }),
      sink("stream", {
        ...{ type: "nats", url: rigs.rig.server.url, subject: "siem.events" },
        credentialsFile: undefined,
      }),
      sink("log", { type: "syslog", url: syslog.url, caFile: undefined }),
    ];
  }, 120_000);
  afterAll(() => stack.disposeAsync());

  test("take all of the past and the present, each once, however one of them fails", async () => {
    await publish(25);
    await rigs.rig.once();
    await publish(5);
    // It refuses each in its way, and then until all others have what they were to get.
    const refusals = 1_000;
    receiver.next.push(...[503, 302, 429, 500], ...Array<number>(refusals).fill(503));
    await using query = await rigs.start({ sinks: settings });
    await until(async () => {
      const { file, rows, log } = await deliveredBy(query);
      return file === 30 && rows === 30 && log === 30;
    });
    // There is no queue for the messages yet: a broker that has nowhere to put them is waited for.
    const retried = /^probity_sink_retries_total\{sink="queue"\} [1-9]/m;
    await until(async () => retried.test(await (await query.ask("/metrics")).text()));
    await until(() => Promise.resolve(receiver.next.length <= refusals));
    expect(await deliveredBy(query)).toMatchObject({ hook: 0, queue: 0, stream: 0 });
    receiver.next.length = 0;
    const { streams } = await jetstreamManager(rigs.rig.connection);
    await ensureStream(rigs.rig.connection, {
      ...{ name: "SIEM", subjects: ["siem.>"], messageBytesMax: 1_000_000 },
    });
    const model = await connect(rabbit.url.replace("guest@", "guest:guest@"));
    const channel = await model.createChannel();
    await channel.assertQueue("events");
    await publish(3);
    await until(async () => Object.values(await deliveredBy(query)).every((each) => each === 33));
    const lines = await linesOf();
    const ids = lines.map(({ id }) => id);
    expect(lines.map(({ pid }) => pid)).toEqual(range(0, 33));
    expect(receiver.received.map(({ id }) => id)).toEqual(ids);
    expect(receiver.faults).toEqual([]);
    expect(receiver.received[0]?.type).toBe("probity.app.test");
    const rows = await postgres.query("SELECT id, event->>'pid' AS pid FROM audit_events");
    expect(new Set(rows.map(({ id }) => id))).toEqual(new Set(ids));
    expect(syslog.messages.map((each) => /id="([^"]+)"/.exec(each)?.[1])).toEqual(ids);
    expect(syslog.messages[0]).toMatch(/^<1\d\d>1 2026-06-15T\S+Z \S+ probity - app\/test \[/);
    const queued = [];
    for (let each = await channel.get("events"); each !== false;) {
      expect(each.properties.deliveryMode).toBe(2);
      queued.push(each.properties.messageId);
      each = await channel.get("events", { noAck: true });
    }
    expect(new Set(queued)).toEqual(new Set(ids));
    await model.close();
    const streamed = await Promise.all(
      range(1, 34).map((seq) => streams.getMessage("SIEM", { seq })),
    );
    expect(streamed.map((each) => each?.header.get("Nats-Msg-Id"))).toEqual(ids);
    expect(streamed.map((each) => each?.json())).toMatchObject(lines);
    expect((await openStream(rigs.rig.connection, "SIEM"))?.messages).toBe(33);
    expect((await query.client.sinks.get("queue")).retries).toBeGreaterThan(0);
  });

  test("keep what is refused for good as a dead letter, and go on", async () => {
    receiver.poison.add(published + 1);
    await using query = await rigs.start({ sinks: settings });
    await publish(4);
    await until(async () => (await query.client.sinks.get("hook")).dead === 1);
    const [letter] = await query.client.sinks.deadLetters("hook");
    await until(async () => (await linesOf()).length === published);
    const refused = (await linesOf()).find(({ pid }) => receiver.poison.has(pid));
    expect(letter).toMatchObject({ id: refused?.id, reason: "the server answered 422" });
    await until(() => Promise.resolve(receiver.received.length === published - 1));
    await query.client.sinks.clearDeadLetters("hook");
    expect(await query.client.sinks.deadLetters("hook")).toEqual([]);
  });

  test(
    "lose nothing to kill -9 between delivery and place, and give the same ids again",
    async () => {
      const { folder, server } = rigs.rig;
      const before = receiver.received.length;
      await publish(10);
      // Taken, but never answered: the place cannot have moved.
      receiver.next.push("hang");
      const registry = createSinkRegistry({ store: rigs.rig.store });
      const task = { url: server.url, bucket: join(folder, "bucket"), folder, sinks: settings };
      {
        await using killed = await startScript("sink-process.ts", [
          JSON.stringify({ ...task, tokenFile: join(folder, "token") }),
        ]);
        await until(() => Promise.resolve(receiver.received.length > before));
        await until(async () => (await linesOf()).length === published);
        // Each of the others has its turn by then as well, or takes it a moment later.
        await until(async () =>
          (await registry.list()).every(({ value }) => value.turn !== undefined)
        );
        await killed.kill();
      }
      // The turn of the dead ends by itself after 30 s; the test does not wait for it.
      for (const { name, value } of await registry.list()) {
        expect(value.turn).toBeDefined();
        await registry.change(name, (state) => state && { ...state, turn: undefined });
      }
      await appendFile(path, '{"id":"torn');
      const first = receiver.received.slice(before).map(({ id }) => id);
      await using query = await rigs.start({ sinks: settings });
      await publish(1);
      await until(async () =>
        Object.values(await deliveredBy(query)).every((each) => each >= published)
      );
      const again = receiver.received.slice(before + first.length).map(({ id }) => id);
      expect(again).toHaveLength(11);
      expect(again.slice(0, first.length)).toEqual(first);
      expect(receiver.faults).toEqual([]);
      const lines = await linesOf();
      expect(new Set(lines.map(({ pid }) => pid))).toEqual(new Set(range(0, published)));
      // It, too, may have been killed between delivery and place.
      expect([...new Set(lines.map(({ id }) => id))].slice(-11)).toEqual(again);
      const [counted] = await postgres.query("SELECT count(*)::int AS rows FROM audit_events");
      expect(counted).toEqual({ rows: published });
    },
    90_000,
  );
});
