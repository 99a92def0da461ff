/**
 * The lines of changes that a package manager made: one for all files of a package, and those that no package delivers,
 * which are grave. Pure.
 */
import { formatTime } from "../../../event/event.ts";
import type { Line } from "./file-state.ts";
import type { PackageName } from "./packages/manifest-entry.ts";

/** Paths that a package's line names. */
export const PATHS_MAX = 100;

type Parsed = Readonly<Record<string, unknown>>;

/**
 * One `file/change` in the place of those of a package's files, at the time of the last; lines of other topics stay as
 * they are.
 */
export function packageLine(
  lines: readonly Line[],
  { owner, manager }: { readonly owner: PackageName; readonly manager: string },
): readonly Line[] {
  const parsed = lines.map((line) => ({ line, event: parse(line) }));
  const ofFiles = parsed.filter(({ event }) => String(event["topic"]).startsWith("file/"));
  const others = parsed.filter((each) => !ofFiles.includes(each)).map(({ line }) => line);
  const last = ofFiles.at(-1);
  if (last === undefined) return others;
  const { topic: _topic, path: _path, old_path: _old, message: _message, detail, ...columns } =
    last.event;
  const paths = [...new Set(ofFiles.map(({ event }) => String(event["path"])))];
  const timeUs = Math.max(...ofFiles.map(({ line }) => line.timeUs));
  const ancestors = isObject(detail) ? detail["ancestors"] : undefined;
  const event = {
    ...columns,
    time: formatTime(timeUs),
    topic: "file/change",
    severity: "info",
    message: `${manager} changed ${paths.length} files of ${owner.package} ${owner.version}`,
    detail: {
      how: "package",
      package: owner.package,
      version: owner.version,
      arch: owner.arch,
      manager,
      count: paths.length,
      paths: paths.slice(0, PATHS_MAX),
      ...(ancestors === undefined ? {} : { ancestors }),
    },
  };
  return [...others, { timeUs, fields: JSON.stringify(event).slice(1) }];
}

/** The same line, grave: a package manager wrote what is no package's. */
export function strayLine(line: Line): Line {
  const event = parse(line);
  if (event["topic"] !== "file/change") return line;
  return { ...line, fields: JSON.stringify({ ...event, severity: "high" }).slice(1) };
}

function parse({ fields }: Line): Parsed {
  return JSON.parse(`{${fields}`);
}

function isObject(value: unknown): value is Parsed {
  return typeof value === "object" && value !== null;
}
