import { expect, it } from "vitest";
import { covers, createReadable } from "../../../src/edge-agent/privilege/readable.ts";

const readable = (contents: readonly string[], belowHomes: readonly string[] = []) =>
  createReadable({ contents, belowHomes });

it("files below the watched folders may be read, not those beside them", () => {
  const isReadable = readable(["/etc/ssh"]);
  expect(["/etc/ssh/sshd_config", "/etc/ssh"].map(isReadable)).toEqual([true, true]);
  expect(["/etc/sshd", "/etc/shadow", "/"].map(isReadable)).not.toContain(true);
  expect(readable(["/"])("/anything")).toBe(true);
  expect(readable([])("/anything")).toBe(false);
});

it("what is watched below homes may be read below any folder, and nothing beside it", () => {
  const isReadable = readable([], ["/.ssh/authorized_keys", "/.config/**", "/*.rc"]);
  for (
    const path of [
      "/home/new/.ssh/authorized_keys",
      "/srv/a/b/.ssh/authorized_keys",
      "/root/.config/a/b",
      "/home/a/x.rc",
    ]
  ) expect(isReadable(path), path).toBe(true);
  for (
    const path of [
      "/home/new/.ssh/id_ed25519",
      "/home/new/.ssh/authorized_keys/x",
      "/home/new/ssh/authorized_keys",
      "/etc/shadow",
      "/root/.configs/a",
    ]
  ) expect(isReadable(path), path).toBe(false);
});

it("tells what was not allowed before", () => {
  const before = { contents: ["/etc", "/srv/a"], belowHomes: ["/.ssh/*"] };
  expect(covers(before, before)).toBe(true);
  expect(covers(before, { contents: ["/etc/ssh", "/srv/a/b"], belowHomes: [] })).toBe(true);
  expect(covers(before, { contents: ["/srv"], belowHomes: [] })).toBe(false);
  expect(covers(before, { contents: [], belowHomes: ["/.bashrc"] })).toBe(false);
});
