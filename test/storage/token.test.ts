import { describe, expect, test } from "vitest";
import { parseToken, sha256OfToken, type Token } from "../../src/storage/token.ts";

const TOKEN: Token = {
  sha256: sha256OfToken("x"),
  role: "viewer",
  hosts: ["web-*"],
  topics: ["file"],
  createdAtMs: 1_000,
  expiresAtMs: 2_000,
  by: "admin",
};

describe("a token at rest", () => {
  test("is what was written", () => {
    expect(parseToken(JSON.parse(JSON.stringify(TOKEN)))).toEqual(TOKEN);
  });

  test.each<[string, unknown]>([
    ["nothing", null],
    ["no digest", { ...TOKEN, sha256: undefined }],
    ["half a digest", { ...TOKEN, sha256: TOKEN.sha256.slice(32) }],
    ["another digest", { ...TOKEN, sha256: TOKEN.sha256.toUpperCase() }],
    ["an unknown role", { ...TOKEN, role: "root" }],
    ["a role of every object", { ...TOKEN, role: "constructor" }],
    // Empty lists mean all: what is missing must not.
    ["no hosts", { ...TOKEN, hosts: undefined }],
    ["no topics", { ...TOKEN, topics: null }],
    ["hosts in a text", { ...TOKEN, hosts: "web-1" }],
    ["an empty host", { ...TOKEN, hosts: [""] }],
    ["a number for a topic", { ...TOKEN, topics: [1] }],
    ["too many topics", { ...TOKEN, topics: Array.from({ length: 101 }, () => "file") }],
    ["no expiry", { ...TOKEN, expiresAtMs: undefined }],
    ["an endless expiry", { ...TOKEN, expiresAtMs: 1e300 }],
    ["an expiry in a text", { ...TOKEN, expiresAtMs: "never" }],
    ["nobody's", { ...TOKEN, by: undefined }],
  ])("is refused with %s", (_, value) => {
    expect(() => parseToken(value)).toThrow(SyntaxError);
  });
});
