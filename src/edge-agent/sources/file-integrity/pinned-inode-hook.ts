/**
 * The inode hook in the kernel: programs that outlive the agent, so that who wrote to a watched file while no agent ran
 * is known to the next one.
 *
 * Invariants: what was read leaves the ring only when it is settled, and reading it again does no harm; the kernel
 * looks out for exactly the files that are watched, as far as its map has room.
 */
import type { Log } from "../../../runtime/log.ts";
import { deviceNumberOf } from "../../created-files.ts";
import { createMapWriter } from "../../map-gate.ts";
import type { KernelContext } from "../../kernel-context.ts";
import type { ProgramVariant } from "../../program-object.ts";
import type { Ownership } from "../../program-settings.ts";
import { openRingChain } from "../../ring-chain.ts";
import { openRingReader } from "../../ring-reader.ts";
import type { RingPosition } from "../../../producer/producer.ts";
import type { SourceLoss } from "../../source.ts";
import { dirtyInodes, watchedKey, watchedValue } from "./dirty-inodes.ts";
import type { HookedFile, InodeHit, InodeHook } from "./inode-hook.ts";

/** A record a second of each process and file: far more than a host writes. */
export const HOOK_RING_BYTES = 1024 * 1024;
/** Of an entry of the map of watched files: the generation. */
const VALUE_BYTES = 4;
/** Hits read in one go, at most. */
const READS_MAX = 16;

export interface InodeHookOptions {
  readonly context: KernelContext;
  readonly pinFolder: string;
  readonly variant: ProgramVariant;
  readonly ownership: Ownership | undefined;
  readonly ringBytes?: number;
  readonly log: Log;
}

/** Throws when the programs cannot be loaded: probe first. */
export function openInodeHook(options: InodeHookOptions): InodeHook {
  const { context, ringBytes = HOOK_RING_BYTES, log } = options;
  const { libbpf } = context;
  if (libbpf === undefined) throw new Error(`Cannot open the inode hook: ${context.libbpfError}`);
  let hits: InodeHit[] = [];
  let reached: RingPosition | undefined;
  let marked: RingPosition | undefined;
  let refused = 0;
  const chain = openRingChain({
    ...options,
    libbpf,
    bootClock: context.bootClock,
    family: "integrity",
    ringBytes,
  });
  const newest = chain.programs.at(-1);
  const watched = newest === undefined ? -1 : libbpf.bpf_obj_get(`${newest.folder}/map_watched`);
  // Frozen: no tool takes a file from the map unseen.
  const writer = createMapWriter(libbpf);
  const reader = openRingReader({
    context,
    chain,
    family: dirtyInodes((hit) => void hits.push(hit)),
    position: undefined,
    log,
  });
  const keyOf = ({ device, inode }: HookedFile): Uint8Array =>
    watchedKey(deviceNumberOf(device), inode);
  return {
    watch(file) {
      if (file.type !== "regular") return;
      const value = watchedValue(file.generation ?? 0);
      if (writer.update(watched, keyOf(file), value) < 0) refused += 1;
    },
    unwatch: (file) => void writer.remove(watched, { key: keyOf(file), valueBytes: VALUE_BYTES }),
    isQuiet: () => reader.isQuiet(),
    read() {
      for (let round = 0; round < READS_MAX; round += 1) {
        const chunk = reader.read();
        if (chunk === undefined) break;
        reached = chunk.position ?? reached;
      }
      const read = hits;
      hits = [];
      return read;
    },
    settle() {
      if (marked !== undefined) reader.release(marked);
      marked = reached;
    },
    losses() {
      const found = reader.losses();
      if (refused === 0) return found;
      const reason = `the kernel's map of watched files took ${refused} files less`;
      refused = 0;
      return [...found, { class: "unwatched", count: null, reason } satisfies SourceLoss];
    },
    [Symbol.dispose]() {
      reader[Symbol.dispose]();
      writer[Symbol.dispose]();
      if (watched >= 0) libbpf.close(watched);
    },
  };
}
