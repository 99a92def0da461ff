/**
 * Who may what, and who sees what: one row for each route, by role and by scope. A route without a row fails.
 *
 * The record of these tests has cells, of two hosts and four topics; a cell has as many events as a power of two of its
 * own, so that every count tells which cells it is of, and each event has its cell's mark.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AuditEvent } from "../../src/event/event.ts";
import { TOKEN_ROLES } from "../../src/storage/token.ts";
import {
  type AskOptions,
  INCARNATION,
  NOTHING,
  openQueryFixture,
  type QueryFixture,
  RANGE,
  START_US,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const HOSTS = ["web-1", "db-1"] as const;
const TOPICS = ["process/exec", "file/write", "crypto/tls/name", "auth/login"] as const;
const CELLS = HOSTS.flatMap((host) => TOPICS.map((topic) => ({ host, topic }))).map((cell, at) => ({
  ...cell,
  weight: 2 ** at,
  mark: `mark-${at}-`,
  id: `${INCARNATION}-${at + 1}-0`,
}));
type Cell = typeof CELLS[number];

/** Answers of a route to one token. */
interface Eyes {
  text(path: string, options?: AskOptions): Promise<string>;
  json(path: string, options?: AskOptions): Promise<ReturnType<typeof JSON.parse>>;
  status(path: string, options?: AskOptions): Promise<number>;
  /** What a stream gives until it has nothing more to give. */
  begun(path: string): Promise<string>;
}
/** The sum of the weights of cells that are seen. */
type Probe = (eyes: Eyes) => Promise<number>;

interface Row {
  /** Who gets through. */
  readonly roles: string;
  /** How is seen which events it shows; undefined when it shows none. */
  readonly sees?: Probe;
  /** Of which topics alone it tells. */
  readonly of?: string;
}

const PUBLIC = { roles: ["anonymous", "nothing", ...TOKEN_ROLES].join(" ") };
const READ = "viewer analyst auditor admin";
const OPERATE = "auditor operator admin";
const SUBSCRIPTION = "/v1/subscriptions/own";

const marked = (text: string): number =>
  CELLS.filter(({ mark }) => text.includes(mark)).reduce((sum, { weight }) => sum + weight, 0);
const marks = (path: string): Probe => async (eyes) => marked(await eyes.text(path));
/** Of those things of which each cell of some topics has one, which are found. */
const found = (pathOf: (cell: Cell) => string, of = ""): Probe => async (eyes) => {
  const weights = CELLS.filter(({ topic }) => topic.startsWith(of)).map(async (cell) =>
    await eyes.status(pathOf(cell)) === 200 ? cell.weight : 0
  );
  return total(await Promise.all(weights));
};
const total = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0);
const processOf = ({ weight }: Cell): string => `8975aece-${weight}-5727563`;
const contextOf = ({ weight }: Cell): string => weight.toString(16).padStart(4, "0");

