/**
 * Rows of one shard as the live tail writes them, kept from their load until they are handed out: they need not be asked
 * for again, which takes longer than all the rest of it when few come at a time.
 *
 * Invariants: what is given is all rows of a range, in their order, or nothing; what is kept is bounded.
 */
export interface FreshLines {
  /** Keeps the lines of all rows after one sequence up to another. */
  add(range: SequenceRange, lines: readonly string[]): void;
  /** The lines of a range, if all are here; they and what lies before them are forgotten. */
  take(range: SequenceRange): readonly string[] | undefined;
  clear(): void;
}

export interface SequenceRange {
  readonly after: number;
  readonly upTo: number;
}

/** Characters of lines that are kept; whoever comes for more than that asks for them. */
export const FRESH_LENGTH_MAX = 8 * 1024 * 1024;

interface Loaded extends SequenceRange {
  readonly lines: readonly string[];
  readonly length: number;
}

export function createFreshLines(lengthMax = FRESH_LENGTH_MAX): FreshLines {
  let kept: readonly Loaded[] = [];
  return {
    add({ after, upTo }, lines) {
      const length = lines.reduce((sum, line) => sum + line.length, 0);
      const all = kept.reduce((sum, each) => sum + each.length, length);
      kept = all > lengthMax ? [] : [...kept, { after, upTo, lines, length }];
    },
    take({ after, upTo }) {
      const found = kept.filter((each) => each.after >= after && each.upTo <= upTo);
      kept = kept.filter((each) => each.upTo > upTo);
      let end = after;
      for (const each of found) {
        if (each.after !== end) return undefined;
        end = each.upTo;
      }
      return end === upTo ? found.flatMap(({ lines }) => lines) : undefined;
    },
    clear() {
      kept = [];
    },
  };
}
