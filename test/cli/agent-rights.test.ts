import { describe, expect, it } from "vitest";
import { contentsOf } from "../../src/cli/agent-rights.ts";
import { encodeRequest, parseRequest } from "../../src/edge-agent/privilege/messages.ts";

describe("what the process with rights may read for the agent", () => {
  it("is what the rules name, up to the first pattern, and below homes what they name there", async () => {
    const rules = [
      { paths: ["/srv/app/*.conf", "/etc/hosts", "~/.ż"] },
      { kind: "accounts" as const, paths: ["~/.ssh/authorized_keys"] },
    ];
    const { contents, belowHomes } = await contentsOf(rules);
    expect(contents).toContain("/srv/app");
    expect(contents).not.toContain("/");
    expect(contents.filter((path) => path.startsWith("/etc"))).not.toContain("/etc/shadow");
    expect(belowHomes).toEqual(["/.\xc5\xbc", "/.ssh/authorized_keys"]);
  });

  it("without rules is what is watched without any, not everything", async () => {
    const { contents, belowHomes } = await contentsOf([]);
    expect(contents.length).toBeGreaterThan(3);
    expect(contents.every((path) => path.startsWith("/") && path.length > 1)).toBe(true);
    expect(belowHomes).toContain("/.ssh/authorized_keys");
  });

  it("is a message that is taken, however many users the host has", async () => {
    // Nothing of it comes from the list of users.
    expect(parseRequest(encodeRequest("policy", { ...await contentsOf([]) }), 0)).toBeDefined();
  });
});
