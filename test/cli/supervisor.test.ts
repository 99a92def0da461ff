import { once } from "node:events";
import process from "node:process";
import { afterEach, describe, expect, it } from "vitest";
import { CommandError, EXIT } from "../../src/cli/exit.ts";
import { readAnnouncement } from "../../src/cli/up/role-process.ts";
import { supervise, type Supervised } from "../../src/cli/up/supervisor.ts";
import { createLog } from "../../src/runtime/log.ts";

/** Says that it is ready, then waits for the end of its input or SIGTERM. */
const STEADY =
  `console.log('{"ready":true}'); process.stdin.on("end", () => process.exit()).resume();`;

const running: Supervised<unknown>[] = [];
afterEach(async () => {
  for (const each of running.splice(0)) await each[Symbol.asyncDispose]();
});

/** Supervises a Node process with that program, and collects what is logged. */
function run(program: string) {
  const lines: string[] = [];
  const supervised = supervise({
    name: "child",
    plan: () => ({
      command: process.execPath,
      words: ["-e", program],
      environment: process.env,
      account: undefined,
    }),
    whenReady: readAnnouncement,
    log: createLog({ level: "info", write: (line) => lines.push(line) }),
  });
  running.push(supervised);
  return { supervised, lines };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe("a supervised process", () => {
  it("is ready once it says so, and hands on what it said", async () => {
    const { supervised } = run(STEADY);
    expect(await supervised.ready).toEqual({ ready: true });
    expect(isAlive(supervised.pid() ?? 0)).toBe(true);
  });

  it("is started again when it is killed, and again", async () => {
    const { supervised, lines } = run(STEADY);
    await supervised.ready;
    for (let kill = 1; kill <= 2; kill++) {
      const pid = supervised.pid();
      process.kill(pid ?? 0, "SIGKILL");
      await expect.poll(() => supervised.pid() !== pid && supervised.pid() !== undefined, {
        timeout: 5_000,
      }).toBe(true);
    }
    expect(lines.filter((line) => line.includes("was killed by SIGKILL"))).toHaveLength(2);
  });

  it("is gone when the supervision ends, and does not come back", async () => {
    const { supervised } = run(STEADY);
    await supervised.ready;
    const pid = supervised.pid() ?? 0;
    await supervised[Symbol.asyncDispose]();
    expect(isAlive(pid)).toBe(false);
    expect(supervised.pid()).toBeUndefined();
    await supervised[Symbol.asyncDispose]();
  });

  it("may drain on SIGTERM before it ends", async () => {
    const drain = `process.on("SIGTERM", () => setTimeout(() => process.exit(7), 200));`;
    const { supervised } = run(`${drain} setInterval(() => {}, 1e6); console.log("{}");`);
    await supervised.ready;
    const begunMs = performance.now();
    await supervised[Symbol.asyncDispose]();
    expect(performance.now() - begunMs).toBeGreaterThan(150);
  });

  it("gives up at once when the process says that its configuration is wrong", async () => {
    const { supervised } = run(`process.exit(${EXIT.usage})`);
    await expect(supervised.ready).rejects.toThrow("Cannot start child: ended with code 2");
    await expect(supervised.ready).rejects.toBeInstanceOf(CommandError);
  });

  it("rejects its readiness when it is stopped before", async () => {
    const { supervised } = run("setInterval(() => {}, 1e6)");
    const outcome = expect(supervised.ready).rejects.toThrow("Stopping child");
    await supervised[Symbol.asyncDispose]();
    await outcome;
  });

  it("is tried again when it dies before it is ready", async () => {
    const { supervised, lines } = run(`process.exit(1)`);
    await expect.poll(() => lines.filter((line) => line.includes("starting it again")).length, {
      timeout: 5_000,
    }).toBeGreaterThan(1);
    const outcome = expect(supervised.ready).rejects.toThrow();
    await supervised[Symbol.asyncDispose]();
    await outcome;
  });

  it("does not hear Ctrl-C of the supervisor's terminal: it leads a session of its own", async () => {
    const { supervised } = run(
      `console.log(JSON.stringify(require("node:fs").readFileSync("/proc/self/stat", "utf8")));` +
        "setInterval(() => {}, 1e6)",
    );
    const fields = String(await supervised.ready).split(") ")[1]?.split(" ") ?? [];
    expect(fields[3]).toBe(String(supervised.pid()));
  });

  it("learns of the supervisor's death by the end of its input", async () => {
    const { spawn } = await import("node:child_process");
    const supervisor = spawn(process.execPath, ["--input-type=module", "-e", SUPERVISOR], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [text] = await once(supervisor.stdout, "data");
    const pid = Number(String(text));
    expect(isAlive(pid)).toBe(true);
    supervisor.kill("SIGKILL");
    await expect.poll(() => isAlive(pid), { timeout: 5_000 }).toBe(false);
  });
});

/** A process that supervises a steady child and prints its process id. */
const SUPERVISOR = `
import { supervise } from ${
  JSON.stringify(new URL("../../src/cli/up/supervisor.ts", import.meta.url).href)
};
import { readAnnouncement } from ${
  JSON.stringify(new URL("../../src/cli/up/role-process.ts", import.meta.url).href)
};
const quiet = () => {};
const supervised = supervise({
  name: "child",
  plan: () => ({ command: process.execPath, words: ["-e", ${
  JSON.stringify(STEADY)
}], environment: process.env }),
  whenReady: readAnnouncement,
  log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
});
await supervised.ready;
console.log(supervised.pid());
`;
