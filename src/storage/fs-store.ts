/**
 * A directory as the bucket: the embedded default, and the same promises as S3. Keys are paths below the root.
 *
 * Invariant: an object appears whole under its name by link(2) or rename(2) of a file that is already on the disk; a
 * crash or a full disk leaves at most a temporary file, which no reader ever sees.
 */
import { createHash } from "node:crypto";
import { constants, lstat, open, realpath } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { makeFolders } from "../runtime/folders.ts";
import { verifyConditions } from "./conditional-put.ts";
import { createFolders, type Folders } from "./fs-folders.ts";
import { type FolderLock, openFolderLock } from "./fs-lock.ts";
import { walkFolder } from "./fs-walk.ts";
import {
  codeOf,
  type Content,
  FOLDER_MODE,
  linkIfAbsent,
  moveOver,
  removeIfPresent,
  syncFolder,
  writeTemporary,
} from "./fs-write.ts";
import { checkKeyPrefix, checkObjectKey } from "./object-key.ts";
import {
  AmbiguousWriteError,
  type ObjectEntry,
  type ObjectStore,
  type RequestOptions,
  type StoredObject,
} from "./object-store.ts";

/** The name of the store's lock in its root. */
const LOCK_NAME = ".lock";

export type DirectoryStoreOptions =
  | { /** `file:///…` */ readonly url: string }
  | { readonly directory: string };

/** Opens a directory as a store, making it if it is missing. The caller disposes of it. */
export async function openDirectoryStore(options: DirectoryStoreOptions): Promise<ObjectStore> {
  const directory = "url" in options ? directoryOf(options.url) : resolve(options.directory);
  try {
    makeFolders(directory, FOLDER_MODE);
    return new DirectoryStore(await realpath(directory));
  } catch (cause) {
    throw new Error(
      `Cannot open store ${JSON.stringify(pathToFileURL(directory).href)}: ${stateOf(cause)}`,
      { cause },
    );
  }
}

