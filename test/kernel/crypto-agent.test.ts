import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { removePinFolder } from "../../src/edge-agent/pinned-programs.ts";
import { openLogStream } from "../support/log-stream.ts";
import { openNatsServer } from "../support/nats-server.ts";
import { startDividedAgent } from "../support/privileged-agent.ts";
import { buildIdOf, compileProbes, hasProbes, runProbed } from "../support/probed-programs.ts";
import { requireCapability } from "../support/require.ts";
import { hasBpf } from "../support/ring-sources.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
const RUNTIMES: readonly (readonly [string, readonly [string, ...string[]]])[] = [
  ["node", [process.execPath]],
  ...(requireCapability("deno", existsSync(DENO), "no deno in node_modules")
    ? [["deno", [DENO, "run", "-q", "-P=agent"]] as const]
    : []),
];
const GUIDE = fileURLToPath(new URL("../../docs/sources.md", import.meta.url));

/** The program that the guide shows. */
function exampleOf(guide: string): string {
  const [, section = ""] = guide.split("## Cryptographic libraries");
  const [, code = ""] = /```c\n(.*?)```/s.exec(section) ?? [];
  return code;
}

describe.runIf(hasBpf && hasProbes)("an agent without rights", () => {
  it.each(RUNTIMES)(
    "in %s tells what the guide's program says, and finds libraries it may not read",
    async (
      _name,
      runtime,
    ) => {
      await using folder = await openTemporaryFolder("crypto-agent");
      chmodSync(folder.path, 0o755);
      const handshake = join(folder.path, "handshake");
      const source = join(folder.path, "handshake.c");
      writeFileSync(source, exampleOf(readFileSync(GUIDE, "utf8")));
      execFileSync("gcc", ["-Wl,--build-id", "-o", handshake, source]);
      // Nobody but root comes by here.
      const closed = join(folder.path, "closed");
      mkdirSync(closed, { mode: 0o700 });
      const { program, library } = compileProbes(closed);
      const config = join(folder.path, "probity.toml");
      const missing = join(folder.path, "missing");
      writeFileSync(
        config,
        `[crypto]\nlibraries = ["${handshake}", "${missing}"]\ndiscover = true\nring = "1MiB"\n`,
      );
      await using nats = await openNatsServer();
      await using log = await openLogStream(nats.url);
      const data = join(folder.path, "data");
      using _pins = {
        [Symbol.dispose]: () =>
          removePinFolder(
            `/sys/fs/bpf/probity-${createHash("sha256").update(data).digest("hex").slice(0, 12)}`,
          ),
      };
      await using agent = await startDividedAgent({
        data,
        natsUrl: nats.url,
        runtime,
        words: [`--config=${config}`],
      });
      expect(agent.log()).not.toContain("runs as root");
      expect(agent.sources.find(({ name }) => name === "crypto")).toMatchObject({ state: "on" });
      const found = async (topic: string, column: string, value: unknown) => {
        const lines = await log.waitFor(
          (line) => line.topic === topic && line[column] === value,
          { count: 1, timeoutMs: 15_000 },
        );
        return lines[0]?.line;
      };
      expect(await found("agent/config", "path", missing)).toMatchObject({
        outcome: "failure",
        severity: "medium",
      });
      const first = runProbed(handshake);
      await first.ended();
      const told = await found("crypto/tls/protocol_version", "pid", first.pid);
      expect(told).toMatchObject({
        exe: handshake,
        user: "root",
        context: expect.stringMatching(/^[0-9a-f]{32}$/),
        detail: { key: "tls::protocol_version", value: 0x304, origin: buildIdOf(handshake) },
      });
      expect(await found("crypto/tls/handshake", "pid", first.pid)).toMatchObject({
        context: told?.["context"],
      });

      const second = runProbed(program, "load", library, "5");
      await found("agent/config", "path", library);
      second.go();
      await second.ended();
      expect(await found("crypto/test/blob", "pid", second.pid)).toMatchObject({
        exe: program,
        detail: { value: "0001fe", library },
      });
      // The agent knows what it missed.
      const gaps = await log.waitFor(
        ({ topic, detail }) => topic === "agent/gap" && isUnattached(detail),
        { count: 1 },
      );
      expect(gaps[0]?.line).toMatchObject({ detail: { sources: ["crypto"], count: null } });
      expect(await agent.stop()).toBe(0);
    },
  );
});

function isUnattached(detail: unknown): boolean {
  return typeof detail === "object" && detail !== null && "class" in detail &&
    detail.class === "unattached";
}
