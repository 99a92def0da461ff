/**
 * dpkg's records (deb-md5sums(5), dpkg(1), dpkg-query(1)): the status file, which has packages and their conffiles,
 * and one file of MD5 sums per package. dpkg keeps no stronger digest: a file of another content with the same MD5
 * takes an attacker who wrote both.
 *
 * Invariant: lines of another shape are passed over; nothing throws.
 */
import { isDigest, type ManifestEntry, type PackageName } from "./manifest-entry.ts";

export interface DpkgStatus {
  /** By the names that files of sums bear: `bash`, and `libc6:amd64` of packages that several architectures have. */
  readonly packages: ReadonlyMap<string, PackageName>;
  readonly conffiles: readonly ManifestEntry[];
}

/** Packages that are unpacked or more, with their conffiles as they were delivered. Text is binary. */
export function parseDpkgStatus(text: string): DpkgStatus {
  const packages = new Map<string, PackageName>();
  const conffiles: ManifestEntry[] = [];
  for (const stanza of text.split(/\n(?:[ \t]*\n)+/)) {
    const field = (name: string): string =>
      new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(stanza)?.[1]?.trim() ?? "";
    const [name, version, arch] = [field("Package"), field("Version"), field("Architecture")];
    const state = field("Status").split(/ +/)[2] ?? "";
    if (name === "" || version === "" || state === "not-installed" || state === "config-files") {
      continue;
    }
    const owner = { package: name, version, arch };
    packages.set(name, owner);
    packages.set(`${name}:${arch}`, owner);
    const listed = /^Conffiles:[ \t]*\n((?:[ \t]+.*(?:\n|$))+)/m.exec(stanza)?.[1] ?? "";
    conffiles.push(...listed.split("\n").flatMap((line) => conffileOf(line, owner)));
  }
  return { packages, conffiles };
}

/** ` /path digest`, behind which words such as `obsolete` may stand. */
function conffileOf(line: string, owner: PackageName): ManifestEntry[] {
  const [, path, digest = ""] = /^[ \t]+(\/.*?) ([0-9a-f]{32})(?: [a-z-]+)*$/.exec(line) ?? [];
  return path === undefined ? [] : [{ path, owner, algorithm: "md5", digest }];
}

/** Files of one package, of its `.md5sums`: conffiles are not among them. Text is binary. */
export function* parseDpkgSums(text: string, owner: PackageName): Generator<ManifestEntry> {
  for (const line of text.split("\n")) {
    const digest = line.slice(0, 32);
    const path = line.slice(34);
    if (path === "" || !isDigest(digest, "md5") || !/^ [ *]$/.test(line.slice(32, 34))) continue;
    yield { path: path.startsWith("/") ? path : `/${path}`, owner, algorithm: "md5", digest };
  }
}
