/**
 * One set of programs that lives in the kernel by its pins, in a folder of the BPF filesystem: its ring, counters,
 * settings and ledger as this process sees them.
 *
 * Invariants: a folder that exists is complete: it is filled under another name and renamed, so that a process killed
 * in between leaves nothing that looks usable. Closing leaves the programs running; only {@link PinnedPrograms.remove}
 * ends them.
 */
import {
  listKernelFolder,
  makeKernelFolder,
  removeKernelFile,
  removeKernelFolder,
  renameKernelPath,
} from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";
import { type LoadOptions, loadProgramObject } from "./program-object.ts";
import { decodeSettings, encodeSettings, type ProgramSettings } from "./program-settings.ts";
import { COUNTERS, COUNTERS_BYTES, LOSSES, LOSSES_BYTES, SETTINGS_BYTES } from "./record-layout.ts";
import { openRingBuffer, type RingBuffer } from "./ring-buffer.ts";
import type { SourceCounters } from "./source.ts";

/** Most programs of a family; entries of the map `counters`. */
const PROGRAMS_MAX = 4;
const MAP_INFO_BYTES = 88;
const PROGRAM_INFO_BYTES = 224;
const PROGRAM_INFO_RECURSION = 208;

/** Losses by class since the ring was made; see {@link LOSSES}. */
export type LossTotals = Readonly<Record<string, number>>;
export type LedgerSlot = "reported" | "carried";
type PinnedMap = "counters" | "settings" | "ledger";
const LEDGER_SLOTS: readonly LedgerSlot[] = ["reported", "carried"];

export interface PinnedPrograms extends Disposable {
  readonly folder: string;
  /** Identity of the ring: the id that the kernel gave its map, unique until the next boot. */
  readonly mapId: number;
  readonly ring: RingBuffer;
  counters(): SourceCounters;
  /** Times that programs were not run because they interrupted themselves. */
  recursionMisses(): number;
  settings(): ProgramSettings;
  setSettings(settings: ProgramSettings): void;
  ledger(slot: LedgerSlot): LossTotals;
  setLedger(slot: LedgerSlot, losses: LossTotals): void;
  /** Whether all programs are still attached, as far as their pins tell. */
  isWhole(): boolean;
  /** Ends the programs and frees the ring. */
  remove(): void;
}

/** Loads and attaches programs and pins them as `folder`. Throws KernelRefusal. */
export function pinPrograms(
  libbpf: Libbpf,
  folder: string,
  options: LoadOptions & { readonly settings: ProgramSettings; readonly owner: Uint8Array },
): void {
  // No dots: the BPF filesystem reserves them.
  const draft = `${folder}-draft`;
  removePins(draft);
  using object = loadProgramObject(libbpf, options);
  writeValue(libbpf, object.mapFd("settings"), { key: 0, value: encodeSettings(options.settings) });
  writeValue(libbpf, object.mapFd("owner"), { key: 0, value: options.owner });
  object.attach();
  makeKernelFolder(draft);
  object.pin(draft);
  renameKernelPath(draft, folder);
}

/** Opens programs that are pinned. Throws when a pin is missing or is not what it should be. */
export function openPinnedPrograms(libbpf: Libbpf, folder: string): PinnedPrograms {
  return new Pinned(libbpf, folder);
}

/** Takes away all pins of a folder, and the folder. */
export function removePins(folder: string): void {
  const names = listKernelFolder(folder);
  if (names === undefined) return;
  // Links first: from then on nothing is written that nobody will read.
  for (const name of names.toSorted()) removeKernelFile(`${folder}/${name}`);
  removeKernelFolder(folder);
}

/**
 * Ends all programs pinned below a folder, whatever their rings still hold, and removes the folder: for an agent that
 * will not come back.
 */
export function removePinFolder(folder: string): void {
  const names = listKernelFolder(folder);
  if (names === undefined) return;
  for (const name of names) removePins(`${folder}/${name}`);
  removeKernelFolder(folder);
}

class Pinned implements PinnedPrograms {
  readonly folder: string;
  readonly mapId: number;
  readonly ring: RingBuffer;
  readonly #libbpf: Libbpf;
  readonly #fds: Readonly<Record<PinnedMap, number>>;
  readonly #programs: readonly number[];
  readonly #valuesPerKey: number;
  #isOpen = true;

