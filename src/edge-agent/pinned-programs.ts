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
  readKernelLink,
  removeKernelFile,
  removeKernelFolder,
  renameKernelPath,
} from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";
import { createMapWriter, loadGate, type MapWriter } from "./map-gate.ts";
import { keyBytes, keysOf, writeRules, writeValue } from "./map-values.ts";
import {
  FAMILY_MAPS,
  isOfProbes,
  type LoadOptions,
  loadProgramObject,
  PROBE_LINK_PREFIX,
  type ProgramObject,
} from "./program-object.ts";
import {
  decodeSettings,
  encodeSettings,
  NEVER_NS,
  type ProgramSettings,
} from "./program-settings.ts";
import { type Bucket, decodeBucket } from "./buckets.ts";
import { type ClassCounters, decodeClassCounters } from "./class-counters.ts";
import {
  BUCKET_BYTES,
  BUCKET_KEY_BYTES,
  LOSSES,
  LOSSES_BYTES,
  SETTINGS_BYTES,
} from "./record-layout.ts";
import { openRingBuffer, type RingBuffer } from "./ring-buffer.ts";
import type { EncodedRules } from "./rules.ts";

const MAP_INFO_BYTES = 88;
const MAP_INFO = { id: 4, keySize: 8, valueSize: 12, entries: 16 } as const;
const PROGRAM_INFO_BYTES = 224;
const PROGRAM_INFO_RECURSION = 208;

/** After how long the set of rules that was left may be filled again. */
export const RULES_GRACE_MS = 100;

/** Losses by class since the ring was made; see {@link LOSSES}. */
export type LossTotals = Readonly<Record<string, number>>;
export type LedgerSlot = "reported" | "carried";
type PinnedMap = "counters" | "settings" | "ledger" | "rules" | "folders" | "buckets";
/** Maps that programs of an earlier version may lack. */
const RULE_MAPS = ["rules", "folders", "buckets"] as const;
const LEDGER_SLOTS: readonly LedgerSlot[] = ["reported", "carried"];

export interface PinnedPrograms extends Disposable {
  readonly folder: string;
  /** Identity of the ring: the id that the kernel gave its map, unique until the next boot. */
  readonly mapId: number;
  readonly ring: RingBuffer;
  /** Of each class and CPU that met an event. */
  counters(): readonly ClassCounters[];
  /** Times that programs were not run because they interrupted themselves. */
  recursionMisses(): number;
  settings(): ProgramSettings;
  setSettings(settings: ProgramSettings): void;
  /**
   * Puts rules into the set that is not in use, then names it: no event is judged by half of them. Not again within
   * {@link RULES_GRACE_MS}: a program may still be judging by the set that was left.
   */
  setRules(rules: EncodedRules): void;
  /** Token buckets that were ever empty. */
  buckets(): readonly Bucket[];
  ledger(slot: LedgerSlot): LossTotals;
  setLedger(slot: LedgerSlot, losses: LossTotals): void;
  /** Writes the value of one of the family's own maps. */
  setValue(map: string, value: Uint8Array): void;
  /** Whether all programs are still attached, as far as their pins tell. */
  isWhole(): boolean;
  /** Ends the programs and frees the ring. */
  remove(): void;
}

/**
 * Loads and attaches programs and pins them as `folder`; or those that are `loaded` and attached already, which this
 * process then lets go of, also when it throws. What these met before is neither told nor counted. Throws KernelRefusal.
 */
