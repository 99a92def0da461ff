/** A webhook against a real server on loopback that answers as it is told. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LaterError, RefusedError } from "../../../src/query/sinks/target.ts";
import { keyOf, openWebhookTarget, signatureOf } from "../../../src/query/sinks/webhook.ts";
import { freePort } from "../../support/free-port.ts";
import { sinkEvents } from "../../support/sink-events.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../../support/temporary-folder.ts";

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
}

const stack = new AsyncDisposableStack();
const requests: { readonly headers: IncomingHttpHeaders; readonly body: string }[] = [];
/** The first first, 204 after them; `hang` never answers. */
const answers: (Answer | "hang")[] = [];
let folder: TemporaryFolder;
let url = "";

beforeAll(async () => {
  folder = stack.use(await openTemporaryFolder("webhook"));
  const server = createServer(async (request, response) => {
    const chunks = await Array.fromAsync<Uint8Array>(request);
    requests.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
    const answer = answers.shift() ?? { status: 204 };
    if (answer !== "hang") response.writeHead(answer.status, answer.headers).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/`;
});
beforeEach(() => {
  requests.length = 0;
  answers.length = 0;
});
afterAll(() => stack.disposeAsync());

const signal = new AbortController().signal;
const open = (
  mode: "batch" | "single",
  more: { attemptLimitMs?: number; secretFile?: string } = {},
) =>
  openWebhookTarget(
    { ...{ url, mode, isInsecure: false }, secretFile: more.secretFile },
    more,
  );
const errorOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(() => undefined, (error: unknown) => error);
const isTimeout = (error: unknown): boolean =>
  error instanceof Error && error.name === "TimeoutError";

describe("a webhook", () => {
  test("in single mode gets a signed request for each event, in order", async () => {
    const secretFile = join(folder.path, "secret");
    await writeFile(secretFile, "a plain text\n", { mode: 0o600 });
    await using target = await open("single", { secretFile });
    const events = sinkEvents(3);
    await target.deliver(events, signal);
    expect(requests.map(({ headers }) => headers["webhook-id"])).toEqual(
      events.map(({ id }) => id),
    );
    for (const [at, { headers, body }] of requests.entries()) {
      expect(headers["content-type"]).toBe("application/cloudevents+json; charset=utf-8");
      expect(JSON.parse(body)).toMatchObject({
        ...{ specversion: "1.0", id: events[at]?.id, source: "/hosts/web-1" },
        ...{ type: "probity.app.test", data: { pid: at } },
      });
      const id = String(headers["webhook-id"]);
      const nowMs = Number(headers["webhook-timestamp"]) * 1_000;
      const expected = signatureOf({ id, body, key: keyOf("a plain text"), nowMs });
      expect(headers["webhook-signature"]).toBe(expected["webhook-signature"]);
    }
  });

  test("in single mode stops at the first that is not taken", async () => {
    await using target = await open("single");
    answers.push({ status: 204 }, { status: 422 });
    expect(await errorOf(target.deliver(sinkEvents(3), signal))).toBeInstanceOf(RefusedError);
    expect(requests).toHaveLength(2);
  });

  test("that never answers fails in time, and takes the events later", async () => {
    await using target = await open("batch", { attemptLimitMs: 500 });
    answers.push("hang");
    const error = await errorOf(target.deliver(sinkEvents(2), signal));
    expect(error).toMatchObject({ name: "TimeoutError" });
    expect(error).not.toBeInstanceOf(RefusedError);
    // As who delivers does: on a busy machine that is little time.
    let later: unknown = error;
    for (let again = 0; again < 20 && isTimeout(later); again++) {
      later = await errorOf(target.deliver(sinkEvents(2), signal));
    }
    expect(later).toBeUndefined();
    expect(requests.length).toBeGreaterThanOrEqual(2);
  });

  test("at an address where nobody listens fails with that reason", async () => {
    const closed = `http://127.0.0.1:${await freePort()}/`;
    await using target = await openWebhookTarget({
      ...{ url: closed, mode: "batch", isInsecure: false, secretFile: undefined },
    });
    await expect(target.deliver(sinkEvents(1), signal)).rejects.toThrow(
      /^Cannot reach the server: .*ECONNREFUSED/,
    );
  });

  test("refuses events with 4xx about them; all else is waited for", async () => {
    await using target = await open("batch");
    const refusedWith = async (status: number): Promise<boolean> => {
      answers.push({ status });
      const error = await errorOf(target.deliver(sinkEvents(1), signal));
      expect(error).toBeInstanceOf(Error);
      return error instanceof RefusedError;
    };
    for (const status of [400, 405, 406, 409, 411, 413, 415, 422, 451]) {
      expect([status, await refusedWith(status)]).toEqual([status, true]);
    }
    const passing = [302, 401, 403, 404, 408, 410, 425, 429];
    for (const status of [...passing, 500, 501, 502, 503, 504, 507, 520, 599]) {
      expect([status, await refusedWith(status)]).toEqual([status, false]);
    }
  });

  test("says in seconds or as a date when to come back", async () => {
    await using target = await open("batch");
    const waitOf = async (status: number, after?: string): Promise<number | undefined> => {
      answers.push({ status, headers: after === undefined ? {} : { "Retry-After": after } });
      const error = await errorOf(target.deliver(sinkEvents(1), signal));
      return error instanceof LaterError ? error.waitMs : undefined;
    };
    expect(await waitOf(429, "7")).toBe(7_000);
    expect(await waitOf(503)).toBe(0);
    expect(await waitOf(503, "soon")).toBe(0);
    expect(await waitOf(503, "-7")).toBe(0);
    expect(await waitOf(429, "Thu, 01 Jan 2026 00:00:00 GMT")).toBe(0);
    const later = await waitOf(429, new Date(Date.now() + 60_000).toUTCString());
    expect(later).toBeGreaterThan(55_000);
    expect(later).toBeLessThanOrEqual(60_000);
    expect(await waitOf(500, "7")).toBeUndefined();
  });
});
