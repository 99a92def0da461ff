/**
 * What is not told: limits and filters of the configuration as the kernel's programs read them (`struct probity_rules` in
 * bpf/map-values.h). Pure.
 *
 * Invariants: a rule never reaches further than its text says: a topic that the kernel cannot tell from another is
 * refused, and a file, folder or cgroup that is not there makes its filter match nothing.
 */
import { placeOfKind } from "./class-counters.ts";
import {
  BY,
  FILTER,
  FILTER_BYTES,
  FILTERS_MAX,
  KIND,
  KIND_TOPICS,
  LIMIT,
  LIMIT_BYTES,
  RECORD_CLASSES,
  RULES,
  RULES_BYTES,
} from "./record-layout.ts";

/** Events that are not told. All that is given must hold; at least one of the conditions is. */
export interface FilterRule {
  /** Topics or their beginnings, by whole segments; every topic of the kernel's programs when left out. */
  readonly topics?: readonly string[];
  /** Folder in or below which the file of the event lies; of an exec, the file that is executed. */
  readonly path?: string;
  /** Effective user of the process. */
  readonly uid?: number;
  /** The process's executable. */
  readonly exe?: string;
  /** The process's cgroup, as /proc/PID/cgroup has it; not those below it. */
  readonly cgroup?: string;
  /** Why, for whoever reads the record. */
  readonly reason?: string;
}

/** What is not told. */
export interface RuleSettings {
  /** Events per second of one executable, by topic; the longest topic that contains an event's holds. */
  readonly limits: Readonly<Record<string, number>>;
  /** For how long an executable may save up what it did not use. */
  readonly burstMs: number;
  /** Of the events beyond a limit, each n-th is told as a sample. */
  readonly sampleEvery: number;
  /** A cgroup may emit this many times as much as one executable. */
  readonly cgroupFactor: number;
  readonly filters: readonly FilterRule[];
}

/** Starts and ends of processes alone are limited, far above what a busy host does: they share a ring with execs. */
export const DEFAULT_RULES: RuleSettings = {
  limits: { "process/fork": 10_000, "process/exit": 10_000 },
  burstMs: 5_000,
  sampleEvery: 100,
  cgroupFactor: 4,
  filters: [],
};

/** Inode and device (as the kernel has it) of a file or folder. */
export interface FileIdentity {
  readonly inode: bigint;
  readonly device: number;
}

/** Finds what filters name; undefined when it is not there. */
export interface RulePlaces {
  fileAt(path: string): FileIdentity | undefined;
  cgroupAt(path: string): bigint | undefined;
}

/** Rules of one family, for its programs. */
export interface EncodedRules {
  readonly bytes: Uint8Array;
  readonly folders: readonly (FileIdentity & { readonly filters: number })[];
}

export const NO_RULES: EncodedRules = { bytes: new Uint8Array(RULES_BYTES), folders: [] };

/** Topics that the kernel's programs tell: limits may name them, or the beginnings of them. */
export const LIMIT_TOPICS: readonly string[] = Object.values(KIND_TOPICS).flat();
/** And those that the filesystem source tells beside them: filters may name them, too. */
export const FILTER_TOPICS: readonly string[] = [
  ...LIMIT_TOPICS,
  ...["file/rename", "file/delete", "file/link"].filter((topic) => !LIMIT_TOPICS.includes(topic)),
];

/** Topics without which a record of what happened is of little use: filtering them is told with severity high. */
const CRITICAL_TOPICS: readonly string[] = [
  "process/exec",
  "process/setuid",
  "process/ptrace",
  "process/signal",
  "file/change",
  "file/attribute",
];

export interface TopicFault {
  /** Place of the topic in the list. */
  readonly at: number;
  /** The accepted form. */
  readonly expected: string;
}

/** What is wrong with topics of a limit or a filter, of those that it may name; undefined when nothing is. */
export function faultOfTopics(
  topics: readonly string[],
  known: readonly string[],
): TopicFault | undefined {
  const at = topics.findIndex((topic) => !known.some((each) => contains(topic, each)));
  if (at >= 0) return { at, expected: `one of ${known.join(", ")}, or its beginning` };
  for (const together of Object.values(KIND_TOPICS)) {
    const held = together.filter((each) => topics.some((topic) => contains(topic, each)));
    if (held.length === 0 || held.length === together.length) continue;
    const expected = `${together.join(" and ")} together: the kernel sees no difference`;
    return { at: topics.findIndex((topic) => held.includes(topic)), expected };
  }
  return undefined;
}

/** Whether a filter takes away what matters most. */
export function isCritical({ topics }: FilterRule): boolean {
  return topics === undefined ||
    CRITICAL_TOPICS.some((each) =>
      FILTER_TOPICS.includes(each) && topics.some((topic) => contains(topic, each))
    );
}

