/**
 * A disk in memory that tells apart what was written and what was synced: when the power goes, of names and bytes that
 * were not synced some are there and some are not.
 */
import type { Random } from "./random.ts";

export class DiskError extends Error {
  override readonly name = "DiskError";
  readonly code: string;
  constructor(code: string, path: string) {
    super(`${code}: as simulated, "${path}"`);
    this.code = code;
  }
}

/** The content of a file, under whatever names. */
export class FileNode {
  #bytes = new Uint8Array(256);
  length = 0;
  /** So much is there after a loss of power whatever happens, with what was written over since. */
  #durableLength = 0;
  #overwritten: { readonly at: number; readonly bytes: Uint8Array }[] = [];

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  copy(): FileNode {
    const copy = new FileNode();
    copy.write(this.bytes, 0);
    copy.sync();
    return copy;
  }

  write(data: Uint8Array, at: number): void {
    const end = at + data.length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    if (at > this.length) {
      this.#keep(this.length, at);
      this.#bytes.fill(0, this.length, at);
    }
    this.#keep(at, end);
    this.#bytes.set(data, at);
    this.length = Math.max(this.length, end);
  }

  truncate(length: number): void {
    if (length > this.length) this.write(new Uint8Array(length - this.length), this.length);
    this.length = length;
  }

  sync(): void {
    this.#durableLength = this.length;
    this.#overwritten = [];
  }

  losePower(random: Random): void {
    const written = this.bytes.slice();
    const kept = this.#durable();
    // Of what was appended a part may be there; what was written over may be either.
    const isAppended = written.length > kept.length;
    const torn = isAppended ? random.between(kept.length, written.length) : kept.length;
    const isKept = kept.every((byte, at) => written[at] === byte);
    const content = isAppended && isKept ? written.subarray(0, torn) : kept;
    this.#bytes = new Uint8Array(Math.max(256, content.length));
    this.length = 0;
    this.#durableLength = 0;
    this.write(content, 0);
    this.sync();
  }

  #keep(from: number, to: number): void {
    const end = Math.min(to, this.#durableLength);
    if (from < end) this.#overwritten.push({ at: from, bytes: this.#bytes.slice(from, end) });
  }

  #durable(): Uint8Array {
    const bytes = this.#bytes.slice(0, this.#durableLength);
    for (const { at, bytes: before } of this.#overwritten.toReversed()) bytes.set(before, at);
    return bytes;
  }
}

/** What a disk held at some moment; given back once. */
export interface DiskCopy {
  readonly names: ReadonlyMap<string, FileNode>;
  readonly folders: ReadonlySet<string>;
}

export class Disk {
  readonly name: string;
  readonly #names = new Map<string, FileNode>();
  #durableNames = new Map<string, FileNode>();
  readonly #folders = new Set<string>(["/"]);
  /** Paths that a process holds, with the life it is of. */
  readonly locks = new Map<string, number>();
  isFull = false;
  /** Told of every sync of a file. */
  onSync: (path: string, node: FileNode) => void = () => undefined;
  /** Told of every write to a file. */
  onWrite: (path: string, data: Uint8Array) => void = () => undefined;

  constructor(name: string) {
    this.name = name;
  }

  get(path: string): FileNode {
    const node = this.#names.get(path);
    if (node === undefined) throw new DiskError("ENOENT", path);
    return node;
  }

  has(path: string): boolean {
    return this.#names.has(path) || this.#folders.has(path);
  }

  isFolder(path: string): boolean {
    return this.#folders.has(path);
  }

  create(path: string): FileNode {
    if (!this.#folders.has(parentOf(path))) throw new DiskError("ENOENT", path);
    const node = new FileNode();
    this.#names.set(path, node);
    return node;
  }

  makeFolder(path: string, options: { readonly isRecursive: boolean }): void {
    if (this.#folders.has(path) && !options.isRecursive) throw new DiskError("EEXIST", path);
    for (let at = path; at !== "/" && !this.#folders.has(at); at = parentOf(at)) {
      this.#folders.add(at);
    }
  }

  list(folder: string): string[] {
    if (!this.#folders.has(folder)) throw new DiskError("ENOENT", folder);
    return [...this.#names.keys(), ...this.#folders]
      .filter((path) => path !== "/" && parentOf(path) === folder)
      .map((path) => path.slice(path.lastIndexOf("/") + 1))
      .sort();
  }

  rename(from: string, to: string): void {
    this.#names.set(to, this.get(from));
    this.#names.delete(from);
  }

  link(from: string, to: string): void {
    if (this.#names.has(to)) throw new DiskError("EEXIST", to);
    this.#names.set(to, this.get(from));
  }

  remove(path: string): boolean {
    const inside = `${path}/`;
    const isInside = (each: string): boolean => each === path || each.startsWith(inside);
    const found = this.has(path);
    for (const each of this.#names.keys()) if (isInside(each)) this.#names.delete(each);
    for (const each of this.#folders) if (isInside(each)) this.#folders.delete(each);
    return found;
  }

  syncFolder(folder: string): void {
    for (const path of [...this.#durableNames.keys(), ...this.#names.keys()]) {
      if (parentOf(path) !== folder) continue;
      const node = this.#names.get(path);
      if (node === undefined) this.#durableNames.delete(path);
      else this.#durableNames.set(path, node);
    }
  }

  /** Its files as they are now, all of them there for good. */
  copy(): DiskCopy {
    const nodes = new Map([...new Set(this.#names.values())].map((node) => [node, node.copy()]));
    const names = new Map<string, FileNode>();
    for (const [path, node] of this.#names) names.set(path, nodes.get(node) ?? node);
    return { names, folders: new Set(this.#folders) };
  }

  restore({ names, folders }: DiskCopy): void {
    this.#names.clear();
    this.#folders.clear();
    for (const [path, node] of names) this.#names.set(path, node);
    for (const folder of folders) this.#folders.add(folder);
    this.#durableNames = new Map(names);
  }

  losePower(random: Random): void {
    for (const path of new Set([...this.#durableNames.keys(), ...this.#names.keys()])) {
      const [durable, written] = [this.#durableNames.get(path), this.#names.get(path)];
      const node = durable === written || random.chance(0.5) ? written : durable;
      if (node === undefined) this.#names.delete(path);
      else this.#names.set(path, node);
    }
    for (const node of new Set(this.#names.values())) node.losePower(random);
    this.#durableNames = new Map(this.#names);
  }
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}
