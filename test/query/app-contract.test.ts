/** The description is valid OpenAPI, and every route answers as it says: status, headers, media type and body. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { apiMarkdown } from "../../src/query/docs/markdown.ts";
import { apiPage } from "../../src/query/docs/page.ts";
import type { ApiDocument, ApiParameter } from "../../src/query/openapi-document.ts";
import {
  type Answered,
  type Operations,
  operationsOf,
  typeOf,
  undescribed,
} from "../support/api-answer.ts";
import { faultsOf, type JsonSchema } from "../support/json-schema.ts";
import { faultsOfDescription } from "../support/openapi-schema.ts";
import {
  type AskOptions,
  METER,
  openQueryFixture,
  type QueryFixture,
  QUIET_SINK,
  RANGE,
  START_US,
  VIEWER,
} from "../support/query-fixture.ts";

const PROCESS = "8975aece-17-100";
const OCSF = "; profile=ocsf";
const NDJSON = "application/x-ndjson";

interface ExampleCall extends AskOptions {
  /** Instead of the route's own path. */
  readonly path?: string;
  readonly query?: string;
}

/** Calls that succeed, in their order: at least one of each status and media type that a route can answer. */
const CALLS: Readonly<Record<string, readonly ExampleCall[]>> = {
  "GET /v1/events": [
    ...["application/json", NDJSON, "text/csv", "application/vnd.apache.parquet"],
    `application/json${OCSF}`,
    `${NDJSON}${OCSF}`,
  ].map((accept) => ({ query: `${RANGE}&limit=20`, headers: { accept } })),
  "HEAD /v1/events": [{ query: RANGE }],
  "GET /v1/events/{id}": ["application/json", `application/json${OCSF}`].map((accept) => ({
    path: "/v1/events/0a1b2c3d-1-0",
    headers: { accept },
  })),
  "GET /v1/tail": ["text/event-stream", `text/event-stream${OCSF}`].map((accept) => ({
    query: "since=2026-06-01&topic=file",
    headers: { accept },
  })),
  // Only a server around the service can take a WebSocket: test/client/every-operation.test.ts opens one, test/query/rpc-contract.test.ts calls.
  "GET /rpc": [],
  "GET /v1/hits": [{ query: `${RANGE}&by=user&limit=1` }, { query: RANGE }],
  "GET /v1/facets": [{ query: RANGE }],
  "GET /v1/topics": [{ query: RANGE }],
  "GET /v1/hosts": [{ query: RANGE }],
  "GET /v1/hosts/{host}": ["db-1", "web-1"].map((host) => ({
    path: `/v1/hosts/${host}`,
    query: RANGE,
  })),
  "GET /v1/contexts": [{ query: RANGE }],
  "GET /v1/contexts/{id}": [{ path: "/v1/contexts/7f00aa", query: RANGE }],
  "GET /v1/reports/{name}": ["application/json", "text/csv", "text/markdown", "text/html"].map(
    (accept) => ({ path: "/v1/reports/files", query: RANGE, headers: { accept } }),
  ),
  "GET /v1/metrics/{topic}": [{ path: "/v1/metrics/process/exec", query: RANGE }],
  "GET /v1/metrics/{topic}/tail": [{ path: "/v1/metrics/file/tail", query: "from=2026-06-01" }],
  "GET /v1/processes/{process_id}": [{ path: `/v1/processes/${PROCESS}`, query: RANGE }],
  "GET /v1/files/history": [{ query: `${RANGE}&path=/etc/new` }],
  "POST /v1/sql": ["json", "ndjson", "csv", "parquet"].map((format) => ({
    body: JSON.stringify({ sql: "SELECT host, count(*) AS n FROM events GROUP BY host", format }),
  })),
  "PUT /v1/subscriptions/{name}": [
    { path: "/v1/subscriptions/siem", query: "topic=process&since=2026-06-01" },
    { path: "/v1/subscriptions/siem", query: "topic=process" },
  ],
  "GET /v1/subscriptions": [{}],
  "GET /v1/subscriptions/{name}": [{ path: "/v1/subscriptions/siem" }],
  "POST /v1/subscriptions/{name}/skip": [{
    path: "/v1/subscriptions/siem/skip",
    query: "events=3",
  }],
  "GET /v1/subscriptions/{name}/events": ["application/json", NDJSON, "text/event-stream"].map(
    (accept) => ({ path: "/v1/subscriptions/siem/events", query: "limit=5", headers: { accept } }),
  ),
  "DELETE /v1/subscriptions/{name}": [{ path: "/v1/subscriptions/siem" }],
  "GET /v1/table": [{}],
  "GET /v1/table/history": [{}],
  "GET /v1/sinks": [{}],
  "GET /v1/sinks/{name}": [{ path: "/v1/sinks/siem" }],
  "POST /v1/sinks/{name}/skip": [{ path: "/v1/sinks/siem/skip", query: "to=1h" }],
  "GET /v1/sinks/{name}/dead-letters": [{ path: "/v1/sinks/siem/dead-letters" }],
  "DELETE /v1/sinks/{name}/dead-letters": [{ path: "/v1/sinks/siem/dead-letters" }],
  "PUT /v1/holds/{name}": [{
    path: "/v1/holds/case",
    query: "reason=court&host=web-*&from=2026-06-01",
  }],
  "GET /v1/holds": [{}],
  "DELETE /v1/holds/{name}": [{ path: "/v1/holds/case" }],
  "PUT /v1/tokens/{name}": [{ path: "/v1/tokens/ann", query: "role=analyst&host=web-*" }],
  "GET /v1/tokens": [{}],
  "DELETE /v1/tokens/{name}": [{ path: "/v1/tokens/ann" }],
  "GET /healthz": [{ token: null }],
  "GET /readyz": [{ token: null }],
  "GET /metrics": [{}],
  "GET /openapi.json": [{}],
  "GET /docs": [{ token: null }],
};

