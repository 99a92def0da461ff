/** Sinks over TLS to real servers: whom they believe, what they show, and what they say when it does not fit. */
import { join } from "node:path";
import { createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { copyFile, readFile } from "node:fs/promises";
import { connect } from "amqplib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAmqpTarget } from "../../src/query/sinks/amqp.ts";
import { deliverBatch } from "../../src/query/sinks/delivery.ts";
import { createPostgresTarget } from "../../src/query/sinks/postgres.ts";
import { createSyslogTarget } from "../../src/query/sinks/syslog.ts";
import type { SinkTarget } from "../../src/query/sinks/target.ts";
import type { TlsFiles } from "../../src/query/sinks/tls.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { makeCertificate, makeSignedCertificate } from "../support/certificates.ts";
import { canRunPostgres, openPostgres, type PostgresServer, SHOWN } from "../support/postgres.ts";
import { canRunRabbitMq, openRabbitMq, type RabbitMq } from "../support/rabbitmq.ts";
import { sinkEvents } from "../support/sink-events.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const CREATE_TABLE = "CREATE TABLE audit_events (id text PRIMARY KEY, time timestamptz NOT NULL, " +
  "topic text NOT NULL, host text NOT NULL, severity text NOT NULL, event jsonb NOT NULL); " +
  `CREATE ROLE ${SHOWN} LOGIN; GRANT INSERT, SELECT ON audit_events TO ${SHOWN}`;
const EVENTS = sinkEvents(3);
const IDS = EVENTS.map(({ id }) => id);

/** One kind of sink and its server, whose certificate is for the address 127.0.0.1 and no name. */
interface Kind {
  readonly open: (tls: TlsFiles, more: { readonly host: string }) => SinkTarget;
  readonly openPlain: (tls: TlsFiles) => SinkTarget;
  /** Ids that its server has. */
  readonly taken: () => Promise<readonly unknown[]>;
}

describe.runIf([canRunPostgres(), canRunRabbitMq()].every(Boolean))("sinks over TLS", () => {
  const stack = new AsyncDisposableStack();
  const { signal } = new AbortController();
  let folder = "";
  let postgres: PostgresServer;
  let plainPostgres: PostgresServer;
  let rabbit: RabbitMq;
  let right: TlsFiles;
  let stranger = "";
  let syslogUrl = "";
  let plainSyslogUrl = "";
  const messages: string[] = [];

  beforeAll(async () => {
    folder = stack.use(await openTemporaryFolder("sinks-tls")).path;
    const server = makeCertificate(folder, "server", { names: "IP:127.0.0.1" });
    const authority = makeCertificate(folder, "authority");
    const client = makeSignedCertificate(folder, SHOWN, authority);
    stranger = makeCertificate(folder, "stranger").cert;
    right = { caFile: server.cert, certFile: client.cert, keyFile: client.key };
    const tls = { ...server, clientCa: authority.cert };
    [postgres, plainPostgres, rabbit] = await Promise.all([
      ...[openPostgres({ tls }), openPostgres()] as const,
      openRabbitMq({ tls }),
    ]);
    for (const each of [postgres, plainPostgres, rabbit]) stack.use(each);
    await postgres.query(CREATE_TABLE);
    const model = await connect(rabbit.url.replace("guest@", "guest:guest@"));
    const channel = await model.createChannel();
    await channel.assertQueue("events");
    await model.close();
    const [cert, key, ca] = await Promise.all(
      [server.cert, server.key, authority.cert].map((path) => readFile(path)),
    );
    const syslog = createTlsServer({ cert, key, ca, requestCert: true }, (socket) => {
      socket.on("data", (bytes: Uint8Array) => messages.push(String(bytes)));
      socket.on("error", () => socket.destroy());
    });
    // As plain syslog does: it waits for the end of a message that never comes.
    const plain = createServer((socket) => socket.on("error", () => socket.destroy()).resume());
    [syslogUrl = "", plainSyslogUrl = ""] = await Promise.all(
      [syslog, plain].map(async (each) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        each.listen(0, "127.0.0.1", resolve);
        await promise;
        stack.defer(() => {
          each.close();
        });
        const address = each.address();
        return `tls://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
      }),
    );
  }, 120_000);
  afterAll(() => stack.disposeAsync());

  const at = (url: string, host: string): string => url.replace("127.0.0.1", host);
  const shared = { isInsecure: false, passwordFile: undefined };
  const kinds: Readonly<Record<string, Kind>> = {
    postgres: {
      open: (tls, { host }) =>
        createPostgresTarget({
          ...{ ...shared, ...tls, table: "audit_events" },
          url: at(postgres.url, host).replace("probity@", `${SHOWN}@`),
        }),
      openPlain: (tls) =>
        createPostgresTarget({ ...shared, ...tls, table: "t", url: plainPostgres.url }),
      async taken() {
        const rows = await postgres.query("DELETE FROM audit_events RETURNING id");
        return rows.map(({ id }) => id);
      },
    },
    amqp: {
      open: (tls, { host }) =>
        createAmqpTarget({
          ...{ ...shared, ...tls, exchange: "", routingKey: "events" },
          ...{ passwordFile: rabbit.passwordFile, url: at(rabbit.tlsUrl, host) },
        }),
      openPlain: (tls) =>
        createAmqpTarget({
          ...{ ...shared, ...tls, exchange: "", routingKey: "events" },
          url: rabbit.url.replace("amqp:", "amqps:"),
        }),
      async taken() {
        const model = await connect(rabbit.url.replace("guest@", "guest:guest@"));
        const channel = await model.createChannel();
        const ids: unknown[] = [];
        for (let each = await channel.get("events", { noAck: true }); each !== false;) {
          ids.push(each.properties.messageId);
          each = await channel.get("events", { noAck: true });
        }
        await model.close();
        return ids;
      },
    },
    syslog: {
      open: (tls, { host }) => createSyslogTarget({ url: at(syslogUrl, host), ...tls }),
      openPlain: (tls) =>
        createSyslogTarget({ url: plainSyslogUrl, ...tls }, { connectLimitMs: 300 }),
      async taken() {
        const ids = () => [...messages.join("").matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
        await expect.poll(ids).toHaveLength(IDS.length);
        const taken = ids();
        messages.length = 0;
        return taken;
      },
    },
  };

  /** Why deliveries fail, until one is taken or there were two of them. */
  async function faultsOf(target: SinkTarget): Promise<string[]> {
    const reasons: string[] = [];
    const enough = new AbortController();
    const delivered = deliverBatch(EVENTS, {
      ...{ target, attemptsMax: 2, clock: systemClock, bury: () => Promise.reject(new Error()) },
      signal: AbortSignal.any([signal, enough.signal]),
      onFailure(reason) {
        if (reasons.push(reason) === 2) enough.abort();
      },
    });
    await Promise.allSettled([delivered]);
    return reasons;
  }

  describe.each(Object.keys(kinds))("%s", (name) => {
    const kind = (): Kind => {
      const found = kinds[name];
      if (found === undefined) throw new Error("no such kind");
      return found;
    };

    test("are sent to a server that is known, with the certificate that it wants", async () => {
      await using target = kind().open(right, { host: "127.0.0.1" });
      expect(await faultsOf(target)).toEqual([]);
      expect(new Set(await kind().taken())).toEqual(new Set(IDS));
    });

    test("wait for as long as the server is of an unknown authority, and go on with the right one", async () => {
      const caFile = join(folder, `${name}.ca`);
      await copyFile(stranger, caFile);
      await using target = kind().open({ ...right, caFile }, { host: "127.0.0.1" });
      const [first, second] = await faultsOf(target);
      expect(first).toMatch(/^the server's certificate is of no authority that this sink trusts: /);
      expect(second).toBe(first);
      await copyFile(join(folder, "server.crt"), caFile);
      expect(await faultsOf(target)).toEqual([]);
      expect(new Set(await kind().taken())).toEqual(new Set(IDS));
    });

    test("are not sent to a server whose certificate is for another name", async () => {
      await using target = kind().open(right, { host: "localhost" });
      const [reason, again] = await faultsOf(target);
      expect(reason).toMatch(/^the server's certificate is for another name: .*localhost/);
      expect(again).toBe(reason);
    });

    test("are not sent without the certificate that the server wants", async () => {
      const { caFile } = right;
      await using target = kind().open({ caFile }, { host: "127.0.0.1" });
      const [reason, again] = await faultsOf(target);
      expect(reason).toMatch(/^the server does not take the certificate|SQLSTATE 28000$|closed/);
      expect(again).toBeDefined();
    });

    test("are not sent to a server that speaks no TLS", async () => {
      await using target = kind().openPlain(right);
      const [reason, again] = await faultsOf(target);
      expect(reason).toMatch(/^the server (does not speak TLS here: |did not answer in time)/);
      expect(again).toBe(reason);
      expect(reason).not.toContain(":error:");
    });
  });
});
