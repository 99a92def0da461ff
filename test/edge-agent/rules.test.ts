import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createEventFilters } from "../../src/edge-agent/event-filter.ts";
import {
  BY,
  FILTER,
  FILTER_BYTES,
  FILTERS_MAX,
  KIND,
  LIMIT_BYTES,
  RULES,
} from "../../src/edge-agent/record-layout.ts";
import {
  DEFAULT_RULES,
  encodeRules,
  faultOfTopics,
  FILTER_TOPICS,
  type FilterRule,
  isCritical,
  LIMIT_TOPICS,
  type RulePlaces,
  type RuleSettings,
} from "../../src/edge-agent/rules.ts";

const places: RulePlaces = {
  fileAt: (path) =>
    path.startsWith("/gone") ? undefined : { inode: BigInt(path.length), device: 7 },
  cgroupAt: (path) => path.startsWith("/gone") ? undefined : 99n,
};
const NOTHING: RuleSettings = { ...DEFAULT_RULES, limits: {} };
const viewOf = (family: string, settings: RuleSettings): DataView =>
  new DataView(encodeRules(family, settings, places).bytes.buffer);
const intervalAt = (view: DataView, table: number, place: number): bigint =>
  view.getBigUint64(table + place * LIMIT_BYTES, true);
const bit = (kind: number): number => 1 << kind % 16;

describe("limits", () => {
  it("are those of the longest topic that contains the event's", () => {
    const limits = { network: 10, "network/accept": 1000 };
    const view = viewOf("network", { ...NOTHING, limits, burstMs: 2000, cgroupFactor: 4 });
    expect(intervalAt(view, RULES.executable, KIND.connect % 16)).toBe(100_000_000n);
    expect(intervalAt(view, RULES.executable, KIND.accept % 16)).toBe(1_000_000n);
    expect(intervalAt(view, RULES.cgroup, KIND.accept % 16)).toBe(250_000n);
    expect(view.getBigUint64(RULES.executable + (KIND.accept % 16) * LIMIT_BYTES + 8, true))
      .toBe(2_000_000_000n);
    expect(view.getUint16(RULES.limited, true) & bit(KIND.listen)).not.toBe(0);
  });

  it("of one family are none of another", () => {
    expect(
      viewOf("process", { ...NOTHING, limits: { network: 10 } }).getUint16(RULES.limited, true),
    )
      .toBe(0);
  });

  it("of connections are those of flows of datagrams too", () => {
    const settings = { ...NOTHING, limits: { "network/connect": 5 } };
    expect(viewOf("flow", settings)).toEqual(viewOf("network", settings));
    expect(viewOf("flow", settings).getUint16(RULES.limited, true)).toBe(bit(KIND.connect));
  });

  it("by default hold for starts and ends of processes alone", () => {
    expect(viewOf("process", DEFAULT_RULES).getUint16(RULES.limited, true))
      .toBe(bit(KIND.fork) | bit(KIND.exit));
    for (const family of ["network", "file", "integrity"]) {
      expect(viewOf(family, DEFAULT_RULES).getUint16(RULES.limited, true)).toBe(0);
    }
  });

  it("of nothing leave samples", () => {
    const view = viewOf("process", { ...NOTHING, limits: { "process/fork": 0 } });
    expect(intervalAt(view, RULES.executable, KIND.fork)).toBeGreaterThan(10n ** 18n);
  });
});