  constructor(libbpf: Libbpf, folder: string) {
    this.#libbpf = libbpf;
    this.folder = folder;
    const open = (name: string): number => openPin(libbpf, `${folder}/${name}`);
    const events = open("map_events");
    const info = new DataView(mapInfo(libbpf, events).buffer);
    this.mapId = info.getUint32(4, true);
    this.ring = openRingBuffer(libbpf, events, info.getUint32(16, true));
    libbpf.close(events);
    this.#fds = {
      counters: open("map_counters"),
      settings: open("map_settings"),
      ledger: open("map_ledger"),
    };
    this.#programs = (listKernelFolder(folder) ?? [])
      .filter((name) => name.startsWith("prog_"))
      .map(open);
    this.#valuesPerKey = libbpf.libbpf_num_possible_cpus();
  }

  counters(): SourceCounters {
    const totals = COUNTERS.map(() => 0);
    for (let program = 0; program < PROGRAMS_MAX; program += 1) {
      const value = this.#read("counters", program, this.#valuesPerKey * COUNTERS_BYTES);
      for (let cpu = 0; cpu < this.#valuesPerKey; cpu += 1) {
        for (const place of COUNTERS.keys()) {
          totals[place] = (totals[place] ?? 0) +
            Number(value.getBigUint64(cpu * COUNTERS_BYTES + 8 * place, true));
        }
      }
    }
    const [attempted, submitted, ringFull, filtered, throttled, readFault, truncated] = totals;
    return {
      attempted: attempted ?? 0,
      submitted: submitted ?? 0,
      ringFull: ringFull ?? 0,
      filtered: filtered ?? 0,
      throttled: throttled ?? 0,
      readFault: readFault ?? 0,
      truncated: truncated ?? 0,
    };
  }

  recursionMisses(): number {
    const info = new Uint8Array(PROGRAM_INFO_BYTES);
    const view = new DataView(info.buffer);
    return this.#programs.reduce((sum, fd) => {
      info.fill(0);
      this.#libbpf.bpf_obj_get_info_by_fd(fd, info);
      return sum + Number(view.getBigUint64(PROGRAM_INFO_RECURSION, true));
    }, 0);
  }

  settings(): ProgramSettings {
    return decodeSettings(this.#read("settings", 0, SETTINGS_BYTES));
  }

  setSettings(settings: ProgramSettings): void {
    this.#write("settings", 0, encodeSettings(settings));
  }

  ledger(slot: LedgerSlot): LossTotals {
    const value = this.#read("ledger", LEDGER_SLOTS.indexOf(slot), LOSSES_BYTES);
    return Object.fromEntries(
      LOSSES.map((name, place) => [name, Number(value.getBigUint64(8 * place, true))]),
    );
  }

  setLedger(slot: LedgerSlot, losses: LossTotals): void {
    const value = new DataView(new ArrayBuffer(LOSSES_BYTES));
    for (const [place, name] of LOSSES.entries()) {
      value.setBigUint64(8 * place, BigInt(losses[name] ?? 0), true);
    }
    this.#write("ledger", LEDGER_SLOTS.indexOf(slot), new Uint8Array(value.buffer));
  }

  isWhole(): boolean {
    const names = listKernelFolder(this.folder) ?? [];
    const links = names.filter((name) => name.startsWith("link_"));
    const programs = names.filter((name) => name.startsWith("prog_"));
    const expected = programs.reduce((sum, program) => {
      // A program with several links has the number of them in their names.
      const several = links.find((link) => link.startsWith(`${program.replace("prog", "link")}_`));
      return sum + Number(/_\d+of(\d+)$/.exec(several ?? "")?.[1] ?? 1);
    }, 0);
    return programs.length === this.#programs.length && links.length === expected;
  }

  remove(): void {
    this[Symbol.dispose]();
    removePins(this.folder);
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.ring[Symbol.dispose]();
    for (const fd of [...Object.values(this.#fds), ...this.#programs]) this.#libbpf.close(fd);
  }

  #read(map: PinnedMap, key: number, sizeBytes: number): DataView {
    const value = new Uint8Array(sizeBytes);
    const result = this.#libbpf.bpf_map_lookup_elem(this.#fds[map], keyBytes(key), value);
    if (result < 0) throw new Error(`Cannot read map "${map}": errno ${-result}`);
    return new DataView(value.buffer);
  }

  #write(map: PinnedMap, key: number, value: Uint8Array): void {
    writeValue(this.#libbpf, this.#fds[map], { key, value });
  }
}

function openPin(libbpf: Libbpf, path: string): number {
  const fd = libbpf.bpf_obj_get(path);
  if (fd < 0) throw new Error(`Cannot open pin "${path}": errno ${-fd}`);
  return fd;
}

function mapInfo(libbpf: Libbpf, fd: number): Uint8Array {
  const info = new Uint8Array(MAP_INFO_BYTES);
  const result = libbpf.bpf_obj_get_info_by_fd(fd, info);
  if (result < 0) throw new Error(`Cannot read the ring's description: errno ${-result}`);
  return info;
}

function writeValue(
  libbpf: Libbpf,
  fd: number,
  entry: { readonly key: number; readonly value: Uint8Array },
): void {
  const result = libbpf.bpf_map_update_elem(fd, keyBytes(entry.key), entry.value);
  if (result < 0) throw new Error(`Cannot write a program's map: errno ${-result}`);
}

function keyBytes(key: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(key).buffer);
}
