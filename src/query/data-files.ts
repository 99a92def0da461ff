/**
 * Data files at hand: where DuckDB can read them on this machine. A store that is a directory is read in place; files
 * of any other are copied into a cache folder.
 *
 * Invariants: a file is used only when its content has the digest that the table's log names; the cache stays below
 * its limit; a file that a running query reads is not removed.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolders } from "../runtime/folders.ts";
import { dataFileKey } from "../storage/layout.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { DataFile } from "../storage/table.ts";
import { ProblemError } from "./problem.ts";

/** Copies made at the same time. */
const COPIES_AT_ONCE = 8;

export interface FilesLease extends Disposable {
  /** Local paths, in the order of the files asked for. */
  readonly paths: readonly string[];
}

export interface DataFiles {
  /** Folder that holds them all. */
  readonly directory: string;
  /** Brings files to this machine and keeps them there until disposed of. */
  hold(files: readonly DataFile[], signal: AbortSignal): Promise<FilesLease>;
  /** Whether a file can be read now without copying it first. */
  isAtHand(file: DataFile): boolean;
  /** What the cache holds, in bytes; 0 when files are read in place. */
  readonly cachedBytes: number;
  /** Files that were asked for and found in the cache, and that had to be copied; 0 when files are read in place. */
  readonly figures: CacheFigures;
}

export interface CacheFigures {
  readonly hits: number;
  readonly misses: number;
}

export interface DataFilesOptions {
  readonly store: ObjectStore;
  readonly cacheDirectory: string;
  readonly cacheLimitBytes: number;
}

export async function openDataFiles(options: DataFilesOptions): Promise<DataFiles> {
  const { store, cacheDirectory } = options;
  const inPlace = store.localPath(dataFileKey("any"));
  if (inPlace !== undefined) return filesInPlace(store, dirname(inPlace));
  const directory = join(cacheDirectory, "files");
  makeFolders(directory, 0o700);
  const cache = new FileCache({ ...options, directory });
  await cache.load();
  return cache;
}

function filesInPlace(store: ObjectStore, directory: string): DataFiles {
  return {
    directory,
    cachedBytes: 0,
    figures: { hits: 0, misses: 0 },
    isAtHand: () => true,
    hold: (files) => {
      const paths = files.map(({ path }) => String(store.localPath(dataFileKey(path))));
      return Promise.resolve({ paths, [Symbol.dispose]: () => undefined });
    },
  };
}

interface Entry {
  readonly sizeBytes: number;
  users: number;
}

const SUFFIX = ".parquet";

/** Guards the limit: what it holds is `#entries`, oldest use first. */
class FileCache implements DataFiles {
  readonly directory: string;
  readonly #store: ObjectStore;
  readonly #limitBytes: number;
  readonly #entries = new Map<string, Entry>();
  readonly #copies = new Map<string, Promise<void>>();
  #bytes = 0;
  #hits = 0;
  #misses = 0;

  constructor({ store, cacheLimitBytes, directory }: DataFilesOptions & { directory: string }) {
    this.directory = directory;
    this.#store = store;
    this.#limitBytes = cacheLimitBytes;
  }

  get cachedBytes(): number {
    return this.#bytes;
  }

