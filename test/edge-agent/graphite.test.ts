/** Figures as Graphite gets them, over a real socket. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { createFigures, openGraphite } from "../../src/edge-agent/graphite.ts";
import type { SourceCounters } from "../../src/edge-agent/source.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { countLines, createLog } from "../../src/runtime/log.ts";

const COUNTERS: SourceCounters = {
  attempted: 100,
  submitted: 90,
  ringFull: 6,
  filtered: 0,
  throttled: 3,
  readFault: 1,
  truncated: 0,
};

function parts(counters: () => SourceCounters = () => COUNTERS) {
  const lines: string[] = [];
  const { log, counts } = countLines(
    createLog({ level: "warn", write: (line) => lines.push(line) }),
  );
  return {
    prefix: "servers.",
    role: "Web Front",
    host: "web-1.Example.org",
    report: () => ({
      version: "1.12.0",
      sources: [{
        name: "process",
        status: { state: "on", how: "test" } as const,
        counters: counters(),
      }],
    }),
    logged: () => counts,
    log,
    lines,
  };
}

describe("figures", () => {
  it("have the names, values and times that dashboards know", () => {
    const options = parts();
    options.log.with({ part: "x" }).warn("one");
    options.log.error("two");
    options.log.error("three");
    const text = createFigures(options).text({ nowUs: 1_700_000_000_900_000, isHourly: true });
    expect(text.split("\n")).toEqual([
      "servers.log_level.debug.by_role.web_front.web-1_example_org.count.minutely 0 1700000000",
      "servers.log_level.info.by_role.web_front.web-1_example_org.count.minutely 0 1700000000",
      "servers.log_level.warn.by_role.web_front.web-1_example_org.count.minutely 1 1700000000",
      "servers.log_level.error.by_role.web_front.web-1_example_org.count.minutely 2 1700000000",
      "servers.bpf.events_caught.by_role.web_front.web-1_example_org.count.minutely 90 1700000000",
      "servers.bpf.by_role.web_front.web-1_example_org.process.kprobe.hit_rate.minutely 0.9 1700000000",
      "servers.bpf.by_role.web_front.web-1_example_org.process.kprobe.miss_rate.minutely 0.1 1700000000",
      "servers.installed.by_role.web_front.web-1_example_org.count.hourly 1 1700000000",
      "servers.installed.by_role.web_front.web-1_example_org.version.hourly 1120 1700000000",
      "",
    ]);
  });

  it("are rates of what happened since the last ones, and 1 and 0 while nothing did", () => {
    let counters = COUNTERS;
    const figures = createFigures(parts(() => counters));
    const rates = (): number[] =>
      figures.text({ nowUs: 0, isHourly: false }).split("\n")
        .filter((line) => line.includes("_rate")).map((line) => Number(line.split(" ")[1]));
    expect(rates()).toEqual([0.9, 0.1]);
    expect(rates()).toEqual([1, 0]);
    counters = { ...COUNTERS, submitted: 91, ringFull: 9 };
    expect(rates()).toEqual([0.25, 0.75]);
  });
});

it("sends whole lines over a connection of its own, and goes on without one", async () => {
  let received = "";
  const server = createServer((socket: Socket) => {
    socket.on("data", (chunk: Buffer) => received += chunk.toString());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  let rounds = 0;
  const clock = {
    ...systemClock,
    async sleep(_ms: number, signal?: AbortSignal) {
      rounds += 1;
      await systemClock.sleep(rounds < 3 ? 1 : 60_000, signal);
    },
  };
  const options = parts();
  {
    await using graphite = openGraphite({
      ...options,
      clock,
      address: { host: "127.0.0.1", port },
    });
    expect(graphite).toBeDefined();
    await expect.poll(() => rounds).toBe(3);
  }
  expect(received.split("\n").length).toBe(3 * 7 + 2 + 1);
  expect(received).toMatch(/^servers\.log_level/);
  expect(options.lines).toEqual([]);
  server.close();
  await once(server, "close");
  rounds = 0;
  {
    await using gone = openGraphite({ ...options, clock, address: { host: "127.0.0.1", port } });
    expect(gone).toBeDefined();
    await expect.poll(() => rounds).toBe(3);
  }
  // Said once, not at every attempt.
  expect(options.lines.length).toBe(1);
});
