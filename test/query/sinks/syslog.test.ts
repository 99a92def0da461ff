/** Messages of syslog as a real socket of UDP gets them. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { createSyslogTarget, messageOf } from "../../../src/query/sinks/syslog.ts";
import { RefusedError } from "../../../src/query/sinks/target.ts";
import { sinkEvents } from "../../support/sink-events.ts";

const signal = new AbortController().signal;

describe("syslog", () => {
  test("over UDP is one datagram for each event", async () => {
    const receiver = createSocket("udp4").bind(0, "127.0.0.1");
    await once(receiver, "listening");
    const got: string[] = [];
    const all = new Promise<void>((resolve) =>
      receiver.on("message", (message) => {
        got.push(message.toString());
        if (got.length === 3) resolve();
      })
    );
    const url = `udp://127.0.0.1:${receiver.address().port}`;
    await using target = createSyslogTarget({ url, caFile: undefined });
    const events = sinkEvents(3);
    await target.deliver(events, signal);
    await all;
    receiver.close();
    const head = "<107>1 2026-06-15T12:00:00.000000Z web-1 probity - app/test";
    expect(got).toEqual(
      events.map(({ id, json }) => `${head} [event@32473 id="${id}"] ${json}`),
    );
  });

  test("over UDP refuses an event that no datagram holds", async () => {
    const [event] = sinkEvents(1);
    if (event === undefined) throw new Error("there is no event");
    await using target = createSyslogTarget({ url: "udp://127.0.0.1:9", caFile: undefined });
    const long = { ...event, json: JSON.stringify("x".repeat(65_000)) };
    await expect(target.deliver([long], signal)).rejects.toThrow(RefusedError);
  });

  test("has no space or line in the names of its header", () => {
    const [event] = sinkEvents(1);
    if (event === undefined) throw new Error("there is no event");
    const hostile = { ...event, host: "a b\n<1>1", topic: `app/${"ü".repeat(40)}`, time: "" };
    const text = messageOf({ ...hostile, severity: "unheard-of" }).toString();
    expect(text).toMatch(/^<110>1 - a\?b\?<1>1 probity - app\/\?{28} \[event@/);
  });
});
