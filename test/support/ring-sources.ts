/** Ring sources for tests: programs pinned in a folder of the test's own, so that other agents are not disturbed. */
import { existsSync, readdirSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { createKernelContext, type KernelContext } from "../../src/edge-agent/kernel-context.ts";
import { removePinFolder } from "../../src/edge-agent/pinned-programs.ts";
import type { Source } from "../../src/edge-agent/source.ts";
import {
  openRingSource,
  type RingSourceOptions,
} from "../../src/edge-agent/sources/ring-source.ts";
import { createLog } from "../../src/runtime/log.ts";
import { requireCapability } from "./require.ts";
import { runSource, type SourceRun } from "./source-run.ts";

/** Whether tests of kernel programs may run. */
export const hasBpf = requireCapability(
  "bpf",
  process.getuid?.() === 0,
  "kernel programs need root",
);

export interface PinFolder extends Disposable {
  readonly path: string;
}

/** A folder for pins; its programs end when it is disposed of. */
export function openPinFolder(): PinFolder {
  const unique = `${process.pid}-${Math.random().toString(36).slice(2, 10)}`;
  const path = `/sys/fs/bpf/probity-test-${unique}`;
  return { path, [Symbol.dispose]: () => removePinFolder(path) };
}

export const testLog = createLog({ level: "error" });

/** Size of a ring when a test does not say, in bytes. */
export const TEST_RING_BYTES = 4 * 1024 * 1024;

let shared: KernelContext | undefined;

/** One for all tests of a process. */
export function testContext(): KernelContext {
  return shared ??= createKernelContext();
}

/** Opens a source of the kernel as it is, with what a test does not care about filled in. */
export function openTestSource(
  options:
    & Pick<RingSourceOptions, "family">
    & { readonly pins: PinFolder }
    & Partial<
      RingSourceOptions
    >,
): Source {
  const { pins, ...rest } = options;
  return openRingSource({
    context: testContext(),
    log: testLog,
    pinFolder: pins.path,
    ringBytes: TEST_RING_BYTES,
    ...rest,
  });
}

/** Runs a source; resolves when its programs see what happens. */
export async function runAttached(source: Source, pins: PinFolder): Promise<SourceRun> {
  const status = await source.probe();
  if (status.state === "off") {
    throw new Error(`Cannot run source "${source.name}": ${status.reason}`);
  }
  const run = runSource(source);
  const isPinned = (): boolean =>
    existsSync(pins.path) &&
    readdirSync(pins.path).some((name) => /^[a-z]+-[0-9a-f]{12}-[0-9]+$/.test(name));
  for (let round = 0; round < 1000 && !isPinned(); round += 1) await delay(10);
  return run;
}