/** Rules for the programs of one family. Throws RangeError for more filters than programs take. */
export function encodeRules(
  family: string,
  settings: RuleSettings,
  places: RulePlaces,
): EncodedRules {
  if (settings.filters.length > FILTERS_MAX) {
    throw new RangeError(`Cannot use ${settings.filters.length} filters: at most ${FILTERS_MAX}`);
  }
  const view = new DataView(new ArrayBuffer(RULES_BYTES));
  const limited = encodeLimits(view, { family, settings });
  const folders: (FileIdentity & { filters: number })[] = [];
  let [filtered, filteredByFolder] = [0, 0];
  for (const [place, filter] of settings.filters.entries()) {
    const classes = classesOf(family, filter.topics);
    const folder = filter.path === undefined ? undefined : places.fileAt(filter.path);
    const isThere = encodeFilter(view, { place, filter, classes, folder, places });
    if (!isThere) continue;
    filtered |= classes;
    if (folder === undefined) continue;
    filteredByFolder |= classes;
    const known = folders.find((each) =>
      each.inode === folder.inode && each.device === folder.device
    );
    if (known === undefined) folders.push({ ...folder, filters: 1 << place });
    else known.filters |= 1 << place;
  }
  view.setUint16(RULES.filtered, filtered, true);
  view.setUint16(RULES.filtered_by_folder, filteredByFolder, true);
  view.setUint16(RULES.limited, limited, true);
  view.setUint16(RULES.filter_count, settings.filters.length, true);
  view.setUint32(RULES.sample_every, settings.sampleEvery, true);
  return { bytes: new Uint8Array(view.buffer), folders };
}

/** Whether all that a filter names is there; if not, it matches nothing. */
function encodeFilter(
  view: DataView,
  { place, filter, classes, folder, places }: {
    readonly place: number;
    readonly filter: FilterRule;
    readonly classes: number;
    readonly folder: FileIdentity | undefined;
    readonly places: RulePlaces;
  },
): boolean {
  const exe = filter.exe === undefined ? undefined : places.fileAt(filter.exe);
  const cgroup = filter.cgroup === undefined ? undefined : places.cgroupAt(filter.cgroup);
  const isMissing = (filter.path !== undefined && folder === undefined) ||
    (filter.exe !== undefined && exe === undefined) ||
    (filter.cgroup !== undefined && cgroup === undefined);
  const at = RULES.filters + place * FILTER_BYTES;
  const by = (filter.uid === undefined ? 0 : BY.uid) | (exe === undefined ? 0 : BY.exe) |
    (cgroup === undefined ? 0 : BY.cgroup) | (folder === undefined ? 0 : BY.folder);
  view.setUint16(at + FILTER.classes, isMissing ? 0 : classes, true);
  view.setUint16(at + FILTER.by, by, true);
  view.setUint32(at + FILTER.uid, filter.uid ?? 0, true);
  view.setBigUint64(at + FILTER.exe_inode, exe?.inode ?? 0n, true);
  view.setUint32(at + FILTER.exe_device, exe?.device ?? 0, true);
  view.setBigUint64(at + FILTER.cgroup_id, cgroup ?? 0n, true);
  return !isMissing && classes !== 0;
}

/** Bits of the classes that are limited. */
function encodeLimits(
  view: DataView,
  { family, settings }: { readonly family: string; readonly settings: RuleSettings },
): number {
  let limited = 0;
  for (const [key, topics] of Object.entries(KIND_TOPICS)) {
    const place = placeOfKind(family, kindOf(key));
    const perSecond = limitOf(topics, settings.limits);
    if (place === undefined || topics.length === 0 || perSecond === undefined) continue;
    limited |= 1 << place;
    // A limit of 0 tells samples alone, but for one event at first.
    const intervalNs = perSecond === 0 ? 1n << 62n : BigInt(Math.ceil(1e9 / perSecond));
    const burstNs = perSecond === 0 ? 0n : BigInt(settings.burstMs) * 1_000_000n;
    const write = (start: number, interval: bigint): void => {
      view.setBigUint64(start + place * LIMIT_BYTES + LIMIT.interval_ns, interval, true);
      view.setBigUint64(start + place * LIMIT_BYTES + LIMIT.burst_ns, burstNs, true);
    };
    const factor = BigInt(Math.max(1, settings.cgroupFactor));
    write(RULES.executable, intervalNs);
    write(RULES.cgroup, intervalNs / factor || 1n);
  }
  return limited;
}

/** The limit of the longest topic that contains all of some. */
function limitOf(
  topics: readonly string[],
  limits: Readonly<Record<string, number>>,
): number | undefined {
  const holding = Object.entries(limits)
    .filter(([pattern]) => topics.every((topic) => contains(pattern, topic)))
    .toSorted(([left], [right]) => right.length - left.length);
  if (holding.length > 0) return holding[0]?.[1];
  // Topics that cannot be told apart, each with a limit of its own: the largest.
  const each = topics.map((topic) => limits[topic] ?? NaN);
  return each.some(Number.isNaN) ? undefined : Math.max(...each);
}

/** Bits of the classes of a family whose topics are named. */
function classesOf(family: string, topics: readonly string[] | undefined): number {
  let classes = 0;
  for (const [key, told] of Object.entries(KIND_TOPICS)) {
    const place = placeOfKind(family, kindOf(key));
    if (place === undefined || told.length === 0) continue;
    const isNamed = topics === undefined ||
      told.every((each) => topics.some((topic) => contains(topic, each)));
    if (isNamed) classes |= 1 << place;
  }
  return classes & ((1 << RECORD_CLASSES) - 1);
}

function kindOf(key: string): number {
  return Object.entries(KIND).find(([name]) => name === key)?.[1] ?? 0;
}

/** Whether a topic is another one or its beginning, by whole segments. */
function contains(pattern: string, topic: string): boolean {
  return topic === pattern || topic.startsWith(`${pattern}/`);
}
