import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { openLifecycle } from "../../src/runtime/lifecycle.ts";

describe("the life of a process", () => {
  it("closes what it used in reverse order, and stops listening for signals", async () => {
    const before = process.listenerCount("SIGTERM");
    const closed: string[] = [];
    const resource = (name: string): AsyncDisposable => ({
      [Symbol.asyncDispose]: () => Promise.resolve(void closed.push(name)),
    });
    {
      await using life = openLifecycle();
      life.use(resource("first"));
      life.use(resource("second"));
      expect(process.listenerCount("SIGTERM")).toBe(before + 1);
      expect(life.signal.aborted).toBe(false);
      life.stop("done");
      expect(String(life.signal.reason)).toContain("done");
    }
    expect(closed).toEqual(["second", "first"]);
    expect(process.listenerCount("SIGTERM")).toBe(before);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("is ended in order by %s", async (name) => {
    const source = fileURLToPath(new URL("../../src/runtime/lifecycle.ts", import.meta.url));
    const program = `
      const { openLifecycle } = await import(${JSON.stringify(source)});
      await using life = openLifecycle();
      const alive = setInterval(() => {}, 1000);
      console.log("ready");
      await new Promise((resolve) => life.signal.addEventListener("abort", resolve));
      clearInterval(alive);
      console.log(life.signal.reason.message);`;
    const child = spawn("node", ["--input-type=module", "-e", program]);
    const said: string[] = [];
    child.stdout.on("data", (bytes) => {
      said.push(String(bytes).trim());
      if (said.length === 1) child.kill(name);
    });
    const [code] = await once(child, "exit");
    expect(said).toEqual(["ready", `Stopped by ${name}`]);
    expect(code).toBe(0);
  });
});
