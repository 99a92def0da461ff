import { describe, expect, it } from "vitest";
import {
  type AgentConfiguration,
  changesBetween,
  reloadOnHangup,
  rulesOf,
} from "../../src/cli/agent-reload.ts";
import { AGENT_OPTION_GROUPS } from "../../src/cli/agent-reload.ts";
import { parseConfig } from "../../src/cli/config-file.ts";
import { resolveSettings } from "../../src/cli/settings.ts";

function configurationOf(toml: string): AgentConfiguration {
  const file = parseConfig(toml, "x.toml");
  const { settings } = resolveSettings(AGENT_OPTION_GROUPS, {
    flags: new Map(),
    environment: {},
    file,
  });
  return { settings, structures: file.structures };
}

describe("the configuration of an agent", () => {
  it("adds its limits to those that hold by default", () => {
    const rules = rulesOf(configurationOf(
      '[limits]\nper_second = {network = 5, "process/fork" = 1}\nburst = "1s"\n' +
        "[[filters]]\nuid = 3\nreason = 'r'\n",
    ));
    expect(rules).toEqual({
      limits: { "process/fork": 1, "process/exit": 10_000, network: 5 },
      burstMs: 1000,
      sampleEvery: 100,
      cgroupFactor: 4,
      filters: [{ uid: 3, reason: "r" }],
    });
  });

  it("that changed says what holds at once and what after a restart", () => {
    const before = configurationOf('[agent]\nhost = "a"\n[limits]\nsample = 5\n');
    const after = configurationOf(
      '[agent]\nhost = "b"\nlabels = {a = "b"}\nenvironment = ["HOME"]\n[[filters]]\nuid = 1\n',
    );
    expect(changesBetween(before, after)).toEqual({
      changed: ["limits.sample", "agent.environment", "filters"],
      needsRestart: ["agent.host", "agent.labels"],
    });
    expect(changesBetween(after, after)).toEqual({ changed: [], needsRestart: [] });
  });

  it("is read anew for SIGHUP, one at a time, and refused with its fault", async () => {
    const told: string[] = [];
    const texts = ["[[filters]]\nuid = 1\n", "[[filters]]\nuid = -1\n"];
    const next = Promise.withResolvers<void>();
    using reloading = reloadOnHangup({
      ...configurationOf(""),
      readAgain: () => Promise.resolve().then(() => configurationOf(texts.shift() ?? "")),
    });
    using _serving = reloading.serve({
      async reconfigure({ changed }) {
        told.push(`changed ${changed}`);
        // More signals while one is being taken are one.
        if (told.length === 1) { for (let each = 0; each < 5; each += 1) process.emit("SIGHUP"); }
        else next.resolve();
        await Promise.resolve();
      },
      refuse(reason) {
        told.push(reason);
        process.emit("SIGHUP");
      },
    });
    process.emit("SIGHUP");
    await next.promise;
    expect(told).toEqual([
      "changed filters",
      expect.stringMatching(/line 2: \[\[filters\]\] uid cannot be -1/),
      "changed filters",
    ]);
  });

  it("names files that are watched and can be read after a restart alone", async () => {
    const texts = ["/etc/a", "/root/a"].map((path) => `[[files]]\npaths = ["${path}"]\n`);
    const told: (readonly string[])[] = [];
    const last = Promise.withResolvers<void>();
    using reloading = reloadOnHangup(
      {
        ...configurationOf(""),
        readAgain: () => Promise.resolve().then(() => configurationOf(texts.shift() ?? "")),
      },
      (files) => Promise.resolve(files.some(({ paths }) => paths.includes("/root/a"))),
    );
    using _serving = reloading.serve({
      async reconfigure({ changed, needsRestart }) {
        expect(changed).toEqual(["files"]);
        told.push(needsRestart);
        await Promise.resolve();
        if (told.length === 2) last.resolve();
        else process.emit("SIGHUP");
      },
      refuse: (reason) => last.reject(new Error(reason)),
    });
    process.emit("SIGHUP");
    await last.promise;
    expect(told).toEqual([[], ["files"]]);
  });

  it("is read once for signals that came before there was an agent, and not after it", async () => {
    const told: (readonly string[])[] = [];
    const first = Promise.withResolvers<void>();
    let reads = 0;
    using reloading = reloadOnHangup({
      ...configurationOf(""),
      readAgain() {
        reads += 1;
        return Promise.resolve(configurationOf("[[filters]]\nuid = 1\n"));
      },
    });
    for (let each = 0; each < 3; each += 1) process.emit("SIGHUP");
    expect(reads).toBe(0);
    {
      using _serving = reloading.serve({
        reconfigure({ changed }) {
          told.push(changed);
          first.resolve();
          return Promise.resolve();
        },
        refuse: (reason) => first.reject(new Error(reason)),
      });
      await first.promise;
    }
    // Somebody listens still: the signal ends nothing while the agent drains.
    expect(process.emit("SIGHUP")).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect([reads, told]).toEqual([1, [["filters"]]]);
  });
});
