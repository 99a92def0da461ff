/** The client in a real browser, on a page of another origin, and the description's page as a browser shows it. */
import { expect, test } from "vitest";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { webSocketsOf } from "../../src/cli/web-socket.ts";
import { createBatchAgent, NOON_US, publishAll } from "../support/batches.ts";
import {
  canRunChromium,
  openBrowser,
  openCuttingProxy,
  openPageServer,
} from "../support/browser.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openQueryRig, QUERY_TOKEN, TEST_DAY } from "../support/query-rig.ts";
import { range, until } from "../support/rollup-rig.ts";

/** What the page does; the test reads `window.seen`. */
const PAGE = `<!doctype html><title>test</title><script type="module">
import { createClient } from "/client/client.ts";
window.seen = { tail: [], tailCuts: 0, live: [], liveCuts: 0, error: undefined };
window.begin = async (url, token) => {
  const client = createClient({ url, token });
  const fail = (error) => window.seen.error ??= String(error?.stack ?? error);
  (async () => {
    for await (const item of client.tail({ since: "2026-06-15", topic: "app/test" })) {
      if (item.kind === "event") window.seen.tail.push(item.event.pid);
      if (item.kind === "reconnecting") window.seen.tailCuts += 1;
    }
  })().catch(fail);
  const rpc = client.openRpc();
  (async () => {
    const asked = { paths: [["app", "test"]], awaitFutureEvents: true };
    for await (const item of rpc.auditEventsGet(asked)) {
      if (item.kind === "event") window.seen.live.push(item.event.pid);
      if (item.kind === "reconnecting") window.seen.liveCuts += 1;
    }
  })().catch(fail);
  const query = { from: "2026-06-15", to: "2026-06-16", topic: "app/test" };
  const { events, scannedFiles } = await client.page({ ...query, order: "asc", limit: 1000 });
  const { total } = await rpc.auditMetricGet({ path: ["app", "test"] });
  const wrong = await client.page({ limit: -1 }).catch(({ problem }) => problem.parameter);
  return { pids: events.map(({ pid }) => pid), total, wrong, scannedFiles };
};
window.refused = async (url, token) => {
  const client = createClient({ url, token });
  const nameOf = ({ name }) => name;
  return [
    await client.page().then(() => "read", nameOf),
    await client.openRpc().auditMetricGet({ path: [] }).then(() => "read", nameOf),
  ];
};
</script>`;

interface Seen {
  readonly tail: readonly number[];
  readonly tailCuts: number;
  readonly live: readonly number[];
  readonly liveCuts: number;
  readonly error: string | undefined;
}

test.runIf(canRunChromium() && canRunNats())(
  "a page of a listed origin searches, follows over cuts, and calls; the description needs nobody else",
  async () => {
    await using query = await openQueryRig();
    await using pages = await openPageServer(PAGE);
    await using others = await openPageServer(PAGE);
    await using running = await query.start({ origins: [pages.url], heartbeatMs: 1_000 });
    await using server = await openHttpServer({
      fetch: running.service.fetch,
      webSockets: webSocketsOf(running.service.rpc),
      address: { host: "127.0.0.1", port: 0 },
      tls: undefined,
    });
    await using proxy = await openCuttingProxy(server.url);
    const agent = createBatchAgent("a");
    let published = 0;
    const publish = async (count: number): Promise<void> => {
      const pids = range(published, published + count);
      published += count;
      const events = pids.map((pid) => ({
        ...{ timeUs: NOON_US + pid, topic: TEST_DAY.topic, severity: "info" as const, pid },
        message: `event ${pid}`,
      }));
      await publishAll(query.rig.connection, [await agent.batch(events)]);
    };
    await publish(50);
    await running.found(50);

    await using browser = await openBrowser();
    const page = await browser.context.newPage();
    await page.goto(pages.url);
    const call = (name: string) =>
      page.evaluate(`window.${name}(${JSON.stringify(proxy.url)}, ${JSON.stringify(QUERY_TOKEN)})`);
    expect(await call("begin")).toMatchObject({
      ...{ pids: range(0, 50), total: 50, wrong: "limit", scannedFiles: expect.any(Number) },
    });
    const seen = async (): Promise<Seen> => await page.evaluate("window.seen");
    const followed = (count: number) =>
      until(async () => {
        const { tail, live, error } = await seen();
        if (error !== undefined) throw new Error(error);
        return tail.length >= count && live.length >= count;
      });
    await followed(50);
    for (let round = 0; round < 3; round++) {
      await publish(20);
      if (round === 1) await followed(published);
      expect(proxy.cut()).toBeGreaterThan(0);
      await publish(20);
      await followed(published);
    }
    const all = await seen();
    expect([all.tail, all.live]).toEqual([range(0, published), range(0, published)]);
    expect(Math.min(all.tailCuts, all.liveCuts)).toBeGreaterThanOrEqual(3);

    await page.goto(others.url);
    expect(await call("refused")).toEqual(["UnreachableError", "UnreachableError"]);
    await page.close();

    const docs = await browser.context.newPage();
    const asked: string[] = [];
    const complaints: string[] = [];
    docs.on("request", (request) => asked.push(request.url()));
    docs.on("console", (message) => complaints.push(message.text()));
    docs.on("pageerror", (error) => complaints.push(error.message));
    await docs.goto(`${server.url}/docs`);
    const text = await docs.innerText("body");
    expect(text).toContain("GET /v1/events");
    expect(text).toContain("auditEventsGet");
    expect(asked.filter((url) => url !== `${server.url}/docs`)).toEqual([]);
    expect(complaints).toEqual([]);
    // Its style came through its own policy.
    expect(await docs.evaluate("getComputedStyle(document.body).display")).toBe("grid");
  },
  90_000,
);
