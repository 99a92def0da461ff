import type { IncomingMessage, ServerResponse } from "node:http";
import { expect, it } from "vitest";
import { createClient } from "../../src/client/client.ts";
import { ProblemError, UnreachableError } from "../../src/client/problem.ts";
import type { TailItem } from "../../src/client/tail.ts";
import { openServer } from "./test-server.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** Answers the first request with the first answer and so on; the last one goes on answering. */
function inTurn(...answers: readonly Answer[]): Answer {
  let turn = 0;
  return (request, response) => {
    const answer = answers[Math.min(turn++, answers.length - 1)];
    answer?.(request, response);
  };
}

function open(response: ServerResponse, ...numbers: readonly number[]): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(": hello\n\n");
  for (const number of numbers) {
    response.write(`event: audit\nid: p${number}\ndata: {"id":"0123abcd-${number}-0"}\n\n`);
  }
}

async function take(items: AsyncIterable<TailItem>, count: number): Promise<TailItem[]> {
  const taken: TailItem[] = [];
  for await (const item of items) {
    taken.push(item);
    if (taken.length === count) break;
  }
  return taken;
}

const placesOf = (items: readonly TailItem[]): string[] =>
  items.flatMap((item) => (item.kind === "event" ? [item.place] : []));

const QUICK = { reconnectDelayMs: 1 };

it("goes on after the last place when the stream ends", async () => {
  await using service = await openServer(inTurn(
    (_request, response) => {
      open(response, 1, 2);
      response.end();
    },
    (_request, response) => open(response, 3),
  ));
  const client = createClient({ url: service.url, token: "t" });
  const items = await take(client.tail({ topic: "process", since: "1h" }, QUICK), 4);
  expect(items.map(({ kind }) => kind)).toEqual(["event", "event", "reconnecting", "event"]);
  expect(placesOf(items)).toEqual(["p1", "p2", "p3"]);
  const [first, second] = service.requests;
  expect(first?.url).toBe("/v1/tail?topic=process&since=1h");
  expect(first?.headers["last-event-id"]).toBeUndefined();
  expect(second?.url).toBe("/v1/tail?topic=process");
  expect(second?.headers["last-event-id"]).toBe("p2");
});

it("goes on after a place that came without an event", async () => {
  await using server = await openServer(inTurn(
    (_request, response) => {
      open(response, 1);
      response.end(": \nid: p7\n\n");
    },
    (_request, response) => open(response, 8),
  ));
  const client = createClient({ url: server.url });
  const items = await take(client.tail({}, QUICK), 3);
  expect(placesOf(items)).toEqual(["p1", "p8"]);
  expect(server.requests[1]?.headers["last-event-id"]).toBe("p7");
});

it("says what the service cannot see", async () => {
  await using server = await openServer((_request, response) => {
    const missing = "shard 0 from 12 on";
    response.writeHead(200, { "probity-complete": "false", "probity-missing": missing });
    response.write('event: audit\nid: p1\ndata: {"id":"0123abcd-1-0"}\n\n');
  });
  const client = createClient({ url: server.url });
  expect(await take(client.tail(), 2)).toMatchObject([
    { kind: "incomplete", missing: "shard 0 from 12 on" },
    { kind: "event" },
  ]);
});

it("goes on after a broken connection, and drops the message that was cut", async () => {
  await using service = await openServer(inTurn(
    (_request, response) => {
      open(response, 1);
      response.write('event: audit\nid: p2\ndata: {"id":', () => {
        setTimeout(() => response.destroy(), 20);
      });
    },
    (_request, response) => open(response, 2),
  ));
  const client = createClient({ url: service.url });
  const items = await take(client.tail({}, QUICK), 3);
  expect(placesOf(items)).toEqual(["p1", "p2"]);
  expect(service.requests[1]?.headers["last-event-id"]).toBe("p1");
});

it("goes on after overload and faults of the service", async () => {
  const fail = (status: number): Answer => (_request, response) => {
    response.writeHead(status).end();
  };
  await using service = await openServer(inTurn(
    (_request, response) => {
      open(response, 1);
      response.end();
    },
    fail(503),
    fail(429),
    (_request, response) => open(response, 2),
  ));
  const client = createClient({ url: service.url });
  const items = await take(client.tail({}, QUICK), 5);
  expect(placesOf(items)).toEqual(["p1", "p2"]);
});

