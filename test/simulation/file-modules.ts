/**
 * What the software under simulation gets for `node:fs`, `node:fs/promises` and `node:sqlite`: the disks of simulated
 * machines below `/sim/<machine>.<life>/`, the real file system elsewhere. Only what the software uses is here; the
 * rest of each module is the real one, and does not find such paths.
 */
import * as realSync from "node:fs";
import * as real from "node:fs/promises";
import { DatabaseSync as RealDatabase } from "node:sqlite";
import { Readable } from "node:stream";
import { type Disk, DiskError, type FileNode } from "./disk.ts";
import { afterIn, type Life, lifeAt, never, stage } from "./stage.ts";

interface Located {
  readonly life: Life;
  readonly disk: Disk;
  readonly path: string;
}

export const SIMULATED_ROOT = "/sim/";

/** What is kept for moments only lies on a disk of its own. */
export const TEMPORARY_MACHINE = "temporary";

export function tmpdir(): string {
  return `${SIMULATED_ROOT}${TEMPORARY_MACHINE}.1`;
}

/** Where a path of the software lies; undefined for the real file system. */
function locate(path: string): Located | undefined {
  if (!path.startsWith(SIMULATED_ROOT)) return undefined;
  const [, , address = "", ...rest] = path.split("/");
  const life = lifeAt(address);
  return {
    life,
    disk: life.machine.disk,
    path: `/${rest.filter((part) => part !== "").join("/")}`,
  };
}

/** What takes no time and cannot fail by chance. */
async function quick<T>(path: string, effect: (at: Located) => T, actual: () => Promise<T>) {
  const at = locate(path);
  if (at === undefined) return await stage().time.hold(actual());
  if (!at.life.isAlive()) return await never<T>();
  return effect(at);
}

/** A disk answers within so long, µs; now and then it takes longer. */
const ANSWER_US = 400;
const SLOW_US = 300_000;
const SLOW_SHARE = 0.01;

/** What has an effect that outlives the process, at the end of the time it takes. */
function effective<T>(at: Located, effect: () => T): Promise<T> {
  if (!at.life.isAlive()) return never<T>();
  const { random } = stage();
  const takesUs = random.chance(SLOW_SHARE) ? random.next() * SLOW_US : random.next() * ANSWER_US;
  return new Promise<T>((resolve, reject) => {
    afterIn(at.life, takesUs, () => {
      try {
        resolve(effect());
      } catch (error) {
        reject(error);
      }
    });
  });
}

class SimulatedFile {
  readonly #at: Located;
  readonly #node: FileNode;
  readonly #isAppending: boolean;
  #position = 0;

  constructor(at: Located, node: FileNode, options: { readonly isAppending: boolean }) {
    this.#at = at;
    this.#node = node;
    this.#isAppending = options.isAppending;
  }

  async read(buffer: Uint8Array, offset = 0, length = buffer.length, position = 0) {
    if (!this.#at.life.isAlive()) return await never<{ bytesRead: number }>();
    const part = this.#node.bytes.subarray(position, position + length);
    buffer.set(part, offset);
    return { bytesRead: part.length, buffer };
  }

  write(data: Uint8Array, offset = 0, length = data.length - offset, position?: number) {
    const part = data.slice(offset, offset + length);
    return effective(this.#at, () => {
      this.#put(part, position);
      return { bytesWritten: part.length, buffer: data };
    });
  }

