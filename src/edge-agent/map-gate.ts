/**
 * Writes maps that are frozen: the kernel then refuses every writer but programs, so that no tool edits them, whoever
 * runs it. The agent writes through a program of its own, which runs when it is told to and is pinned nowhere.
 *
 * Invariant: a gate belongs to one map, holds no reference to it by name, and ends with its descriptors.
 */
import type { Libbpf } from "./libbpf.ts";

const EPERM = 1;

/** What a gate is made of: where key and value are put, and the programs that take them from there. */
export interface GateDescriptors {
  readonly scratch: number;
  readonly update: number;
  readonly remove: number;
}

export interface MapSizes {
  readonly keyBytes: number;
  readonly valueBytes: number;
}

/** Makes the gate of a map; {@link loadGate} is one. */
export type GateLoader = (libbpf: Libbpf, mapFd: number, sizes: MapSizes) => GateDescriptors;
let loader: GateLoader = loadHere;

/** To be called at most once, at the start: who makes gates from then on. */
export function chooseGateLoader(chosen: GateLoader): void {
  loader = chosen;
}

/** Makes the gate of a map; the caller closes the descriptors. Throws when the kernel refuses it. */
export function loadGate(libbpf: Libbpf, mapFd: number, sizes: MapSizes): GateDescriptors {
  return loader(libbpf, mapFd, sizes);
}

function loadHere(libbpf: Libbpf, mapFd: number, sizes: MapSizes): GateDescriptors {
  const open: number[] = [];
  const checked = (fd: number): number => {
    if (fd >= 0) {
      open.push(fd);
      return fd;
    }
    for (const each of open) libbpf.close(each);
    throw new Error(`Cannot make the gate of a map: errno ${-fd}`);
  };
  const at = valueOffset(sizes);
  const scratch = checked(libbpf.bpf_map_create_array(at + sizes.valueBytes));
  const program = (helper: number): number =>
    checked(libbpf.bpf_prog_load_syscall(gateProgram({ scratch, mapFd, valueAt: at, helper })));
  return { scratch, update: program(MAP_UPDATE), remove: program(MAP_DELETE) };
}

export interface MapWriter extends Disposable {
  /** Negative errno, as the call itself. */
  update(fd: number, key: Uint8Array, value: Uint8Array): number;
  remove(fd: number, entry: { readonly key: Uint8Array; readonly valueBytes: number }): number;
  /** To be called before a descriptor is closed that the writer has written. */
  forget(fd: number): void;
}

/** Writes maps, frozen or not. */
export function createMapWriter(libbpf: Libbpf): MapWriter {
  const gates = new Map<number, GateDescriptors>();
  const gateOf = (fd: number, sizes: MapSizes): GateDescriptors => {
    const known = gates.get(fd);
    if (known !== undefined) return known;
    const gate = loadGate(libbpf, fd, sizes);
    gates.set(fd, gate);
    return gate;
  };
  const forget = (fd: number): void => {
    const gate = gates.get(fd);
    if (gate === undefined) return;
    gates.delete(fd);
    for (const each of [gate.scratch, gate.update, gate.remove]) libbpf.close(each);
  };
  const through = (
    fd: number,
    kind: "update" | "remove",
    { key, value }: { readonly key: Uint8Array; readonly value: Uint8Array },
  ): number => {
    const sizes = { keyBytes: key.length, valueBytes: value.length };
    const gate = gateOf(fd, sizes);
    const entry = new Uint8Array(valueOffset(sizes) + value.length);
    entry.set(key);
    entry.set(value, valueOffset(sizes));
    const put = libbpf.bpf_map_update_elem(gate.scratch, new Uint8Array(4), entry);
    return put < 0 ? put : libbpf.bpf_prog_run(gate[kind]);
  };
  return {
    update(fd, key, value) {
      if (gates.has(fd)) return through(fd, "update", { key, value });
      const status = libbpf.bpf_map_update_elem(fd, key, value);
      return status === -EPERM ? through(fd, "update", { key, value }) : status;
    },
    remove(fd, { key, valueBytes }) {
      const status = gates.has(fd) ? -EPERM : libbpf.bpf_map_delete_elem(fd, key);
      if (status !== -EPERM) return status;
      return through(fd, "remove", { key, value: new Uint8Array(valueBytes) });
    },
    forget,
    [Symbol.dispose]() {
      for (const fd of [...gates.keys()]) forget(fd);
    },
  };
}

/** The value comes after the key, at a multiple of eight. */
function valueOffset({ keyBytes }: MapSizes): number {
  return (keyBytes + 7) & ~7;
}

/** Helpers (include/uapi/linux/bpf.h). */
const MAP_LOOKUP = 1;
const MAP_UPDATE = 2;
const MAP_DELETE = 3;
const PSEUDO_MAP_FD = 1;

/** Calls a helper on a map with the key and the value that are in the scratch map. */
function gateProgram(
  { scratch, mapFd, valueAt, helper }: {
    readonly scratch: number;
    readonly mapFd: number;
    readonly valueAt: number;
    readonly helper: number;
  },
): BigUint64Array {
  return BigUint64Array.of(
    instruction({ code: 0x62, target: 10, offset: -4, value: 0 }), // key 0 on the stack
    instruction({ code: 0x18, target: 1, source: PSEUDO_MAP_FD, value: scratch }),
    0n,
    instruction({ code: 0xbf, target: 2, source: 10 }),
    instruction({ code: 0x07, target: 2, value: -4 }),
    instruction({ code: 0x85, value: MAP_LOOKUP }),
    instruction({ code: 0x15, target: 0, offset: 7, value: 0 }), // there is always a value; the verifier asks
    instruction({ code: 0xbf, target: 2, source: 0 }),
    instruction({ code: 0xbf, target: 3, source: 0 }),
    instruction({ code: 0x07, target: 3, value: valueAt }),
    instruction({ code: 0x18, target: 1, source: PSEUDO_MAP_FD, value: mapFd }),
    0n,
    instruction({ code: 0xb7, target: 4, value: 0 }),
    instruction({ code: 0x85, value: helper }),
    instruction({ code: 0x95 }),
  );
}

/** `struct bpf_insn`. */
function instruction(
  { code, target = 0, source = 0, offset = 0, value = 0 }: {
    readonly code: number;
    readonly target?: number;
    readonly source?: number;
    readonly offset?: number;
    readonly value?: number;
  },
): bigint {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setUint8(0, code);
  bytes.setUint8(1, target | (source << 4));
  bytes.setInt16(2, offset, true);
  bytes.setInt32(4, value, true);
  return bytes.getBigUint64(0, true);
}
