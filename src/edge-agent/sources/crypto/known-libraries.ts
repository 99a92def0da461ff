/**
 * Libraries by the numbers that records name them with, kept in the data folder: a record that one agent leaves in the
 * ring is read by the next.
 *
 * Invariants: a number is given once, and never to another file; the file is replaced in one step, before the kernel is
 * told a number that is new in it.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";

/** Libraries that are remembered; the oldest that are not attached go first. */
const KNOWN_MAX = 4096;
const NUMBER_MAX = 0xffff_ffff;

export interface KnownLibrary {
  readonly number: number;
  readonly identity: string;
  readonly path: string;
  /** Build id, hex; empty when it has none. */
  readonly origin: string;
  readonly provider: string;
  /** Whose programs are attached, by their pins' folder, and where; empty when none are. */
  readonly folder: string;
  readonly sites: readonly number[];
}

export interface KnownLibraries {
  readonly all: () => readonly KnownLibrary[];
  get(number: number): KnownLibrary | undefined;
  find(identity: string): KnownLibrary | undefined;
  /** The library under a number of its own, or under the one that its identity has. */
  note(library: Omit<KnownLibrary, "number">): KnownLibrary;
  /** What is attached no more stays known. */
  forgetSites(number: number): void;
}

/** Without a path nothing is kept. A file that is missing or damaged makes an empty list: then records of before name no library. */
export function openKnownLibraries(path: string | undefined): KnownLibraries {
  const { next, libraries } = path === undefined ? NONE : readKnown(path);
  const known = new Map(libraries.map((each) => [each.number, each]));
  let nextNumber = next;
  const write = (): void => {
    for (const [number, { sites }] of known) {
      if (known.size <= KNOWN_MAX) break;
      if (sites.length === 0) known.delete(number);
    }
    if (path === undefined) return;
    const text = JSON.stringify({ next: nextNumber, libraries: [...known.values()] });
    writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  };
  const find = (identity: string): KnownLibrary | undefined =>
    known.values().find((each) => each.identity === identity);
  return {
    all: () => [...known.values()],
    get: (number) => known.get(number),
    find,
    note(library) {
      const number = find(library.identity)?.number ?? nextNumber;
      if (number === nextNumber) nextNumber = nextNumber % NUMBER_MAX + 1;
      const noted = { ...library, number };
      known.set(number, noted);
      write();
      return noted;
    },
    forgetSites(number) {
      const found = known.get(number);
      if (found === undefined) return;
      known.set(number, { ...found, folder: "", sites: [] });
      write();
    },
  };
}

function readKnown(path: string): { next: number; libraries: readonly KnownLibrary[] } {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value !== "object" || value === null) return NONE;
    const { next, libraries }: { next?: unknown; libraries?: unknown } = value;
    if (!Number.isSafeInteger(next) || !Array.isArray(libraries)) return NONE;
    return { next: Number(next), libraries: libraries.filter(isKnown) };
  } catch {
    return NONE; // No agent was here, or its file was cut.
  }
}

const NONE = { next: 1, libraries: [] };

function isKnown(value: unknown): value is KnownLibrary {
  if (typeof value !== "object" || value === null) return false;
  // as: every field is looked at below
  const each = value as Partial<Record<keyof KnownLibrary, unknown>>;
  return Number.isSafeInteger(each.number) && Array.isArray(each.sites) &&
    each.sites.every((site) => Number.isSafeInteger(site)) &&
    [each.identity, each.path, each.origin, each.provider, each.folder].every((text) =>
      typeof text === "string"
    );
}
