/**
 * Small state that must outlive every process (subscriptions, holds, tokens, cursors): one object for each name under
 * `registry/<kind>/<name>`, changed only by whoever has seen what stands there.
 *
 * Invariant: of two writers that saw the same value exactly one succeeds, and each knows which it was, also when an
 * answer is lost: every write carries a random mark of its own and those of the writes before it, so what is read back
 * tells whose it is and whom it followed. A name that was removed leaves its mark, since stores cannot delete under a
 * condition; what `registry-sweep.ts` has sealed to delete it is not written over until it is gone.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { registryKey } from "./layout.ts";
import { AmbiguousWriteError, type ObjectStore, type RequestOptions } from "./object-store.ts";
import {
  encodeRegistryContent,
  parseRegistryContent,
  PAST_MAX,
  type RegistryContent,
} from "./registry-content.ts";

/** A value as it stood when it was read. */
export interface RegistryEntry<T> {
  readonly name: string;
  readonly value: T;
  /** When it was written, by its writer's clock, ms since the Unix epoch. */
  readonly writtenAtMs: number;
  /** What a change of it must find. */
  readonly etag: string;
  /** Of the write that made it. */
  readonly mark: string;
  /** Marks of the writes before it, the latest first, "" for none; as many as are known. */
  readonly past: readonly string[];
}

/**
 * Every call that writes throws {@link AmbiguousWriteError} when it cannot be told whether it has written: its answer
 * was lost and others have written more than {@link PAST_MAX} times since.
 */
export interface Registry<T> {
  get(name: string, options?: RequestOptions): Promise<RegistryEntry<T> | undefined>;
  /** All that stand there, in the order of their names. */
  list(options?: RequestOptions): Promise<readonly RegistryEntry<T>[]>;
  /** Writes where nothing stands; undefined when something does. */
  create(name: string, value: T, options?: RequestOptions): Promise<RegistryEntry<T> | undefined>;
  /** Writes over what was seen; undefined when something else stands there by now, or nothing. */
  replace(
    entry: RegistryEntry<T>,
    value: T,
    options?: RequestOptions,
  ): Promise<RegistryEntry<T> | undefined>;
  /** Removes what was seen; false when something else stands there by now, or nothing. */
  remove(entry: RegistryEntry<T>, options?: RequestOptions): Promise<boolean>;
  /**
   * Writes what `decide` makes of what stands there, and asks it again whenever another writer was faster. Nothing is
   * written when it gives undefined; resolves then with what stands there.
   */
  change(
    name: string,
    decide: (value: T | undefined) => T | undefined,
    options?: RequestOptions,
  ): Promise<RegistryEntry<T> | undefined>;
}

export interface RegistryOptions<T> {
  readonly store: ObjectStore;
  /** `subscriptions`, `holds`, …: one folder each. */
  readonly kind: string;
  /** Reads a value strictly; throws SyntaxError when it is none. */
  readonly parse: (value: unknown) => T;
  readonly nowMs?: () => number;
}

/** Longest name, in characters. */
export const REGISTRY_NAME_LENGTH_MAX = 64;
/** Names of one kind that stand at the same time; those that were removed do not count. */
export const REGISTRY_NAMES_MAX = 10_000;
/** One write is sent at most so often when answers are lost; one change is decided on at most so often. */
export const WRITE_ATTEMPTS_MAX = 4;
export const CHANGE_ATTEMPTS_MAX = 32;
/** Objects read at the same time. */
const READS_AT_ONCE = 16;
/** A seal that is older was left behind by who made it, in milliseconds; clocks of writers differ by less. */
export const SEAL_MS = 10 * 60_000;
/** So long is waited for a sealed object to go, in milliseconds. */
const SEALED_WAIT_MS = 10_000;
const SEALED_LOOK_MS = 50;

export function isRegistryName(name: string): boolean {
  return name.length <= REGISTRY_NAME_LENGTH_MAX && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name);
}

interface Content<T> extends RegistryContent<T> {
  readonly etag: string;
}

type Seen = Pick<RegistryEntry<unknown>, "etag" | "mark" | "past">;

/** Etag of what we wrote and another has replaced already; that of no object. */
const OVERWRITTEN = "overwritten";

