/**
 * File integrity as an agent has it: the engine with the configured policies, the kinds of files under the agent's key,
 * and the inode hook where this machine has one.
 *
 * Invariant: without the hook the rest works, and the status says what is then not seen.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { RingPosition } from "../../../producer/producer.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import type { KernelContext } from "../../kernel-context.ts";
import { type ProbeResult, probeRingFamily } from "../../probe.ts";
import { makeProofFolder, PROOF_PLACES } from "../../proof-folder.ts";
import type { ProcessLookup } from "../../process-lookup.ts";
import type { SourceStatus } from "../../source.ts";
import { createNameFeed, type NameFeed } from "../filesystem/name-feed.ts";
import {
  configuredPolicies,
  DEFAULT_FILE_RULES,
  parsePolicies,
  readHomes,
  stampOfUsers,
} from "./configured-policies.ts";
import { contentKinds } from "./content-kinds.ts";
import { dirtyInodes } from "./dirty-inodes.ts";
import type { InodeHook } from "./inode-hook.ts";
import {
  createIntegritySource,
  type IntegritySource,
  type IntegritySourceOptions,
} from "./integrity-source.ts";
import type { FileRule } from "./kinds/policy.ts";
import { openInodeHook } from "./pinned-inode-hook.ts";

export interface IntegrityOptions {
  /** What is watched; without any, {@link DEFAULT_FILE_RULES}. */
  readonly rules: readonly FileRule[];
  /** Undefined where kernel programs cannot be used; then `contextReason` says why. */
  readonly context: KernelContext | undefined;
  readonly contextReason: string;
  readonly redactionKey: Uint8Array;
  readonly pinFolder: string;
  readonly ringBytes?: number;
  readonly processes: ProcessLookup;
  readonly names: NameFeed;
  readonly dataDirectory: string;
  readonly position: RingPosition | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Opens nothing in the kernel yet. Throws `PatternError` for a rule that cannot be used. */
export function openIntegrity(options: IntegrityOptions): IntegritySource {
  const { context, processes, pinFolder, ringBytes, clock, log } = options;
  const compile = (rules: readonly FileRule[]) =>
    configuredPolicies(rules.length === 0 ? DEFAULT_FILE_RULES : rules, { homes: readHomes() });
  const kinds = contentKinds(options.redactionKey);
  let probed: Promise<ProbeResult> | undefined;
  const probeHook = async (): Promise<ProbeResult | undefined> => {
    if (context === undefined) return undefined;
    probed ??= probeRingFamily(context, { family: dirtyInodes(() => undefined), pinFolder });
    return await probed;
  };
  const openHook = async (): Promise<InodeHook | undefined> => {
    const variant = (await probeHook())?.variant;
    if (context === undefined || variant === undefined) return undefined;
    return openInodeHook({
      context,
      pinFolder,
      variant,
      ownership: { pids: [process.pid], dataFolder: options.dataDirectory },
      ...(ringBytes === undefined ? {} : { ringBytes }),
      log,
    });
  };
  return createIntegritySource({
    ...options,
    policies: compile(options.rules),
    compile,
    stampOfUsers: () => stampOfUsers(),
    parsePolicies,
    kinds,
    openHook,
    async probe() {
      const engine = await proveEngine({ processes, kinds, clock, log });
      if (engine !== undefined) return engine;
      const hook = await probeHook();
      if (hook?.status.state === "on") {
        return { state: "on", how: `fanotify and inode hook (${hook.variant})`, hooks: [HOOK_ON] };
      }
      const reason = hook?.status.state === "off" ? hook.status.reason : options.contextReason;
      const how = "fanotify; stores through mappings are seen when the file is closed";
      return { state: "on", how, hooks: [{ name: HOOK_ON.name, state: "off", reason }] };
    },
  });
}

const HOOK_ON = { name: "inode_dirty", state: "on" } as const;

/** How long one proof may take. */
const PROOF_LIMIT_MS = 3000;
const PROOF_TICK_MS = 10;

/** Watches a file of its own, changes it and waits for the change; undefined when it came, as it should be. */
async function proveEngine(
  { processes, kinds, clock, log }: Pick<
    IntegritySourceOptions,
    "processes" | "kinds" | "clock" | "log"
  >,
): Promise<SourceStatus | undefined> {
  let reason = "no folder for a proof can be made";
  for (const place of PROOF_PLACES) {
    const folder = makeProofFolder(place);
    if (folder === undefined) continue;
    try {
      const wrong = await proveIn(folder, { processes, kinds, clock, log });
      if (wrong === undefined) return undefined;
      reason = wrong;
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return {
    state: "off",
    reason,
    remedy: "run the agent as root, or with CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH",
  };
}

async function proveIn(
  folder: string,
  engine: Pick<IntegritySourceOptions, "processes" | "kinds" | "clock" | "log">,
): Promise<string | undefined> {
  const { clock } = engine;
  const dataDirectory = join(folder, "data");
  const path = join(folder, "proof");
  mkdirSync(dataDirectory);
  writeFileSync(path, "before\n");
  const compile = () => configuredPolicies([{ paths: [globOf(path)] }], { homes: [] });
  await using source = createIntegritySource({
    ...engine,
    names: createNameFeed(),
    policies: compile(),
    compile,
    parsePolicies,
    openHook: () => Promise.resolve(undefined),
    probe: () => Promise.resolve({ state: "on", how: "proof" }),
    dataDirectory,
    position: undefined,
  });
  const ended = new AbortController();
  let found: string | undefined;
  const reading = (async () => {
    for await (const { fields } of source.start(ended.signal)) found ??= fields[0];
  })();
  try {
    let isChanged = false;
    for (let waitedMs = 0; waitedMs < PROOF_LIMIT_MS; waitedMs += PROOF_TICK_MS) {
      if (source.isSettled && !isChanged) {
        writeFileSync(path, "after\n");
        isChanged = true;
      }
      if (found !== undefined) break;
      await Promise.race([clock.sleep(PROOF_TICK_MS), reading]);
    }
  } finally {
    ended.abort();
    await reading;
  }
  return found === undefined ? "a change did not come back" : faultOf(found, path);
}

function faultOf(fields: string, path: string): string | undefined {
  const line = JSON.parse(`{${fields}`);
  const isRight = line.topic === "file/change" && line.path === path && line.pid === process.pid &&
    typeof line.detail?.diff === "string" && line.detail.diff.includes("-before\n+after\n");
  return isRight ? undefined : `the change came back wrong: ${fields.slice(0, 500)}`;
}

function globOf(path: string): string {
  return path.replace(/[\\*?[\]{},]/g, "\\$&");
}
