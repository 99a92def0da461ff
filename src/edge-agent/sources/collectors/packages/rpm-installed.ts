/**
 * What rpm has installed, asked of rpm itself, for its database has several forms: one line per package, by a format of
 * ours.
 *
 * Invariant: a line of another shape throws {@link PackageDatabaseError}.
 */
import { type InstalledPackages, PackageDatabaseError, packageKey } from "./installed.ts";

/** Arguments of rpm(8) that make it print what {@link parseRpmPackages} reads. */
export const RPM_PACKAGES_QUERY: readonly string[] = [
  "-qa",
  "--qf",
  "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{INSTALLTIME}\\n",
];

export interface RpmPackages extends InstalledPackages {
  /** When a version was installed, µs since the Unix epoch, by key and version with a space between. */
  readonly timesUs: ReadonlyMap<string, number>;
}

/** Throws {@link PackageDatabaseError}. */
export function parseRpmPackages(text: string): RpmPackages {
  const versions = new Map<string, string[]>();
  const timesUs = new Map<string, number>();
  for (const line of text.split("\n").slice(0, -1)) {
    const [, name = "", version = "", arch = "", seconds] =
      /^([^\t ]+)\t([^\t ]+)\t([^\t :]+)\t([0-9]{1,11})$/.exec(line) ?? [];
    if (seconds === undefined) {
      throw new PackageDatabaseError(
        `Cannot read rpm's answer: ${JSON.stringify(line.slice(0, 200))}`,
      );
    }
    // Keys that packages were signed with: no packages.
    if (name === "gpg-pubkey") continue;
    const key = packageKey(name, arch);
    const all = versions.get(key);
    if (all === undefined) versions.set(key, [version]);
    else if (!all.includes(version)) all.push(version);
    timesUs.set(`${key} ${version}`, Number(seconds) * 1_000_000);
  }
  const installed = new Map(
    [...versions].map(([key, all]) => [key, all.toSorted().join(" ")] as const),
  );
  return { installed, undecided: new Set(), timesUs };
}