/** What no call here can bring about: a service without a broker is ready as soon as it has its table. */
const NOT_HERE: readonly string[] = [
  "GET /rpc 101 ",
  "GET /readyz 503 application/json",
];

let query: QueryFixture;
let document: ApiDocument;
let operations: readonly Operations[];

beforeAll(async () => {
  const more = { process_id: PROCESS, pid: 17, uid: 0, user: "root" };
  query = await openQueryFixture({
    sinks: [QUIET_SINK],
    events: [
      { topic: "process/exec", exe: "/bin/sh", ...more },
      { topic: "network/connect", dst_ip: "192.0.2.1", dst_port: 443, protocol: "tcp", ...more },
      { topic: "file/rename", path: "/etc/new", old_path: "/etc/old", ...more },
      { topic: "file/write", path: "/etc/new", ...more },
      { topic: "agent/start", detail: { version: "1", boot: "8975aece", sources: ["process"] } },
      {
        topic: "agent/gap",
        detail: { class: "lost", count: 3, reason: "test", sources: ["file"] },
      },
      {
        topic: "crypto/tls/group",
        context: "7f00aa",
        detail: { key: "tls::group", value: 29, type: "word", origin: "27bb" },
      },
      { topic: "agent/config", detail: { config_sha256: "a", changed: ["files"] } },
      { topic: "agent/stop", detail: { version: "1" } },
    ].map((event, at) => ({
      ...event,
      timeUs: START_US + at * 1_000,
      severity: "info",
      message: "something happened",
    })),
  });
  document = await (await query.ask("/openapi.json")).json();
  operations = operationsOf(document);
});

afterAll(() => query?.[Symbol.asyncDispose]());

async function call(
  { path, method }: Pick<Operations, "path" | "method">,
  { path: own = path, query: parameters = "", ...options }: ExampleCall = {},
): Promise<Answered> {
  const target = `${own.replaceAll(/\{\w+\}/g, "nothing")}?${parameters}`;
  const answer = await query.ask(target, { method, ...options });
  const { status, headers } = answer;
  const isEndless = typeOf(headers)?.startsWith("text/event-stream");
  return {
    status,
    headers,
    text: isEndless === true ? await beginningOf(answer) : await answer.text(),
  };
}

/** What a stream says until it has told of an event. */
async function beginningOf({ body }: Response): Promise<string> {
  let text = "";
  for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (/^data: .*\n\n/m.test(text)) break;
  }
  return text;
}

function describedIn(each: Operations, answered: Answered): void {
  const faults = undescribed(answered, { document, operation: each.operation });
  expect(faults, `${each.route}: ${answered.status} ${answered.text.slice(0, 300)}`).toEqual([]);
}

