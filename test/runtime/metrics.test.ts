import { describe, expect, it } from "vitest";
import { createMetrics } from "../../src/runtime/metrics.ts";

describe("the figures of a process", () => {
  it("are written in the exposition format", async () => {
    const metrics = createMetrics();
    metrics.counter("a_total", { help: "A", labels: ["kind"] }).add(2, { kind: "x" });
    metrics.gauge("b_bytes", { help: "B" }).set(7);
    metrics.histogram("c_seconds", { help: "C", buckets: [1, 2] }).observe(1.5);
    let read = 3;
    metrics.observed("d_total", { help: "D" }, () => read);
    metrics.observed("e_bytes", { help: "E" }, () => read);
    const lines = (await metrics.text()).split("\n").filter((line) => !line.startsWith("#"));
    expect(lines).toEqual(expect.arrayContaining([
      'a_total{kind="x"} 2',
      "b_bytes 7",
      'c_seconds_bucket{le="1"} 0',
      'c_seconds_bucket{le="2"} 1',
      "d_total 3",
      "e_bytes 3",
    ]));
    read = 4;
    expect(await metrics.text()).toContain("d_total 4");
    expect(metrics.contentType).toContain("text/plain");
  });

  it("refuse a name given twice", () => {
    const metrics = createMetrics();
    metrics.gauge("b_bytes", { help: "B" });
    expect(() => metrics.gauge("b_bytes", { help: "B" })).toThrow();
  });
});
