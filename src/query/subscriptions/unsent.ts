/**
 * Blocks that were reserved and of which it is not certain yet that the reader received them.
 *
 * Invariant: a block is forgotten only once the reader has taken all that it was given, is still there some time after
 * that, or says that it has it. Data may lie in the network's buffers for longer: a reader that says what it saw last is
 * told of that, too, by the id.
 */
import type { ReservedBlock } from "../../storage/subscription.ts";

export interface Unsent {
  /** Puts what was written down by somebody else in place of all that is known. */
  adopt(block: ReservedBlock | undefined): void;
  /** What was adopted, once. */
  untold(): ReservedBlock | undefined;
  /** All of it together with a further block. */
  with(block: ReservedBlock): ReservedBlock;
  /** All of it; undefined when there is nothing. */
  block(): ReservedBlock | undefined;
  handedOver(block: ReservedBlock): void;
  /** The reader has taken all that it was given. */
  taken(): void;
  forget(): void;
}

/** A block counts as sent when its reader is still there so long after it took it, in milliseconds. */
export const SETTLED_MS = 5_000;

interface Handed {
  readonly block: ReservedBlock;
  /** On the monotonic clock; undefined while it is on its way. */
  readonly takenMs: number | undefined;
}

export function createUnsent(nowMs: () => number): Unsent {
  let all: readonly Handed[] = [];
  let untold: ReservedBlock | undefined;
  const settle = (): void => {
    // While the reader does not take what it is given, what it took before may be stuck on the way as well.
    if (all.some(({ takenMs }) => takenMs === undefined)) return;
    all = all.filter(({ takenMs = 0 }) => nowMs() - takenMs < SETTLED_MS);
  };
  return {
    adopt(block) {
      all = block === undefined ? [] : [{ block, takenMs: undefined }];
      untold = block;
    },
    untold() {
      const block = untold;
      untold = undefined;
      return block;
    },
    with(block) {
      settle();
      return merge([...all.map((each) => each.block), block]) ?? block;
    },
    block() {
      settle();
      return merge(all.map(({ block }) => block));
    },
    handedOver(block) {
      all = [...all, { block, takenMs: undefined }];
    },
    taken() {
      all = all.map(({ block, takenMs }) => ({ block, takenMs: takenMs ?? nowMs() }));
    },
    forget() {
      all = [];
      untold = undefined;
    },
  };
}

function merge(blocks: readonly ReservedBlock[]): ReservedBlock | undefined {
  const [first, last] = [blocks[0], blocks.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const isCounted = blocks.every(({ count }) => count !== undefined);
  const total = blocks.reduce((sum, { count = 0 }) => sum + count, 0);
  return {
    count: isCounted ? total : undefined,
    after: first.after,
    from: first.from,
    to: last.to,
  };
}
