import { describe, expect, it } from "vitest";
import {
  createPathCache,
  isUnder,
  joinPath,
} from "../../../../src/edge-agent/sources/filesystem/path-cache.ts";

describe("the path cache", () => {
  it("moves what lies below a renamed directory, and forgets what it replaced", () => {
    const cache = createPathCache();
    cache.set("a", "/a");
    cache.set("ab", "/a/b");
    cache.set("abc", "/a/bc");
    cache.set("d", "/d");
    cache.set("dx", "/d/x");
    cache.move("/a/b", "/d");
    expect(["a", "ab", "abc", "d", "dx"].map((key) => cache.get(key))).toEqual([
      "/a",
      "/d",
      "/a/bc",
      undefined,
      undefined,
    ]);
  });

  it("forgets a directory with what lies below it", () => {
    const cache = createPathCache();
    for (const path of ["/a", "/a/b", "/ab"]) cache.set(path, path);
    cache.forget("/a");
    expect(cache.size).toBe(1);
    expect(cache.get("/ab")).toBe("/ab");
  });

  it("lets the least recently used go first", () => {
    const cache = createPathCache(2);
    cache.set("a", "/a");
    cache.set("b", "/b");
    cache.get("a");
    cache.set("c", "/c");
    expect([cache.get("a"), cache.get("b"), cache.get("c")]).toEqual(["/a", undefined, "/c"]);
  });

  it("tells borders between names", () => {
    expect(isUnder("/a/b", "/a")).toBe(true);
    expect(isUnder("/a", "/a")).toBe(true);
    expect(isUnder("/ab", "/a")).toBe(false);
    expect(isUnder("/ab", "/")).toBe(true);
    expect(joinPath("/", "a")).toBe("/a");
    expect(joinPath("/a", "b")).toBe("/a/b");
  });
});
