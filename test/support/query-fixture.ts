/** A query service over a real table of known events, without a broker, and ways to ask it. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { AuditEvent } from "../../src/event/event.ts";
import { digestOfToken } from "../../src/query/auth.ts";
import type { ExecutorsOptions } from "../../src/query/executors.ts";
import type { OidcSettings } from "../../src/query/oidc/oidc.ts";
import { openQueryService, type QueryService } from "../../src/query/open-query.ts";
import type { Action, Scopes } from "../../src/query/principal.ts";
import type { SqlLimits } from "../../src/query/routes/sql.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import type { SinkSettings } from "../../src/query/sinks/target.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";
import { commitMessages } from "./test-archive.ts";
import { createMessageMaker, numberedEvents } from "./test-messages.ts";

export const TOKEN = "test-token-of-enough-length";
/** Of somebody who may read files of one host, and nothing else. */
export const VIEWER = "viewer-token-of-enough-length";
/** Of somebody who may see figures of the process, and no event. */
export const METER = "meter-token-of-enough-length";
/** Of somebody who may do nothing. */
export const NOTHING = "nothing-token-of-enough-length";
export const INCARNATION = "0a1b2c3d";
export const START_US = Date.UTC(2026, 5, 1) * 1000;
/** The day of all events. */
export const RANGE = "from=2026-06-01&to=2026-06-02";
export const EVENTS = 250;

export interface AskOptions {
  readonly method?: string;
  readonly signal?: AbortSignal;
  /** Address of the client; unknown without it. */
  readonly remote?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: BodyInit;
  /** Null for none. */
  readonly token?: string | null;
}

export interface QueryFixture extends AsyncDisposable {
  readonly service: QueryService;
  /** Ends the service, lets something happen meanwhile, and opens another on the same folders. */
  reopen(meanwhile?: () => Promise<void>): Promise<void>;
  readonly store: ObjectStore;
  readonly folder: string;
  /** Lines of the process's log; the audit's events are among them. */
  readonly lines: readonly string[];
  ask(path: string, options?: AskOptions): Promise<Response>;
  /** Events of a successful search over {@link RANGE}. */
  search(query: string, options?: AskOptions): Promise<Readonly<Record<string, unknown>>[]>;
  sql(sql: string, more?: object, options?: AskOptions): Promise<Response>;
}

export interface QueryFixtureOptions {
  /** Further events of db-1, in a third commit. */
  readonly events?: readonly AuditEvent[];
  /** Commits events of its own instead. */
  readonly write?: (store: ObjectStore, folder: string) => Promise<void>;
  /** All in one commit, and so in one data file. */
  readonly isOneFile?: boolean;
  readonly sqlLimits?: SqlLimits;
  /** Between two looks for data files to tally, in milliseconds. */
  readonly tallyIntervalMs?: number;
  readonly memoryLimitBytes?: number;
  readonly requestsPerSecond?: number;
  readonly origins?: readonly string[];
  readonly sinks?: readonly SinkSettings[];
  readonly oidc?: OidcSettings | readonly OidcSettings[];
  readonly poolLimits?: ExecutorsOptions["limits"];
  /** Without any, nothing of the record is missing: all of it is archived. */
  readonly shards?: readonly string[];
  /** Further tokens that may read, and what they see. */
  readonly readers?: Readonly<Record<string, Pick<Scopes, "topics" | "hosts">>>;
}

/** A sink that begins at the present, where nothing comes. */
export const QUIET_SINK: SinkSettings = {
  name: "siem",
  topics: ["file"],
  filters: { severity: ["!info"] },
  since: undefined,
  ...{ eventsMax: 100, attemptsMax: 10, target: { type: "stdout" } },
};

/**
 * 200 process/exec of web-1 (half of root, half of www), 49 file/write of db-1 that belong to app/shop too, and one
 * network/connect of db-1; in four messages and two commits.
 */
