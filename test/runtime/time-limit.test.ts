import { execFileSync } from "node:child_process";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { timeLimit } from "../../src/runtime/time-limit.ts";

it("a limit of time is aborted as AbortSignal.timeout is", async () => {
  const [ours, theirs] = [timeLimit(1), AbortSignal.timeout(1)];
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect([ours.aborted, theirs.aborted]).toEqual([true, true]);
  expect([ours.reason.name, ours.reason.message]).toEqual([
    theirs.reason.name,
    theirs.reason.message,
  ]);
});

it.each([["deno", ["run", "--quiet", "--no-lock", "--ext=ts", "-"]], ["node", ["-"]]])(
  "a limit of time does not keep %s, also while somebody listens",
  (runtime, words) => {
    const module = fileURLToPath(new URL("../../src/runtime/time-limit.ts", import.meta.url));
    const input = `const { timeLimit } = await import(${JSON.stringify(module)});
      const limit = AbortSignal.any([timeLimit(20_000)]);
      limit.addEventListener("abort", () => {});`;
    const beganMs = performance.now();
    execFileSync(runtime, words, { input, timeout: 15_000 });
    expect(performance.now() - beganMs).toBeLessThan(15_000);
  },
);