export function pinPrograms(
  libbpf: Libbpf,
  folder: string,
  options: LoadOptions & {
    readonly settings: ProgramSettings;
    readonly rules: EncodedRules;
    readonly owner: Uint8Array;
    readonly loaded?: ProgramObject | undefined;
  },
): void {
  // No dots: the BPF filesystem reserves them.
  const draft = `${folder}-draft`;
  removePins(draft);
  const { loaded, ...toLoad } = options;
  using object = loaded ?? loadProgramObject(libbpf, toLoad);
  using writer = createMapWriter(libbpf);
  const setSettings = (settings: ProgramSettings): void =>
    writeValue(writer, object.mapFd("settings"), { key: 0, value: encodeSettings(settings) });
  // Those that are attached already must not judge by half of the rules.
  setSettings({ ...options.settings, fromNs: NEVER_NS });
  writeValue(writer, object.mapFd("owner"), { key: 0, value: options.owner });
  const maps = { rules: object.mapFd("rules"), folders: object.mapFd("folders") };
  const slot = options.settings.generation & 1;
  writeRules(libbpf, writer, { maps, rules: options.rules, slot });
  if (loaded !== undefined) forgetEvents(libbpf, loaded, options.ringBytes);
  setSettings(options.settings);
  if (loaded === undefined) object.attach();
  makeKernelFolder(draft);
  object.pin(draft);
  freeze(libbpf, draft);
  renameKernelPath(draft, folder);
}

/** Empties the ring and the counters of programs that take no events now. */
function forgetEvents(libbpf: Libbpf, object: ProgramObject, ringBytes: number): void {
  using ring = openRingBuffer(libbpf, object.mapFd("events"), ringBytes);
  ring.release(ring.producerPosition());
  const counters = object.mapFd("counters");
  const info = new DataView(mapInfo(libbpf, counters).buffer);
  const sizeBytes = info.getUint32(MAP_INFO.valueSize, true);
  const nothing = new Uint8Array(libbpf.libbpf_num_possible_cpus() * sizeBytes);
  for (let place = 0; place < info.getUint32(MAP_INFO.entries, true); place += 1) {
    const result = libbpf.bpf_map_update_elem(counters, keyBytes(place), nothing);
    if (result < 0) throw new Error(`Cannot empty the counters: errno ${-result}`);
  }
}

/**
 * Leaves maps to programs: all but the ring, which could not be mapped then, and those of a family that the agent could
 * not write then.
 */
function freeze(libbpf: Libbpf, folder: string): void {
  const names = listKernelFolder(folder) ?? [];
  for (const name of names.filter((each) => each.startsWith("map_") && each !== "map_events")) {
    const fd = openPin(libbpf, `${folder}/${name}`);
    const isLeft = FAMILY_MAPS.some((each) => name === `map_${each}`) && !hasGate(libbpf, fd);
    const result = isLeft ? 0 : libbpf.bpf_map_freeze(fd);
    libbpf.close(fd);
    if (result < 0) throw new Error(`Cannot freeze map "${name}": errno ${-result}`);
  }
}

/** Whether a map has a gate: before Linux 6.1, a gate takes no map whose entries are made as they come. */
function hasGate(libbpf: Libbpf, fd: number): boolean {
  const info = new DataView(mapInfo(libbpf, fd).buffer);
  const keyBytes = info.getUint32(MAP_INFO.keySize, true);
  const valueBytes = info.getUint32(MAP_INFO.valueSize, true);
  try {
    const gate = loadGate(libbpf, fd, { keyBytes, valueBytes });
    for (const each of [gate.scratch, gate.update, gate.remove]) libbpf.close(each);
    return true;
  } catch {
    return false; // The kernel refuses it, and says no more.
  }
}

/** Opens programs that are pinned. Throws when a pin is missing or is not what it should be. */
export function openPinnedPrograms(libbpf: Libbpf, folder: string): PinnedPrograms {
  return new Pinned(libbpf, folder);
}

