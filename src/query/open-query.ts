/**
 * The query service whole: opens what it reads from (bucket, broker, DuckDB), joins the parts, and closes them in
 * reverse. Answers from what it has while bucket or broker are away, and says so.
 */
import { rm } from "node:fs/promises";
import { uptime } from "node:os";
import { join } from "node:path";
import { makeFolders } from "../runtime/folders.ts";
import type { AuditEvent } from "../event/event.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { openProducer } from "../producer/open-producer.ts";
import { openTable } from "../storage/delta-table.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { createSubscriptionRegistry } from "../storage/subscription.ts";
import { createActivity } from "./activity.ts";
import { type App, createApp } from "./app.ts";
import { AUDIT_SERVICE, createAudit } from "./audit.ts";
import { createAuthenticator, type KnownToken, readAdminToken } from "./auth.ts";
import { type Broker, type NatsOptions, openBroker } from "./broker.ts";
import { createCursorCodec, cursorKeyOf } from "./cursor.ts";
import { openQueryDatabases } from "./databases.ts";
import { openDataFiles } from "./data-files.ts";
import { createDoor } from "./door.ts";
import { type ExecutorsOptions, openExecutors } from "./executors.ts";
import { type HotTable, openHotTable } from "./hot/table.ts";
import { openTallies, TALLY_INTERVAL_MS } from "./metric/tallies.ts";
import { openIssuers } from "./oidc/issuers.ts";
import type { OidcSettings } from "./oidc/oidc.ts";
import { openPayloadFolder } from "./payload-folder.ts";
import type { Route } from "./route.ts";
import { descriptionRoutes } from "./routes/description.ts";
import { eventRoute } from "./routes/event.ts";
import { eventsRoute } from "./routes/events.ts";
import { figureRoutes } from "./routes/figure-routes.ts";
import { metricRoutes } from "./routes/metric.ts";
import { holdRoutes } from "./routes/holds.ts";
import { createOrigins } from "./origins.ts";
import { type Readiness, statusRoutes } from "./routes/status.ts";
import { SQL_LIMITS, type SqlLimits } from "./routes/sql.ts";
import { openSqlRoute } from "./sql/open-sql.ts";
import { subscriptionEventsRoute } from "./routes/subscription-events.ts";
import { subscriptionRoutes } from "./routes/subscriptions.ts";
import { sinkRoutes } from "./routes/sinks.ts";
import { tableRoutes } from "./routes/table.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { HEARTBEAT_MS, tailRoute } from "./routes/tail.ts";
import { rpcRoute } from "./rpc/description.ts";
import { createDeletionReader } from "./reports/deletions.ts";
import { createRemovals } from "./tail/removals.ts";
import { createRpcEndpoint, type RpcEndpoint } from "./rpc/endpoint.ts";
import { openSinks } from "./sinks/sinks.ts";
import type { SinkSettings } from "./sinks/target.ts";
import { openSubscriptions } from "./subscriptions/subscriptions.ts";
import { leftOutCounters, observeQuery } from "./query-metrics.ts";
import { startTableWatch, type TableWatch } from "./table-watch.ts";
import { createDispatcher } from "./tail/dispatcher.ts";
import { createLiveClients } from "./tail/live-clients.ts";
import { openTokenTable, type TokenTable } from "./token-table.ts";

