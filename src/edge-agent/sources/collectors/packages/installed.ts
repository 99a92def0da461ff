/** What package managers have installed, as the collector compares it. */

/** Versions by `name:arch`, several joined by spaces: rpm may have more than one. */
export type Installed = ReadonlyMap<string, string>;

export interface InstalledPackages {
  readonly installed: Installed;
  /** Keys of which nothing can be said now: the manager is at work on them, or gave up on them. */
  readonly undecided: ReadonlySet<string>;
}

export function packageKey(name: string, arch: string): string {
  return `${name}:${arch}`;
}

export function splitKey(key: string): { readonly name: string; readonly arch: string } {
  const at = key.lastIndexOf(":");
  return { name: key.slice(0, at), arch: key.slice(at + 1) };
}

/** A database that is not what it should be. What was known of its packages stays. */
export class PackageDatabaseError extends Error {
  override readonly name = "PackageDatabaseError";
}

/** Most bytes of a manager's database that are read. */
export const DATABASE_BYTES_MAX = 128 * 1024 * 1024;
/** Most packages of one manager. */
export const PACKAGES_MAX = 200_000;