describe("the description", () => {
  test("is OpenAPI 3.1", () => {
    expect(faultsOfDescription(document)).toEqual([]);
  });

  test.each<[string, (copy: Record<string, unknown>) => void]>([
    ["without a version of OpenAPI", (copy) => delete copy["openapi"]],
    ["with a member that there is none of", (copy) => copy["routes"] = []],
    ["with a schema that is none", (copy) => copy["components"] = { schemas: { A: { type: 1 } } }],
    ["with a path that is none", (copy) => copy["paths"] = { events: {} }],
    ["with a place of parameters that is none", (copy) => {
      copy["components"] = { parameters: { A: { name: "a", in: "body", schema: {} } } };
    }],
  ])("%s would be found out", (_what, change) => {
    const copy = structuredClone({ ...document });
    change(copy);
    expect(faultsOfDescription(copy)).not.toEqual([]);
  });

  test("names each operation differently, and each parameter of an operation once", () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { route, operation } of operations) {
      const names = operation.parameters.map((each) => JSON.stringify(each));
      expect(new Set(names).size, route).toBe(names.length);
    }
  });

  test("refers to nothing that is not there", () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)];
    expect(references.length).toBeGreaterThan(100);
    for (const [, path = ""] of references) {
      let target: unknown = document;
      for (const part of path.split("/")) target = Object(target)[part];
      expect(target, path).toBeDefined();
    }
  });

  test("has an example of every answer and body in JSON, each of its own form", () => {
    const root = document as unknown as JsonSchema;
    for (const { route, operation } of operations) {
      const answers = Object.entries(operation.responses)
        .filter(([status]) => status === "200" || status === "201")
        .flatMap(([, response]) => "content" in response ? [response.content] : []);
      for (const content of [...answers, operation.requestBody?.content ?? {}]) {
        const [media] = Object.values(content ?? {});
        if (media === undefined) continue;
        expect(media.example, route).toBeDefined();
        const faults = faultsOf(media.example, media.schema, { root, isClosed: true });
        expect(faults, route).toEqual([]);
      }
    }
  });
});

describe("every route", () => {
  test("answers as it says, in each form that it names", async () => {
    const wanted = operations.map(({ route }) => route);
    expect(Object.keys(CALLS).toSorted(), "an example call of each").toEqual(wanted.toSorted());
    const seen = new Set<string>();
    for (const [route, calls] of Object.entries(CALLS)) {
      const each = operations.find((one) => one.route === route);
      if (each === undefined) throw new Error(`Cannot call ${route}: it is not described`);
      for (const example of calls) {
        const answered = await call(each, example);
        describedIn(each, answered);
        expect(answered.status, `${route}: ${answered.text.slice(0, 300)}`).toBeLessThan(300);
        seen.add(`${route} ${answered.status} ${typeOf(answered.headers) ?? ""}`);
      }
    }
    const forms = operations.flatMap(({ route, operation, method }) =>
      Object.entries(operation.responses).flatMap(([status, response]) => {
        if ("$ref" in response || method === "HEAD") return [];
        const types = Object.keys(response.content ?? { "": undefined });
        return types.map((type) => `${route} ${status} ${type}`);
      })
    );
    expect(forms.filter((form) => !seen.has(form))).toEqual(NOT_HERE);
  });

  test("refuses as it says", async () => {
    for (const each of operations) {
      const { operation: { security, parameters }, method } = each;
      const isOpen = security?.length === 0;
      const tokens = isOpen ? [] : [[null, 401], ["unknown-token-of-length", 401]] as const;
      for (const [token, status] of tokens) {
        const answered = await call(each, { token });
        describedIn(each, answered);
        expect(answered.status).toBe(status);
      }
      for (const token of isOpen ? [] : [METER, VIEWER]) {
        describedIn(each, await call(each, { token, query: "no-such=1" }));
      }
      for (
        const [query, status] of [["no-such=1", 400], [`no=${"x".repeat(20_000)}`, 414]] as const
      ) {
        const answered = await call(each, { query });
        describedIn(each, answered);
        expect(answered.status).toBe(status);
      }
      const isNamed = parameters.some((one) => "in" in one && one.in === "path");
      if (!isNamed || method === "PUT") continue;
      describedIn(each, await call(each));
    }
  });

  test("takes values that its parameters' schemas take, and no others", async () => {
    for (const each of operations) {
      for (const parameter of each.operation.parameters) {
        if ("$ref" in parameter || parameter.in !== "query") continue;
        for (const value of outside(parameter)) {
          const first = CALLS[each.route]?.[0] ?? {};
          const others = (first.query ?? "").split("&")
            .filter((one) => !one.startsWith(`${parameter.name}=`));
          const given = [...others, `${parameter.name}=${value}`].join("&");
          const answered = await call(each, { ...first, query: given });
          describedIn(each, answered);
          expect(answered.status, `${each.route} ${parameter.name}=${value}`).toBe(400);
          if (each.method !== "HEAD") {
            expect(JSON.parse(answered.text).parameter).toBe(parameter.name);
          }
        }
      }
    }
  });

  test.each<[string, ExampleCall, number]>([
    ["GET /v1/events", { headers: { accept: "text/html" } }, 406],
    ["GET /v1/tail", { headers: { accept: "text/html" } }, 406],
    ["GET /rpc", {}, 426],
    ["POST /v1/sql", { body: "{" }, 400],
    ["POST /v1/sql", { body: "x".repeat(300_000) }, 413],
    ["POST /v1/sql", { body: JSON.stringify({ sql: "DROP TABLE events" }) }, 422],
    ["PUT /v1/holds/{name}", { path: "/v1/holds/a", query: "reason=x", body: "x" }, 400],
    ["GET /v1/processes/{process_id}", { path: "/v1/processes/8975aece-1-1", query: RANGE }, 404],
  ])("answers a problem as it says: %s %o", async (route, example, status) => {
    const each = operations.find((one) => one.route === route);
    if (each === undefined) throw new Error(`Cannot call ${route}: it is not described`);
    const answered = await call(each, example);
    describedIn(each, answered);
    expect(answered.status).toBe(status);
  });
});

