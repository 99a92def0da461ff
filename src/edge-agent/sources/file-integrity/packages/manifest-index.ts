/**
 * Digest of a path → package, for all files of all packages of a host, in memory that is bounded: 32 to 40 bytes a file
 * and no texts but names of packages.
 *
 * Paths and digests are kept as hashes of 64 and 128 bits: another path that meets the same hash is held for a file of
 * the package only if its content is that file's content, too.
 */
import type { DigestAlgorithm, FileDigests, ManifestEntry, PackageName } from "./manifest-entry.ts";

/** Most files of an index; those of more packages are not known, and their changes are told one by one. */
export const MANIFEST_ENTRIES_MAX = 1_000_000;

export interface ManifestIndex {
  /** Adds a file; false when the index is full. */
  add(entry: ManifestEntry): boolean;
  /** The package that delivered this content at this path. */
  ownerOf(path: string, digests: FileDigests): PackageName | undefined;
  /** A package that delivers something at this path. */
  ownerOfPath(path: string): PackageName | undefined;
  readonly size: number;
  /** Whether files were left out because the index was full. */
  readonly isCut: boolean;
}

/** Numbers of a row: two of the path's hash, four of the digest, one of package and algorithm. */
const ROW = 7;
const ALGORITHMS: readonly DigestAlgorithm[] = ["md5", "sha1", "sha256"];
const ROWS_LEAST = 1_024;

export function createManifestIndex(
  { entriesMax = MANIFEST_ENTRIES_MAX }: { readonly entriesMax?: number } = {},
): ManifestIndex {
  let rows = new Uint32Array(ROW * ROWS_LEAST);
  let size = 0;
  let isCut = false;
  /** Places of rows plus one; 0 is free. Twice as many as rows at least. */
  let places = new Uint32Array(4 * ROWS_LEAST);
  const owners: PackageName[] = [];
  const numbers = new Map<string, number>();

  const numberOf = (owner: PackageName): number => {
    const id = `${owner.package}\0${owner.version}\0${owner.arch}`;
    const known = numbers.get(id);
    if (known !== undefined) return known;
    numbers.set(id, owners.length);
    return owners.push(owner) - 1;
  };
  const place = (row: number): void => {
    let at = (rows[ROW * row] ?? 0) % places.length;
    while (places[at] !== 0) at = (at + 1) % places.length;
    places[at] = row + 1;
  };
  const grow = (): void => {
    const larger = new Uint32Array(2 * rows.length);
    larger.set(rows);
    rows = larger;
    places = new Uint32Array(2 * places.length);
    for (let row = 0; row < size; row += 1) place(row);
  };
  /** Rows of a path, one by one. */
  function* rowsOf(path: string): Generator<number> {
    const [low, high] = hashOf(canonical(path));
    for (let at = low % places.length; places[at] !== 0; at = (at + 1) % places.length) {
      const row = (places[at] ?? 0) - 1;
      if (rows[ROW * row] === low && rows[ROW * row + 1] === high) yield row;
    }
  }
  const ownerAt = (row: number): PackageName | undefined =>
    owners[(rows[ROW * row + 6] ?? 0) >>> 2];
  return {
    add({ path, owner, algorithm, digest }) {
      if (size >= entriesMax) {
        isCut = true;
        return false;
      }
      if (ROW * size === rows.length) grow();
      const number = numberOf(owner) * 4 + ALGORITHMS.indexOf(algorithm);
      rows.set([...hashOf(canonical(path)), ...digestWords(digest), number], ROW * size);
      place(size);
      size += 1;
      return true;
    },
    ownerOf(path, digests) {
      for (const row of rowsOf(path)) {
        const algorithm = ALGORITHMS[(rows[ROW * row + 6] ?? 0) & 3];
        const digest = algorithm === undefined ? undefined : digests[algorithm];
        if (digest === undefined) continue;
        const words = digestWords(digest);
        if (words.every((word, at) => rows[ROW * row + 2 + at] === word)) return ownerAt(row);
      }
      return undefined;
    },
    ownerOfPath(path) {
      for (const row of rowsOf(path)) return ownerAt(row);
      return undefined;
    },
    get size() {
      return size;
    },
    get isCut() {
      return isCut;
    },
  };
}

/** Packages may list a file by the link that leads to its folder: `/bin` is `/usr/bin` where both are one. */
function canonical(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib32|lib64|libx32)\//, "/usr/$1/");
}

/** First 128 bits. */
function digestWords(digest: string): readonly [number, number, number, number] {
  const word = (at: number): number => Number.parseInt(digest.slice(at, at + 8), 16) >>> 0;
  return [word(0), word(8), word(16), word(24)];
}

/** FNV-1a from two beginnings. */
function hashOf(path: string): readonly [number, number] {
  let [low, high] = [0x811c9dc5, 0x01234567];
  for (let at = 0; at < path.length; at += 1) {
    const code = path.charCodeAt(at);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul(high ^ code, 0x85ebca6b) ^ (high >>> 13);
  }
  return [low >>> 0, high >>> 0];
}