const ROWS: Readonly<Record<string, Row>> = {
  "GET /healthz": PUBLIC,
  "GET /readyz": PUBLIC,
  "GET /docs": PUBLIC,
  "GET /openapi.json": { roles: READ },
  "GET /v1/events": {
    roles: READ,
    async sees(eyes) {
      const path = `/v1/events?${RANGE}`;
      const { events } = await eyes.json(`${path}&limit=10000`);
      for (const accept of ["application/x-ndjson", "text/csv"]) {
        expect(marked(await eyes.text(path, { headers: { accept } }))).toBe(events.length);
      }
      // A filter by what is not seen finds none of it.
      for (const host of HOSTS) {
        const { events: asked } = await eyes.json(`${path}&limit=10000&host=${host}`);
        expect(asked.length).toBe(events.filter((event: AuditHost) => event.host === host).length);
      }
      return events.length;
    },
  },
  // What is seen over it is in test/query/app-rpc.test.ts.
  "GET /rpc": { roles: READ },
  "GET /v1/events/{id}": { roles: READ, sees: found(({ id }) => `/v1/events/${id}`) },
  "GET /v1/tail": {
    roles: READ,
    sees: async (eyes) => marked(await eyes.begun("/v1/tail?since=2026-05-31")),
  },
  "GET /v1/topics": {
    roles: READ,
    async sees(eyes) {
      const { topics } = await eyes.json(`/v1/topics?${RANGE}`);
      const isLeaf = ({ topic }: Counted) => TOPICS.some((each) => each === topic);
      return total(topics.filter(isLeaf).map(({ count }: Counted) => count));
    },
  },
  "GET /v1/hosts": {
    roles: READ,
    async sees(eyes) {
      const { hosts } = await eyes.json(`/v1/hosts?${RANGE}`);
      return total(hosts.map(({ count }: Counted) => count));
    },
  },
  "GET /v1/hosts/{host}": {
    roles: READ,
    async sees(eyes) {
      // What it tells of is a host, so that whoever sees one of its cells sees it.
      const { hosts } = await eyes.json(`/v1/hosts?${RANGE}`);
      for (const host of HOSTS) {
        const isSeen = hosts.some((each: AuditHost) => each.host === host);
        const status = await eyes.status(`/v1/hosts/${host}?${RANGE}`);
        expect([host, status === 200]).toEqual([host, isSeen]);
      }
      return total(hosts.map(({ count }: Counted) => count));
    },
  },
  "GET /v1/reports/{name}": {
    roles: READ,
    of: "auth",
    sees: marks("/v1/reports/logins?from=2026-06-01&to=2026-06-02"),
  },
  "GET /v1/contexts": { roles: READ, of: "crypto", sees: marks(`/v1/contexts?${RANGE}`) },
  "GET /v1/contexts/{id}": {
    roles: READ,
    of: "crypto",
    sees: found((cell) => `/v1/contexts/${contextOf(cell)}?${RANGE}`, "crypto"),
  },
  "GET /v1/hits": {
    roles: READ,
    sees: async (eyes) => (await eyes.json(`/v1/hits?${RANGE}&step=1h&by=user`)).total,
  },
  "GET /v1/facets": { roles: READ, sees: marks(`/v1/facets?${RANGE}&by=user,exe&limit=100`) },
  "GET /v1/files/history": {
    roles: READ,
    of: "file",
    sees: marks(`/v1/files/history?${RANGE}&path=/etc/shared&limit=1000`),
  },
  "GET /v1/metrics/{topic}": {
    roles: READ,
    sees: async (eyes) =>
      total(
        await Promise.all(
          TOPICS.map(async (topic) => (await eyes.json(`/v1/metrics/${topic}?${RANGE}`)).total),
        ),
      ),
  },
  "GET /v1/metrics/{topic}/tail": {
    roles: READ,
    sees: async (eyes) =>
      Number(/"total":(\d+)/.exec(await eyes.begun("/v1/metrics/*/tail?from=2026-05-31"))?.[1]),
  },
  "GET /v1/processes/{process_id}": {
    roles: READ,
    of: "process",
    sees: found((cell) => `/v1/processes/${processOf(cell)}?${RANGE}`, "process"),
  },
  "GET /v1/subscriptions": { roles: READ },
  "GET /v1/subscriptions/{name}": { roles: READ },
  "PUT /v1/subscriptions/{name}": { roles: READ },
  "DELETE /v1/subscriptions/{name}": { roles: READ },
  "GET /v1/subscriptions/{name}/events": {
    roles: READ,
    async sees(eyes) {
      await eyes.text(`${SUBSCRIPTION}?since=2026-05-31`, { method: "PUT" });
      const { events } = await eyes.json(`${SUBSCRIPTION}/events?limit=1000`);
      await eyes.text(SUBSCRIPTION, { method: "DELETE" });
      return events.length;
    },
  },
  "POST /v1/subscriptions/{name}/skip": {
    roles: READ,
    async sees(eyes) {
      await eyes.text(`${SUBSCRIPTION}?since=2026-05-31`, { method: "PUT" });
      const { skipped } = await eyes.json(`${SUBSCRIPTION}/skip?to=now`, { method: "POST" });
      await eyes.text(SUBSCRIPTION, { method: "DELETE" });
      return skipped.count;
    },
  },
  "POST /v1/sql": {
    roles: "analyst auditor admin",
    async sees(eyes) {
      const views = TOPICS.map((topic) => `(SELECT count(*) FROM ${topic.split("/")[0]})`);
      const sql = `SELECT (${views.join(" + ")})::INT AS by_views, ` +
        "(SELECT count(*) FROM events WHERE host LIKE '%' OR true)::INT AS n";
      const body = JSON.stringify({ sql });
      const { rows: [row] } = await eyes.json("/v1/sql", { method: "POST", body });
      expect(row.by_views).toBe(row.n);
      return row.n;
    },
  },
  "GET /metrics": { roles: OPERATE },
  "GET /v1/table": { roles: OPERATE },
  "GET /v1/table/history": { roles: OPERATE },
  "GET /v1/sinks": { roles: OPERATE },
  "GET /v1/sinks/{name}": { roles: OPERATE },
  "POST /v1/sinks/{name}/skip": { roles: "admin" },
  "GET /v1/sinks/{name}/dead-letters": { roles: OPERATE },
  "DELETE /v1/sinks/{name}/dead-letters": { roles: "admin" },
  "GET /v1/holds": { roles: OPERATE },
  "PUT /v1/holds/{name}": { roles: "operator admin" },
  "DELETE /v1/holds/{name}": { roles: "operator admin" },
  "GET /v1/tokens": { roles: "admin" },
  "PUT /v1/tokens/{name}": { roles: "admin" },
  "DELETE /v1/tokens/{name}": { roles: "admin" },
};

