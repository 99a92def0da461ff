/**
 * The family of the inode hook: its records become words for the source of file integrity. Proven by storing into a
 * file that is watched.
 */
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { deviceText, kindOf, timeNsOf, u32, u64, u64Text } from "../../decode-record.ts";
import type { Libbpf } from "../../libbpf.ts";
import type { DecoderContext, LineDecoder, LocatedRecord } from "../../line-decoder.ts";
import { ticksOf } from "../../process-identity.ts";
import { type AncestorFacts, textsOf } from "../../process-lookup.ts";
import { kernelDevice } from "../../program-settings.ts";
import { makeProofFolder, PROOF_PLACES } from "../../proof-folder.ts";
import type { ProgramObject } from "../../program-object.ts";
import {
  ANCESTORS_MAX,
  HEADER,
  IDENTITY,
  IDENTITY_BYTES,
  INTEGRITY,
  INTEGRITY_BYTES,
  INTEGRITY_HOWS,
  KIND,
  WATCHED,
  WATCHED_BYTES,
} from "../../record-layout.ts";
import {
  compareFields,
  detailOf,
  type ParsedLine,
  type ProofAction,
  type ProofResult,
  type RingFamily,
} from "../ring-family.ts";
import type { InodeHit } from "./inode-hook.ts";

/** The family; each record is told to `onHit`. Its lines are for proofs. */
export function dirtyInodes(onHit: (hit: InodeHit) => void): RingFamily {
  return {
    name: "integrity",
    lane: "critical",
    prepare: () => Promise.resolve(),
    createDecoder: (context) => createHitDecoder(context, onHit),
    prove: (libbpf, object) => {
      if (object === undefined) throw new Error("Cannot prove the inode hook: no map to watch in");
      return Promise.resolve(proveByWrite(libbpf, object));
    },
  };
}

/** Key of an inode in the map of those that are watched; `device` is the kernel's `major << 20 | minor`. */
export function watchedKey(device: number, inode: number): Uint8Array {
  const key = new DataView(new ArrayBuffer(WATCHED_BYTES));
  key.setBigUint64(WATCHED.inode, BigInt(inode), true);
  key.setUint32(WATCHED.device, device, true);
  return new Uint8Array(key.buffer);
}

export function watchedValue(generation: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(generation).buffer);
}

function createHitDecoder(
  context: DecoderContext,
  onHit: (hit: InodeHit) => void,
): LineDecoder {
  return {
    learn: () => undefined,
    line(record) {
      const { memory, offset, length, timeUs } = record;
      const { words } = memory;
      if (kindOf(memory, offset, length) !== KIND.inodeDirty || length !== INTEGRITY_BYTES) {
        return undefined;
      }
      const how = INTEGRITY_HOWS[u32(words, offset + INTEGRITY.how) - 1];
      if (how === undefined) return undefined;
      const actor = context.actors.of(memory, offset);
      onHit({
        device: deviceText(u32(words, offset + INTEGRITY.device)),
        inode: u64(words, offset + INTEGRITY.inode),
        writer: {
          pid: u32(words, offset + HEADER.pid),
          actor,
          ancestors: ancestorsOf(context, record),
          how,
          atUs: timeUs,
          isSeenWriting: true,
        },
      });
      return `"time":"${context.timeText(timeUs)}",${actor.columns}"detail":{"inode":${
        u64Text(words, offset + INTEGRITY.inode)
      },"how":"${how}"}}`;
    },
  };
}

function ancestorsOf(
  { processes }: DecoderContext,
  { memory: { words }, offset }: LocatedRecord,
): readonly AncestorFacts[] {
  const timeNs = timeNsOf(words, offset);
  const count = Math.min(ANCESTORS_MAX, u32(words, offset + INTEGRITY.ancestor_count));
  return Array.from({ length: count }, (_each, place): AncestorFacts => {
    const at = offset + INTEGRITY.ancestors + place * IDENTITY_BYTES;
    const start = at + IDENTITY.start_ns;
    const pid = u32(words, at + IDENTITY.pid);
    const ticks = ticksOf(u32(words, start), u32(words, start + 4));
    const known = processes.peek(pid, ticks);
    const id = known?.id ?? processes.idOf(pid, ticks);
    return { pid, process_id: id, ...textsOf(known?.imageAt(timeNs)) };
  });
}

function proveByWrite(libbpf: Libbpf, object: Pick<ProgramObject, "mapFd">): ProofAction {
  // An overlay has other inodes than those that become dirty.
  const folders = PROOF_PLACES.flatMap((place) => makeProofFolder(place) ?? []);
  const inodes = new Set<number>();
  for (const folder of folders) {
    const path = join(folder, "proof");
    writeFileSync(path, "");
    const { ino, dev } = statSync(path, { bigint: true });
    const key = watchedKey(kernelDevice(dev), Number(ino));
    libbpf.bpf_map_update_elem(object.mapFd("watched"), key, watchedValue(0));
    inodes.add(Number(ino));
    writeFileSync(path, "stored");
  }
  const expected = { pid: process.pid };
  return {
    hook: "inode_dirty",
    check: (line: ParsedLine): ProofResult =>
      inodes.has(Number(detailOf(line)["inode"])) ? compareFields(line, expected) : "other",
    [Symbol.asyncDispose]() {
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
}