  get figures(): CacheFigures {
    return { hits: this.#hits, misses: this.#misses };
  }

  isAtHand(file: DataFile): boolean {
    return this.#entries.has(nameOf(file));
  }

  /** Takes over what an earlier process left; copies that were under way are removed. */
  async load(): Promise<void> {
    for (const name of await readdir(this.directory)) {
      const path = join(this.directory, name);
      if (!/^[0-9a-f]{64}\.parquet$/.test(name)) {
        await rm(path, { recursive: true, force: true });
        continue;
      }
      const { size } = await stat(path);
      this.#entries.set(name.slice(0, -SUFFIX.length), { sizeBytes: size, users: 0 });
      this.#bytes += size;
    }
    await this.#makeRoom(0);
  }

  async hold(files: readonly DataFile[], signal: AbortSignal): Promise<FilesLease> {
    const names = files.map(nameOf);
    const neededBytes = files.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
    if (neededBytes > this.#limitBytes) throw this.#tooLarge(neededBytes);
    const held: string[] = [];
    const release = (): void => {
      for (const name of held.splice(0)) {
        const entry = this.#entries.get(name);
        if (entry !== undefined) entry.users -= 1;
      }
    };
    try {
      const waiting = [...files];
      const work = async (): Promise<void> => {
        for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
          await this.#take(file, signal);
          held.push(nameOf(file));
        }
      };
      const workers = Array.from({ length: COPIES_AT_ONCE }, work);
      const results = await Promise.allSettled(workers);
      const failed = results.find((each) => each.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    } catch (error) {
      release();
      throw error;
    }
    return {
      paths: names.map((name) => this.#pathOf(name)),
      [Symbol.dispose]: release,
    };
  }

  /** Makes sure the file is there and counts one more user of it. */
  async #take(file: DataFile, signal: AbortSignal): Promise<void> {
    const name = nameOf(file);
    if (this.#entries.has(name)) this.#hits += 1;
    else this.#misses += 1;
    for (;;) {
      signal.throwIfAborted();
      const entry = this.#entries.get(name);
      if (entry !== undefined) {
        entry.users += 1;
        // The last used stands last.
        this.#entries.delete(name);
        this.#entries.set(name, entry);
        return;
      }
      const copy = this.#copies.get(name);
      if (copy === undefined) await this.#startCopy(file, signal);
      // Another query's copy may end with that query: then this one makes its own.
      else await Promise.allSettled([copy]);
    }
  }

  #startCopy(file: DataFile, signal: AbortSignal): Promise<void> {
    const name = nameOf(file);
    const copy = this.#copy(file, signal).finally(() => this.#copies.delete(name));
    this.#copies.set(name, copy);
    return copy;
  }

  async #copy(file: DataFile, signal: AbortSignal): Promise<void> {
    const { sizeBytes } = file;
    const path = this.#pathOf(nameOf(file));
    const partial = `${path}.partial`;
    await this.#makeRoom(sizeBytes);
    this.#bytes += sizeBytes;
    try {
      if (!await this.#store.download(dataFileKey(file.path), partial, { signal })) {
        throw new ProblemError(503, "A part of the archive cannot be read: a file is missing");
      }
      const sha256 = await digestOfFile(partial);
      if (file.sha256 !== "" && sha256 !== file.sha256) {
        throw new Error(`Cannot use data file "${file.path}": its content has another digest`);
      }
      await rename(partial, path);
      this.#entries.set(nameOf(file), { sizeBytes, users: 0 });
    } catch (error) {
      this.#bytes -= sizeBytes;
      await rm(partial, { force: true });
      throw error;
    }
  }

  /** Removes what was unused for longest until so many bytes fit. */
  async #makeRoom(bytes: number): Promise<void> {
    for (const [name, entry] of this.#entries) {
      if (this.#bytes + bytes <= this.#limitBytes) return;
      if (entry.users > 0) continue;
      this.#entries.delete(name);
      this.#bytes -= entry.sizeBytes;
      await rm(this.#pathOf(name), { force: true });
    }
    if (this.#bytes + bytes > this.#limitBytes && bytes > 0) throw this.#tooLarge(bytes);
  }

  #pathOf(name: string): string {
    return join(this.directory, `${name}${SUFFIX}`);
  }

  #tooLarge(bytes: number): ProblemError {
    return new ProblemError(
      422,
      `The query needs ${bytes} more bytes of the archive at once than the cache has room for ` +
        `(${this.#limitBytes} in all)`,
      { accepted: "a shorter range of time" },
    );
  }
}

/** Content names a file; one whose digest is not known is named by its path, which is never used twice. */
function nameOf({ sha256, path }: DataFile): string {
  return sha256 === "" ? createHash("sha256").update(path).digest("hex") : sha256;
}

async function digestOfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}