describe("filters", () => {
  const encoded = (filter: FilterRule, family = "file"): DataView =>
    viewOf(family, { ...NOTHING, filters: [filter] });

  it("carry all that they ask for", () => {
    const view = encoded({ uid: 33, exe: "/bin/a", cgroup: "/c", path: "/var", topics: ["file"] });
    const at = RULES.filters;
    expect(view.getUint16(at + FILTER.by, true)).toBe(BY.uid | BY.exe | BY.cgroup | BY.folder);
    expect(view.getUint32(at + FILTER.uid, true)).toBe(33);
    expect(view.getBigUint64(at + FILTER.exe_inode, true)).toBe(6n);
    expect(view.getUint32(at + FILTER.exe_device, true)).toBe(7);
    expect(view.getBigUint64(at + FILTER.cgroup_id, true)).toBe(99n);
    expect(view.getUint16(RULES.filtered_by_folder, true) & bit(KIND.fileOpen)).not.toBe(0);
  });

  it("match nothing when what they name is not there", () => {
    for (const filter of [{ path: "/gone" }, { exe: "/gone" }, { cgroup: "/gone" }]) {
      const view = encoded({ ...filter, uid: 0 });
      expect(view.getUint16(RULES.filters + FILTER.classes, true)).toBe(0);
      expect(view.getUint16(RULES.filtered, true)).toBe(0);
    }
  });

  it("of one folder share its entry", () => {
    const filters = [{ path: "/aa", uid: 1 }, { path: "/bb", uid: 2 }, { path: "/ccc" }];
    const { folders } = encodeRules("file", { ...NOTHING, filters }, places);
    expect(folders).toEqual([
      { inode: 3n, device: 7, filters: 0b011 },
      { inode: 4n, device: 7, filters: 0b100 },
    ]);
  });

  it("beyond what programs take are refused", () => {
    const filters = Array.from({ length: FILTERS_MAX + 1 }, () => ({ uid: 1 }));
    expect(() => encodeRules("file", { ...NOTHING, filters }, places)).toThrow(/at most 16/);
  });

  it("never set a class that their topics do not name", () => {
    const topics = fc.subarray([...FILTER_TOPICS, "process", "network", "file"], { minLength: 1 });
    fc.assert(fc.property(topics, (named) => {
      const view = encoded({ topics: named }, "process");
      const classes = view.getUint16(RULES.filters + FILTER.classes, true);
      const isNamed = (topic: string): boolean =>
        named.includes(topic) || named.includes("process");
      expect((classes & bit(KIND.exec)) !== 0).toBe(isNamed("process/exec"));
      expect((classes & bit(KIND.exit)) !== 0).toBe(isNamed("process/exit"));
      expect(view.byteLength).toBe(RULES.filters + FILTERS_MAX * FILTER_BYTES);
    }));
  });

  it("of what matters most are critical", () => {
    expect(isCritical({ uid: 1 })).toBe(true);
    expect(isCritical({ topics: ["process"] })).toBe(true);
    expect(isCritical({ topics: ["process/exec"], exe: "/a" })).toBe(true);
    expect(isCritical({ topics: ["network", "process/exit"] })).toBe(false);
  });
});

describe("topics of rules", () => {
  it.each([
    [["file"], undefined],
    [["file/create", "file/write"], undefined],
    [["process/exec", "network"], undefined],
    [["process/exe"], 0],
    [["network", "proces"], 1],
    [["network", "file/write"], 1],
    [[""], 0],
  ])("%j: the first fault is at %s", (topics, at) => {
    expect(faultOfTopics(topics, FILTER_TOPICS)?.at).toBe(at);
  });

  it("that no program tells cannot be limited", () => {
    expect(faultOfTopics(["file/rename"], LIMIT_TOPICS)?.expected).toMatch(/^one of process\/exec/);
    expect(faultOfTopics(["file/rename"], FILTER_TOPICS)).toBeUndefined();
  });
});

describe("filters outside the kernel", () => {
  const filtersOf = (...filters: FilterRule[]) =>
    createEventFilters({ filters, places, clock: { elapsedMs: () => 0 } });
  const event = {
    topic: "file/rename",
    isBelow: (folder: string) => folder === "/var",
    // As `places` finds /bin/mv.
    doer: { uid: 0, exe: { inode: 7, device: 7 } },
  };

  it.each<[FilterRule, boolean]>([
    [{ topics: ["file"] }, true],
    [{ topics: ["file/rename"], uid: 0 }, true],
    [{ uid: 5 }, false],
    [{ exe: "/bin/mv", path: "/var" }, true],
    [{ exe: "/bin/cat" }, false],
    [{ exe: "/gone" }, false],
    [{ path: "/etc" }, false],
    [{ topics: ["file/ren"] }, false],
    [{ topics: ["file"], cgroup: "/a" }, false],
  ])("%j takes it: %s", (filter, isFiltered) => {
    expect(filtersOf(filter).take(event)).toBe(isFiltered);
    expect(filtersOf({ topics: ["network"] }, filter).take(event)).toBe(isFiltered);
  });

  it("keep an event whose process is not known", () => {
    for (const filter of [{ uid: 0 }, { exe: "/bin/mv" }]) {
      expect(filtersOf(filter).take({ ...event, doer: {} })).toBe(false);
    }
  });

  it("follow a file that is made anew", () => {
    const now = { ms: 0, inode: 7n };
    const filters = createEventFilters({
      filters: [{ exe: "/bin/mv" }],
      places: { fileAt: () => ({ inode: now.inode, device: 7 }) },
      clock: { elapsedMs: () => now.ms },
    });
    expect(filters.take(event)).toBe(true);
    now.inode = 8n;
    now.ms = 5_000;
    expect(filters.take(event)).toBe(false);
  });
});