export interface QueryServiceOptions {
  /** The bucket; stays the caller's to close. */
  readonly store: ObjectStore;
  /** Without a broker the archive alone is read, and the audit goes to the log of the process. */
  readonly nats: NatsOptions | undefined;
  /** None when the archive is all that is asked about: nothing is missing then without a broker. */
  readonly shards: readonly string[];
  /** Copies of data files and scratch space; of this process alone. */
  readonly cacheDirectory: string;
  /** Bound of copies of data files. */
  readonly cacheLimitBytes?: number;
  /** Bound of the hot table in bytes of JSON, or `off`: the archive alone. */
  readonly hot: { readonly limitBytes: number } | "off";
  readonly tokens: {
    readonly adminTokenFile: string;
    readonly others?: readonly KnownToken[];
    /** OpenID Connect issuers whose tokens are taken as well. */
    readonly oidc?: OidcSettings | readonly OidcSettings[] | undefined;
  };
  /** Bound of DuckDB's memory; the process takes up to about 1.8 times this. */
  readonly memoryLimitBytes?: number;
  /** Bounds of people's SQL. */
  readonly sqlLimits?: SqlLimits;
  /** Requests of one principal, on average; ten seconds' worth of them at once. */
  readonly requestsPerSecond?: number;
  /** Of pages that may speak to the service from a browser; none unless told. */
  readonly origins?: readonly string[] | undefined;
  /** Bounds of what runs at the same time; see `POOL_LIMITS`. */
  readonly poolLimits?: ExecutorsOptions["limits"];
  readonly threads?: number;
  /** Where events are sent on. */
  readonly sinks?: readonly SinkSettings[];
  /** Name of this machine, in the events of the audit. */
  readonly host: string;
  /** Spool of the audit's events. */
  readonly producerDirectory: string;
  /** Of the software, as `/openapi.json` and `agent/start` say it. */
  readonly version: string;
  /** A comment is sent to live clients after so long without an event; 15 s by default. */
  readonly heartbeatMs?: number;
  /** Between two looks for data files whose events are not counted yet; 10 s by default. */
  readonly tallyIntervalMs?: number;
  /** The audit's events wait so long for others to go with; 1 s by default. */
  readonly flushMs?: number;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock?: Clock;
}

export interface QueryService extends AsyncDisposable {
  /** The HTTP interface; the second argument is what the server knows beside the request. */
  fetch(request: Request, environment?: unknown): Promise<Response>;
  /** JSON-RPC, for a server that takes WebSockets. */
  readonly rpc: RpcEndpoint;
  ready(): Readiness;
}

export const CACHE_LIMIT_BYTES = 8 * 1024 * 1024 * 1024;
/** How long a stop waits for answers that are being sent, in milliseconds. */
const DRAIN_LIMIT_MS = 3_000;
/** How long an open waits for the first look at the bucket, in milliseconds. */
const LOOK_WAIT_MS = 2_000;

/**
 * Opens the service. Rejects when its own settings cannot work (token file, credentials, folders); a bucket or broker
 * that is away is waited for in the background.
 */
