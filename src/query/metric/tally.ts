/**
 * Tallies: how many events of each kind (topic, further topics, host) a data file holds, and when its first and last
 * happened. Data files never change, so a file is tallied once; a question over a year then adds numbers up.
 *
 * Invariant: what is held stays within {@link TallyLimits}; a file without a tally is one that has to be read.
 */

export interface Kind {
  readonly topic: string | null;
  readonly topics: readonly string[];
  readonly host: string | null;
}

/** Events of one kind. */
export interface KindCount extends Kind {
  readonly rows: number;
  /** Times of the first and the last, µs. */
  readonly firstUs: number;
  readonly lastUs: number;
}

/** Counts of one file's kinds, as columns; `kinds` are places in {@link TallyBook.kinds}. */
export interface Tally {
  readonly kinds: Uint32Array;
  readonly rows: Float64Array;
  readonly firstUs: Float64Array;
  readonly lastUs: Float64Array;
  /** Of all kinds. */
  readonly rowsInAll: number;
}

export interface TallyLimits {
  /** Counts held of all files together, 28 bytes each. */
  readonly countsMax: number;
  /** Kinds that differ. */
  readonly kindsMax: number;
}

export const TALLY_LIMITS: TallyLimits = { countsMax: 2_000_000, kindsMax: 200_000 };

/** Guards the limits. Files are known by names that are never used for other content. */
export class TallyBook {
  readonly #limits: TallyLimits;
  #kinds: Kind[] = [];
  #places = new Map<string, number>();
  readonly #tallies = new Map<string, Tally>();
  #counts = 0;
  /** Whether some kind may belong to no file any more. */
  #hasUnused = false;

  constructor(limits: TallyLimits = TALLY_LIMITS) {
    this.#limits = limits;
  }

  /** Places change whenever {@link TallyBook.put} or {@link TallyBook.makeRoom} is called. */
  get kinds(): readonly Kind[] {
    return this.#kinds;
  }

  get size(): number {
    return this.#tallies.size;
  }

  /** Counts held. */
  get counts(): number {
    return this.#counts;
  }

  get(name: string): Tally | undefined {
    return this.#tallies.get(name);
  }

  names(): Iterable<string> {
    return this.#tallies.keys();
  }

  /** Takes a file's counts; false when there is no room for them. */
  put(name: string, counts: readonly KindCount[]): boolean {
    const { countsMax, kindsMax } = this.#limits;
    this.remove(name);
    if (this.#counts + counts.length > countsMax) return false;
    if (this.#kinds.length + counts.length > kindsMax) this.#forgetUnusedKinds();
    if (this.#kinds.length + counts.length > kindsMax) return false;
    this.#tallies.set(name, {
      kinds: Uint32Array.from(counts, (kind) => this.#placeOf(kind)),
      rows: Float64Array.from(counts, ({ rows }) => rows),
      firstUs: Float64Array.from(counts, ({ firstUs }) => firstUs),
      lastUs: Float64Array.from(counts, ({ lastUs }) => lastUs),
      rowsInAll: counts.reduce((sum, { rows }) => sum + rows, 0),
    });
    this.#counts += counts.length;
    return true;
  }

  remove(name: string): void {
    const tally = this.#tallies.get(name);
    if (tally === undefined) return;
    this.#tallies.delete(name);
    this.#counts -= tally.rows.length;
    this.#hasUnused = true;
  }

  /** So many counts can be put, whatever their kinds. */
  makeRoom(): number {
    const { countsMax, kindsMax } = this.#limits;
    this.#forgetUnusedKinds();
    return Math.min(countsMax - this.#counts, kindsMax - this.#kinds.length);
  }

  /** A file's counts as they were put; undefined when it has none here. */
  countsOf(name: string): KindCount[] | undefined {
    const tally = this.#tallies.get(name);
    return tally === undefined ? undefined : this.#countsOf(tally);
  }

  #countsOf({ kinds, rows, firstUs, lastUs }: Tally): KindCount[] {
    return Array.from(kinds, (place, at) => ({
      ...(this.#kinds[place] ?? { topic: null, topics: [], host: null }),
      rows: rows[at] ?? 0,
      firstUs: firstUs[at] ?? 0,
      lastUs: lastUs[at] ?? 0,
    }));
  }

  #placeOf({ topic, topics, host }: Kind): number {
    const key = JSON.stringify([topic, host, ...topics]);
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const place = this.#kinds.push({ topic, topics, host }) - 1;
    this.#places.set(key, place);
    return place;
  }

  /** Files that left the table leave their kinds behind. */
  #forgetUnusedKinds(): void {
    if (!this.#hasUnused) return;
    this.#hasUnused = false;
    const all = [...this.#tallies].map(([name, tally]) => [name, this.#countsOf(tally)] as const);
    this.#kinds = [];
    this.#places = new Map();
    for (const [name, counts] of all) {
      const tally = this.#tallies.get(name);
      if (tally === undefined) continue;
      const kinds = Uint32Array.from(counts, (kind) => this.#placeOf(kind));
      this.#tallies.set(name, { ...tally, kinds });
    }
  }
}
