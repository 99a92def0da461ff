/**
 * What the sources that read the kernel share in one agent: the library, the clock, and what is known about processes,
 * users and cgroups.
 */
import { randomBytes } from "node:crypto";
import { type BootClock, createBootClock } from "./boot-clock.ts";
import { type CgroupNames, createCgroupNames } from "./cgroup-names.ts";
import { createInitialNamespaces, type InitialNamespaces } from "./initial-namespaces.ts";
import { createExecutableNames, type ExecutableNames } from "./executable-names.ts";
import { type Libbpf, loadClocks, loadLibbpf } from "./libbpf.ts";
import { createProcessIds, type ProcessIds, readBootId } from "./process-identity.ts";
import { seedProcessTable } from "./process-seed.ts";
import { createProcessTable, type ProcessTable } from "./process-table.ts";
import { createPeerNames, type PeerNames } from "./sources/network/peer-names.ts";
import { createRedactor, type Redactor } from "./redaction.ts";
import { REDACTION_KEY_BYTES } from "./redaction-key.ts";
import { createUserNames, type UserNames } from "./user-names.ts";

export interface KernelContext {
  /** Undefined when it cannot be loaded; then {@link KernelContext.libbpfError} says why. */
  readonly libbpf: Libbpf | undefined;
  readonly libbpfError: string;
  readonly ids: ProcessIds;
  readonly bootClock: BootClock;
  readonly processes: ProcessTable;
  readonly executables: ExecutableNames;
  readonly userNames: UserNames;
  readonly cgroupNames: (cgroupId: number, pid: number) => CgroupNames;
  readonly peerNames: PeerNames;
  readonly redactor: Redactor;
  readonly initialNamespaces: InitialNamespaces;
  /**
   * Reads the living processes into the table, once; to be called when programs are attached. `pinFolder`: a folder of
   * the BPF filesystem. Tells how they were read.
   */
  seed(pinFolder: string): Promise<"iterator" | "proc">;
  /** Looks whether clock and user names have changed; cheap, at most once a second for real. */
  refresh(): void;
}

export interface KernelContextOptions {
  /** Key of the redaction (see `redaction-key.ts`); by default one that ends with the process. */
  readonly redactionKey?: Uint8Array;
}

/** Throws when this is not Linux with /proc mounted. */
export function createKernelContext(
  { redactionKey = randomBytes(REDACTION_KEY_BYTES) }: KernelContextOptions = {},
): KernelContext {
  const { libbpf, libbpfError } = tryLibbpf();
  const ids = createProcessIds(readBootId());
  const bootClock = createBootClock(loadClocks());
  const processes = createProcessTable({ ids, nowNs: () => Number(bootClock.nowNs()) });
  const userNames = createUserNames();
  let seeding: ReturnType<KernelContext["seed"]> | undefined;
  const context: KernelContext = {
    libbpf,
    libbpfError,
    ids,
    bootClock,
    processes,
    executables: createExecutableNames(),
    userNames,
    cgroupNames: createCgroupNames(),
    peerNames: createPeerNames(),
    redactor: createRedactor(redactionKey),
    initialNamespaces: createInitialNamespaces(),
    seed: (pinFolder) => seeding ??= seedProcessTable(context, pinFolder),
    refresh: () => {
      bootClock.refresh();
      userNames.refresh();
    },
  };
  return context;
}

function tryLibbpf(): Pick<KernelContext, "libbpf" | "libbpfError"> {
  try {
    return { libbpf: loadLibbpf(), libbpfError: "" };
  } catch (error) {
    return {
      libbpf: undefined,
      libbpfError: error instanceof Error ? error.message : String(error),
    };
  }
}
