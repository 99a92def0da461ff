import { describe, expect, it } from "vitest";
import { isTopic, isTopicUnder, TOPIC_LENGTH_MAX, TOPICS } from "../../src/event/topic.ts";

describe("a topic", () => {
  it.each([...TOPICS, "crypto/tls/handshake", "app/billing/Invoice.paid:v2", "app"])(
    "may be %s",
    (topic) => expect(isTopic(topic)).toBe(true),
  );

  it.each([
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "A/b",
    "a b",
    "a/ü",
    "a\n",
    "a".repeat(TOPIC_LENGTH_MAX + 1),
  ])(
    "may not be %j",
    (topic) => expect(isTopic(topic)).toBe(false),
  );

  it("is listed once", () => {
    expect(new Set(TOPICS).size).toBe(TOPICS.length);
  });

  it.each([
    ["file/write", "file/write", true],
    ["file/write", "file", true],
    ["account/user/add", "account/user", true],
    ["file/write", "file/wri", false],
    ["files/write", "file", false],
    ["file", "file/write", false],
  ])("%s lies under %s: %s", (topic, ancestor, expected) => {
    expect(isTopicUnder(topic, ancestor)).toBe(expected);
  });
});
