/** A systemd unit as its file says it, and processes started with the user and the capabilities that it names. */
import { readFileSync } from "node:fs";

export interface UnitFile {
  /** All words of a setting, in the order of its lines. */
  words(name: string): readonly string[];
}

export function readUnitFile(path: string): UnitFile {
  const lines = readFileSync(path, "utf8").split("\n").filter((line) => /^[A-Za-z]+=/.test(line));
  return {
    words: (name) =>
      lines.filter((line) => line.startsWith(`${name}=`)).flatMap((line) =>
        line.slice(name.length + 1).split(" ")
      ),
  };
}

/** Words that start a program as systemd would: as this user, with these capabilities and no way to more. */
export function confined(
  user: string,
  capabilities: readonly string[],
): readonly [string, ...string[]] {
  const set = ["-all", ...capabilities.map((name) => `+${name.toLowerCase().slice("CAP_".length)}`)]
    .join(",");
  return [
    "setpriv",
    `--reuid=${user}`,
    `--regid=${user}`,
    "--clear-groups",
    "--no-new-privs",
    `--inh-caps=${set}`,
    `--ambient-caps=${set}`,
    `--bounding-set=${set}`,
  ];
}
