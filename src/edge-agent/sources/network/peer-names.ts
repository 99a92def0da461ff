/**
 * Names of peers, as DNS answered the processes of this host: what a connection's other end was asked for by.
 *
 * Invariants: a name is a claim of whoever answered, never proof. An answer counts only in the network namespace that
 * asked (never in others: who rules one namespace must not name what others connect to), only from its moment on, and not
 * for ever; addresses and names per address are bounded, the least recently used go first.
 */

/** Addresses kept, and names kept of each. */
export const ADDRESSES_MAX = 8192;
export const NAMES_MAX = 4;
/** However short or long an answer says that it holds: programs go on using addresses, but not for days. */
export const LIFE_MIN_S = 15 * 60;
export const LIFE_MAX_S = 24 * 60 * 60;

export interface NamedAddress {
  /** Network namespace that asked; 0 when it is not known. */
  readonly netCookie: number;
  /** As text, as in `dst_ip`. */
  readonly address: string;
  /** As it is written in JSON, without quotes. */
  readonly name: string;
  readonly ttlSeconds: number;
  /** Boot time of the answer, ns. */
  readonly timeNs: number;
}

export interface PeerNames {
  learn(answer: NamedAddress): void;
  /** Names that an address had at a boot time in ns; the latest answer first. */
  namesOf(netCookie: number, address: string, timeNs: number): readonly string[];
  /** Sets what brings the names up to date with the kernel before lines are made with them. */
  follow(catchUp: (() => void) | undefined): void;
  catchUp(): void;
  /** Addresses known. */
  readonly size: number;
}

interface Claim {
  readonly name: string;
  readonly fromNs: number;
  readonly untilNs: number;
}

export function createPeerNames(): PeerNames {
  /** By namespace and address, the least recently used first. */
  const claims = new Map<string, readonly Claim[]>();
  let follower: (() => void) | undefined;
  const touch = (key: string, known: readonly Claim[]): void => {
    claims.delete(key);
    claims.set(key, known);
  };
  const namesAt = (key: string, timeNs: number): readonly string[] => {
    const known = claims.get(key);
    if (known === undefined) return NONE;
    touch(key, known);
    return known.filter(({ fromNs, untilNs }) => fromNs <= timeNs && timeNs < untilNs)
      .map(({ name }) => name);
  };
  return {
    learn: ({ netCookie, address, name, ttlSeconds, timeNs }) => {
      const key = keyOf(netCookie, address);
      const lifeS = Math.min(Math.max(ttlSeconds, LIFE_MIN_S), LIFE_MAX_S);
      const known = claims.get(key) ?? [];
      // Told again, a name counts since it was first told.
      const fromNs = known.find((claim) => claim.name === name)?.fromNs ?? timeNs;
      const others = known.filter((claim) => claim.name !== name);
      touch(key, [{ name, fromNs, untilNs: timeNs + lifeS * 1e9 }, ...others].slice(0, NAMES_MAX));
      if (claims.size > ADDRESSES_MAX) {
        for (const oldest of claims.keys()) {
          claims.delete(oldest);
          break;
        }
      }
    },
    namesOf: (netCookie, address, timeNs) => {
      if (claims.size === 0) return NONE;
      return namesAt(keyOf(netCookie, address), timeNs);
    },
    follow: (catchUp) => {
      follower = catchUp;
    },
    catchUp: () => follower?.(),
    get size() {
      return claims.size;
    },
  };
}

const NONE: readonly string[] = [];

function keyOf(netCookie: number, address: string): string {
  return `${netCookie} ${address}`;
}
