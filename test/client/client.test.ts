import { expect, it } from "vitest";
import { createClient } from "../../src/client/client.ts";
import { ProblemError, UnreachableError } from "../../src/client/problem.ts";
import { exactly } from "../../src/client/record.ts";
import { bodyOf, openServer } from "./test-server.ts";

const FIRST = { id: "0123abcd-7-0", time: "2026-01-02T03:04:05.000006Z", topic: "process/exec" };
const SECOND = { id: "0123abcd-7-1", time: "2026-01-02T03:04:06.000000Z", topic: "process/exit" };

it("sends token, conditions and range, and keeps a prefix of the address", async () => {
  await using service = await openServer((_request, response) => {
    response.end(JSON.stringify({ events: [] }));
  });
  const client = createClient({ url: `${service.url}/probity`, token: "secret" });
  await client.page({ topic: "file,process", pid: [">=10", "<20"], from: "1h", limit: 5, uid: 0 });
  const [request] = service.requests;
  expect(request?.headers.authorization).toBe("Bearer secret");
  const url = new URL(request?.url ?? "", service.url);
  expect(url.pathname).toBe("/probity/v1/events");
  expect([...url.searchParams]).toEqual([
    ["topic", "file,process"],
    ["pid", ">=10"],
    ["pid", "<20"],
    ["from", "1h"],
    ["limit", "5"],
    ["uid", "0"],
  ]);
});

it("reads events page by page, with the cursor of the page before", async () => {
  await using service = await openServer((request, response) => {
    const cursor = new URL(request.url ?? "", "http://x").searchParams.get("cursor");
    const page = cursor === null
      ? { events: [FIRST], next: "c1" }
      : { events: cursor === "c1" ? [SECOND] : [] };
    response.end(JSON.stringify(page));
  });
  const client = createClient({ url: service.url });
  expect(await Array.fromAsync(client.events())).toEqual([FIRST, SECOND]);
  expect(service.requests).toHaveLength(2);
});

it("reads a stream of lines and what the answer says of itself", async () => {
  await using service = await openServer((_request, response) => {
    response.writeHead(200, { "probity-complete": "false", "probity-scanned-files": "3" });
    response.end(`${JSON.stringify(FIRST)}\n${JSON.stringify(SECOND)}\n`);
  });
  const client = createClient({ url: service.url });
  const answer = await client.stream({ topic: "process" });
  expect(await Array.fromAsync(answer.events)).toEqual([FIRST, SECOND]);
  expect(answer).toMatchObject({ isComplete: false, scannedFiles: 3, scannedBytes: undefined });
  expect(service.requests[0]?.headers.accept).toBe("application/x-ndjson");
});

it("throws when a stream breaks off in the middle", async () => {
  await using service = await openServer((_request, response) => {
    response.writeHead(200, { "content-length": "1000" });
    response.write(`${JSON.stringify(FIRST)}\n`, () => setTimeout(() => response.destroy(), 20));
  });
  const client = createClient({ url: service.url });
  const { events } = await client.stream();
  const seen: unknown[] = [];
  const reading = (async () => {
    for await (const event of events) seen.push(event);
  })();
  await expect(reading).rejects.toThrow(UnreachableError);
  expect(seen).toEqual([FIRST]);
});

it("gives one event, or undefined when there is none", async () => {
  await using service = await openServer((request, response) => {
    if (request.url === `/v1/events/${FIRST.id}`) return void response.end(JSON.stringify(FIRST));
    response.writeHead(404, { "content-type": "application/problem+json" }).end("{}");
  });
  const client = createClient({ url: service.url });
  expect(await client.event(FIRST.id)).toEqual(FIRST);
  expect(await client.event("0123abcd-7-9/..")).toBeUndefined();
  expect(service.requests[1]?.url).toBe("/v1/events/0123abcd-7-9%2F..");
});

it("posts statements with parameters, and reads columns and rows", async () => {
  let sent = "";
  await using service = await openServer(async (request, response) => {
    sent = await bodyOf(request);
    const columns = [{ name: "n", type: "BIGINT" }];
    response.end(JSON.stringify({ columns, rows: [{ n: 3 }], truncated: true }));
  });
  const client = createClient({ url: service.url });
  const result = await client.sql("select count(*) n from events where pid = $pid", {
    parameters: { pid: 1 },
  });
  expect(JSON.parse(sent)).toEqual({
    sql: "select count(*) n from events where pid = $pid",
    parameters: { pid: 1 },
    format: "json",
  });
  expect(result).toMatchObject({ rows: [{ n: 3 }], isTruncated: true, isComplete: true });
});

it("turns a problem into an error that names the parameter", async () => {
  await using service = await openServer((_request, response) => {
    const problem = {
      type: "urn:probity:problem:parameter",
      title: "Bad parameter",
      detail: 'Cannot read "from": "yesteryear" is no time',
      parameter: "from",
    };
    response.writeHead(400, { "content-type": "application/problem+json; charset=utf-8" });
    response.end(JSON.stringify(problem));
  });
  const client = createClient({ url: service.url });
  const error = await client.page({ from: "yesteryear" }).catch((caught) => caught);
  expect(error).toBeInstanceOf(ProblemError);
  expect(error.message).toBe('Cannot read "from": "yesteryear" is no time');
  expect(error.problem).toMatchObject({ status: 400, parameter: "from" });
  expect(error.isNotAllowed).toBe(false);
});

it.each([
  ["text/html", "<h1>Bad gateway</h1>"],
  ["application/problem+json", "{broken"],
  ["application/problem+json", "[]"],
])("says the status when the problem is no problem document (%s)", async (type, body) => {
  await using service = await openServer((_request, response) => {
    response.writeHead(502, { "content-type": type }).end(body);
  });
  const client = createClient({ url: service.url });
  await expect(client.topics()).rejects.toThrow("502 Bad Gateway");
});

it("says what could not be reached and why", async () => {
  const service = await openServer(() => {});
  await service[Symbol.asyncDispose]();
  const client = createClient({ url: service.url });
  await expect(client.page()).rejects.toThrow(UnreachableError);
  await expect(client.page()).rejects.toThrow(/Cannot reach http:\/\/127.*ECONNREFUSED/);
});

it("keeps the reason of an abort", async () => {
  await using service = await openServer(() => {});
  const client = createClient({ url: service.url });
  const signal = AbortSignal.timeout(50);
  await expect(client.page({}, { signal })).rejects.toMatchObject({ name: "TimeoutError" });
});

it("refuses answers of another shape", async () => {
  await using service = await openServer((request, response) => {
    response.end(request.method === "POST" ? '{"rows":[]}' : "[]");
  });
  const client = createClient({ url: service.url });
  await expect(client.page()).rejects.toThrow(TypeError);
  await expect(client.sql("select 1")).rejects.toThrow("no list of columns");
  await expect(client.topics()).rejects.toThrow(TypeError);
});

it("makes a condition of any text", () => {
  expect(exactly("a,b*?!\\<c>=")).toBe("a\\,b\\*\\?\\!\\\\\\<c\\>=");
});
