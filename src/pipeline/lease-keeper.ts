/**
 * Keeps a worker's part of the table of leases: looks at it from time to time, and finds out who has died.
 *
 * A worker is dead when its count stood still for a while by our own clock, so clocks need not agree; or at once when it
 * ran on this very machine and its process is gone.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import process from "node:process";
import type { Clock } from "../runtime/clock.ts";
import type { Bucket } from "../runtime/nats.ts";
import {
  encodeLeases,
  LEASE_KEY,
  type LeaseTable,
  lookAtLeases,
  parseLeases,
  withoutWorker,
} from "./shard-leases.ts";

export interface LeaseKeeperOptions {
  /** Opens the bucket, made when it is not there; asked again after a failure. */
  readonly openBucket: () => Promise<Bucket>;
  readonly shards: readonly string[];
  readonly clock: Clock;
  /** A worker whose count stands still for so long is dead, in milliseconds. */
  readonly leaseMs: number;
  /** Name of the worker; one of its own by default. */
  readonly worker?: string;
}

export interface LeaseKeeper extends Disposable {
  readonly worker: string;
  /** Looks once; the shards to serve. Rejects when the bucket cannot be read or written. */
  look(running: ReadonlySet<string>): Promise<readonly string[]>;
  /** Gives everything up. */
  leave(): Promise<void>;
}

/** So often a look is tried again when others wrote in between. */
const WRITE_ATTEMPTS_MAX = 50;
const RANDOM_BYTES = 4;

/** Names of the workers of this process. */
const own = new Set<string>();

export function createLeaseKeeper(options: LeaseKeeperOptions): LeaseKeeper {
  const { openBucket, shards, clock, leaseMs } = options;
  const worker = options.worker ?? createWorkerName();
  const seen = new Map<string, { readonly count: number; readonly atMs: number }>();
  let bucket: Bucket | undefined;
  own.add(worker);

  /** Those that stood still since they were seen first with this count. */
  const deadOf = ({ workers }: LeaseTable): ReadonlySet<string> => {
    const nowMs = clock.elapsedMs();
    const dead = new Set<string>();
    for (const [name, count] of Object.entries(workers)) {
      const before = seen.get(name);
      if (before?.count !== count) seen.set(name, { count, atMs: nowMs });
      const stoodMs = before?.count === count ? nowMs - before.atMs : 0;
      if (name !== worker && (stoodMs >= leaseMs || isGone(name))) dead.add(name);
    }
    for (const name of seen.keys()) if (workers[name] === undefined) seen.delete(name);
    return dead;
  };

  const change = async <T extends { readonly table: LeaseTable }>(
    rule: (table: LeaseTable) => T,
  ): Promise<T> => {
    const opened = bucket ?? await openBucket();
    // Kept only if all goes well: a broker that lost its storage lost the bucket too.
    bucket = undefined;
    for (let attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
      const entry = await opened.entry(LEASE_KEY);
      const next = rule(parseLeases(entry?.text));
      const revision = entry?.revision ?? 0;
      if (await opened.update(LEASE_KEY, encodeLeases(next.table), revision) === undefined) {
        continue;
      }
      bucket = opened;
      return next;
    }
    throw new Error("Cannot write the leases: others write them all the time");
  };

  return {
    worker,
    async look(running) {
      const { mine } = await change((table) =>
        lookAtLeases(table, { worker, shards, running, dead: deadOf(table) })
      );
      return mine;
    },
    async leave() {
      await change((table) => ({ table: withoutWorker(table, worker) }));
    },
    [Symbol.dispose]: () => void own.delete(worker),
  };
}

/** Where a process id means something: this boot of this machine, and the process ids of this container. */
const MACHINE = machineName();

function createWorkerName(): string {
  return `${MACHINE}-${process.pid}-${randomBytes(RANDOM_BYTES).toString("hex")}`;
}

function machineName(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").slice(0, 8);
    const processes = /[0-9]+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "";
    return `${boot}.${processes}`;
  } catch {
    // Not Linux, or not allowed to look: nobody else has this name, so others are judged by their counts alone.
    return randomBytes(RANDOM_BYTES).toString("hex");
  }
}

function isGone(name: string): boolean {
  const [, machine, pid] = /^(.+)-([0-9]+)-[0-9a-f]+$/.exec(name) ?? [];
  if (machine !== MACHINE || pid === undefined) return false;
  if (Number(pid) === process.pid) return !own.has(name);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}
