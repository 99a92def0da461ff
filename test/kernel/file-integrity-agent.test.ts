import { execFile } from "node:child_process";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { startAgent } from "../support/agent-process.ts";
import { type LoggedLine, openLogStream } from "../support/log-stream.ts";
import { openNatsServer } from "../support/nats-server.ts";
import { hasBpf, openPinFolder } from "../support/ring-sources.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);

describe.runIf(hasBpf)("an agent that watches files", () => {
  it("tells a change once, with who did it, although it is killed in between", async () => {
    await using nats = await openNatsServer();
    await using log = await openLogStream(nats.url);
    await using folder = await openTemporaryFolder("integrity");
    using pins = openPinFolder();
    const watched = join(folder.path, "etc");
    const path = join(watched, "sudoers");
    mkdirSync(watched);
    writeFileSync(path, "root ALL=(ALL) ALL\n");
    const settings = {
      dataDirectory: join(folder.path, "data"),
      nats: { url: nats.url },
      flushMs: 100,
      pinDirectory: pins.path,
      ringBytes: { process: 1 << 20, network: 1 << 20, file: 1 << 20 },
      files: [{ paths: [`${watched}/*`], kind: "sudoers" as const }],
      canaryMs: 0,
    };
    const changes = (): readonly LoggedLine[] =>
      log.lines.filter(({ line }) => line.topic === "file/change" && line["path"] === path);
    const append = async (user: string): Promise<void> => {
      await run("sh", ["-c", `echo "${user} ALL=(ALL) NOPASSWD: ALL" >> "$1"`, "sh", path]);
    };
    {
      await using agent = await startAgent({ settings });
      expect(agent.status.sources.find(({ name }) => name === "integrity")?.status).toMatchObject({
        state: "on",
        how: expect.stringMatching(/inode hook/),
      });
      await untilAdopted(join(settings.dataDirectory, "agent.db"));
      await append("mallory");
      const [change] = await log.waitFor(
        (line) => line.topic === "file/change" && line["path"] === path,
        { count: 1 },
      );
      expect(change?.line).toMatchObject({
        user: "root",
        severity: "high",
        detail: {
          kind: "sudoers",
          how: "write",
          semantic: [{ what: expect.stringContaining("add") }],
          ancestors: expect.arrayContaining([expect.objectContaining({ pid: process.pid })]),
        },
      });
      expect(String(change?.line["exe"])).toMatch(/sh$/);
      for (let round = 0; round < 5; round += 1) await append(`user-${round}`);
      await agent.kill();
    }
    {
      await using agent = await startAgent({ settings });
      await append("last");
      await log.waitFor(
        ({ detail }) => String((detail as { diff?: string })?.diff).includes("+last"),
        { count: 1 },
      );
      await agent.kill();
    }
    const added = changes().map(({ line }) => String(line.detail["diff"]))
      .flatMap((diff) => diff.match(/^\+(\S+) ALL/gm) ?? []);
    expect(added).toEqual(
      ["mallory", ...[0, 1, 2, 3, 4].map((round) => `user-${round}`), "last"]
        .map((user) => `+${user} ALL`),
    );
    await using agent = await startAgent({ settings });
    await append("end");
    await log.waitFor(
      ({ detail }) => String((detail as { diff?: string })?.diff).includes("+end"),
      { count: 1 },
    );
    expect(statSync(join(settings.dataDirectory, "agent.db")).mode & 0o777).toBe(0o600);
    await agent.stop();
  }, 60_000);
});

/** Waits until the first comparison is over: what changes before is taken as it was found. */
async function untilAdopted(path: string): Promise<void> {
  const untilMs = performance.now() + 20_000;
  for (;;) {
    using database = new DatabaseSync(path, { readOnly: true });
    const row = database.prepare("SELECT 1 FROM setting WHERE name = 'policies'").get();
    if (row !== undefined) return;
    if (performance.now() > untilMs) throw new Error("Cannot see that files were adopted");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