describe("the description for people", () => {
  let page: Response;
  let html: string;

  beforeAll(async () => {
    page = await query.ask("/docs", { token: null });
    html = await page.text();
  });

  test("is docs/api.md; `vitest -u` writes it anew", async () => {
    await expect(apiMarkdown(document)).toMatchFileSnapshot("../../docs/api.md");
  });

  test("has every route, with links that lead somewhere", () => {
    for (const { route } of operations) expect(html).toContain(`>${route}</h3>`);
    const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const links = [...html.matchAll(/href="([^"]*)"/g)].map(([, link]) => link);
    expect(links.length).toBeGreaterThan(operations.length);
    expect(links.filter((link) => !ids.includes(link?.replace(/^#/, "")))).toEqual([]);
  });

  test("runs nothing and fetches nothing, and its policy allows its style alone", () => {
    expect(html).not.toMatch(/<script|<link|<img|<form|src=|https?:|@import|url\(| on\w+=| style=/);
    const [, style = ""] = /<style>([^<]*)<\/style>/.exec(html) ?? [];
    const hash = createHash("sha256").update(style).digest("base64");
    expect(page.headers.get("content-security-policy")).toBe(
      `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; ` +
        `frame-ancestors 'none'`,
    );
    expect(page.headers.get("x-content-type-options")).toBe("nosniff");
  });

  test("can be read aloud: a language, a name of every table and column, headings in order", () => {
    expect(html).toContain('<html lang="en">');
    expect(html.match(/<caption>/g)?.length).toBe(html.match(/<table>/g)?.length);
    expect(html).not.toMatch(/<th>/);
    const levels = [...html.matchAll(/<h([1-6])[ >]/g)].map(([, level]) => Number(level));
    expect(levels.every((level, at) => at === 0 || level <= (levels[at - 1] ?? 0) + 1)).toBe(true);
  });

  test("says what is told of parameters as text, whatever is in it", () => {
    const info = { ...document.info, title: `<b onclick="x">&'` };
    expect(apiPage({ ...document, info })).toContain("&lt;b onclick=&quot;x&quot;&gt;&amp;&#39;");
    expect(apiPage({ ...document, info })).not.toContain("<b onclick");
  });

  test("tells nobody which version runs, or anything else of the service", () => {
    const other = { ...document, info: { ...document.info, version: "17.4.2" } };
    expect(apiPage(other)).toBe(html);
  });
});

/** Values just beyond what a parameter's schema takes. */
function outside({ schema }: ApiParameter): (string | number)[] {
  const { enum: values, minimum, maximum, type, pattern } = schema;
  return [
    ...(Array.isArray(values) || pattern !== undefined ? ["none-of-them"] : []),
    ...(typeof minimum === "number" ? [minimum - 1] : []),
    ...(typeof maximum === "number" ? [maximum + 1] : []),
    ...(type === "integer" ? ["1.5", "x"] : []),
    ...(type === "boolean" ? ["maybe"] : []),
  ];
}