export async function openQueryFixture(
  { events = [], write, oidc, isOneFile = false, shards = ["0"], readers = {}, ...options }:
    QueryFixtureOptions = {},
): Promise<QueryFixture> {
  const folder = await openTemporaryFolder("query");
  await mkdir(join(folder.path, "bucket"));
  await writeFile(join(folder.path, "token"), `${TOKEN}\n`);
  const lines: string[] = [];
  const log = createLog({ level: "info", write: (line) => lines.push(line) });
  const store = await openStore({ url: pathToFileURL(join(folder.path, "bucket")).href, log });
  if (write === undefined) await fill(store, { folder: folder.path, events, isOneFile });
  else await write(store, folder.path);
  const open = () =>
    openQueryService({
      ...options,
      store,
      nats: undefined,
      shards,
      cacheDirectory: join(folder.path, "cache"),
      hot: "off",
      tokens: {
        adminTokenFile: join(folder.path, "token"),
        oidc,
        others: [
          {
            sha256: digestOfToken(VIEWER),
            principal: {
              name: "viewer",
              scopes: { actions: new Set(["read", "sql"]), topics: ["file"], hosts: ["db-1"] },
            },
          },
          {
            sha256: digestOfToken(NOTHING),
            principal: {
              name: "nothing",
              scopes: { actions: new Set(), topics: "all", hosts: "all" },
            },
          },
          {
            sha256: digestOfToken(METER),
            principal: {
              name: "meter",
              scopes: { actions: new Set(["operate"]), topics: "all", hosts: "all" },
            },
          },
          ...Object.entries(readers).map(([token, scopes]) => ({
            sha256: digestOfToken(token),
            principal: {
              name: `reader ${token}`,
              scopes: { actions: new Set<Action>(["read"]), ...scopes },
            },
          })),
        ],
      },
      host: "test",
      producerDirectory: join(folder.path, "spool"),
      version: "0.0.0",
      heartbeatMs: 100,
      log,
      metrics: createMetrics(),
    });
  let service = await open();
  const ask: QueryFixture["ask"] = (path, options = {}) => {
    const { token = TOKEN, headers, remote, ...init } = options;
    const all = { ...headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
    return service.fetch(
      new Request(`http://localhost${path}`, { ...init, headers: all }),
      remote === undefined ? undefined : { remoteAddr: { hostname: remote } },
    );
  };
  return {
    get service() {
      return service;
    },
    ...{ store, lines, ask },
    folder: folder.path,
    async reopen(meanwhile) {
      await service[Symbol.asyncDispose]();
      await meanwhile?.();
      service = await open();
    },
    async search(query, options) {
      const answer = await ask(`/v1/events?${RANGE}&limit=10000&${query}`, options);
      if (!answer.ok) throw new Error(`Cannot search: ${await answer.text()}`);
      return (await answer.json()).events;
    },
    sql: (sql, more = {}, options = {}) =>
      ask("/v1/sql", { method: "POST", body: JSON.stringify({ sql, ...more }), ...options }),
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function fill(
  store: ObjectStore,
  { folder, events, isOneFile }: {
    readonly folder: string;
    readonly events: readonly AuditEvent[];
    readonly isOneFile: boolean;
  },
): Promise<void> {
  const web = createMessageMaker();
  const db = createMessageMaker({ agent: "a2", host: "db-1", firstSequence: 3 });
  const first = [
    await web.next(numberedEvents(0, 100, { timeUs: START_US })),
    await web.next(numberedEvents(100, 100, { timeUs: START_US + 1_000_000 })),
  ];
  const second = [
    await db.next(
      numberedEvents(200, 49, {
        timeUs: START_US + 2_000_000,
        more: { topic: "file/write", path: "/etc/pass,wd", topics: ["app/shop"] },
      }),
    ),
    await db.next([{
      timeUs: START_US + 3_000_000,
      topic: "network/connect",
      severity: "high",
      message: 'says "hello", and\nmore — ünïcode 🦀',
      dst_port: 443,
      detail: { nested: { big: 12345678901, none: null }, text: 'q"uote' },
    }]),
  ];
  const other = createMessageMaker({ agent: "a3", host: "db-1", firstSequence: 5 });
  const third = events.length === 0 ? [] : [[await other.next(events)]];
  const commits = [first, second, ...third];
  for (const messages of isOneFile ? [commits.flat()] : commits) {
    await commitMessages({ store, incarnation: INCARNATION, messages, folder });
  }
}
