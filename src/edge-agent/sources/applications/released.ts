/** How far what came is durable, for those who wait until a place of theirs is. */
export interface Released {
  /** Resolves once everything before the position is durable. */
  reach(position: number): Promise<void>;
  advance(position: number): void;
}

export function createReleased(): Released {
  let reached = 0;
  let waiting: { readonly position: number; readonly resolve: () => void }[] = [];
  return {
    reach(position) {
      if (position <= reached) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push({ position, resolve });
      return promise;
    },
    advance(position) {
      reached = Math.max(reached, position);
      const done = waiting.filter((each) => each.position <= reached);
      if (done.length === 0) return;
      waiting = waiting.filter((each) => each.position > reached);
      for (const { resolve } of done) resolve();
    },
  };
}
