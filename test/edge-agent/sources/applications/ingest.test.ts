/** `POST /v1/ingest` on the agent's real server: the three forms of CloudEvents, durability, refusals. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AgentHttp, openAgentHttp } from "../../../../src/edge-agent/http.ts";
import { openApplicationRig } from "../../../support/application-rig.ts";
import { runSource, type SourceRun } from "../../../support/source-run.ts";

const STRUCTURED = "application/cloudevents+json";
const EVENT = { specversion: "1.0", id: "1", source: "/shop/cart", type: "order.placed" };

describe("ingest", () => {
  let rig: Awaited<ReturnType<typeof openApplicationRig>>;
  let http: AgentHttp;
  let run: SourceRun;
  beforeAll(async () => {
    rig = await openApplicationRig({ messageBytesMax: 4096 });
    http = await openAgentHttp({
      listen: { host: "127.0.0.1", port: 0 },
      health: () => ({ ready: true }),
      metrics: () => Promise.resolve({ text: "", contentType: "text/plain" }),
      ingest: rig.source.ingest,
    });
  });
  afterAll(async () => {
    await run[Symbol.asyncDispose]();
    await http[Symbol.asyncDispose]();
    await rig[Symbol.asyncDispose]();
  });
  const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) =>
    fetch(`http://127.0.0.1:${http.address.port}/v1/ingest`, { method: "POST", body, headers });
  const send = (event: unknown, type = STRUCTURED) =>
    post(JSON.stringify(event), { "content-type": type });

  it("is refused, to be tried again, while nothing is taken", async () => {
    const answer = await send(EVENT);
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    run = runSource(rig.source);
  });

  it("takes one event, a batch, and an event of headers; each answer follows the disk", async () => {
    const data = { message: "placed", level: "warn", user: "ann", items: [1, 2] };
    const one = await send({ ...EVENT, data, time: "2026-03-01T10:00:00Z", tenant: "t" });
    await send({ ...EVENT, id: "5", type: "order placed", topic: "own" });
    expect([one.status, await one.json()]).toEqual([200, { accepted: 1 }]);
    const batch = [{ ...EVENT, id: "2" }, { ...EVENT, id: "3", data: "a text" }];
    const many = await send(batch, "application/cloudevents-batch+json; charset=utf-8");
    expect(await many.json()).toEqual({ accepted: 2 });
    const binary = await post(Uint8Array.of(0xff, 0x00), {
      "content-type": "image/png",
      ...{ "ce-specversion": "1.0", "ce-id": "4", "ce-type": "caf%C3%A9", "ce-source": "urn:a:b" },
    });
    expect(binary.status).toBe(200);
    const byId = new Map(run.lines.map((line) => [line.detail["id"], line]));
    expect(byId.get("1")).toMatchObject({
      ...{ topic: "app/shop_cart/order.placed", message: "placed", severity: "low", user: "ann" },
      detail: { ...EVENT, data, time: "2026-03-01T10:00:00Z", tenant: "t", claimed: ["user"] },
      src_ip: "127.0.0.1",
    });
    expect(byId.get("3")).toMatchObject({ message: "a text", detail: { id: "3" } });
    expect(byId.get("5")?.detail).toMatchObject({ topic: "order placed", _topic: "own" });
    expect(byId.get("4")).toMatchObject({
      topic: "app/a:b/caf_",
      detail: { topic: "café", data_base64: "/wA=", datacontenttype: "image/png" },
    });
  });

  it.each([
    [{ ...EVENT, specversion: "0.3" }, "specversion"],
    [{ ...EVENT, id: "" }, "id is not a text"],
    [{ ...EVENT, type: undefined }, "type is not a text"],
    [{ ...EVENT, time: "yesterday" }, "time is not of RFC 3339"],
    [{ ...EVENT, data: 1, data_base64: "AA==" }, "both data and data_base64"],
    [{ ...EVENT, data_base64: 1 }, "data_base64 is not a text"],
    [{ ...EVENT, Upper: "x" }, '"Upper"'],
    [{ ...EVENT, nested: {} }, '"nested"'],
    [{ ...EVENT, data: JSON.parse("[".repeat(70) + "]".repeat(70)) }, "deeper than 64"],
    [[EVENT], "not an object"],
  ])("refuses %j by name", async (event, fault) => {
    const answer = await send(event);
    expect(answer.status).toBe(400);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(JSON.stringify(await answer.json())).toContain(fault.replaceAll('"', '\\"'));
  });

  it("takes nothing of a batch with a fault, nor what is too large, of a page, or no event", async () => {
    const before = run.lines.length;
    const batch = "application/cloudevents-batch+json";
    const statuses = await Promise.all([
      send([EVENT, { ...EVENT, id: 5 }], batch),
      send({ ...EVENT, data: "x".repeat(5000) }),
      post(JSON.stringify(EVENT), { "content-type": STRUCTURED, origin: "https://example.org" }),
      post("{}", { "content-type": "application/json" }),
      post("{", { "content-type": STRUCTURED }),
      send(EVENT, batch),
      post("x", { "ce-specversion": "1.0", "ce-id": "%ff", "ce-type": "t", "ce-source": "s" }),
      fetch(`http://127.0.0.1:${http.address.port}/v1/ingest`),
    ]).then((answers) => answers.map(({ status }) => status));
    expect(statuses).toEqual([400, 413, 403, 415, 400, 400, 400, 405]);
    expect(run.lines).toHaveLength(before);
  });
});