interface Counted {
  readonly topic: string;
  readonly count: number;
}
interface AuditHost {
  readonly host: string;
}

/** Parameters of a token, and the cells that it sees. */
const SCOPES: Readonly<Record<string, (cell: Cell) => boolean>> = {
  "": () => true,
  "host=db-1": ({ host }) => host === "db-1",
  "topic=file&topic=auth": ({ topic }) => /^(file|auth)\//.test(topic),
  "host=web-*&topic=crypto": ({ host, topic }) => host === "web-1" && topic.startsWith("crypto/"),
  // The beginning of a name is none, nor that of a topic's segment, nor does a further topic of an event count.
  "host=web&host=web-": () => false,
  "topic=fil&topic=app": () => false,
};

const NAMES = ["anonymous", "nothing", ...TOKEN_ROLES] as const;

let query: QueryFixture;
const tokens = new Map<string, string>([["nothing", NOTHING]]);

beforeAll(async () => {
  query = await openQueryFixture({
    tallyIntervalMs: 20,
    async write(store, folder) {
      const makers = new Map(HOSTS.map((host, at) => [
        host as string,
        createMessageMaker({ agent: `a${at}`, host, firstSequence: 1 }),
      ]));
      const messages = [];
      for (const [at, cell] of CELLS.entries()) {
        messages.push(await makers.get(cell.host)?.next(eventsOf(cell), { sequence: at + 1 }));
      }
      const all = messages.filter((each) => each !== undefined);
      await commitMessages({ store, incarnation: INCARNATION, messages: all, folder });
    },
  });
  const make = async (name: string, parameters: string) => {
    const answer = await query.ask(`/v1/tokens/${name}?${parameters}`, { method: "PUT" });
    tokens.set(name, (await answer.json()).token);
  };
  for (const role of TOKEN_ROLES) await make(`a-${role}`, `role=${role}`);
  for (const [at, scope] of Object.keys(SCOPES).entries()) {
    await make(`scope-${at}`, `role=auditor&${scope}`);
  }
});
afterAll(() => query[Symbol.asyncDispose]());

