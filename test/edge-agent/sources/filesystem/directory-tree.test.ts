import { describe, expect, it } from "vitest";
import {
  createDirectoryTree,
  isUnder,
  joinPath,
} from "../../../../src/edge-agent/sources/filesystem/directory-tree.ts";
import type { FileHandle } from "../../../../src/edge-agent/sources/filesystem/file-handle.ts";
import { createPathResolver } from "../../../../src/edge-agent/sources/filesystem/path-resolver.ts";
import { createWaitingEvents } from "../../../../src/edge-agent/sources/filesystem/waiting-events.ts";

const entry = (directory: FileHandle, name: string) => ({ directory, name });

describe("the directory tree", () => {
  it("lets the least recently asked go first", () => {
    const tree = createDirectoryTree(2);
    tree.set("a", { root: "/a" });
    tree.set("b", entry("a", "b"));
    tree.get("a");
    tree.set("c", entry("a", "c"));
    expect(tree.size).toBe(2);
    expect(["a", "b", "c"].map((key) => tree.get(key) !== undefined)).toEqual([
      true,
      false,
      true,
    ]);
  });

  it("says when computed paths are stale", () => {
    const tree = createDirectoryTree();
    tree.set("a", { root: "/a" });
    const { version } = tree;
    tree.set("b", entry("a", "b"));
    expect(tree.version).toBe(version);
    tree.set("b", entry("a", "c"));
    expect(tree.version).toBeGreaterThan(version);
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

describe("paths by handles", () => {
  const resolverOver = (tree: ReturnType<typeof createDirectoryTree>, seen: readonly string[]) => {
    const asked: string[] = [];
    const resolver = createPathResolver({
      tree,
      waiting: createWaitingEvents(),
      reader: {
        directory: (key) => {
          asked.push(key);
          return seen.includes(key) ? entry("root", key) : undefined;
        },
        object: () => undefined,
        openAhead: () => undefined,
        handleOf: () => undefined,
        release: () => undefined,
      },
      pump: () => undefined,
    });
    return { asked, of: (key: string) => resolver.directory(key) };
  };

  it("follow a rename of any directory above, and are asked of the kernel once", () => {
    const tree = createDirectoryTree();
    tree.set("root", { root: "/" });
    const paths = resolverOver(tree, ["x"]);
    tree.set("y", entry("x", "y"));
    expect([paths.of("y"), paths.of("x"), paths.of("y")]).toEqual(["/x/y", "/x", "/x/y"]);
    tree.set("x", entry("root", "moved"));
    expect([paths.of("y"), paths.of("x")]).toEqual(["/moved/y", "/moved"]);
    expect(paths.asked).toEqual(["x"]);
  });

  it("are unknown when nothing tells them, and when directories seem to lie in each other", () => {
    const tree = createDirectoryTree();
    const paths = resolverOver(tree, []);
    expect(paths.of("gone")).toBeUndefined();
    tree.set("a", entry("b", "a"));
    tree.set("b", entry("a", "b"));
    expect(paths.of("a")).toBeUndefined();
  });
});
