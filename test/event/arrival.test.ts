import { describe, expect, test } from "vitest";
import { readArrival } from "../../src/event/arrival.ts";
import {
  type BatchHeader,
  digestOf,
  encodeHeaders,
  HEADER,
  messageDigestOf,
} from "../../src/event/wire.ts";

const payload = new TextEncoder().encode("payload");
const header: BatchHeader = {
  host: "web-1",
  agent: "0123456789abcdef",
  epoch: "e1",
  number: 1,
  count: 3,
  firstUs: 1,
  lastUs: 2,
  digest: digestOf(payload),
  previous: undefined,
  void: undefined,
};
const message = {
  sequence: 9,
  storedAtUs: 7,
  subject: "audit.0.0123456789abcdef",
  headers: encodeHeaders(header),
  payload,
};
const lost = encodeHeaders({ ...header, void: "spool overflow" });

describe("an arrival", () => {
  test("has its header when subject, headers and payload agree", () => {
    expect(readArrival(message, "0")).toEqual({
      agent: header.agent,
      header,
      arrival: {
        sequence: 9,
        storedAtUs: 7,
        messageDigest: messageDigestOf(message),
        agent: header.agent,
        batch: { ok: true, header },
      },
    });
  });

  test("of a void has the digest of what was lost, and no payload", () => {
    const empty = { ...message, headers: lost, payload: new Uint8Array() };
    expect(readArrival(empty, "0").header).toEqual({ ...header, void: "spool overflow" });
  });

  const changed = new Map([...message.headers, [HEADER.host, ""]]);
  test.each([
    [
      "payload of another digest",
      { ...message, payload: new Uint8Array([1]) },
      header.agent,
      "digest",
    ],
    ["void with a payload", { ...message, headers: lost }, header.agent, "void"],
    ["bad header", { ...message, headers: changed }, header.agent, HEADER.host],
    ["header of another agent", { ...message, subject: "audit.0.other" }, "other", HEADER.agent],
    ["subject of another shard", { ...message, subject: "audit.1.x" }, undefined, "subject"],
    ["foreign subject", { ...message, subject: "audit.0.X.y" }, undefined, "subject"],
  ])("is not trusted with a %s", (_, given, agent, reason) => {
    const found = readArrival(given, "0");
    expect(found.agent).toBe(agent);
    expect(found.header).toBeUndefined();
    expect(found.arrival.batch).toEqual({ ok: false, reason: expect.stringContaining(reason) });
    expect(found.arrival.messageDigest).toBe(messageDigestOf(given));
  });
});
