import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import type { SourceLoss } from "../../src/edge-agent/source.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";

const run = promisify(execFile);
const MOVER = fileURLToPath(new URL("../support/ring-mover.ts", import.meta.url));

describe.runIf(hasBpf)("the position of a pinned ring", () => {
  it("moved on or back by another process becomes a loss of its own class, and reading goes on", async () => {
    using pins = openPinFolder();
    const source = openTestSource({ family: "process", pins });
    const running = await runAttached(source, pins);
    const lost: SourceLoss[] = [];
    const tampered = () => {
      lost.push(...source.losses().filter((loss) => loss.class === "tampered"));
      return lost.length;
    };
    const [name = ""] = readdirSync(pins.path);
    const ring = join(pins.path, name, "map_events");
    await run("/bin/true", ["before"]);
    await running.waitFor((line) => line["cmdline"] === "/bin/true before", { count: 1 });
    expect(tampered()).toBe(0);
    for (const [place, bytes] of ["8", "-64", "1000000000000", "4611686018427387904"].entries()) {
      await run(process.execPath, [MOVER, ring, bytes]);
      await expect.poll(tampered, { timeout: 10_000 }).toBe(place + 1);
      await run("/bin/true", [`after ${bytes}`]);
      await running.waitFor((line) => line["cmdline"] === `/bin/true after ${bytes}`, { count: 1 });
    }
    // Nobody wrote a ring's length of records in between.
    expect(lost.map(({ count }) => count)).toEqual([0, 0, 0, 0]);
    await running.stop();
  });
});
