import { describe, expect, it } from "vitest";
import { contentsOf } from "../../src/cli/agent-rights.ts";

const passwd = () => "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\nbroken\n";

describe("what the process with rights may read for the agent", () => {
  it("is what the rules name, up to the first pattern, and homes where ~ stands", async () => {
    const rules = [
      { paths: ["/srv/app/*.conf", "/etc/hosts"] },
      { kind: "accounts" as const, paths: ["~/.ssh/authorized_keys"] },
    ];
    const contents = await contentsOf(rules, passwd);
    expect(contents).toContain("/srv/app");
    expect(contents).not.toContain("/");
    expect(contents.some((path) => path.startsWith("/home/anna"))).toBe(true);
    expect(contents.some((path) => path.startsWith("/root"))).toBe(true);
    expect(contents.filter((path) => path.startsWith("/etc"))).not.toContain("/etc/shadow");
  });

  it("without rules is what is watched without any, not everything", async () => {
    const contents = await contentsOf([], passwd);
    expect(contents.length).toBeGreaterThan(3);
    expect(contents.every((path) => path.startsWith("/") && path.length > 1)).toBe(true);
  });
});