class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly #root: string;
  readonly #folders: Folders;
  readonly #lock: FolderLock;

  constructor(root: string) {
    this.url = pathToFileURL(root).href;
    this.#root = root;
    this.#folders = createFolders(root);
    this.#lock = openFolderLock(join(root, LOCK_NAME));
  }

  get(key: string, options: RequestOptions = {}): Promise<StoredObject | undefined> {
    return this.#run("read", key, options, () => this.#read(key, options));
  }

  head(key: string, options: RequestOptions = {}): Promise<ObjectEntry | undefined> {
    return this.#run("read", key, options, () => this.#stat(key));
  }

  put(key: string, body: Uint8Array, options: RequestOptions = {}): Promise<void> {
    return this.#run("write", key, options, async (path) => {
      await this.#lock.run(async () => {
        await moveOver(await this.#stage(path, { bytes: body }), path);
      }, options.signal);
      await this.#settle(key, path);
    });
  }

  putIfAbsent(key: string, body: Uint8Array, options: RequestOptions = {}) {
    return this.#create(key, { bytes: body }, options);
  }

  putFileIfAbsent(key: string, path: string, options: RequestOptions = {}) {
    return this.#create(key, { file: path }, options);
  }

  replace(key: string, body: Uint8Array, etag: string, options: RequestOptions = {}) {
    return this.#run("replace", key, options, (path) =>
      this.#lock.run(async () => {
        const found = await this.#read(key, options);
        if (found === undefined || found.etag !== etag) return "changed" as const;
        await moveOver(await this.#stage(path, { bytes: body }), path);
        await this.#settle(key, path);
        return "replaced" as const;
      }, options.signal));
  }

  delete(key: string, options: RequestOptions = {}): Promise<void> {
    return this.#run("delete", key, options, async (path) => {
      const folder = dirname(path);
      if (!await this.#folders.check(folder)) return;
      const isGone = await this.#lock.run(() => removeIfPresent(path), options.signal);
      if (isGone) await syncFolder(folder);
    });
  }

  async *list(
    prefix: string,
    options: RequestOptions & { readonly startAfter?: string } = {},
  ): AsyncIterable<ObjectEntry> {
    checkKeyPrefix(prefix);
    const { startAfter = "", signal } = options;
    const folder = join(this.#root, prefix.slice(0, prefix.lastIndexOf("/") + 1), ".");
    signal?.throwIfAborted();
    try {
      if (!await this.#folders.check(folder)) return;
      yield* walkFolder(this.#root, { prefix, startAfter, signal });
    } catch (cause) {
      throw this.#failure("list", prefix, options, cause);
    }
  }

  download(key: string, path: string, options: RequestOptions = {}): Promise<boolean> {
    return this.#run("download", key, options, async (source) => {
      if (await this.#stat(key) === undefined) return false;
      try {
        await moveOver(await writeTemporary(path, { file: source }), path);
        return true;
      } catch (cause) {
        if (codeOf(cause) === "ENOENT" && await this.#stat(key) === undefined) return false;
        throw cause;
      }
    });
  }

  localPath(key: string): string {
    checkObjectKey(key);
    return join(this.#root, key);
  }

  verifyConditionalPut(options: RequestOptions = {}): Promise<void> {
    return verifyConditions(this, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folders[Symbol.asyncDispose]();
    await this.#lock[Symbol.asyncDispose]();
  }

  #create(key: string, content: Content, options: RequestOptions) {
    return this.#run("write", key, options, async (path) => {
      const outcome = await linkIfAbsent(await this.#stage(path, content), path);
      await this.#settle(key, path);
      if (outcome === "exists" && (await lstat(path)).isDirectory()) {
        throw new Error("a folder has this name");
      }
      return outcome;
    });
  }

  async #read(key: string, options: RequestOptions): Promise<StoredObject | undefined> {
    const path = this.localPath(key);
    if (!await this.#folders.check(dirname(path))) return undefined;
    try {
      await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      if (!(await handle.stat()).isFile()) return undefined;
      const { signal } = options;
      const body = await handle.readFile(signal === undefined ? {} : { signal });
      return { body, etag: createHash("sha256").update(body).digest("hex") };
    } catch (cause) {
      if (isAbsence(cause)) return undefined;
      throw cause;
    }
  }

  async #stat(key: string): Promise<ObjectEntry | undefined> {
    const path = this.localPath(key);
    if (!await this.#folders.check(dirname(path))) return undefined;
    try {
      const found = await lstat(path);
      if (!found.isFile()) return undefined;
      return { key, sizeBytes: found.size, modifiedAtMs: Math.floor(found.mtimeMs) };
    } catch (cause) {
      if (isAbsence(cause)) return undefined;
      throw cause;
    }
  }

  async #stage(path: string, content: Content): Promise<string> {
    await this.#folders.prepare(dirname(path));
    return writeTemporary(path, content);
  }

  /** The object has its name; whether that name is durable is for the disk to say. */
  async #settle(key: string, path: string): Promise<void> {
    try {
      await syncFolder(dirname(path));
    } catch (cause) {
      const message = `Cannot make ${JSON.stringify(key)} in ${this.url} durable`;
      throw new AmbiguousWriteError(key, `${message}: ${stateOf(cause)}`, { cause });
    }
  }

  async #run<T>(
    verb: string,
    key: string,
    options: RequestOptions,
    action: (path: string) => Promise<T>,
  ): Promise<T> {
    const path = this.localPath(key);
    options.signal?.throwIfAborted();
    try {
      return await action(path);
    } catch (cause) {
      throw this.#failure(verb, key, options, cause);
    }
  }

  #failure(verb: string, key: string, options: RequestOptions, cause: unknown): unknown {
    if (options.signal?.aborted || cause instanceof AmbiguousWriteError) return cause;
    const name = JSON.stringify(key);
    return new Error(`Cannot ${verb} ${name} in ${this.url}: ${stateOf(cause)}`, { cause });
  }
}

const STATES: Readonly<Record<string, string>> = {
  ENOSPC: "no space left on the disk",
  EDQUOT: "the disk quota is used up",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EROFS: "the file system is read-only",
  ENOTDIR: "a part of its path is a file",
  ELOOP: "it is a symbolic link",
};

function stateOf(cause: unknown): string {
  const code = codeOf(cause);
  const message = cause instanceof Error ? cause.message : String(cause);
  return code === undefined ? message : STATES[code] ?? message;
}

/** A key below a file names nothing, as in S3. */
function isAbsence(cause: unknown): boolean {
  const code = codeOf(cause);
  return code === "ENOENT" || code === "ENOTDIR";
}

function directoryOf(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new TypeError(
      `Cannot open store ${JSON.stringify(url)}: expected "file:///path"`,
      { cause },
    );
  }
}
