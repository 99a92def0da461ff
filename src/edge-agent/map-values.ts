/**
 * Values of maps of programs: written whole, rules in the set that is not in use.
 */
import type { Libbpf } from "./libbpf.ts";
import type { MapWriter } from "./map-gate.ts";
import { FOLDER, FOLDER_BYTES } from "./record-layout.ts";
import type { EncodedRules } from "./rules.ts";

/** Bits of filters. */
const FOLDER_VALUE_BYTES = 4;
/** Keys read of one hash map, at most; the largest holds 2048. */
const KEYS_MAX = 4096;

/** Fills one of the two sets of rules; the folders of what it held before are taken away. */
export function writeRules(
  libbpf: Libbpf,
  writer: MapWriter,
  { maps, rules, slot }: {
    readonly maps: { readonly rules: number; readonly folders: number };
    readonly rules: EncodedRules;
    readonly slot: number;
  },
): void {
  for (const key of keysOf(libbpf, maps.folders, FOLDER_BYTES)) {
    const isOfSlot = new DataView(key.buffer).getUint32(FOLDER.slot, true) === slot;
    if (isOfSlot) writer.remove(maps.folders, { key, valueBytes: FOLDER_VALUE_BYTES });
  }
  for (const { inode, device, filters } of rules.folders) {
    const key = new DataView(new ArrayBuffer(FOLDER_BYTES));
    key.setBigUint64(FOLDER.inode, inode, true);
    key.setUint32(FOLDER.device, device, true);
    key.setUint32(FOLDER.slot, slot, true);
    const result = writer.update(maps.folders, new Uint8Array(key.buffer), keyBytes(filters));
    if (result < 0) throw new Error(`Cannot write a filter's folder: errno ${-result}`);
  }
  writeValue(writer, maps.rules, { key: slot, value: rules.bytes });
}

/** Keys of a hash map, at most {@link KEYS_MAX}: it may change meanwhile. */
export function keysOf(
  libbpf: Libbpf,
  fd: number,
  keyBytes: number,
): readonly Uint8Array<ArrayBuffer>[] {
  const keys: Uint8Array<ArrayBuffer>[] = [];
  let next = new Uint8Array(keyBytes);
  let result = libbpf.bpf_map_get_next_key(fd, null, next);
  while (result >= 0 && keys.length < KEYS_MAX) {
    keys.push(next);
    const last = next;
    next = new Uint8Array(keyBytes);
    result = libbpf.bpf_map_get_next_key(fd, last, next);
  }
  return keys;
}

/** Throws when the kernel refuses it. */
export function writeValue(
  writer: MapWriter,
  fd: number,
  entry: { readonly key: number; readonly value: Uint8Array },
): void {
  const result = writer.update(fd, keyBytes(entry.key), entry.value);
  if (result < 0) throw new Error(`Cannot write a program's map: errno ${-result}`);
}

/** The key of a place in an array. */
export function keyBytes(key: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(key).buffer);
}