it("begins again where it began when no place was read yet", async () => {
  await using service = await openServer(inTurn(
    (_request, response) => {
      open(response);
      response.end();
    },
    (_request, response) => open(response, 1),
  ));
  const client = createClient({ url: service.url });
  await take(client.tail({}, QUICK), 2);
  expect(service.requests[0]?.url).toBe("/v1/tail");
  expect(service.requests[1]?.url).toMatch(/^\/v1\/tail\?since=20\d\d-/);
});

it("opens the stream again when it falls silent, and not while comments come", async () => {
  await using service = await openServer(inTurn(
    (_request, response) => {
      open(response, 1);
      let beats = 0;
      const timer = setInterval(() => {
        response.write(": beat\n\n");
        if (++beats === 12) clearInterval(timer);
      }, 50);
    },
    (_request, response) => open(response, 2),
  ));
  const client = createClient({ url: service.url });
  const startedMs = performance.now();
  const items = await take(client.tail({}, { ...QUICK, silenceMs: 400 }), 3);
  expect(placesOf(items)).toEqual(["p1", "p2"]);
  expect(items[1]).toMatchObject({
    kind: "reconnecting",
    reason: expect.stringMatching(/silence/),
  });
  expect(performance.now() - startedMs).toBeGreaterThan(900);
});

it("does not take a slow caller for a silent service", async () => {
  await using service = await openServer((_request, response) => open(response, 1, 2));
  const client = createClient({ url: service.url });
  const items: TailItem[] = [];
  for await (const item of client.tail({}, { ...QUICK, silenceMs: 400 })) {
    items.push(item);
    if (items.length === 2) break;
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
  expect(placesOf(items)).toEqual(["p1", "p2"]);
  expect(service.requests).toHaveLength(1);
});

it("gives gaps with their count, and takes a count that is not known for null", async () => {
  await using service = await openServer((_request, response) => {
    open(response);
    response.write('event: gap\nid: p1\ndata: {"count":12,"reason":"slow","from":"a"}\n\n');
    response.write('event: gap\nid: p2\ndata: {"count":null}\n\n');
    response.write("event: future\nid: p3\ndata: {}\n\n");
    response.write('event: audit\nid: p4\ndata: {"id":"0123abcd-4-0"}\n\n');
  });
  const client = createClient({ url: service.url });
  const items = await take(client.tail(), 3);
  expect(items).toMatchObject([
    { kind: "gap", gap: { count: 12, reason: "slow", detail: { from: "a" } }, place: "p1" },
    { kind: "gap", gap: { count: null }, place: "p2" },
    { kind: "event", place: "p4" },
  ]);
});

it("takes up a place that an earlier process read", async () => {
  await using service = await openServer((_request, response) => open(response, 8));
  const client = createClient({ url: service.url });
  await take(client.tail({ since: "1h" }, { after: "p7" }), 1);
  expect(service.requests[0]?.headers["last-event-id"]).toBe("p7");
  expect(service.requests[0]?.url).toBe("/v1/tail");
});

it("ends without an error when it is aborted, in a stream and in a wait", async () => {
  await using service = await openServer(inTurn(
    (_request, response) => {
      open(response, 1);
      response.end();
    },
    (_request, response) => open(response),
  ));
  const client = createClient({ url: service.url });
  for (const delayMs of [1, 10_000]) {
    const controller = new AbortController();
    const options = { signal: controller.signal, reconnectDelayMs: delayMs };
    setTimeout(() => controller.abort(), 200);
    for await (const item of client.tail({}, options)) expect(item.kind).not.toBe("gap");
  }
});

it("throws what the service refuses, also when it refuses later", async () => {
  const refuse: Answer = (_request, response) => {
    response.writeHead(401, { "content-type": "application/problem+json" });
    response.end('{"title":"Unknown token"}');
  };
  await using service = await openServer(inTurn(
    (_request, response) => {
      open(response, 1);
      response.end();
    },
    refuse,
  ));
  const client = createClient({ url: service.url });
  await expect(take(client.tail({}, QUICK), 9)).rejects.toThrow(ProblemError);
  await expect(take(client.tail({}, QUICK), 9)).rejects.toThrow("Unknown token");
});

it("throws when the first stream cannot be opened, and when it gave up", async () => {
  const service = await openServer((_request, response) => {
    open(response, 1);
    response.end();
  });
  const client = createClient({ url: service.url });
  const items = client.tail({}, { ...QUICK, giveUpAfterMs: 100 });
  const followed = (async () => {
    for await (const item of items) {
      if (item.kind === "event") await service[Symbol.asyncDispose]();
    }
  })();
  await expect(followed).rejects.toThrow(UnreachableError);
  await expect(take(client.tail(), 1)).rejects.toThrow(UnreachableError);
});
