/**
 * The tokens of the registry as requests find them: by digest, in memory. The registry is looked at every two seconds,
 * and only what has changed there is read.
 *
 * Invariants: a token that was revoked or has expired finds nobody within five seconds, in every process that reaches
 * the registry, and what was begun with it is ended; in the process that revoked it, at once. While the registry is away
 * what is known stays, each token until its expiry, and that it is away is known.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import { registryKey } from "../storage/layout.ts";
import type { ObjectEntry, ObjectStore } from "../storage/object-store.ts";
import { isRegistryName } from "../storage/registry.ts";
import { openTokens, type Token, TOKEN_KIND, TOKENS_MAX } from "../storage/token.ts";
import type { Principal } from "./principal.ts";
import { principalOf } from "./roles.ts";

export interface HeldToken {
  readonly principal: Principal;
  readonly isExpired: boolean;
  /** Aborted when it is revoked or expires. */
  readonly ended: AbortSignal;
}

export interface TokenTable extends AsyncDisposable {
  /** Why the registry could not be looked at; undefined when it could. */
  readonly fault: string | undefined;
  find(text: string): HeldToken | undefined;
  /** Makes one known that was just made here. */
  adopt(name: string, token: Token): void;
  /** Ends one that was just revoked here. */
  drop(name: string): void;
  /** Looks at the registry now; resolves when that was done, whatever came of it. */
  look(): Promise<void>;
}

export interface TokenTableOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** How often the registry is looked at, and how long a look may take, in milliseconds: together less than five seconds. */
export const LOOK_INTERVAL_MS = 2_000;
export const LOOK_LIMIT_MS = 2_500;
/** An object whose time is known for longer than this cannot change under that time any more, in milliseconds. */
const SETTLED_MS = 2_000;
/** Objects read at the same time. */
const READS_AT_ONCE = 16;
/** Message of what aborts {@link HeldToken.ended}. */
export const TOKEN_ENDED = "The token has ended";
/** More than stand at the same time, since some may be made at the same moment. */
const HELD_MAX = 2 * TOKENS_MAX;

interface Held {
  readonly name: string;
  readonly token: Token;
  readonly principal: Principal;
  readonly end: AbortController;
}

/** What a look has seen of a name. */
interface Seen {
  readonly version: string;
  /** By the even clock. */
  readonly sinceMs: number;
  /** When the last read of it began. */
  readonly readMs: number;
}

export function openTokenTable({ store, clock, log }: TokenTableOptions): TokenTable {
  const registry = openTokens(store);
  const stop = new AbortController();
  const byName = new Map<string, Held>();
  const byDigest = new Map<string, Held>();
  const seen = new Map<string, Seen>();
  /** Changes made here, so that a read that began before one does not undo it. */
  let changes = 0;
  let fault: string | undefined = "it has not been asked yet";

  const drop = (name: string): void => {
    const held = byName.get(name);
    if (held === undefined) return;
    byName.delete(name);
    if (byDigest.get(held.token.sha256) === held) byDigest.delete(held.token.sha256);
    held.end.abort(endedReason());
  };
  const hold = (name: string, token: Token): void => {
    const known = byName.get(name);
    if (known !== undefined && JSON.stringify(known.token) === JSON.stringify(token)) return;
    drop(name);
    const principal = principalOf(name, token);
    const held: Held = { name, token, principal, end: new AbortController() };
    byName.set(name, held);
    byDigest.set(token.sha256, held);
  };
  const isExpired = ({ token }: Held): boolean => clock.nowUs() >= token.expiresAtMs * 1000;

  const read = async (name: string, signal: AbortSignal): Promise<void> => {
    const before = changes;
    let token: Token | undefined;
    try {
      token = (await registry.get(name, { signal }))?.value;
    } catch (error) {
      if (!(error instanceof Error && error.cause instanceof SyntaxError)) throw error;
      log.error("a token cannot be read and opens nothing", { name, error: error.message });
    }
    if (changes !== before) {
      seen.delete(name);
      return;
    }
    if (token === undefined) drop(name);
    else hold(name, token);
  };

  const lookThrough = async (signal: AbortSignal): Promise<void> => {
    const before = changes;
    const prefix = registryKey(TOKEN_KIND, "");
    const there = new Set<string>();
    const toRead: string[] = [];
    for await (const entry of store.list(prefix, { signal })) {
      const name = entry.key.slice(prefix.length);
      if (!isRegistryName(name)) continue;
      there.add(name);
      if (shallRead(name, entry)) toRead.push(name);
    }
    for (let at = 0; at < toRead.length; at += READS_AT_ONCE) {
      // Each counts as soon as it is read: a look that is broken off has not been for nothing.
      await Promise.all(
        toRead.slice(at, at + READS_AT_ONCE).map(async (name) => {
          const readMs = clock.elapsedMs();
          await read(name, signal);
          const known = seen.get(name);
          if (known !== undefined) seen.set(name, { ...known, readMs });
        }),
      );
      if (byName.size > HELD_MAX) throw new RangeError(`more than ${HELD_MAX} tokens stand`);
    }
    if (changes !== before) return;
    for (const name of [...byName.keys(), ...seen.keys()]) {
      if (there.has(name)) continue;
      drop(name);
      seen.delete(name);
    }
  };
  /** Times of objects may be of whole seconds: one is read again once nothing can be written under its time any more. */
  const shallRead = (name: string, { sizeBytes, modifiedAtMs }: ObjectEntry): boolean => {
    const nowMs = clock.elapsedMs();
    const version = `${modifiedAtMs} ${sizeBytes}`;
    const known = seen.get(name);
    if (known?.version !== version) {
      seen.set(name, { version, sinceMs: nowMs, readMs: -Infinity });
      return true;
    }
    return known.readMs < known.sinceMs + SETTLED_MS;
  };

  const lookOnce = async (): Promise<void> => {
    const limit = timeLimit(LOOK_LIMIT_MS);
    try {
      await lookThrough(AbortSignal.any([stop.signal, limit]));
      fault = undefined;
    } catch (error) {
      if (stop.signal.aborted) return;
      if (fault === undefined) log.warn("tokens cannot be looked up", { error: String(error) });
      fault = error instanceof Error ? error.message : String(error);
    }
  };
  let looking: Promise<void> | undefined;
  const look = (): Promise<void> => {
    looking ??= lookOnce().finally(() => {
      looking = undefined;
    });
    return looking;
  };
  const endExpired = (): void => {
    for (const held of byName.values()) if (isExpired(held)) held.end.abort(endedReason());
  };
  const polling = (async () => {
    while (!stop.signal.aborted) {
      await look();
      endExpired();
      await Promise.allSettled([clock.sleep(LOOK_INTERVAL_MS, stop.signal)]);
    }
  })();

  return {
    get fault() {
      return fault;
    },
    find(text) {
      const digest = createHash("sha256").update(text).digest();
      // Who does not know the token cannot choose its digest, so what the search takes tells nothing.
      const held = byDigest.get(digest.toString("hex"));
      if (held === undefined) return undefined;
      if (!timingSafeEqual(Buffer.from(held.token.sha256, "hex"), digest)) return undefined;
      const { principal, end } = held;
      return { principal, isExpired: end.signal.aborted || isExpired(held), ended: end.signal };
    },
    adopt(name, token) {
      changes += 1;
      hold(name, token);
    },
    drop(name) {
      changes += 1;
      drop(name);
    },
    look,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await polling;
      await looking;
    },
  };
}

function endedReason(): DOMException {
  return new DOMException(TOKEN_ENDED, "AbortError");
}