export async function openQueryService(options: QueryServiceOptions): Promise<QueryService> {
  const { store, shards, hot, log, metrics, clock = systemClock } = options;
  await using stack = new AsyncDisposableStack();
  const admin = await readAdminToken(options.tokens.adminTokenFile);
  const folders = await prepareFolders(options.cacheDirectory);
  const files = await openDataFiles({
    store,
    cacheDirectory: options.cacheDirectory,
    cacheLimitBytes: options.cacheLimitBytes ?? CACHE_LIMIT_BYTES,
  });
  const payloads = stack.use(
    await openPayloadFolder({ scratchDirectory: folders.scratch }),
  );
  const { whole: database, narrow } = stack.use(
    await openQueryDatabases({ ...options, spillDirectory: folders.spill }),
  );
  const broker = await openBroker(options, stack);
  const hotTable = stack.use(
    await openHotTable({
      database,
      store,
      nats: broker === undefined || hot === "off" ? undefined : broker.connection,
      shards,
      limitBytes: hot === "off" ? 0 : hot.limitBytes,
      payloadDirectory: payloads.path,
      scratchDirectory: folders.scratch,
      clock,
      log,
    }),
  );
  await narrow.lock({ directories: [files.directory] });
  await database.lock({ directories: [files.directory, folders.scratch, payloads.path] });
  const table = openTable({ store, clock, log });
  const watch = stack.use(
    startTableWatch({
      table,
      onSnapshot: (snapshot) => hotTable.adopt(snapshot),
      clock,
      log,
    }),
  );
  broker?.onConnected((connection) => watch.listen(connection, shards));

  const audit = createAudit({ emit: await openEmitter(options, stack), clock });
  const { pages, streams: exports, backlogs, sql: turns } = stack.use(
    openExecutors({
      ...{ database, narrow, files, scratchDirectory: folders.scratch, metrics, clock },
      ...(options.poolLimits === undefined ? {} : { limits: options.poolLimits }),
    }),
  );
  const end = new AbortController();
  stack.defer(() => end.abort(new DOMException("The service is stopping", "AbortError")));
  const dispatcher = createDispatcher({ hot: hotTable, connection: await database.connect(), log });
  const clients = createLiveClients();
  const streams = createActivity();
  stack.defer(async () => {
    await Promise.all([clients.settled(DRAIN_LIMIT_MS), streams.settled(DRAIN_LIMIT_MS)]);
  });
  stack.use(dispatcher);
  const deletions = createDeletionReader({ store });
  const removals = createRemovals({ deletions, clock, log });
  const tailSource = { hot: hotTable, executor: backlogs, dispatcher, removals };
  const subscriptions = stack.use(
    openSubscriptions({
      source: tailSource,
      registry: createSubscriptionRegistry({ store, nowMs: () => clock.nowUs() / 1_000 }),
      clock,
      log,
      onExpired: ({ name }) =>
        audit.changed({
          principal: { name: AUDIT_SERVICE },
          route: "",
          parameters: { name },
          what: `removed subscription "${name}", which nobody has read for longer than it may be`,
          remote: undefined,
        }),
    }),
  );
  const sending = { source: tailSource, store, audit, clock, log, metrics, host: options.host };
  const sinks = stack.use(openSinks({ ...sending, settings: options.sinks ?? [] }));
  const tokens = stack.use(openTokenTable({ store, clock, log }));
  const oidc = openIssuers([options.tokens.oidc ?? []].flat(), { stack, clock, log });

  const tallies = stack.use(
    await openTallies({
      ...{ executor: backlogs, clock, log, acquire: () => hotTable.acquire() },
      directory: options.cacheDirectory,
      isAtHand: (file) => files.isAtHand(file),
      intervalMs: options.tallyIntervalMs ?? TALLY_INTERVAL_MS,
    }),
  );

  const reader = { executor: pages, tallies };
  const liveReader = { executor: backlogs, tallies };

  const ready = (): Readiness => readinessOf({ broker, watch, hotTable, tokens });
  const acquire = () => hotTable.acquire();
  const limits = options.sqlLimits ?? SQL_LIMITS;
  const cursors = createCursorCodec(cursorKeyOf(admin.token));
  const routes: Route[] = [
    eventsRoute({
      pages,
      streams: exports,
      acquire,
      cursors,
      activity: streams,
      version: options.version,
    }),
    eventRoute({ executor: pages, acquire, version: options.version }),
    tailRoute({
      source: tailSource,
      hot: hotTable,
      clients,
      heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
      version: options.version,
      left: leftOutCounters(metrics),
    }),
    ...subscriptionRoutes({ subscriptions, hot: hotTable, nowUs: () => clock.nowUs() }),
    ...sinkRoutes({ sinks, hot: hotTable, nowUs: () => clock.nowUs() }),
    subscriptionEventsRoute({
      subscriptions,
      hot: hotTable,
      clients,
      streams,
      heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
    }),
    openSqlRoute({
      stack,
      files,
      turns,
      executor: pages,
      acquire,
      tallies,
      folder: folders.scratch,
      limits,
      log,
    }),
    ...figureRoutes({ executor: pages, acquire, deletions, cursors, tallies }),
    ...metricRoutes({
      ...{ reader, liveReader, hot: hotTable, clients, clock },
      heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
    }),
    ...tableRoutes({ store, current: () => table.current() }),
    ...holdRoutes({ store, clock, log }),
    ...tokenRoutes({ store, table: tokens, clock, log }),
    rpcRoute(),
    ...statusRoutes({ ready, metrics }),
  ];
  observeQuery(metrics, {
    ...{ hotTable, clients, streams, subscriptions, files, tallies, watch },
    connection: stack.use(await database.connect()),
  });
  const authenticator = createAuthenticator({
    fixed: [admin.known, ...options.tokens.others ?? []],
    table: tokens,
    oidc,
  });
  const bootUs = () => clock.nowUs() - Math.round(uptime() * 1_000_000);
  const { requestsPerSecond } = options;
  const door = createDoor({
    ...{ authenticator, audit, elapsedMs: () => clock.elapsedMs() },
    ...(requestsPerSecond === undefined ? {} : { requestsPerSecond }),
  });
  const origins = createOrigins(options.origins ?? []);
  const around = { door, origins, audit, metrics, clock, log, bootUs, signal: end.signal };
  const app: App = createApp({
    routes: [...routes, ...descriptionRoutes(routes, options.version)],
    ...around,
  });
  const rpc = createRpcEndpoint({
    ...around,
    ...{ executor: pages, streams: exports, source: tailSource, hot: hotTable },
    ...{ clients, sending: streams, reader, liveReader },
    heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
  });
  await Promise.race([Promise.all([watch.look(), tokens.look()]), clock.sleep(LOOK_WAIT_MS)]);
  const owned = stack.move();
  return { fetch: app.fetch, rpc, ready, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Folders {
  readonly scratch: string;
  readonly spill: string;
}

/** Scratch space of an earlier process is worth nothing. */
async function prepareFolders(cacheDirectory: string): Promise<Folders> {
  const scratch = join(cacheDirectory, "scratch");
  const spill = join(cacheDirectory, "spill");
  for (const folder of [scratch, spill]) {
    await rm(folder, { recursive: true, force: true });
    makeFolders(folder, 0o700);
  }
  return { scratch, spill };
}

function readinessOf(
  { broker, watch, hotTable, tokens }: {
    readonly broker: Broker | undefined;
    readonly watch: TableWatch;
    readonly hotTable: HotTable;
    readonly tokens: Pick<TokenTable, "fault">;
  },
): Readiness {
  const parts: { readonly name: string; readonly reason: string }[] = [];
  const fault = broker?.fault();
  if (watch.fault !== undefined) parts.push({ name: "bucket", reason: "it does not answer" });
  if (tokens.fault !== undefined) {
    parts.push({ name: "tokens", reason: "those made or revoked elsewhere are not known" });
  }
  if (fault !== undefined) parts.push({ name: "broker", reason: fault });
  for (const reason of broker === undefined ? [] : hotTable.missing()) {
    parts.push({ name: "hot table", reason });
  }
  return { ready: parts.length === 0, parts };
}

/** Where the audit's events go: into the log of events, or without a broker into the log of the process. */
async function openEmitter(
  options: QueryServiceOptions,
  stack: AsyncDisposableStack,
): Promise<(event: AuditEvent) => void> {
  const { nats, shards, host, version, log, metrics, flushMs, clock = systemClock } = options;
  const [shard] = shards;
  if (nats === undefined || shard === undefined) {
    return (event) => log.info("audit", { topic: event.topic, message: event.message });
  }
  const producer = stack.use(
    await openProducer({
      ...{ directory: options.producerDirectory, host, shard, nats, log, metrics, clock },
      ...(flushMs === undefined ? {} : { flushMs }),
    }),
  );
  const tell = (what: "start" | "stop"): void =>
    producer.emit({
      timeUs: clock.nowUs(),
      topic: `agent/${what}`,
      severity: "info",
      service: AUDIT_SERVICE,
      message: `The query service ${what === "start" ? "started" : "stops"}.`,
      detail: { version, sources: [] },
    });
  let isOpen = true;
  tell("start");
  stack.defer(() => {
    tell("stop");
    isOpen = false;
  });
  return (event) => {
    if (isOpen) producer.emit(event);
    else log.warn("an answer ended after the audit did", { message: event.message });
  };
}
