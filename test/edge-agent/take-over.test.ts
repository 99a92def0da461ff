import { describe, expect, it } from "vitest";
import { NEVER_NS, type ProgramSettings } from "../../src/edge-agent/program-settings.ts";
import { type Adjustable, takeOver } from "../../src/edge-agent/take-over.ts";

const SETTINGS: ProgramSettings = {
  fromNs: 0n,
  untilNs: 0n,
  ownProcesses: [],
  dataInode: 7n,
  dataDevice: 1,
  generation: 0,
};
const MS = 1_000_000n;

/** A machine on which each write takes as long as is said, and the next ones the last of these times. */
function createMachine(writeMs: readonly number[]) {
  let nowNs = 1_000n * MS;
  let writes = 0;
  const programs = (fromNs: bigint) => {
    const history: { atNs: bigint; settings: ProgramSettings }[] = [];
    let settings: ProgramSettings = { ...SETTINGS, fromNs };
    const adjustable: Adjustable = {
      settings: () => settings,
      setSettings(next) {
        nowNs += BigInt(writeMs[Math.min(writes, writeMs.length - 1)] ?? 0) * MS;
        writes += 1;
        settings = next;
        history.push({ atNs: nowNs, settings });
      },
    };
    return { adjustable, history, takes: (timeNs: bigint) => takesAt(history, fromNs, timeNs) };
  };
  return { clock: { nowNs: () => nowNs }, programs, nowNs: () => nowNs };
}

/** Whether programs with these settings take an event of a time. */
function takesAt(
  history: readonly { atNs: bigint; settings: ProgramSettings }[],
  fromNs: bigint,
  timeNs: bigint,
): boolean {
  const { settings } = history.findLast(({ atNs }) => atNs <= timeNs) ??
    { settings: { ...SETTINGS, fromNs } };
  return timeNs >= settings.fromNs && (settings.untilNs === 0n || timeNs < settings.untilNs);
}

describe("programs that take over", () => {
  it.each([
    ["an idle machine", [0]],
    ["one that stands still once, for longer than until the instant", [0, 80, 0]],
    ["one that stands still for a second, twice", [0, 1000, 1000, 0]],
    ["a slow one", [30]],
    ["one that stands still before the older ones know", [0, 0, 300]],
  ])("leave no hole and no double on %s", (_what, writeMs) => {
    const machine = createMachine(writeMs);
    const [older, newer] = [machine.programs(0n), machine.programs(NEVER_NS)];
    takeOver([older.adjustable, newer.adjustable], SETTINGS, machine.clock);
    const { fromNs } = newer.adjustable.settings();
    expect(older.adjustable.settings().untilNs).toBe(fromNs);
    const endNs = (fromNs > machine.nowNs() ? fromNs : machine.nowNs()) + 100n * MS;
    for (let timeNs = 900n * MS; timeNs < endNs; timeNs += MS / 2n) {
      // As the reader counts: of the older ring what is before the instant, of the newer one what is not.
      const isTold = timeNs < fromNs ? older.takes(timeNs) : newer.takes(timeNs);
      if (!isTold) expect.fail(`nobody tells an event ${timeNs - fromNs} ns after the instant`);
    }
  });

  it("keep the instant of a change that was made before", () => {
    const machine = createMachine([0]);
    const [older, newer] = [machine.programs(0n), machine.programs(5n * MS)];
    takeOver([older.adjustable, newer.adjustable], SETTINGS, machine.clock);
    expect(newer.adjustable.settings()).toMatchObject({ fromNs: 5n * MS, untilNs: 0n });
    expect(older.adjustable.settings()).toMatchObject({ fromNs: 0n, untilNs: 5n * MS });
  });

  it("give up on a machine that never writes in time, and leave the older ones in charge", () => {
    const machine = createMachine([10_000_000]);
    const [older, newer] = [machine.programs(0n), machine.programs(NEVER_NS)];
    expect(() => takeOver([older.adjustable, newer.adjustable], SETTINGS, machine.clock))
      .toThrow(/always past/);
    expect(newer.adjustable.settings().fromNs).toBe(NEVER_NS);
    expect(older.adjustable.settings().untilNs).toBe(0n);
  });
});