function eventsOf(cell: Cell): AuditEvent[] {
  const { topic, weight, mark } = cell;
  return Array.from({ length: weight }, (_, at): AuditEvent => ({
    timeUs: START_US + at * 1_000,
    topic,
    severity: "info",
    user: mark,
    exe: `/bin/${mark}`,
    message: `It has ${mark}.`,
    pid: weight,
    process_id: processOf(cell),
    ...(topic === "file/write" ? { path: "/etc/shared", topics: ["app/shop"] } : {}),
    ...(topic === "crypto/tls/name"
      ? { context: contextOf(cell), detail: { key: "name", value: mark, type: "string" } }
      : {}),
  }));
}

function eyesOf(token: string | undefined): Eyes {
  if (token === undefined) throw new Error("a scope has no token");
  const ask = (path: string, options: AskOptions = {}) => query.ask(path, { token, ...options });
  return {
    text: async (path, options) => await (await ask(path, options)).text(),
    async json(path, options) {
      const answer = await ask(path, options);
      const text = await answer.text();
      if (!answer.ok) throw new Error(`Cannot ask "${path}": ${text}`);
      return JSON.parse(text);
    },
    async status(path, options) {
      const answer = await ask(path, options);
      await answer.body?.cancel();
      return answer.status;
    },
    async begun(path) {
      let text = "";
      const decoder = new TextDecoder();
      for await (const chunk of (await ask(path)).body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        // The first comment has the place where it begins, the second comes when nothing else does.
        if ((text.match(/^: ?$/gm)?.length ?? 0) > 1 || text.includes('"total"')) break;
      }
      return text;
    },
  };
}

describe("the table of routes", () => {
  test("has a row for each route there is", async () => {
    const { paths } = await (await query.ask("/openapi.json")).json();
    const all = Object.entries<object>(paths).flatMap(([path, operations]) =>
      Object.keys(operations).filter((method) => method !== "head")
        .map((method) => `${method.toUpperCase()} ${path}`)
    );
    expect(Object.keys(ROWS).toSorted()).toEqual(all.toSorted());
  });
});

const roleTable = Object.entries(ROWS).flatMap(([route, { roles }]) =>
  NAMES.map((name) => ({ route, name, isAllowed: roles.split(" ").includes(name) }))
);

test.each(roleTable)("role $name at $route: $isAllowed", async ({ route, name, isAllowed }) => {
  const [method = "", path = ""] = route.split(" ");
  // What gets through meets a wrong parameter or an absent name, and changes nothing.
  const target = `${path.replace("{name}", "nothing").replace("{id}", "0a1b2c3d-99-0")}?no=1`;
  const token = tokens.get(`a-${name}`) ?? tokens.get(name) ?? null;
  const refusal = name === "anonymous" ? 401 : 403;
  const answer = await query.ask(target, { method, token });
  expect(answer.status).toBe(isAllowed ? 400 : refusal);
  await answer.body?.cancel();
  if (method !== "GET") return;
  const head = await query.ask(target, { method: "HEAD", token });
  expect(head.status).toBe(isAllowed ? 400 : refusal);
});

const scopeTable = Object.entries(SCOPES).flatMap(([scope, isSeen], at) =>
  Object.entries(ROWS).flatMap(([route, { sees, of = "" }]) =>
    sees === undefined ? [] : [{ scope, isSeen, at, route, sees, of }]
  )
);

test.each(scopeTable)("scope '$scope' at $route", async ({ isSeen, at, sees, of }) => {
  const expected = CELLS.filter((cell) => isSeen(cell) && cell.topic.startsWith(of));
  expect(await sees(eyesOf(tokens.get(`scope-${at}`))))
    .toBe(total(expected.map(({ weight }) => weight)));
});

test("nothing of what a scope leaves out is in any other answer", async () => {
  const at = Object.keys(SCOPES).indexOf("host=web-*&topic=crypto");
  const eyes = eyesOf(tokens.get(`scope-${at}`));
  for (const [route, { sees }] of Object.entries(ROWS)) {
    const [method = "", path = ""] = route.split(" ");
    if (sees !== undefined || method !== "GET") continue;
    const text = await eyes.text(path.replace("{name}", "own"));
    expect([route, marked(text), text.includes("db-1")]).toEqual([route, 0, false]);
  }
});