  writeFile(data: Uint8Array | string): Promise<void> {
    return effective(this.#at, () => this.#put(bytesOf(data), undefined));
  }

  /** Only roll-ups append so, to files that nothing depends on. */
  async appendFile(data: Uint8Array | string): Promise<void> {
    if (!this.#at.life.isAlive()) return await never<void>();
    this.#put(bytesOf(data), undefined);
  }

  truncate(length = 0): Promise<void> {
    return effective(this.#at, () => this.#node.truncate(length));
  }

  sync(): Promise<void> {
    return this.datasync();
  }

  datasync(): Promise<void> {
    return effective(this.#at, () => {
      const { random, faults } = stage();
      if (random.chance(faults.syncFails)) throw new DiskError("EIO", this.#at.path);
      this.#node.sync();
      this.#at.disk.onSync(this.#at.path, this.#node);
    });
  }

  async stat(): Promise<{ size: number }> {
    return await Promise.resolve({ size: this.#node.length });
  }

  async close(): Promise<void> {
    if (!this.#at.life.isAlive()) await never<void>();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #put(data: Uint8Array, position: number | undefined): void {
    const { disk, path } = this.#at;
    if (disk.isFull && data.length > 0) throw new DiskError("ENOSPC", path);
    const at = this.#isAppending ? this.#node.length : position ?? this.#position;
    this.#node.write(data, at);
    this.#position = at + data.length;
    disk.onWrite(path, data);
  }
}

/** A folder that is opened to be synced. */
class SimulatedFolder {
  readonly #at: Located;

  constructor(at: Located) {
    this.#at = at;
  }

  sync(): Promise<void> {
    return effective(this.#at, () => this.#at.disk.syncFolder(this.#at.path));
  }

  async close(): Promise<void> {
    if (!this.#at.life.isAlive()) await never<void>();
  }
}

export async function open(path: string, flags: string = "r", mode?: number): Promise<unknown> {
  return await quick<unknown>(path, (at) => {
    const { disk, path: inside } = at;
    if (disk.isFolder(inside)) return new SimulatedFolder(at);
    if (flags.includes("x") && disk.has(inside)) throw new DiskError("EEXIST", inside);
    const isMade = !disk.has(inside) && !flags.startsWith("r");
    const node = isMade ? disk.create(inside) : disk.get(inside);
    if (flags.startsWith("w") && !isMade) node.truncate(0);
    return new SimulatedFile(at, node, { isAppending: flags.startsWith("a") });
  }, () => real.open(path, flags, mode));
}

export async function readFile(path: string, encoding?: BufferEncoding): Promise<unknown> {
  return await quick<unknown>(path, ({ disk, path: inside }) => {
    const bytes = Buffer.from(disk.get(inside).bytes);
    return encoding === undefined ? bytes : bytes.toString(encoding);
  }, () => real.readFile(path, { encoding: encoding ?? null }));
}

export async function writeFile(path: string, data: Uint8Array | string): Promise<void> {
  await quick(path, () => writeFileSync(path, data), () => real.writeFile(path, data));
}

export function writeFileSync(path: string, data: Uint8Array | string): void {
  const at = locate(path);
  if (at === undefined) return realSync.writeFileSync(path, data);
  const { disk, path: inside } = at;
  const node = disk.has(inside) ? disk.get(inside) : disk.create(inside);
  node.truncate(0);
  node.write(bytesOf(data), 0);
}

/** Files that were opened at once, by descriptors that no real file has. */
const openAtOnce = new Map<number, { readonly at: Located; readonly node: FileNode }>();
const DESCRIPTOR_LEAST = 1_000_000_000;
let opened = DESCRIPTOR_LEAST;

/** Files of a scratch folder only: what matters after a loss of power is not written so. */
export function openSync(path: string, flags: string): number {
  const at = locate(path);
  if (at === undefined) return realSync.openSync(path, flags);
  opened += 1;
  openAtOnce.set(opened, { at, node: at.disk.get(at.path) });
  return opened;
}

export function writeSync(file: number, data: Uint8Array, offset: number): number {
  const node = openAtOnce.get(file)?.node;
  if (node === undefined) return realSync.writeSync(file, data, offset);
  const part = data.subarray(offset);
  node.write(part, offset);
  return part.length;
}

export function ftruncateSync(file: number, length: number): void {
  const node = openAtOnce.get(file)?.node;
  if (node === undefined) return realSync.ftruncateSync(file, length);
  node.truncate(length);
}

export function closeSync(file: number): void {
  if (!openAtOnce.delete(file)) realSync.closeSync(file);
}

export function renameSync(from: string, to: string): void {
  const [at, target] = [locate(from), locate(to)];
  if (at === undefined || target === undefined) return realSync.renameSync(from, to);
  at.disk.rename(at.path, target.path);
}

/** For the stand-in of the row writer, which is no part of the software. */
export function readSimulated(path: string): Uint8Array {
  const at = locate(path);
  return at === undefined ? realSync.readFileSync(path) : at.disk.get(at.path).bytes;
}

export async function mkdir(path: string, options: { readonly recursive?: boolean } = {}) {
  return await quick<unknown>(path, ({ disk, path: inside }) => {
    disk.makeFolder(inside, { isRecursive: options.recursive === true });
  }, () => real.mkdir(path, options));
}

export function mkdirSync(path: string, options: { readonly mode?: number } = {}): unknown {
  const at = locate(path);
  if (at === undefined) return realSync.mkdirSync(path, options);
  at.disk.makeFolder(at.path, { isRecursive: false });
  return undefined;
}

export function statSync(
  path: string,
  options: { readonly throwIfNoEntry?: boolean } = {},
): unknown {
  const at = locate(path);
  if (at === undefined) return realSync.statSync(path, options);
  const isFolder = at.disk.isFolder(at.path);
  if (isFolder || at.disk.has(at.path)) return { isDirectory: () => isFolder };
  if (options.throwIfNoEntry === false) return undefined;
  throw new DiskError("ENOENT", at.path);
}

let made = 0;

export async function mkdtemp(prefix: string): Promise<string> {
  return await quick(prefix, ({ disk, path: inside }) => {
    made += 1;
    disk.makeFolder(`${inside}${made}`, { isRecursive: true });
    return `${prefix}${made}`;
  }, () => real.mkdtemp(prefix));
}

export async function readdir(path: string): Promise<string[]> {
  return await quick(path, ({ disk, path: inside }) => disk.list(inside), () => real.readdir(path));
}

export async function stat(path: string): Promise<unknown> {
  return await quick<unknown>(
    path,
    ({ disk, path: inside }) => ({ size: disk.get(inside).length, mode: 0o600 }),
    () => real.stat(path),
  );
}

export async function rename(from: string, to: string): Promise<void> {
  const [at, target] = [locate(from), locate(to)];
  if (at === undefined || target === undefined) {
    return await stage().time.hold(real.rename(from, to));
  }
  await effective(at, () => at.disk.rename(at.path, target.path));
}

export async function link(from: string, to: string): Promise<void> {
  const [at, target] = [locate(from), locate(to)];
  if (at === undefined || target === undefined) return await stage().time.hold(real.link(from, to));
  await effective(at, () => at.disk.link(at.path, target.path));
}

export async function rm(
  path: string,
  options: { readonly recursive?: boolean; readonly force?: boolean } = {},
): Promise<void> {
  await quick(path, ({ disk, path: inside }) => {
    if (!disk.remove(inside) && options.force !== true) throw new DiskError("ENOENT", inside);
  }, () => real.rm(path, options));
}

export async function unlink(path: string): Promise<void> {
  await rm(path);
}

export function createReadStream(path: string): unknown {
  const at = locate(path);
  if (at === undefined) return realSync.createReadStream(path);
  return Readable.from([Buffer.from(at.disk.get(at.path).bytes)]);
}

/** SQLite as the spool's lock uses it: an exclusive transaction that ends with its process. */
export class DatabaseSync {
  readonly #at: Located | undefined;
  readonly #actual: RealDatabase | undefined;

  constructor(path: string) {
    this.#at = locate(path);
    this.#actual = this.#at === undefined ? new RealDatabase(path) : undefined;
  }

  exec(sql: string): void {
    this.#actual?.exec(sql);
    if (this.#at === undefined) return;
    const { disk, path, life } = this.#at;
    const holder = disk.locks.get(path);
    const isHeld = holder !== undefined && life.machine.isUp && holder === life.machine.life;
    if (isHeld) throw new Error("database is locked");
    disk.locks.set(path, life.number);
  }

  close(): void {
    this.#actual?.close();
    if (this.#at === undefined) return;
    const { disk, path, life } = this.#at;
    if (disk.locks.get(path) === life.number) disk.locks.delete(path);
  }
}

function bytesOf(data: Uint8Array | string): Uint8Array {
  return typeof data === "string" ? Buffer.from(data) : data;
}
