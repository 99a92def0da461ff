/**
 * What `systemctl` says of units, as states that can be compared. Pure.
 *
 * Invariant: text of another shape throws {@link SystemctlError}: nothing is taken for a unit that stopped.
 */

/** One unit, as far as it is compared. Empty texts: systemd says nothing. */
export interface UnitState {
  /** `active`, `inactive`, `failed`, `activating` …; a unit that systemd has not loaded is inactive. */
  readonly active: string;
  /** Such as `running`, `exited`, `dead`. */
  readonly sub: string;
  /** State of its file: `enabled`, `disabled`, `static`, `masked` …; empty when it has none. */
  readonly enabled: string;
  /** Changes with each start. */
  readonly invocation: string;
  /** How often systemd restarted it since somebody started it. */
  readonly restarts: number;
  /** `success`, or why it failed. */
  readonly result: string;
  readonly exitCode: number;
}

export interface LoadedUnit extends UnitState {
  /** When it changed, µs since the Unix epoch; undefined when it never did. */
  readonly changedUs: number | undefined;
}

export class SystemctlError extends Error {
  override readonly name = "SystemctlError";
}

export const UNIT_TYPES = ["service", "socket", "timer", "path"] as const;
const PROPERTIES = [
  "Id",
  "LoadState",
  "ActiveState",
  "SubState",
  "UnitFileState",
  "InvocationID",
  "NRestarts",
  "Result",
  "ExecMainStatus",
  "StateChangeTimestamp",
] as const;

export const SHOW_WORDS: readonly string[] = [
  ...["show", "--no-pager", "--all", "--timestamp=us+utc", "--property", PROPERTIES.join(",")],
  ...UNIT_TYPES.map((type) => `*.${type}`),
];
export const LIST_WORDS: readonly string[] = [
  ...["list-unit-files", "--no-pager", "--no-legend", "--full"],
  `--type=${UNIT_TYPES.join(",")}`,
];

const UNIT_NAME = /^[^\s/]+\.(?:service|socket|timer|path)$/;

/** Units that systemd has in memory, but for those whose file it does not find. */
export function parseShow(text: string): ReadonlyMap<string, LoadedUnit> {
  const units = new Map<string, LoadedUnit>();
  for (const stanza of text.split(/\n\n+/).filter((each) => each.trim() !== "")) {
    const values = new Map(
      stanza.split("\n").filter((line) => line !== "").map((line) => {
        const at = line.indexOf("=");
        if (at < 1) throw new SystemctlError(`Cannot read a unit: ${JSON.stringify(line)}`);
        return [line.slice(0, at), line.slice(at + 1)] as const;
      }),
    );
    const value = (name: typeof PROPERTIES[number]): string => values.get(name) ?? "";
    const name = value("Id");
    if (!UNIT_NAME.test(name) || value("ActiveState") === "") {
      throw new SystemctlError(`Cannot read a unit: ${JSON.stringify(stanza.slice(0, 200))}`);
    }
    if (value("LoadState") === "not-found") continue;
    units.set(name, {
      active: value("ActiveState"),
      sub: value("SubState"),
      enabled: value("UnitFileState"),
      invocation: value("InvocationID"),
      restarts: Number(value("NRestarts")) || 0,
      result: value("Result"),
      exitCode: Number(value("ExecMainStatus")) || 0,
      changedUs: timeOf(value("StateChangeTimestamp")),
    });
  }
  if (units.size === 0) throw new SystemctlError("Cannot read units: there is none");
  return units;
}

/** State of each unit file. */
export function parseUnitFiles(text: string): ReadonlyMap<string, string> {
  const files = text.split("\n").filter((line) => line.trim() !== "").map((line) => {
    const [name = "", state = ""] = line.trim().split(/\s+/);
    if (!UNIT_NAME.test(name) || !/^[a-z-]+$/.test(state)) {
      throw new SystemctlError(`Cannot read a unit file: ${JSON.stringify(line)}`);
    }
    return [name, state] as const;
  });
  if (files.length === 0) throw new SystemctlError("Cannot read unit files: there is none");
  return new Map(files);
}

/** Of every unit that is loaded or has a file. */
export function statesOf(
  loaded: ReadonlyMap<string, LoadedUnit>,
  files: ReadonlyMap<string, string>,
): ReadonlyMap<string, UnitState> {
  const names = new Set([...loaded.keys(), ...files.keys()]);
  return new Map(
    [...names].map((name) => {
      const unit = loaded.get(name) ?? UNLOADED;
      // Of loaded units systemd may remember what their files were before.
      return [name, {
        ...unit,
        enabled: files.get(name) ?? unit.enabled,
      }];
    }),
  );
}

const UNLOADED: UnitState = {
  active: "inactive",
  sub: "dead",
  enabled: "",
  invocation: "",
  restarts: 0,
  result: "",
  exitCode: 0,
};

/** Text that is the same for the same state; what only a running unit has is left out of one that never ran. */
export function encodeState(state: UnitState): string {
  const { active, sub, enabled, invocation, restarts, result, exitCode } = state;
  return JSON.stringify([active, sub, enabled, invocation, restarts, result, exitCode]);
}

export function decodeState(text: string): UnitState {
  const [active, sub, enabled, invocation, restarts, result, exitCode] = JSON.parse(text);
  return { active, sub, enabled, invocation, restarts, result, exitCode };
}

function timeOf(text: string): number | undefined {
  const [, day, second, fraction] =
    /^[A-Za-z]{3} (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\.(\d{6}) UTC$/.exec(text) ?? [];
  if (day === undefined) return undefined;
  const ms = Date.parse(`${day}T${second}Z`);
  return Number.isNaN(ms) ? undefined : ms * 1000 + Number(fraction);
}
