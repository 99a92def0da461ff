import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SOURCE_NAMES } from "../../src/edge-agent/sources.ts";
import { COLLECTOR_NAMES } from "../../src/edge-agent/sources/collectors/collector-names.ts";
import { runProbity } from "../support/command-line.ts";
import { canRunNats, openNatsServer } from "../support/nats-server.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "probity-doctor-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Findings by name, and the exit code; each is about a data folder of its own. */
async function doctor(...words: string[]) {
  const data = await mkdtemp(join(folder, "data-"));
  const { stdout, stderr, code } = await runProbity(["doctor", "--data", data, ...words]);
  const rows = stdout.trim().split("\n").map((line) => JSON.parse(line));
  const findings = new Map(rows.map(({ name, ...status }) => [name, status]));
  return { code, stderr, data, findings };
}

// Each loads every program into the kernel, and waits for what they see: all of them at the same time.
describe.runIf(canRunNats()).concurrent("doctor", () => {
  it("says for every part and source that it is on and how, or off, why, and what would help", async () => {
    const { code, stderr, findings } = await doctor();
    expect([code, stderr]).toEqual([0, ""]);
    const parts = [
      "runtime",
      "duckdb",
      "data folder",
      "broker",
      "store",
      "service",
      "user probity",
      "applications",
    ];
    const sources = [...SOURCE_NAMES, ...COLLECTOR_NAMES].map((name) => `source ${name}`);
    expect([...findings.keys()]).toEqual([...parts, ...sources]);
    for (const [name, status] of findings) {
      const text = expect.stringMatching(/\S/);
      const off = { state: "off", reason: text, remedy: text };
      const { hooks, ...rest } = status;
      expect(rest, name).toEqual(status.state === "on" ? { state: "on", how: text } : off);
      for (const hook of hooks ?? []) {
        // Which logs of logins there are is the machine's matter; of one that is not, the reason ends with what would help.
        const isMissing = name === "source logins" && hook.state === "off";
        const reason = expect.stringMatching(/\S; \S/);
        expect(hook, name).toEqual(
          isMissing ? { name: text, state: "off", reason } : { name: text, state: "on" },
        );
      }
    }
    expect(findings.get("service")).toMatchObject({ state: "off", remedy: "start it: probity up" });
  });

  it("leaves nothing behind", async () => {
    const { data } = await doctor();
    expect(await readdir(data)).toEqual([]);
  });

  it("asks the broker that it is given", async () => {
    await using server = await openNatsServer();
    const { code, findings } = await doctor("--nats", server.url);
    expect(code).toBe(0);
    expect(findings.get("broker")?.how).toBe(`${server.url}, no log yet`);
  });

  it("fails when what is needed does not answer", async () => {
    const { code, findings } = await doctor("--nats", "nats://127.0.0.1:1");
    expect(code).toBe(1);
    expect(findings.get("broker")).toMatchObject({
      state: "off",
      reason: "no answer within 5000 ms",
    });
  });

  it("fails when a library of the configuration is not there, or has no probes", async () => {
    const own = await mkdtemp(join(tmpdir(), "probity-doctor-config-"));
    const config = join(own, "probity.toml");
    await writeFile(config, `[crypto]\nlibraries = ["/nowhere/libtls.so", "/bin/true"]\n`);
    const { code, findings } = await doctor("--config", config);
    await rm(own, { recursive: true });
    expect(code).toBe(1);
    const off = { state: "off", remedy: expect.stringContaining("[crypto]") };
    expect(findings.get("library /nowhere/libtls.so"))
      .toEqual({ ...off, reason: "it cannot be opened: ENOENT" });
    expect(findings.get("library /bin/true"))
      .toEqual({ ...off, reason: 'it has no probes of provider "crypto_auditing"' });
    expect(findings.get("source crypto")).toMatchObject({ state: "on" });
  });
});