/** Takes away all pins of a folder, and the folder; of a link the link alone. */
export function removePins(folder: string): void {
  if (readKernelLink(folder) !== undefined) return removeKernelFile(folder);
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
  if (readKernelLink(folder) !== undefined) return removeKernelFile(folder);
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
  readonly #writer: MapWriter;
  readonly #fds: Readonly<Partial<Record<PinnedMap, number>>>;
  readonly #counters: { readonly valueBytes: number; readonly entries: number };
  readonly #programs: readonly number[];
  readonly #valuesPerKey: number;
  #isOpen = true;

  constructor(libbpf: Libbpf, folder: string) {
    this.#libbpf = libbpf;
    this.#writer = createMapWriter(libbpf);
    this.folder = folder;
    const open = (name: string): number => openPin(libbpf, `${folder}/${name}`);
    const events = open("map_events");
    const info = new DataView(mapInfo(libbpf, events).buffer);
    this.mapId = info.getUint32(MAP_INFO.id, true);
    this.ring = openRingBuffer(libbpf, events, info.getUint32(MAP_INFO.entries, true));
    libbpf.close(events);
    const names = listKernelFolder(folder) ?? [];
    const counters = open("map_counters");
    this.#fds = {
      counters,
      settings: open("map_settings"),
      ledger: open("map_ledger"),
      ...Object.fromEntries(
        RULE_MAPS.filter((name) => names.includes(`map_${name}`))
          .map((name) => [name, open(`map_${name}`)]),
      ),
    };
    const countersInfo = new DataView(mapInfo(libbpf, counters).buffer);
    this.#counters = {
      valueBytes: countersInfo.getUint32(MAP_INFO.valueSize, true),
      entries: countersInfo.getUint32(MAP_INFO.entries, true),
    };
    this.#programs = names
      .filter((name) => name.startsWith("prog_"))
      .map(open);
    this.#valuesPerKey = libbpf.libbpf_num_possible_cpus();
  }

  counters(): readonly ClassCounters[] {
    const { valueBytes, entries } = this.#counters;
    const found: ClassCounters[] = [];
    for (let place = 0; place < entries; place += 1) {
      const value = this.#read("counters", place, this.#valuesPerKey * valueBytes);
      for (let cpu = 0; cpu < this.#valuesPerKey; cpu += 1) {
        const one = new DataView(value.buffer, cpu * valueBytes, valueBytes);
        const counters = decodeClassCounters(one, { place, cpu });
        if (counters.attempted > 0) found.push(counters);
      }
    }
    return found;
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

  setRules(rules: EncodedRules): void {
    const { rules: rulesFd, folders } = this.#fds;
    if (rulesFd === undefined || folders === undefined) return;
    const settings = this.settings();
    const generation = (settings.generation + 1) >>> 0;
    const maps = { rules: rulesFd, folders };
    writeRules(this.#libbpf, this.#writer, { maps, rules, slot: generation & 1 });
    this.setSettings({ ...settings, generation });
  }

  buckets(): readonly Bucket[] {
    const { buckets } = this.#fds;
    if (buckets === undefined) return [];
    const value = new Uint8Array(BUCKET_BYTES);
    return keysOf(this.#libbpf, buckets, BUCKET_KEY_BYTES).flatMap((key) => {
      if (this.#libbpf.bpf_map_lookup_elem(buckets, key, value) < 0) return [];
      return decodeBucket(key, value) ?? [];
    });
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

  setValue(map: string, value: Uint8Array): void {
    const fd = openPin(this.#libbpf, `${this.folder}/map_${map}`);
    try {
      writeValue(this.#writer, fd, { key: 0, value });
    } finally {
      this.#writer.forget(fd);
      this.#libbpf.close(fd);
    }
  }

  isWhole(): boolean {
    const names = listKernelFolder(this.folder) ?? [];
    // Of probes in user space there are as many as libraries have.
    const links = names.filter((name) =>
      name.startsWith("link_") && !name.startsWith(PROBE_LINK_PREFIX)
    );
    const programs = names.filter((name) => name.startsWith("prog_"));
    const expected = programs.filter((name) => !isOfProbes(name)).reduce((sum, program) => {
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
    this.#writer[Symbol.dispose]();
    for (const fd of [...Object.values(this.#fds), ...this.#programs]) this.#libbpf.close(fd);
  }

  #read(map: PinnedMap, key: number, sizeBytes: number): DataView {
    const value = new Uint8Array(sizeBytes);
    const result = this.#libbpf.bpf_map_lookup_elem(this.#fd(map), keyBytes(key), value);
    if (result < 0) throw new Error(`Cannot read map "${map}": errno ${-result}`);
    return new DataView(value.buffer);
  }

  #write(map: PinnedMap, key: number, value: Uint8Array): void {
    writeValue(this.#writer, this.#fd(map), { key, value });
  }

  #fd(map: PinnedMap): number {
    const fd = this.#fds[map];
    if (fd === undefined) throw new Error(`Cannot use map "${map}": these programs have none`);
    return fd;
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