export function createRegistry<T>(options: RegistryOptions<T>): Registry<T> {
  const { store, kind, nowMs = Date.now } = options;

  const read = async (name: string, request: RequestOptions): Promise<Content<T> | undefined> => {
    const key = keyOf(kind, name);
    const found = await store.get(key, request);
    if (found === undefined) return undefined;
    try {
      return { ...parseRegistryContent(found.body, options.parse), etag: found.etag };
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`Cannot read "${key}" in ${store.url}: ${reason}`, { cause });
    }
  };

  /** What stands there once it may be written over. */
  const readWritable = async (
    name: string,
    request: RequestOptions,
  ): Promise<Content<T> | undefined> => {
    const untilMs = performance.now() + SEALED_WAIT_MS;
    for (;;) {
      const found = await read(name, request);
      if (!found?.isSealed || Math.abs(nowMs() - found.writtenAtMs) > SEAL_MS) return found;
      if (performance.now() > untilMs) {
        throw new Error(`Cannot write "${keyOf(kind, name)}": what was removed is being deleted`);
      }
      await delay(SEALED_LOOK_MS, undefined, request);
    }
  };

  /** Writes over what was seen, and nothing else; undefined when something else stands there by now. */
  const write = async (
    name: string,
    { value, seen }: { readonly value: T | undefined; readonly seen: Seen | undefined },
    request: RequestOptions,
  ): Promise<Content<T> | undefined> => {
    const key = keyOf(kind, name);
    const mark = randomBytes(8).toString("hex");
    const after = seen?.mark ?? "";
    const past = [after, ...seen?.past ?? []].slice(0, PAST_MAX);
    const content = { mark, past, writtenAtMs: nowMs(), value, isSealed: false };
    const body = encodeRegistryContent(key, content);
    for (let attempt = 1;; attempt++) {
      let lost: AmbiguousWriteError | undefined;
      let hasWritten = false;
      try {
        hasWritten = seen === undefined
          ? await store.putIfAbsent(key, body, request) === "created"
          : await store.replace(key, body, seen.etag, request) === "replaced";
      } catch (error) {
        if (!(error instanceof AmbiguousWriteError)) throw error;
        lost = error;
      }
      // A store that tried again by itself may be refused by its own first attempt: what stands there decides.
      const found = await read(name, request);
      if (found?.mark === mark) return found;
      if (hasWritten || found?.past.includes(mark)) {
        return { ...content, etag: OVERWRITTEN };
      }
      if (found?.etag === seen?.etag) {
        if (attempt < WRITE_ATTEMPTS_MAX) continue;
        throw lost ?? new Error(`Cannot write "${key}" in ${store.url}: it stays as it was`);
      }
      // What followed upon what we saw is known, and it is not ours.
      if (lost === undefined || found?.past.includes(after)) return undefined;
      throw lost;
    }
  };

  const entryOf = (name: string, content: Content<T> | undefined): RegistryEntry<T> | undefined => {
    if (content?.value === undefined) return undefined;
    const { value, writtenAtMs, etag, mark, past } = content;
    return { name, value, writtenAtMs, etag, mark, past };
  };

  return {
    async get(name, request = {}) {
      return entryOf(name, await read(name, request));
    },
    async list(request = {}) {
      const prefix = registryKey(kind, "");
      const entries: RegistryEntry<T>[] = [];
      const take = async (names: readonly string[]): Promise<void> => {
        const contents = await Promise.all(names.map((name) => read(name, request)));
        entries.push(...names.flatMap((name, at) => entryOf(name, contents[at]) ?? []));
        if (entries.length <= REGISTRY_NAMES_MAX) return;
        throw new RangeError(
          `Cannot list "${prefix}": more than ${REGISTRY_NAMES_MAX} names stand`,
        );
      };
      let names: string[] = [];
      for await (const { key } of store.list(prefix, request)) {
        const name = key.slice(prefix.length);
        if (isRegistryName(name)) names.push(name);
        if (names.length < READS_AT_ONCE) continue;
        await take(names);
        names = [];
      }
      await take(names);
      return entries;
    },
    async create(name, value, request = {}) {
      for (let attempt = 1; attempt <= CHANGE_ATTEMPTS_MAX; attempt++) {
        const found = await readWritable(name, request);
        if (found?.value !== undefined) return undefined;
        const written = await write(name, { value, seen: found }, request);
        if (written !== undefined) return entryOf(name, written);
      }
      throw new Error(`Cannot create "${keyOf(kind, name)}": others change it all the time`);
    },
    async replace(seen, value, request = {}) {
      return entryOf(seen.name, await write(seen.name, { value, seen }, request));
    },
    async remove(seen, request = {}) {
      return await write(seen.name, { value: undefined, seen }, request) !== undefined;
    },
    async change(name, decide, request = {}) {
      for (let attempt = 1; attempt <= CHANGE_ATTEMPTS_MAX; attempt++) {
        const found = await readWritable(name, request);
        const value = decide(found?.value);
        if (value === undefined) return entryOf(name, found);
        const written = await write(name, { value, seen: found }, request);
        if (written !== undefined) return entryOf(name, written);
      }
      throw new Error(`Cannot change "${keyOf(kind, name)}": others change it all the time`);
    },
  };
}

function keyOf(kind: string, name: string): string {
  if (isRegistryName(name)) return registryKey(kind, name);
  throw new RangeError(
    `Cannot use ${JSON.stringify(name)} as a name: expected 1 to ${REGISTRY_NAME_LENGTH_MAX} of ` +
      `letters, digits, ".", "_" and "-", beginning with a letter or digit`,
  );
}
